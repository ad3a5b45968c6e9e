/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Files below a root folder, reached one component at a time.
 *
 * The agent writes as root into places an unprivileged user owns (its home); after a reboot of the
 * VM that user may have put a symbolic link there. So no path is ever given to the kernel as a
 * whole: each folder is opened from its parent with O_NOFOLLOW, and a link anywhere is an error.
 * Files are written aside with O_EXCL and renamed, so that a reader sees the old or the new one.
 * The same code serves tests, where root is a scratch folder: ownership is then left as it is
 * unless we are root.
 */
#include "guest-agent/inside.h"

#include <fcntl.h>
#include <sys/stat.h>
#include "lib/file.h"
#include "lib/str.h"

enum { READ_MAX = 1 << 20 };

static int own(int fd, struct inside_owner owner, mode_t mode)
{
	if (geteuid() == 0 && fchown(fd, owner.uid, owner.gid) < 0)
		return -errno;
	return fchmod(fd, mode) < 0 ? -errno : 0;
}

static bool component_ok(const char *name)
{
	return name[0] && strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

/* Opens the folder `name` in `parent`, making it when missing (mode 0: it must be there). */
static int step_into(int parent, const char *name, struct inside_owner owner, mode_t mode)
{
	const int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
	int fd = openat(parent, name, flags);
	if (fd >= 0 || errno != ENOENT || mode == 0)
		return fd < 0 ? -errno : fd;
	if (mkdirat(parent, name, 0700) < 0)
		return -errno;
	fd = openat(parent, name, flags);
	int r = fd < 0 ? -errno : own(fd, owner, mode);
	if (r < 0 && fd >= 0)
		close(fd);
	return r < 0 ? r : fd;
}

/* Opens the folder that holds the last component of `path`; *ret_name points at that component. */
static int open_parent(int root_fd, const char *path, struct inside_owner owner, mode_t dir_mode,
	const char **ret_name, struct error **err)
{
	if (path[0] != '/' || !path[1])
		return error_make(err, -EINVAL, "not an absolute path: %s", path);
	int at = dup(root_fd);
	const char *name = path + 1, *slash;
	while (at >= 0 && (slash = strchr(name, '/'))) {
		auto_free char *part = xstrndup(name, (size_t)(slash - name));
		int next = component_ok(part) ? step_into(at, part, owner, dir_mode) : -EINVAL;
		close(at);
		at = next;
		name = slash + 1;
	}
	if (at >= 0 && !component_ok(name)) {
		close(at);
		at = -EINVAL;
	}
	if (at < 0)
		return error_make(err, at, "%s: %s", path, strerror(-at));
	*ret_name = name;
	return at;
}

int inside_write(int root_fd, const char *path, const char *content, struct inside_owner owner,
	mode_t mode, mode_t dir_mode, struct error **err)
{
	const char *name;
	auto_close int dir = open_parent(root_fd, path, owner, dir_mode, &name, err);
	if (dir < 0)
		return dir;
	auto_free char *aside = xasprintf(".%s.new", name);
	unlinkat(dir, aside, 0);
	auto_close int fd =
		openat(dir, aside, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	int r = fd < 0 ? -errno : fd_write_all(fd, content, strlen(content));
	if (r == 0)
		r = own(fd, owner, mode);
	if (r == 0 && renameat(dir, aside, dir, name) < 0)
		r = -errno;
	if (r < 0) {
		unlinkat(dir, aside, 0);
		return error_make(err, r, "%s: %s", path, strerror(-r));
	}
	return 0;
}

int inside_mkdir(
	int root_fd, const char *path, struct inside_owner owner, mode_t mode, struct error **err)
{
	const struct inside_owner root = {0, 0};
	const char *name;
	auto_close int dir = open_parent(root_fd, path, root, 0755, &name, err);
	if (dir < 0)
		return dir;
	auto_close int fd = step_into(dir, name, owner, mode);
	return fd < 0 ? error_make(err, fd, "%s: %s", path, strerror(-fd)) : 0;
}

int inside_read(int root_fd, const char *path, char **ret_text, struct error **err)
{
	const struct inside_owner root = {0, 0};
	const char *name;
	auto_close int dir = open_parent(root_fd, path, root, 0, &name, err);
	if (dir < 0)
		return dir;
	auto_close int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return error_make(err, -errno, "%s: %s", path, strerror(errno));
	char *text = xcalloc(1, READ_MAX + 1);
	size_t len = 0;
	ssize_t n = 1;
	while (n > 0 && len < READ_MAX) {
		n = read(fd, text + len, READ_MAX - len);
		len += n > 0 ? (size_t)n : 0;
	}
	if (n != 0) {
		free(text);
		return error_make(err, n < 0 ? -errno : -E2BIG, "%s: cannot be read whole", path);
	}
	*ret_text = text;
	return 0;
}
