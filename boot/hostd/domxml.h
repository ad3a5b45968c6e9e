/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A VM as libvirt wants to read it. Pure. */
#ifndef HOSTD_DOMXML_H
#define HOSTD_DOMXML_H

#include <stdbool.h>
#include "lib/str.h"

#define DOMAIN_PREFIX "nc-" /* domains with another name are not ours */
#define GUEST_CHANNEL "org.nightclass.guest.0"

struct domxml {
	const char *id; /* VM id; the domain is DOMAIN_PREFIX + id */
	const char *uuid;
	bool kvm; /* else software emulation */
	uint64_t cpus, memory_mib;
	struct mac mac;
	uint64_t mtu; /* 0: the bridge's */
	const char *bridge;
	const char *disk, *base;	       /* qcow2 overlay and the raw file behind it */
	const char *base_socket;	       /* or the server of that disk; NULL: the file */
	const char *seed;		       /* ISO 9660, label cidata */
	const char *kernel, *initrd, *cmdline; /* NULL: the disk boots itself */
	const char *channel;		       /* unix socket of the guest's ready line */
	const char *console_log;	       /* what the guest writes to its serial line */
};

/* The domain as XML; caller frees. */
char *domxml_render(const struct domxml *domain);

#endif
