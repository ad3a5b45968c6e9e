/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Makes and ends VMs: the files by ourselves, the domain by the backend (libvirt; a fake in tests).
 *
 * VM_DIR/ID/ holds disk.qcow2 (overlay), seed.iso, guest.sock (the hypervisor makes it),
 * console.log and made.json, from which a restarted hostd learns whose files these are. The domain
 * is transient: libvirt keeps no definition of it, so a host that ends has nothing to undefine and
 * no VM starts by itself. A folder of the same instance is used again, with its disk: a VM that
 * failed to start, or was powered off from inside, comes back as it was. Folders of another
 * instance are never reused; reconcile has them removed first. The disk of the PC is not known
 * here: every path is below the two folders of the options.
 */
#include "boot/hostd/vm.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/un.h>
#include "boot/hostd/base.h"
#include "boot/hostd/domxml.h"
#include "boot/hostd/hold.h"
#include "boot/hostd/seed.h"
#include "images/overlay.h"
#include "lib/file.h"
#include "lib/json.h"

void domains_seen_done(struct domains_seen *domains)
{
	vec_each (struct domain_seen, d, domains)
		free(d->id);
	vec_done(domains);
}

enum { BASE_WAIT_MS = 15000 };

struct made {
	char *uuid;
	int64_t started_ms;
	uint64_t ready_ms;
};
static const struct json_field made_fields[] = {
	FIELD(struct made, uuid, JSON_KIND_STRING, true),
	FIELD(struct made, started_ms, JSON_KIND_INT, true),
	FIELD(struct made, ready_ms, JSON_KIND_UINT, true),
};

static char *in_folder(const char *vm_dir, const char *id, const char *name)
{
	return xasprintf("%s/%s/%s", vm_dir, id, name);
}

char *vm_channel_path(const char *vm_dir, const char *id)
{
	return in_folder(vm_dir, id, "guest.sock");
}

static char *console_path(const char *vm_dir, const char *id)
{
	return in_folder(vm_dir, id, "console.log");
}

static int write_made(
	const char *vm_dir, const char *id, const struct made *made, struct error **err)
{
	auto_free char *path = in_folder(vm_dir, id, "made.json");
	auto_json json_t *object = json_write(made_fields, ARRAY_LEN(made_fields), made);
	auto_free char *text = json_text(object);
	return file_write(path, text, strlen(text), 0600, err);
}

static int read_made(const char *vm_dir, const char *id, struct made *ret_made, struct error **err)
{
	auto_free char *path = in_folder(vm_dir, id, "made.json");
	auto_free char *text = NULL;
	auto_json json_t *object = NULL;
	size_t len;
	int r = file_read(path, 4096, &text, &len, err);
	if (r == 0)
		r = json_parse_object(text, len, &object, err);
	if (r == 0)
		r = json_read(object, made_fields, ARRAY_LEN(made_fields), ret_made, err);
	return r;
}

static int make_files(const struct vm_place *place, const struct proto_vm *vm, const char *base,
	const char *disk, const char *seed, struct error **err)
{
	auto_free char *folder = xasprintf("%s/%s", place->vm_dir, vm->id);
	/* Searchable by the user the VMs run as; the files in it are not readable by it until
	 * libvirt hands them over. */
	int r = file_mkdirs(folder, 0755, err);
	if (r == 0 && access(disk, F_OK) < 0)
		r = overlay_create(base, disk, err);
	if (r == 0)
		r = seed_write(&vm->context, seed, err);
	return r;
}

/* The socket of the server through which the disk is read, NULL: its file is. A recording is not worth
 * a VM: where the server does not answer, an image that is whole is read without. */
static int pick_server(const struct vm_place *place, const char *digest, bool whole, bool record,
	char **ret_server, struct error **err)
{
	if (whole && !record)
		return 0;
	auto_free char *server = base_socket(place->vm_dir, digest);
	int r = base_wait(server, BASE_WAIT_MS, whole ? NULL : err);
	if (r == 0)
		*ret_server = TAKE_PTR(server);
	return whole ? 0 : r;
}

static int start_domain(const struct vm_place *place, const struct proto_vm *vm,
	const struct held_image *image, const char *server, const char *uuid, const char *disk,
	const char *seed, struct error **err)
{
	auto_free char *channel = vm_channel_path(place->vm_dir, vm->id);
	auto_free char *log = console_path(place->vm_dir, vm->id);
	if (strlen(channel) >= sizeof(((struct sockaddr_un *)0)->sun_path))
		return error_make(err, -ENAMETOOLONG,
			"the path of the guest's channel is too long: %s", channel);
	const struct domxml domain = {
		.id = vm->id,
		.uuid = uuid,
		.kvm = place->kvm,
		.cpus = vm->cpus,
		.memory_mib = vm->memory_mib,
		.mac = vm->context.mac,
		.mtu = vm->context.mtu,
		.bridge = place->bridge,
		.disk = disk,
		.base = image->disk,
		.base_socket = server,
		.seed = seed,
		.kernel = image->kernel,
		.initrd = image->initrd,
		.cmdline = image->cmdline,
		.channel = channel,
		.console_log = log,
	};
	auto_free char *xml = domxml_render(&domain);
	return place->backend->start(place->uri, xml, err);
}

int vm_make(const struct vm_place *place, const struct proto_vm *vm, bool record, int64_t started_ms,
	struct error **err)
{
	char uuid[UUID_TEXT];
	vm_uuid(vm->context.instance_id, uuid);
	auto_free char *disk = in_folder(place->vm_dir, vm->id, "disk.qcow2");
	auto_free char *seed = in_folder(place->vm_dir, vm->id, "seed.iso");
	auto_free char *server = NULL;
	struct held_image image = {0};
	struct made made = {.uuid = uuid, .started_ms = started_ms};
	int r = hold_open(place->image_dir, vm->image, &image, err);
	if (r == 0)
		r = make_files(place, vm, image.disk, disk, seed, err);
	if (r == 0)
		r = write_made(place->vm_dir, vm->id, &made, err);
	if (r == 0)
		r = pick_server(place, vm->image, image.whole, record, &server, err);
	if (r == 0)
		r = start_domain(place, vm, &image, server, uuid, disk, seed, err);
	held_image_done(&image);
	return r;
}

int vm_stop(const struct vm_place *place, const char *id, struct error **err)
{
	auto_free char *name = xasprintf(DOMAIN_PREFIX "%s", id);
	return place->backend->shutdown(place->uri, name, err);
}

int vm_clean(const struct vm_place *place, const char *id, struct error **err)
{
	auto_free char *folder = xasprintf("%s/%s", place->vm_dir, id);
	return file_remove_tree(folder, err);
}

int vm_destroy(const struct vm_place *place, const char *id, struct error **err)
{
	auto_free char *name = xasprintf(DOMAIN_PREFIX "%s", id);
	int r = place->backend->destroy(place->uri, name, err);
	return r < 0 ? r : vm_clean(place, id, err);
}

static void scan_one(const char *vm_dir, const char *id, struct vm_tracks *tracks)
{
	struct made made = {0};
	struct vm_track *track = vec_add(tracks);
	track->id = xstrdup(id);
	track->files = true;
	track->stop_since_ms = -1;
	if (read_made(vm_dir, id, &made, NULL) < 0) {
		/* A folder without its note was being made: it belongs to no instance. */
		snprintf(track->uuid, sizeof(track->uuid), "%s", "unknown");
		return;
	}
	snprintf(track->uuid, sizeof(track->uuid), "%s", made.uuid);
	track->started_ms = made.started_ms;
	track->ready_ms = made.ready_ms;
	json_done(made_fields, ARRAY_LEN(made_fields), &made);
}

int vm_scan(const char *vm_dir, struct vm_tracks *ret_tracks, struct error **err)
{
	DIR *dir = opendir(vm_dir);
	if (!dir && errno != ENOENT)
		return error_make(err, -errno, "%s: %s", vm_dir, strerror(errno));
	struct vm_tracks tracks = {0};
	const struct dirent *entry;
	while (dir && (entry = readdir(dir)))
		if (name_ok(entry->d_name))
			scan_one(vm_dir, entry->d_name, &tracks);
	if (dir)
		closedir(dir);
	*ret_tracks = tracks;
	return 0;
}

int vm_note_ready(const char *vm_dir, const char *id, uint64_t ready_ms, struct error **err)
{
	struct made made = {0};
	int r = read_made(vm_dir, id, &made, err);
	if (r < 0)
		return r;
	made.ready_ms = ready_ms;
	r = write_made(vm_dir, id, &made, err);
	json_done(made_fields, ARRAY_LEN(made_fields), &made);
	return r;
}

/* What a printer would put on paper of a console's bytes: lines of ASCII, without control bytes and
 * sequences (ESC [ ... final byte, ECMA-48). In place; the new length. */
static size_t plain(char *text, size_t n)
{
	size_t out = 0;
	for (size_t i = 0; i < n; i++) {
		unsigned char c = (unsigned char)text[i];
		if (c == '\033' && i + 1 < n && text[i + 1] == '[') {
			for (i += 2; i < n && !(text[i] >= 0x40 && text[i] <= 0x7e);)
				i++;
			continue;
		}
		if (c == '\r' || c == '\n')
			text[out++] = '\n';
		else if (c >= 0x80)
			text[out++] = '?';
		else
			text[out++] = isprint(c) ? (char)c : ' ';
	}
	return out;
}

char *vm_last_words(const char *vm_dir, const char *id)
{
	char tail[1024];
	struct stat st;
	auto_free char *path = console_path(vm_dir, id);
	auto_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0 || fstat(fd, &st) < 0)
		return NULL;
	ssize_t got = pread(fd, tail, sizeof(tail),
		st.st_size > (off_t)sizeof(tail) ? st.st_size - (off_t)sizeof(tail) : 0);
	size_t end = plain(tail, got > 0 ? (size_t)got : 0);
	while (end > 0 && !isgraph((unsigned char)tail[end - 1]))
		end--;
	size_t begin = end;
	while (begin > 0 && tail[begin - 1] != '\n')
		begin--;
	while (begin < end && tail[begin] == ' ')
		begin++;
	return end > 0 ? xstrndup(tail + begin, end - begin) : NULL;
}
