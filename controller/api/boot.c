/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The plain HTTP listener: what firmware, kernel and image fetch can read before there is any
 * trust. Nothing here is secret, and everything that matters is checked by digest on the other
 * side.
 *
 * Which script a PC gets is decided by drive_booted(); a PC that is held because two hosts claimed
 * it gets its own disk, so that a new boot is no way around the hold. When the host image is
 * missing or its digest is still being computed the script waits, and at last sends the PC to its
 * disk: a PC must never hang in its firmware. How a transfer ended is told to drive/boot: the last
 * byte of what a PC needs by HTTP ends its boot slot, a transfer broken off becomes an event. */
#include "controller/api/route.h"

#include <fcntl.h>
#include <sys/stat.h>
#include "boot/ipxe.h"
#include "controller/api/bootfiles.h"
#include "controller/api/checks.h"
#include "controller/drive/drive.h"
#include "controller/pki.h"
#include "controller/store/enrolment.h"
#include "controller/store/night.h"
#include "controller/store/pc.h"
#include "images/store.h"
#include "images/trace.h"
#include "lib/clock.h"
#include "lib/log.h"

enum { DIGEST_WAIT_MS = 15000, BACKSTOP_SLACK_S = 600 };

static struct ipxe_server server_of(const struct config *config)
{
	return (struct ipxe_server){.address = config->lan_address.address,
		.boot_port = config->boot_port,
		.api_port = config->api_port};
}

static int text_answer(char *text, struct api_answer *ret_answer)
{
	ret_answer->status = 200;
	ret_answer->text = text;
	ret_answer->text_len = strlen(text);
	ret_answer->content_type = "text/plain; charset=utf-8";
	return 0;
}

static int start_get(
	const struct api_request *request, struct api_answer *ret_answer, struct error **err)
{
	const struct ipxe_server server = server_of(&request->controller->config);
	(void)err;
	return text_answer(ipxe_start_script(&server), ret_answer);
}

static bool is_held(struct store *store, const char *pc)
{
	struct enrolments enrolments = {0};
	bool held = false;
	if (store_enrolment_list(store, pc, &enrolments, NULL) < 0)
		return true;
	vec_each (struct enrolment, enrolment, &enrolments)
		held = held || enrolment->held;
	enrolments_done(&enrolments);
	return held;
}

/* The host reboots by itself a while after the hand-back even if its agent never ran. */
static uint32_t backstop(struct controller *controller, const char *name)
{
	struct pc pc = {0};
	struct night night = {0};
	int64_t left = controller->config.host_boot_timeout;
	if (store_pc_get(controller->store, name, &pc, NULL) == 0 && pc.night != 0 &&
		store_night_get(controller->store, pc.night, &night, NULL) == 0 &&
		night.ends > clock_wall())
		left = night.ends - clock_wall();
	night_done(&night);
	pc_done(&pc);
	return (uint32_t)(left + BACKSTOP_SLACK_S);
}

struct boot_digests {
	char root[SHA256_TEXT], cast[SHA256_TEXT], disks[SHA256_TEXT];
};

/* The disk drivers, for a lab that lends a partition. A host without them is still a host. */
static int scratch_part(
	const struct api_request *request, struct ipxe_boot *boot, char digest[SHA256_TEXT])
{
	const char *label = request->controller->config.scratch_label;
	auto_error struct error *err = NULL;
	int r = label ? bootfiles_digest(
				request->controller->bootfiles, "disks.squashfs", digest, &err)
		      : -ENOENT;
	if (r > 0) {
		boot->scratch_label = label;
		boot->disks_sha256 = digest;
	} else if (label && r < 0) {
		log_warning("boot: %s: scratch partitions stay unused", error_text(err, r));
	}
	return r == 0 && !request->waited ? 0 : 1;
}

/* The root image by the cast, too. 1 done (with or without it), 0 wait. */
static int cast_part(
	const struct api_request *request, struct ipxe_boot *boot, char digest[SHA256_TEXT])
{
	struct sha256 manifest;
	int r = bootfiles_root(request->controller->bootfiles, &manifest);
	if (r == 0 && !request->waited)
		return 0;
	if (r > 0)
		sha256_format(&manifest, digest);
	if (!drive_boot_cast(request->controller, boot->name, r > 0 ? digest : NULL))
		return 1;
	boot->cast_sha256 = digest;
	boot->cast_port = request->controller->config.cast_port;
	return 1;
}

/* Fills the host part; 1 done, 0 wait, or LOCAL with a reason. */
static int host_script(
	const struct api_request *request, struct ipxe_boot *boot, struct boot_digests *digests)
{
	auto_error struct error *err = NULL;
	int scratch = scratch_part(request, boot, digests->disks);
	char *digest = digests->root;
	int r = bootfiles_digest(request->controller->bootfiles, "host.squashfs", digest, &err);
	if (r > 0 && (scratch == 0 || cast_part(request, boot, digests->cast) == 0))
		return 0;
	if (r > 0) {
		boot->ca_sha256 = pki_ca_digest(request->controller->pki);
		boot->root_sha256 = digest;
		boot->backstop_s = backstop(request->controller, boot->name);
		return 1;
	}
	if (r == 0 && !request->waited)
		return 0;
	log_error("boot: %s",
		r < 0 ? error_text(err, r) : "the digest of the host image is not ready");
	boot->kind = IPXE_LOCAL;
	boot->reason = "The host image is not ready on the server.";
	return 1;
}

static int choose(const struct api_request *request, const struct pc *pc, struct ipxe_boot *boot,
	struct boot_digests *digests)
{
	boot->name = pc->name;
	boot->kind = IPXE_LOCAL;
	drive_scripted(request->controller, pc->name);
	if (is_held(request->controller->store, pc->name)) {
		boot->reason =
			"This PC is held: two hosts claimed it. An operator has to release it.";
		return 1;
	}
	struct admit_answer turn = {0};
	switch (drive_booted(request->controller, pc->name, &turn)) {
	case DRIVE_BOOT_HOST:
		boot->kind = IPXE_HOST;
		return host_script(request, boot, digests);
	case DRIVE_BOOT_WAIT:
		boot->kind = IPXE_WAIT;
		boot->ahead = turn.ahead;
		boot->wait_s = turn.wait_s;
		break;
	case DRIVE_BOOT_LOCAL:
	case DRIVE_BOOT_REFUSE:
		break;
	}
	return 1;
}

static int script_get(
	const struct api_request *request, struct api_answer *ret_answer, struct error **err)
{
	const char *text = api_query(request, "mac");
	char mac_text[MAC_TEXT], address[IP4_TEXT];
	struct boot_digests digests;
	struct ipxe_boot boot = {
		.kind = IPXE_REFUSE, .server = server_of(&request->controller->config)};
	struct pc pc = {0};
	if (!text || mac_parse(text, &boot.mac) < 0)
		return error_field(err, -EINVAL, "mac", "say it as mac=aa:bb:cc:dd:ee:ff");
	int r = store_pc_by_mac(request->controller->store, &boot.mac, &pc, NULL);
	if (r == -ENOENT) {
		api_alarm(request, "boot.refused", "pc/unknown",
			"an unknown PC (MAC %s, address %s) asked for a boot script",
			mac_format(&boot.mac, mac_text), ip4_format(request->address, address));
		boot.reason = "This PC is not known to the lab server.";
		r = 1;
	} else if (r >= 0) {
		r = choose(request, &pc, &boot, &digests);
	}
	if (r == 0) {
		ret_answer->wait_topic = xstrdup("boot/files");
		ret_answer->wait_ms = DIGEST_WAIT_MS;
	} else if (r > 0) {
		char *script = NULL;
		r = ipxe_script(&boot, &script, err);
		if (r >= 0)
			text_answer(script, ret_answer);
	}
	pc_done(&pc);
	return r < 0 ? r : 0;
}

/* A desktop's word counts for the PC whose reserved address it comes from, and for no other. */
static int desktop_post(
	const struct api_request *request, struct api_answer *ret_answer, struct error **err)
{
	const char *text = api_query(request, "mac");
	struct mac mac;
	struct pc pc = {0};
	if (!text || mac_parse(text, &mac) < 0)
		return error_field(err, -EINVAL, "mac", "say it as mac=aa:bb:cc:dd:ee:ff");
	int r = store_pc_by_mac(request->controller->store, &mac, &pc, err);
	if (r >= 0 && pc.address.host != request->address.host)
		r = error_field(err, -EPERM, "mac", "%s speaks for itself only", pc.name);
	if (r >= 0) {
		drive_desktop(request->controller, pc.name);
		ret_answer->status = 204;
	}
	pc_done(&pc);
	return r < 0 ? r : 0;
}

static int ca_get(
	const struct api_request *request, struct api_answer *ret_answer, struct error **err)
{
	(void)err;
	return text_answer(xstrdup(pki_ca(request->controller->pki)), ret_answer);
}

static void file_sent(const struct api_request *request, bool whole)
{
	drive_boot_sent(request->controller, request->address, request->params[0], whole);
}

static int file_get(
	const struct api_request *request, struct api_answer *ret_answer, struct error **err)
{
	ret_answer->status = 200;
	ret_answer->fd_sent = file_sent;
	drive_boot_asked(request->controller, request->address, request->params[0]);
	return bootfiles_open(request->controller->bootfiles, request->params[0], &ret_answer->fd,
		&ret_answer->fd_size, err);
}

static int store_file(const struct api_request *request,
	char *(*path_of)(const char *, const struct sha256 *), struct api_answer *ret_answer,
	struct error **err)
{
	struct sha256 digest;
	struct stat st;
	auto_free char *dir = xasprintf("%s/store", request->controller->config.state_dir);
	if (!sha256_hex_ok(request->params[0]) || sha256_parse(request->params[0], &digest) < 0)
		return error_make(err, -ENOENT, "%s is no digest", request->params[0]);
	auto_free char *path = path_of(dir, &digest);
	auto_close int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return error_make(err, -ENOENT, "the store does not have %s", request->params[0]);
	ret_answer->status = 200;
	ret_answer->fd_size = (uint64_t)st.st_size;
	ret_answer->fd = TAKE_FD(fd);
	return 0;
}

static int manifest_get(
	const struct api_request *request, struct api_answer *ret_answer, struct error **err)
{
	ret_answer->content_type = "application/json";
	return store_file(request, chunkstore_manifest_path, ret_answer, err);
}

static char *path_of_trace(const char *dir, const struct sha256 *digest)
{
	char hex[SHA256_TEXT];
	return trace_path(dir, sha256_format(digest, hex));
}

static int trace_get(
	const struct api_request *request, struct api_answer *ret_answer, struct error **err)
{
	ret_answer->content_type = "text/plain";
	return store_file(request, path_of_trace, ret_answer, err);
}

static int chunk_get(
	const struct api_request *request, struct api_answer *ret_answer, struct error **err)
{
	struct sha256 digest;
	auto_error struct error *why = NULL;
	int r = store_file(request, chunkstore_chunk_path, ret_answer, err);
	if (r < 0)
		return r;
	sha256_parse(request->params[0], &digest);
	r = checks_chunk(request->controller->checks, &digest, ret_answer->fd, &why);
	if (r >= 0)
		return 0;
	close(ret_answer->fd);
	ret_answer->fd = -1;
	if (r == -EIO) {
		api_alarm(request, "image.damaged", "lab/store",
			"the lab server's disk cannot read chunk %.12s; look at the disk, and verify the "
			"images",
			request->params[0]);
		return error_make(err, -ENOENT, "the disk cannot read %s", request->params[0]);
	}
	if (r != -EBADMSG && r != -ENOENT)
		return error_make(err, -EAGAIN, "%s cannot be read now", request->params[0]);
	api_alarm(request, "image.damaged", "lab/store",
		"chunk %.12s is damaged on the lab server's disk; verify the images, and import "
		"again what is damaged",
		request->params[0]);
	return error_make(err, -ENOENT, "the store has lost %s", request->params[0]);
}

static const struct route rows[] = {
	{"GET", "/boot/start", ROLE_NOBODY, ROUTE_BOOT, 0, NULL, start_get,
		"the first iPXE script, for every PC"},
	{"GET", "/boot/script", ROLE_NOBODY, ROUTE_BOOT, 0, "mac platform", script_get,
		"the iPXE script of one PC"},
	{"POST", "/boot/desktop", ROLE_NOBODY, ROUTE_BOOT, 0, "mac", desktop_post,
		"the agent of a PC's own desktop says that it is there"},
	{"GET", "/boot/ca", ROLE_NOBODY, ROUTE_BOOT, 0, NULL, ca_get,
		"the CA's certificate, pinned by the kernel line"},
	{"GET", "/boot/files/{name}", ROLE_NOBODY, ROUTE_BOOT, 0, NULL, file_get,
		"kernel, initramfs, host image"},
	{"GET", "/manifests/{digest}", ROLE_NOBODY, ROUTE_BOOT, 0, NULL, manifest_get,
		"the manifest of an image"},
	{"GET", "/chunks/{digest}", ROLE_NOBODY, ROUTE_BOOT, 0, NULL, chunk_get,
		"one packed chunk"},
	{"GET", "/traces/{digest}", ROLE_NOBODY, ROUTE_BOOT, 0, NULL, trace_get,
		"the order in which a boot of that image reads its disk"},
};
const struct routes routes_boot = {rows, ARRAY_LEN(rows)};
