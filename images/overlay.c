/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Overlays by qemu-img.
 *
 * The base's format is always named raw, at creation and (by the domain's XML) at every start: a
 * base is a guest's disk, and a guest that wrote a qcow2 header to its first sector must not make
 * the host parse it. The backing path is absolute, so that the overlay means the same file from
 * every working folder.
 *
 * qemu-img gets a path as an argument; a relative path with a colon could be read as a protocol
 * ("nbd:..."), therefore both paths must be absolute. It writes to a temporary name that is renamed
 * when it succeeded: an overlay that exists is whole.
 */
#include "images/overlay.h"

#include <sys/stat.h>

#include "lib/spawn.h"
#include "lib/util.h"

enum { OVERLAY_TIMEOUT_MS = 30000 };

static int overlay_check(const char *base, const char *path, struct error **err)
{
	struct stat st;

	if (base[0] != '/' || path[0] != '/')
		return error_make(err, -EINVAL, "overlay %s over %s: both paths must be absolute",
			path, base);
	if (stat(base, &st) < 0)
		return error_make(
			err, -errno, "the base %s of a VM's disk: %s", base, strerror(errno));
	if (!S_ISREG(st.st_mode))
		return error_make(err, -EINVAL, "the base %s of a VM's disk is not a file", base);
	if (lstat(path, &st) == 0)
		return error_make(
			err, -EEXIST, "%s exists already and may hold a VM's state", path);
	return 0;
}

int overlay_create(const char *base, const char *path, struct error **err)
{
	auto_free char *temp = xasprintf("%s.new", path);
	const char *argv[] = {
		"qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", base, temp, NULL};
	struct spawn spawn = {.argv = argv, .timeout_ms = OVERLAY_TIMEOUT_MS};
	int r = overlay_check(base, path, err);

	if (r < 0)
		return r;
	r = spawn_check(&spawn, err);
	if (r == 0 && rename(temp, path) < 0)
		r = error_make(err, -errno, "%s: %s", path, strerror(errno));
	if (r < 0) {
		unlink(temp);
		return error_wrap(err, r, "making the disk %s", path);
	}
	return 0;
}
