/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The seed disc among the VM's block devices. */
#ifndef GUEST_SEED_FIND_H
#define GUEST_SEED_FIND_H

#include <stdbool.h>
#include "lib/error.h"

/* The device (/dev/NAME) whose ISO 9660 label is "cidata", looked for until `timeout_ms` has
 * passed; caller frees. -ENOENT: there is none. */
int seed_find(int timeout_ms, char **ret_device, struct error **err);
/* Mounts it read-only on a folder made for it; caller frees *ret_dir and calls seed_unmount. */
int seed_mount(const char *device, char **ret_dir, struct error **err);
void seed_unmount(const char *dir);

/* Does the volume descriptor (2048 bytes from offset 32768 of a device) carry the label? Pure. */
bool seed_is_label(const unsigned char descriptor[2048]);

#endif
