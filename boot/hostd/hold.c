/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The images of this host: a thin layer over images/held, which owns the folder's form, and
 * images/fetch, which fills it.
 *
 * An image is named by the digest of its manifest and nothing else. First comes what a VM needs to
 * start; from then on VMs read the disk through a server that brings what they miss, while the rest
 * comes behind. A fetch that failed or was called off leaves what it verified for the next try.
 *
 * Images are held in the host's memory. One that does not fit beside the VMs is held in part: what
 * was not read for longest goes and is brought again. One that nothing needs any more is removed as
 * a whole.
 */
#include "boot/hostd/hold.h"

#include <dirent.h>
#include <sys/stat.h>
#include "images/bring.h"
#include "images/fetch.h"
#include "images/held.h"
#include "images/manifest.h"
#include "lib/clock.h"
#include "lib/file.h"
#include "lib/log.h"

void held_image_done(struct held_image *image)
{
	free(image->disk);
	free(image->kernel);
	free(image->initrd);
	free(image->cmdline);
	memset(image, 0, sizeof(*image));
}

/* The path of a part that the manifest names, else NULL: whatever else lies in the folder is no part of the image. */
static char *path_of(const char *dir, const char *digest, const struct manifest *manifest, enum manifest_part_kind kind)
{
	return manifest->parts[kind].present ? fetch_path(dir, digest, manifest_part_names[kind]) : NULL;
}

static bool can_start(const struct held *held)
{
	return held_has_part(held, PART_KERNEL) && held_has_part(held, PART_INITRD);
}

int hold_open(
	const char *image_dir, const char *digest, struct held_image *ret_image, struct error **err)
{
	auto_held struct held *held = NULL;
	if (held_open(image_dir, digest, &held, NULL) < 0 || !can_start(held))
		return error_make(
			err, -ENOENT, "image %.12s is not far enough on this host", digest);
	const struct manifest *manifest = held_manifest(held);
	*ret_image = (struct held_image){
		.whole = fetch_is_complete(image_dir, digest),
		.disk = fetch_path(image_dir, digest, "disk.raw"),
		.kernel = path_of(image_dir, digest, manifest, PART_KERNEL),
		.initrd = path_of(image_dir, digest, manifest, PART_INITRD),
		.cmdline = xstrdup(manifest->cmdline),
	};
	return 0;
}

static void wake(const struct hold_progress *progress)
{
	if (progress->loop)
		loop_post(progress->loop, progress->poke, progress->arg);
}

static void note_peer(const char *text, void *arg)
{
	struct hold_progress *progress = arg;
	log_warning("image: %s", text);
	notes_add(&progress->notes, text);
	wake(progress);
}

static void note_progress(uint64_t have, uint64_t total, void *arg)
{
	struct hold_progress *progress = arg;
	bool news = total && !progress->total;
	progress->have = have;
	progress->total = total;
	progress->limited = progress->room && progress->room < total;
	if (news)
		wake(progress);
}

/* All is here that may be; what was whole before stays so, whatever the room is now. */
static void note_end(const char *image_dir, const char *digest, struct hold_progress *progress)
{
	bool whole = fetch_is_complete(image_dir, digest);
	if (whole)
		progress->have = atomic_load(&progress->total);
	progress->limited = !whole;
}

enum { RESERVE_MIB = 512, LOOK_MS = 400 };

uint64_t hold_room(uint64_t memory_mib, const struct proto_goal *goal)
{
	uint64_t taken = memory_mib / 8 > RESERVE_MIB ? memory_mib / 8 : RESERVE_MIB;
	if (goal)
		vec_each (struct proto_vm, vm, &goal->vms)
			taken += vm->memory_mib;
	uint64_t left = memory_mib > taken ? memory_mib - taken : 0;
	if (memory_mib == 0)
		return 0; /* unknown */
	return (left > IMAGE_LEAST_MIB ? left : IMAGE_LEAST_MIB) << 20;
}

struct shrinking {
	char *image_dir, *digest;
	uint64_t room;
};

static void shrink(void *arg)
{
	const struct shrinking *less = arg;
	auto_held struct held *held = NULL;
	if (held_open(less->image_dir, less->digest, &held, NULL) == 0 && held_limit(held) > less->room)
		held_set_limit(held, less->room);
}

static void shrunk(void *arg)
{
	struct shrinking *less = arg;
	free(less->image_dir);
	free(less->digest);
	free(less);
}

void hold_resize(struct loop *loop, const char *image_dir, const struct proto_goal *goal, struct host_seen *seen)
{
	vec_each (struct image_track, track, &seen->images) {
		uint64_t share = image_share(seen, goal, track->digest);
		bool at_rest = track->limited && !track->busy;
		if (share == 0 || track->whole || !goal_image_wanted(goal, track->digest))
			continue;
		if (at_rest && share > track->room && share >= track->total)
			track->limited = false;
		if (track->room <= share || track->total <= share)
			continue;
		track->room = share;
		if (track->progress) {
			track->progress->cancel = true;
		} else if (at_rest) {
			struct shrinking *less = xnew(struct shrinking);
			*less = (struct shrinking){xstrdup(image_dir), xstrdup(track->digest), share};
			loop_work(loop, shrink, shrunk, less);
		}
	}
}

struct hold_progress *hold_progress_new(uint64_t room, struct loop *loop, loop_fn *poke, void *arg)
{
	struct hold_progress *progress = xnew(struct hold_progress);
	progress->room = room;
	progress->loop = loop;
	progress->poke = poke;
	progress->arg = arg;
	return progress;
}

/* Kernel and initrd are here: QEMU may read them, and VMs may start. */
static int started(const char *image_dir, const char *digest, struct hold_progress *progress,
	struct error **err)
{
	auto_held struct held *held = NULL;
	int r = held_open(image_dir, digest, &held, err);
	if (r < 0)
		return r;
	for (int i = PART_KERNEL; i < PART_COUNT; i++) {
		auto_free char *path = path_of(image_dir, digest, held_manifest(held), i);
		if (path && chmod(path, 0444) < 0)
			return error_make(err, -errno, "%s: %s", path, strerror(errno));
	}
	progress->startable = true;
	wake(progress);
	return 0;
}

struct bringing {
	const char *image_dir, *digest;
	struct hold_progress *progress;
	int64_t looked_ms;
};

/* By multicast everything comes at once, so it is looked now and then whether a VM could start. */
static bool note_brought(uint64_t have, uint64_t total, void *arg)
{
	struct bringing *all = arg;
	auto_held struct held *held = NULL;
	int64_t now = clock_real_ms();
	note_progress(have, total, all->progress);
	if (all->progress->startable || total == 0 || now - all->looked_ms < LOOK_MS)
		return !all->progress->limited;
	all->looked_ms = now;
	if (held_open(all->image_dir, all->digest, &held, NULL) == 0 && can_start(held))
		started(all->image_dir, all->digest, all->progress, NULL);
	return !all->progress->limited;
}

static void note_bringing(const char *text, void *arg)
{
	struct bringing *all = arg;
	note_peer(text, all->progress);
}

/* "ADDRESS:PORT" */
static int cast_parse(const char *text, struct ip4 *ret_address, uint16_t *ret_port)
{
	const char *colon = text ? strchr(text, ':') : NULL;
	auto_free char *address = colon ? xstrndup(text, (size_t)(colon - text)) : NULL;
	uint64_t port;
	if (!address || ip4_parse(address, ret_address) < 0 || uint_parse(colon + 1, 1, 65535, &port) < 0)
		return -EINVAL;
	*ret_port = (uint16_t)port;
	return 0;
}

/* The lab's cast first, then all other ways. */
static int hold_bring(const char *image_dir, const char *url, const char *digest,
	struct hold_progress *progress, const struct bring *cast, struct error **err)
{
	struct bringing all = {image_dir, digest, progress, 0};
	struct bring job = *cast;
	job.digest = digest;
	job.dir = image_dir;
	job.base = url;
	job.room = progress->room;
	job.name = progress->pc;
	job.serve_port = progress->serve_port;
	job.chain = progress->chain;
	job.cancel = &progress->cancel;
	job.progress = note_brought;
	job.note = note_bringing;
	job.arg = &all;
	if (progress->peers) {
		job.peers = (const char *const *)progress->peers->at;
		job.n_peers = progress->peers->n;
	}
	int r = bring_image(&job, err);
	if (r == 0 && !progress->startable)
		r = started(image_dir, digest, progress, err);
	if (r == 0)
		note_end(image_dir, digest, progress);
	return r;
}

int hold_fetch(const char *image_dir, const char *url, const char *digest,
	struct hold_progress *progress, struct error **err)
{
	if (!url)
		return error_make(err, -EINVAL, "the goal names no source of images");
	struct bring cast = {0};
	if (progress->pc && cast_parse(progress->cast, &cast.cast, &cast.cast_port) == 0)
		return hold_bring(image_dir, url, digest, progress, &cast, err);
	struct fetch job = {
		.base = url,
		.digest = digest,
		.dir = image_dir,
		.room = progress->room,
		.start_only = true,
		.cancel = &progress->cancel,
		.progress = note_progress,
		.note = note_peer,
		.arg = progress,
	};
	if (progress->peers) {
		job.peers = (const char *const *)progress->peers->at;
		job.n_peers = progress->peers->n;
	}
	int r = fetch_image(&job, NULL, err);
	if (r == 0)
		r = started(image_dir, digest, progress, err);
	job.start_only = false;
	if (r == 0)
		r = fetch_image(&job, NULL, err);
	if (r == 0)
		note_end(image_dir, digest, progress);
	return r;
}

int hold_drop(const char *image_dir, const char *digest, struct error **err)
{
	/* The mark goes first: a drop that is cut short must not leave an image that looks whole.
	 */
	auto_free char *mark = fetch_path(image_dir, digest, "complete");
	auto_free char *folder = xasprintf("%s/%s", image_dir, digest);
	if (unlink(mark) < 0 && errno != ENOENT)
		return error_make(err, -errno, "%s: %s", mark, strerror(errno));
	return file_remove_tree(folder, err);
}

/* Peers are sent to a host that reports all of an image, and a scan may follow a restart of hostd
 * only. Without its manifest it is begun anew, which brings that and finds the rest here. */
static void scan_image(const char *image_dir, struct image_track *track)
{
	auto_manifest struct manifest manifest = {0};
	if (!fetch_is_complete(image_dir, track->digest) ||
		held_read_manifest(image_dir, track->digest, &manifest, NULL) < 0)
		return;
	track->whole = true;
	track->have = track->total = manifest_data_bytes(&manifest);
}

int hold_scan(const char *image_dir, struct image_tracks *ret_tracks, struct error **err)
{
	DIR *dir = opendir(image_dir);
	if (!dir && errno != ENOENT)
		return error_make(err, -errno, "%s: %s", image_dir, strerror(errno));
	struct image_tracks tracks = {0};
	const struct dirent *entry;
	while (dir && (entry = readdir(dir))) {
		if (!sha256_hex_ok(entry->d_name))
			continue;
		struct image_track *track = vec_add(&tracks);
		track->digest = xstrdup(entry->d_name);
		scan_image(image_dir, track);
	}
	if (dir)
		closedir(dir);
	*ret_tracks = tracks;
	return 0;
}
