/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The options of one hostd, in the order of who wins: -o KEY=VALUE, the file of -c, the kernel's
 * command line, the defaults.
 *
 * On a real PC neither file nor -o exist: the boot script says all. Tests run several hostd on one
 * machine in namespaces of their own, so every path, the libvirt URI, the bridge and the reboot can
 * be told. The table of keys is the only list of them: parser, help and defaults' order come from
 * it. Nothing is opened here but the two text files.
 */
#include "boot/hostd/options.h"

#include "boot/hostd/bootargs.h"
#include "lib/conf.h"
#include "lib/file.h"

#define KEY(name, setter, text)                                                                    \
	{                                                                                          \
		.section = "hostd", .key = #name, .set = (setter),                                 \
		.offset = offsetof(struct hostd_options, name), .help = (text)                     \
	}

/* A port with room for the next one, or 0. */
static int set_peer_port(const char *value, void *out, struct error **err)
{
	uint64_t port = 0;
	if (uint_parse(value, 0, UINT16_MAX - 1, &port) < 0)
		return error_make(err, -EINVAL, "A port from 1 to 65534 is expected, or 0.");
	*(uint16_t *)out = (uint16_t)port;
	return 0;
}

static const struct conf_key keys[] = {
	KEY(url, conf_set_string, "controller, https://HOST:PORT (kernel: nightclass.url)"),
	KEY(ca, conf_set_string, "SHA-256 of its CA certificate (kernel: nightclass.ca)"),
	KEY(mac, conf_set_mac, "card the PC booted from (kernel: BOOTIF)"),
	KEY(cmdline, conf_set_path, "file with the kernel command line"),
	KEY(run_dir, conf_set_path, "certificate, goal and deadline, in RAM"),
	KEY(image_dir, conf_set_path, "images held"),
	KEY(scratch, conf_set_string, "label of the scratch partition (kernel: nightclass.scratch)"),
	KEY(scratch_dir, conf_set_path, "where it is mounted"),
	KEY(scratch_load, conf_set_path, "program that loads the drivers of disks"),
	KEY(vm_dir, conf_set_path, "overlays and seed discs of the VMs"),
	KEY(base_plugin, conf_set_path, "nbdkit plugin that serves disks while they come"),
	KEY(peer_port, set_peer_port, "for neighbours who want chunks, and the next one; none: 0"),
	KEY(libvirt_uri, conf_set_string, "local libvirt"),
	KEY(bridge, conf_set_string, "bridge the VMs are on"),
	KEY(console, conf_set_path, "terminal for the line to people"),
	KEY(reboot_command, conf_set_path, "program run instead of reboot(2)"),
	KEY(accel, conf_set_string, "probe, kvm or tcg"),
	KEY(boot_id, conf_set_string, "instead of the kernel's boot id"),
	KEY(report_s, conf_set_duration, "time between reports"),
	KEY(poll_s, conf_set_duration, "how long the controller may hold the goal question"),
	KEY(first_goal_s, conf_set_duration, "reboot when no goal came for so long"),
	KEY(log_level, conf_set_string, "error, warning, notice, info, debug"),
};

static void set_defaults(struct hostd_options *o)
{
	o->cmdline = xstrdup("/proc/cmdline");
	o->run_dir = xstrdup("/run/nightclass/hostd");
	o->image_dir = xstrdup("/var/lib/nightclass/images");
	o->vm_dir = xstrdup("/var/lib/nightclass/vm");
	o->scratch_dir = xstrdup("/var/lib/nightclass/scratch");
	o->scratch_load = xstrdup("/usr/lib/nightclass/load-disks");
	o->base_plugin = xstrdup("/usr/lib/nightclass/nightclass-base.so");
	o->libvirt_uri = xstrdup("qemu:///system");
	o->bridge = xstrdup("br0");
	o->console = xstrdup("/dev/tty1");
	o->accel = xstrdup("probe");
	o->log_level = xstrdup("info");
	o->peer_port = 8081;
	o->report_s = 10;
	o->poll_s = 10;
	o->first_goal_s = 900;
}

static int take_override(const char *text, struct hostd_options *o, struct error **err)
{
	const char *equals = strchr(text, '=');
	if (!equals || equals == text || strchr(text, '\n'))
		return error_make(err, -EINVAL, "-o wants KEY=VALUE, not \"%s\"", text);
	auto_free char *conf =
		xasprintf("[hostd]\n%.*s = %s\n", (int)(equals - text), text, equals + 1);
	return conf_parse(conf, "-o", keys, ARRAY_LEN(keys), o, err);
}

/* What neither file nor -o said comes from the boot script. */
static int fill_from_kernel(struct hostd_options *o, struct error **err)
{
	auto_free char *text = NULL;
	struct bootargs args = {0};
	int r = file_read(o->cmdline, 65536, &text, NULL, err);
	if (r == 0)
		r = bootargs_parse(text, &args, err);
	if (r < 0)
		return r;
	struct mac none = {0};
	if (!o->url)
		o->url = TAKE_PTR(args.url);
	if (!o->ca && args.has_ca)
		o->ca = xstrdup(args.ca);
	if (!o->scratch)
		o->scratch = TAKE_PTR(args.scratch);
	if (mac_cmp(&o->mac, &none) == 0 && args.has_mac)
		o->mac = args.mac;
	bootargs_done(&args);
	return 0;
}

static int check(struct hostd_options *o, struct error **err)
{
	enum log_level level;
	if (!o->url || !bootargs_url_ok(o->url))
		return error_field(err, -EINVAL, "url",
			"no controller is named: the boot script must give "
			"nightclass.url=https://...");
	if (o->ca && str_starts(o->ca, "sha256:"))
		memmove(o->ca, o->ca + 7, strlen(o->ca + 7) + 1);
	if (!o->ca || !sha256_hex_ok(o->ca))
		return error_field(err, -EINVAL, "ca",
			"the controller's CA is not named: the boot script must give "
			"nightclass.ca=sha256:...");
	if (strcmp(o->accel, "probe") && strcmp(o->accel, "kvm") && strcmp(o->accel, "tcg"))
		return error_field(err, -EINVAL, "accel", "one of probe, kvm, tcg");
	if (log_level_parse(o->log_level, &level) < 0)
		return error_field(err, -EINVAL, "log_level", "no such level: %s", o->log_level);
	if (o->report_s < 1 || o->poll_s < 1 || o->first_goal_s < 1)
		return error_make(err, -EINVAL, "report_s, poll_s and first_goal_s: at least 1s");
	return 0;
}

int options_load(const char *file, const struct strings *overrides,
	struct hostd_options *ret_options, struct error **err)
{
	struct hostd_options o = {0};
	set_defaults(&o);
	int r = file ? conf_load(file, keys, ARRAY_LEN(keys), &o, err) : 0;
	vec_each (char *, text, overrides)
		if (r == 0)
			r = take_override(*text, &o, err);
	if (r == 0)
		r = fill_from_kernel(&o, err);
	if (r == 0)
		r = check(&o, err);
	if (r < 0) {
		options_done(&o);
		return r;
	}
	*ret_options = o;
	return 0;
}

void options_done(struct hostd_options *o)
{
	for (size_t i = 0; i < ARRAY_LEN(keys); i++)
		if (keys[i].set == conf_set_string || keys[i].set == conf_set_path)
			free(*(char **)((char *)o + keys[i].offset));
	memset(o, 0, sizeof(*o));
}

char *options_help(void)
{
	struct buf b = {0};
	for (size_t i = 0; i < ARRAY_LEN(keys); i++)
		buf_addf(&b, "  %-16s %s\n", keys[i].key, keys[i].help);
	return buf_take(&b);
}
