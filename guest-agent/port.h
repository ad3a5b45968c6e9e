/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The line to the host: one virtio-serial port. */
#ifndef GUEST_PORT_H
#define GUEST_PORT_H

#include "lib/error.h"

/* The device of the port named `name`: /dev/virtio-ports/NAME, or the one the kernel lists under
 * that name; caller frees. NULL: there is none (yet). */
char *port_find(const char *name);
/* Opens it non-blocking; the descriptor or -errno. */
int port_open(const char *device);
/* Writes one line, whole or not at all. -EAGAIN: nobody listens at the other end. */
int port_say(int fd, const char *line);
/* Throws away what the host sent. */
void port_drain(int fd);

/* "{"ready":...}" + newline, for boot/hostd/guestlink; caller frees. Pure. */
char *port_line(const char *hostname, uint64_t boot_ms, uint64_t load_permille);

#endif
