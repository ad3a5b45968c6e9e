/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The images of this host: a thin layer over images/fetch, which does the work and owns the
 * folder's form.
 *
 * An image is named by the digest of its manifest and nothing else; what is not complete there
 * cannot be opened here, so no VM ever starts on a half image. A fetch that failed or was called
 * off leaves what it verified for the next try. Images are held in the host's memory: one that
 * nothing needs any more is removed as a whole.
 */
#include "boot/hostd/hold.h"

#include <dirent.h>
#include "images/fetch.h"
#include "images/manifest.h"
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

/* The path when the file is there, else NULL. */
static char *path_if_there(const char *dir, const char *digest, const char *file)
{
	char *path = fetch_path(dir, digest, file);
	if (access(path, F_OK) == 0)
		return path;
	free(path);
	return NULL;
}

int hold_open(
	const char *image_dir, const char *digest, struct held_image *ret_image, struct error **err)
{
	if (!fetch_is_complete(image_dir, digest))
		return error_make(err, -ENOENT, "image %.12s is not whole on this host", digest);
	struct held_image image = {
		.disk = fetch_path(image_dir, digest, "disk.raw"),
		.kernel = path_if_there(image_dir, digest, "kernel"),
		.initrd = path_if_there(image_dir, digest, "initrd"),
	};
	auto_free char *cmdline = path_if_there(image_dir, digest, "cmdline");
	int r = 0;
	if (cmdline)
		r = file_read(cmdline, MANIFEST_CMDLINE_MAX + 1, &image.cmdline, NULL, err);
	if (r < 0) {
		held_image_done(&image);
		return r;
	}
	if (image.cmdline)
		image.cmdline[strcspn(image.cmdline, "\n")] = '\0';
	*ret_image = image;
	return 0;
}

static void note_peer(const char *text, void *arg)
{
	(void)arg;
	log_warning("image: %s", text);
}

static void note_progress(uint64_t have, uint64_t total, void *arg)
{
	struct hold_progress *progress = arg;
	progress->have = have;
	progress->total = total;
}

int hold_fetch(const char *image_dir, const char *url, const char *digest,
	struct hold_progress *progress, struct error **err)
{
	if (!url)
		return error_make(err, -EINVAL, "the goal names no source of images");
	struct fetch job = {
		.base = url,
		.digest = digest,
		.dir = image_dir,
		.cancel = &progress->cancel,
		.progress = note_progress,
		.note = note_peer,
		.arg = progress,
	};
	if (progress->peers) {
		job.peers = (const char *const *)progress->peers->at;
		job.n_peers = progress->peers->n;
	}
	struct fetch_result result = {0};
	int r = fetch_image(&job, &result, err);
	if (r == 0)
		note_progress(result.total, result.total, progress);
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
		track->whole = fetch_is_complete(image_dir, track->digest);
	}
	if (dir)
		closedir(dir);
	*ret_tracks = tracks;
	return 0;
}
