/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The PC as its kernel describes it: processors, memory, firmware, model, boot id, boot card.
 *
 * These are observations for people and for placement. The controller must not take them as proof
 * of anything: who can boot a PC can make it say what he likes. The one fact that is not read but
 * tried is hardware virtualisation (kvm.c). The disk of the PC is not looked at.
 */
#include "boot/hostd/facts.h"

#include <sys/sysinfo.h>
#include "boot/hostd/kvm.h"
#include "lib/file.h"
#include "lib/log.h"

/* The first line of a small kernel file without its newline; NULL when it is not there or not text.
 */
static char *kernel_line(const char *path)
{
	char *text = NULL;
	if (file_read(path, 4096, &text, NULL, NULL) < 0)
		return NULL;
	text[strcspn(text, "\n")] = '\0';
	for (size_t n = strlen(text); n > 0 && text[n - 1] == ' '; n--)
		text[n - 1] = '\0';
	if (!text_ok(text, 255)) {
		free(text);
		return NULL;
	}
	return text;
}

int facts_boot_id(const struct hostd_options *options, char **ret_id, struct error **err)
{
	char *id = options->boot_id ? xstrdup(options->boot_id)
				    : kernel_line("/proc/sys/kernel/random/boot_id");
	if (!id)
		return error_make(err, -ENOENT, "the kernel tells no boot id: is /proc mounted?");
	*ret_id = id;
	return 0;
}

static int boot_card(const struct hostd_options *options, struct mac *ret_mac, struct error **err)
{
	const struct mac none = {0};
	if (mac_cmp(&options->mac, &none) != 0) {
		*ret_mac = options->mac;
		return 0;
	}
	auto_free char *path = xasprintf("/sys/class/net/%s/address", options->bridge);
	auto_free char *text = kernel_line(path);
	if (!text || mac_parse(text, ret_mac) < 0)
		return error_make(err, -ENODEV,
			"the boot card is unknown: no BOOTIF on the kernel's command line and no "
			"bridge %s",
			options->bridge);
	return 0;
}

static uint64_t memory_mib(void)
{
	struct sysinfo info;
	if (sysinfo(&info) < 0)
		return 0;
	return (uint64_t)info.totalram * info.mem_unit >> 20;
}

static bool hardware_virtualisation(const struct hostd_options *options)
{
	if (strcmp(options->accel, "probe") != 0)
		return strcmp(options->accel, "kvm") == 0;
	auto_error struct error *why = NULL;
	bool works = kvm_probe("kvm", options->run_dir, &why);
	if (!works)
		log_notice("host: VMs run in software, no hardware virtualisation: %s",
			error_text(why, -ENODEV));
	return works;
}

int facts_gather(const struct hostd_options *options, uint64_t boot_ms,
	struct proto_facts *ret_facts, struct error **err)
{
	struct proto_facts f = {.boot_ms = boot_ms};
	int r = boot_card(options, &f.mac, err);
	if (r == 0)
		r = facts_boot_id(options, &f.boot_id, err);
	if (r < 0)
		return r;
	f.firmware = xstrdup(access("/sys/firmware/efi", F_OK) == 0 ? "uefi" : "bios");
	f.model = kernel_line("/sys/class/dmi/id/product_name");
	if (!f.model)
		f.model = xstrdup("");
	f.cpus = processors_usable();
	f.memory_mib = memory_mib();
	f.kvm = hardware_virtualisation(options);
	*ret_facts = f;
	return 0;
}

void facts_done(struct proto_facts *facts)
{
	free(facts->boot_id);
	free(facts->firmware);
	free(facts->model);
	memset(facts, 0, sizeof(*facts));
}
