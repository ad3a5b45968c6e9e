/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Whole files. Reading is bounded by the caller, because sizes come from outside. Writing is by a
 * new file in the same folder, fsync, rename and fsync of the folder: whoever reads (also after a
 * power cut) sees the old contents or the new, whole, and with the final mode from the first
 * moment, so a key file is never readable by others for an instant.
 *
 * A tree is removed by descriptors (openat, O_NOFOLLOW), so a symbolic link planted inside it leads
 * nowhere. A mount below it is not special: unmount first.
 *
 * Must not follow links when removing, must not leave its temporary file behind on failure.
 */
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "lib/file.h"

int file_read(const char *path, size_t max, char **ret_bytes, size_t *ret_len, struct error **err)
{
	auto_close int fd = open(path, O_RDONLY | O_CLOEXEC);
	auto_free char *bytes = NULL;
	size_t len = 0, cap = 0;

	if (fd < 0)
		return error_make(err, -errno, "%s cannot be opened: %m.", path);
	for (;;) {
		ssize_t n = 0;

		if (cap - len < 2) {
			cap = cap ? cap * 2 : 4096;
			bytes = xrealloc(bytes, cap, 1);
		}
		n = read(fd, bytes + len, cap - len - 1);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return error_make(err, -errno, "%s cannot be read: %m.", path);
		if (n == 0)
			break;
		len += (size_t)n;
		if (len > max)
			return error_make(err, -E2BIG, "%s has more than %zu bytes.", path, max);
	}
	bytes[len] = '\0';
	*ret_bytes = TAKE_PTR(bytes);
	if (ret_len)
		*ret_len = len;
	return 0;
}

int fd_write_all(int fd, const void *bytes, size_t len)
{
	const char *at = bytes;

	while (len > 0) {
		ssize_t n = write(fd, at, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return -EIO;
		at += n;
		len -= (size_t)n;
	}
	return 0;
}

/* The folder of path, "." when it names none. */
static char *folder_of(const char *path)
{
	const char *slash = strrchr(path, '/');

	if (!slash)
		return xstrdup(".");
	return xstrndup(path, slash == path ? 1 : (size_t)(slash - path));
}

static int write_temp(int fd, const void *bytes, size_t len, mode_t mode)
{
	int r = 0;

	if (fchmod(fd, mode) < 0)
		return -errno;
	r = fd_write_all(fd, bytes, len);
	if (r < 0)
		return r;
	return fsync(fd) < 0 ? -errno : 0;
}

int file_write(const char *path, const void *bytes, size_t len, mode_t mode, struct error **err)
{
	auto_free char *folder = folder_of(path);
	auto_free char *temp = xasprintf("%s.XXXXXX", path);
	auto_close int fd = -1, dir = -1;
	int r = 0;

	dir = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		return error_make(err, -errno, "%s cannot be opened: %m.", folder);
	fd = mkostemp(temp, O_CLOEXEC);
	if (fd < 0)
		return error_make(err, -errno, "A file cannot be made in %s: %m.", folder);
	r = write_temp(fd, bytes, len, mode);
	if (r == 0 && rename(temp, path) < 0)
		r = -errno;
	if (r < 0) {
		unlink(temp);
		return error_make(err, r, "%s cannot be written: %s.", path, error_text(NULL, r));
	}
	if (fsync(dir) < 0)
		return error_make(err, -errno, "%s cannot be synced: %m.", folder);
	return 0;
}

static int make_one(const char *path, mode_t mode, struct error **err)
{
	struct stat st;

	if (mkdir(path, mode) == 0)
		return 0;
	if (errno == EEXIST && stat(path, &st) == 0 && S_ISDIR(st.st_mode))
		return 0;
	return error_make(err, -errno, "The folder %s cannot be made: %m.", path);
}

int file_mkdirs(const char *path, mode_t mode, struct error **err)
{
	auto_free char *part = xstrdup(path);

	for (char *p = part + 1; *part && *p; p++) {
		int r = 0;

		if (*p != '/')
			continue;
		*p = '\0';
		r = make_one(part, mode, err);
		if (r < 0)
			return r;
		*p = '/';
	}
	return make_one(path, mode, err);
}

static int remove_below(int parent, const char *name, struct error **err);

/* Empties the folder that fd refers to; takes the descriptor over. */
static int remove_entries(int fd, struct error **err)
{
	DIR *dir = fdopendir(fd);
	int r = 0;

	if (!dir) {
		r = error_make(err, -errno, "A folder cannot be read: %m.");
		close(fd);
		return r;
	}
	while (r == 0) {
		struct dirent *entry = NULL;

		errno = 0;
		entry = readdir(dir);
		if (!entry && errno)
			r = error_make(err, -errno, "A folder cannot be read: %m.");
		if (!entry)
			break;
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			r = remove_below(dirfd(dir), entry->d_name, err);
	}
	closedir(dir);
	return r;
}

static int remove_below(int parent, const char *name, struct error **err)
{
	int fd = -1, r = 0;

	if (unlinkat(parent, name, 0) == 0 || errno == ENOENT)
		return 0;
	if (errno != EISDIR && errno != EPERM)
		return error_make(err, -errno, "%s cannot be removed: %m.", name);
	fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return error_make(err, -errno, "The folder %s cannot be opened: %m.", name);
	r = remove_entries(fd, err);
	if (r == 0 && unlinkat(parent, name, AT_REMOVEDIR) < 0 && errno != ENOENT)
		r = error_make(err, -errno, "The folder %s cannot be removed: %m.", name);
	return r;
}

int file_remove_tree(const char *path, struct error **err)
{
	return remove_below(AT_FDCWD, path, err);
}
