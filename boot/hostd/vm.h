/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One VM on this host: its folder, its disk, its domain. Functions block and are for worker
 * threads where nothing else is said; none touches state of the loop thread. */
#ifndef HOSTD_VM_H
#define HOSTD_VM_H

#include <stdbool.h>
#include "boot/hostd/reconcile.h"
#include "lib/error.h"
#include "lib/proto.h"

/* A domain as the hypervisor lists it; only those whose name carries our prefix. */
struct domain_seen {
	char *id; /* name without the prefix */
	char uuid[UUID_TEXT];
	bool running;
};
VEC_OF(domains_seen, struct domain_seen);
void domains_seen_done(struct domains_seen *domains);

/* The hypervisor. `uri` as in the options; safe in several threads at once. */
struct vm_backend {
	const char *name;
	int (*init)(struct error **err); /* once, before the others; may be NULL */
	/* Lets the hypervisor find out now what it would find out before its first VM. May be NULL;
	 * a failure is none of ours, the first start says it. */
	void (*warm)(const char *uri);
	int (*list)(const char *uri, struct domains_seen *ret_domains, struct error **err);
	int (*start)(const char *uri, const char *xml, struct error **err);
	/* ACPI power button. A domain that is gone is success, for destroy too. */
	int (*shutdown)(const char *uri, const char *domain, struct error **err);
	int (*destroy)(const char *uri, const char *domain, struct error **err);
};
extern const struct vm_backend vm_libvirt;

/* Where things are and how VMs run here. Borrowed by the calls. */
struct vm_place {
	const struct vm_backend *backend;
	const char *uri, *vm_dir, *image_dir, *bridge;
	bool kvm;
};

/* Makes folder, overlay and seed disc where they are missing and starts the domain. It reads the disk
 * of its image through the image's server (base.h), which must be there then, while that is not whole,
 * or with `record`: the server remembers the order. started_ms is written down beside them, so that a
 * later hostd knows it. On failure the domain does not run; the files may stay. */
int vm_make(const struct vm_place *place, const struct proto_vm *vm, bool record, int64_t started_ms,
	struct error **err);
/* Asks the guest to shut down. */
int vm_stop(const struct vm_place *place, const char *id, struct error **err);
/* Ends the domain if there is one and removes the folder. */
int vm_destroy(const struct vm_place *place, const char *id, struct error **err);
/* Removes the folder of a VM that has ended. */
int vm_clean(const struct vm_place *place, const char *id, struct error **err);

/* What is in `vm_dir`, as tracks with id, uuid, files, started_ms, ready_ms. */
int vm_scan(const char *vm_dir, struct vm_tracks *ret_tracks, struct error **err);
/* Writes down that the guest was ready. */
int vm_note_ready(const char *vm_dir, const char *id, uint64_t ready_ms, struct error **err);
/* The last line with something on it that the guest wrote on its console, as printable ASCII, or
 * NULL; caller frees. It says what the guest wants it to say. Short, for the loop thread too. */
char *vm_last_words(const char *vm_dir, const char *id);
/* The unix socket of the VM's guest channel; caller frees. */
char *vm_channel_path(const char *vm_dir, const char *id);

#endif
