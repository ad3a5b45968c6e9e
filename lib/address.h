/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which addresses may be called in somebody else's name? For URLs that users give. */
#ifndef LIB_ADDRESS_H
#define LIB_ADDRESS_H

#include <stdbool.h>
#include <sys/socket.h>
#include "lib/error.h"

/* Is it an address of the public Internet: neither private, loopback, link-local, shared,
 * multicast, reserved, nor an IPv6 address that hides an IPv4 one? */
bool address_public(const struct sockaddr *address);

/* Is it this machine's own, whatever else it is? False when the kernel cannot be asked. */
bool address_own(const struct sockaddr *address);

/* A list of exceptions: "10.1.0.0/16, 192.168.7.9, images.school.lan, fd00::/8". Checks it; -EINVAL
 * names the word at fault. */
int address_list_check(const char *list, struct error **err);
/* Is `host` (the name or address in the URL) in the list by name, or `address` by its prefix? */
bool address_listed(const char *list, const char *host, const struct sockaddr *address);

/* "10.1.2.3", "fe80::1" for messages; caller frees. */
char *address_text(const struct sockaddr *address);

#endif
