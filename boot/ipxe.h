/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a PC's firmware is told: the iPXE script of one PC, as text. Pure: no I/O, no clock. */
#ifndef BOOT_IPXE_H
#define BOOT_IPXE_H

#include "lib/error.h"
#include "lib/str.h"

enum ipxe_kind {
	IPXE_HOST,   /* the PC becomes a hypervisor host */
	IPXE_WAIT,   /* it will, but others load now: it asks again in a while */
	IPXE_LOCAL,  /* the PC starts from its own disk */
	IPXE_REFUSE, /* the server does not know this PC: say so, then its own disk */
};

struct ipxe_server {
	struct ip4 address; /* as the PCs reach it; scripts hold absolute URLs only */
	uint16_t boot_port; /* plain HTTP, 8080 */
	uint16_t api_port;  /* HTTPS, 8443 */
};

struct ipxe_boot {
	enum ipxe_kind kind;
	struct ipxe_server server;
	struct mac mac;	    /* of the card the PC boots from */
	const char *name;   /* of the PC (name_ok); NULL for IPXE_REFUSE */
	const char *reason; /* LOCAL, REFUSE: one sentence for the screen, or NULL */
	/* IPXE_WAIT: PCs before it in the queue, and seconds until it asks again. */
	unsigned ahead, wait_s;
	/* The rest is for IPXE_HOST. */
	const char *ca_sha256;	 /* hex SHA-256 of the DER certificate of the controller's CA */
	const char *root_sha256; /* hex SHA-256 of host.squashfs */
	/* The same image is cast, from the server's address and this port, under this manifest (hex
	 * SHA-256). NULL: it is not. */
	const char *cast_sha256;
	uint16_t cast_port;
	/* The lab lends a partition of its PCs' own disks: its label, and the digest of disks.squashfs, which
	 * holds the drivers that a host else does not have. NULL, both: no disk is looked at. */
	const char *scratch_label, *disks_sha256;
	uint32_t backstop_s;	 /* seconds after its start at which the host reboots by itself even
				  * if its agent never ran; 0: none */
};

/* The first script, the same for all PCs, which DHCP names: it asks for the PC's own script with
 * its MAC and platform; when the server does not answer, the PC goes on to its disk.
 * The caller frees; never NULL. */
char *ipxe_start_script(const struct ipxe_server *server);

/* The PC's own script. 0 and *ret_text (the caller frees), or -EINVAL naming the member of *boot
 * that cannot go into a script. */
int ipxe_script(const struct ipxe_boot *boot, char **ret_text, struct error **err);

#endif
