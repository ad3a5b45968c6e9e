/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Whole files: bounded read, atomic replace (temp in the same folder, fsync, rename, fsync of the folder). */
#ifndef LIB_FILE_H
#define LIB_FILE_H

#include <sys/types.h>
#include "lib/error.h"

/* Reads at most max bytes (-E2BIG beyond); *ret_bytes is NUL-terminated, caller frees; ret_len may be NULL. */
int file_read(const char *path, size_t max, char **ret_bytes, size_t *ret_len, struct error **err);
/* Replaces the file by `bytes` with `mode`; a reader sees the old or the new whole, also after a power cut. */
int file_write(const char *path, const void *bytes, size_t len, mode_t mode, struct error **err);
/* mkdir -p with `mode` for what is made. */
int file_mkdirs(const char *path, mode_t mode, struct error **err);
/* Removes a tree without following symbolic links; absent is success. */
int file_remove_tree(const char *path, struct error **err);
/* Whole write to a descriptor, short writes continued. 0 or -errno. */
int fd_write_all(int fd, const void *bytes, size_t len);

#endif
