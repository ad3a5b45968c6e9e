/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A VM's context as a NoCloud seed.
 *
 * The form is cloud-init's, so that a stock cloud image takes the same disc as our own guest agent:
 * meta-data names the instance, network-config (version 2) the address, user-data the host name,
 * the user, the keys and the hosts file. All three are JSON, which is YAML too; user-data has its
 * "#cloud-config" line in front. Files in the user's home are marked "defer": cloud-init writes
 * files before it makes users. A stock image has no agent to say "ready": cloud-init does so by
 * runcmd, at its very end. The disc is made in process by libarchive, no program is run; it holds
 * private keys of the night, so it is written aside with mode 0600 and renamed.
 * guest-agent/seed_read.c is the other end: a member that is added here must be added there, the
 * round-trip test sees to it.
 */
#include "boot/hostd/seed.h"

#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <sys/stat.h>

static char *document(json_t *value, const char *first_line)
{
	auto_free char *text = json_dumps(value, JSON_INDENT(1));
	json_decref(value);
	return xasprintf("%s%s\n", first_line, text);
}

char *seed_meta_data(const struct proto_context *c)
{
	return document(json_pack("{s:s, s:s}", "instance-id", c->instance_id, "local-hostname",
				c->hostname),
		"");
}

char *seed_network_config(const struct proto_context *c)
{
	char mac[MAC_TEXT], address[PREFIX4_TEXT], gateway[IP4_TEXT];
	json_t *nic =
		json_pack("{s:{s:s}, s:b, s:[s]}", "match", "macaddress", mac_format(&c->mac, mac),
			"dhcp4", 0, "addresses", prefix4_format(c->address, address));
	if (c->gateway.host)
		json_object_set_new(nic, "routes",
			json_pack("[{s:s, s:s}]", "to", "0.0.0.0/0", "via",
				ip4_format(c->gateway, gateway)));
	if (c->mtu)
		json_object_set_new(nic, "mtu", json_integer((json_int_t)c->mtu));
	return document(json_pack("{s:i, s:{s:o}}", "version", 2, "ethernets", "nic0", nic), "");
}

static char *hosts_file(const struct proto_context *c)
{
	struct buf b = {0};
	char ip[IP4_TEXT];
	buf_adds(&b, "127.0.0.1 localhost\n");
	vec_each (struct proto_peer, peer, &c->hosts)
		buf_addf(&b, "%s %s\n", ip4_format(peer->ip, ip), peer->name);
	return buf_take(&b);
}

static void add_file(json_t *files, const char *path, const char *owner, const char *mode,
	const char *content, bool in_home)
{
	json_t *file = json_pack("{s:s, s:s, s:s, s:s}", "path", path, "owner", owner,
		"permissions", mode, "content", content);
	if (in_home)
		json_object_set_new(file, "defer", json_true());
	json_array_append_new(files, file);
}

/* A context without this content gives no file. */
static void add_home_file(json_t *files, const struct proto_context *c, const char *name,
	const char *mode, const char *content)
{
	if (!content)
		return;
	auto_free char *path = xasprintf("/home/%s/.ssh/%s", c->user, name);
	auto_free char *owner = xasprintf("%s:%s", c->user, c->user);
	add_file(files, path, owner, mode, content, true);
}

static json_t *user_of(const struct proto_context *c)
{
	json_t *user = json_pack(
		"{s:s, s:s, s:b}", "name", c->user, "shell", "/bin/bash", "lock_passwd", 1);
	if (c->user_key_pub)
		json_object_set_new(user, "ssh_authorized_keys", json_pack("[s]", c->user_key_pub));
	return user;
}

static json_t *files_of(const struct proto_context *c)
{
	auto_free char *hosts = hosts_file(c);
	auto_free char *public = c->user_key_pub ? xasprintf("%s\n", c->user_key_pub) : NULL;
	json_t *files = json_array();
	add_file(files, "/etc/hosts", "root:root", "0644", hosts, false);
	add_home_file(files, c, "id_ed25519", "0600", c->user_key);
	add_home_file(files, c, "id_ed25519.pub", "0644", public);
	add_home_file(files, c, "known_hosts", "0644", c->known_hosts);
	return files;
}

/* The line that boot/hostd/guestlink.c reads, said by the guest's own shell: nothing of the context
 * stands in it. Who reads "ready" may log in, hence sshd first. The write waits for a host that
 * does not listen yet, so saying it once is enough. */
static const char say_ready[] =
	"systemctl start ssh.service || systemctl start sshd.service; "
	"read up idle </proc/uptime; "
	"printf '{\"ready\":true,\"hostname\":\"%s\",\"boot_ms\":%s}\\n' \"$(uname -n)\" "
	"$((${up%.*} * 1000)) >/dev/virtio-ports/org.nightclass.guest.0";

char *seed_user_data(const struct proto_context *c)
{
	json_t *config = json_pack("{s:s, s:b, s:b, s:b, s:b, s:[o], s:o, s:[[sss]]}", "hostname",
		c->hostname, "preserve_hostname", 0, "manage_etc_hosts", 0, "disable_root", 1,
		"ssh_pwauth", 0, "users", user_of(c), "write_files", files_of(c), "runcmd", "sh",
		"-c", say_ready);
	if (c->host_key && c->host_key_pub)
		json_object_set_new(config, "ssh_keys",
			json_pack("{s:s, s:s}", "ed25519_private", c->host_key, "ed25519_public",
				c->host_key_pub));
	return document(config, "#cloud-config\n");
}

static int add_entry(struct archive *disc, const char *name, const char *text)
{
	struct archive_entry *entry = archive_entry_new();
	archive_entry_set_pathname(entry, name);
	archive_entry_set_size(entry, (la_int64_t)strlen(text));
	archive_entry_set_filetype(entry, AE_IFREG);
	archive_entry_set_perm(entry, 0400);
	int r = archive_write_header(disc, entry);
	if (r == ARCHIVE_OK && archive_write_data(disc, text, strlen(text)) < 0)
		r = ARCHIVE_FATAL;
	archive_entry_free(entry);
	return r;
}

static int write_disc(struct archive *disc, const struct proto_context *c, int fd)
{
	auto_free char *meta = seed_meta_data(c);
	auto_free char *user = seed_user_data(c);
	auto_free char *network = seed_network_config(c);
	if (archive_write_set_format_iso9660(disc) != ARCHIVE_OK ||
		archive_write_set_options(disc, "volume-id=cidata,rockridge=strict") !=
			ARCHIVE_OK ||
		archive_write_open_fd(disc, fd) != ARCHIVE_OK ||
		add_entry(disc, "meta-data", meta) != ARCHIVE_OK ||
		add_entry(disc, "user-data", user) != ARCHIVE_OK ||
		add_entry(disc, "network-config", network) != ARCHIVE_OK ||
		archive_write_close(disc) != ARCHIVE_OK)
		return -1;
	return 0;
}

int seed_write(const struct proto_context *context, const char *path, struct error **err)
{
	auto_free char *aside = xasprintf("%s.new", path);
	if (unlink(aside) < 0 && errno != ENOENT)
		return error_make(err, -errno, "seed disc %s: %s", aside, strerror(errno));
	auto_close int fd = open(aside, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return error_make(err, -errno, "seed disc %s: %s", aside, strerror(errno));
	struct archive *disc = archive_write_new();
	int r = 0;
	if (write_disc(disc, context, fd) < 0) {
		const char *why = archive_error_string(disc);
		r = error_make(err, -EIO, "seed disc %s: %s", aside, why ? why : "not written");
	}
	archive_write_free(disc);
	if (r == 0 && rename(aside, path) < 0)
		r = error_make(err, -errno, "seed disc %s: %s", path, strerror(errno));
	if (r < 0)
		unlink(aside);
	return r;
}
