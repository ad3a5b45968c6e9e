/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The documents that travel between controller, host, guest and desktop agent: goal and context on the way
 * out, report on the way back. One struct each, strict JSON both ways (lib/json tables in proto.c). */
#ifndef LIB_PROTO_H
#define LIB_PROTO_H

#include <stdbool.h>
#include "lib/error.h"
#include "lib/hostlist.h"
#include "lib/json.h"
#include "lib/str.h"

enum { PROTO_VERSION = 1, GOAL_MAX_BYTES = 4 << 20, REPORT_MAX_BYTES = 1 << 20 };
/* Of a goal, and of a report; a document with more is refused. */
enum { PROTO_IMAGES_MAX = 64, PROTO_NOTES_MAX = 8 /* of one image */ };

/* One line of the hosts file of a cluster. */
struct proto_peer {
	struct ip4 ip;
	char *name;
};
VEC_OF(proto_peers, struct proto_peer);

/* What makes one VM itself. hostd turns it into a NoCloud disc (boot/hostd/seed). */
struct proto_context {
	char *instance_id;	       /* new for each VM ever made: "alice-3-5f0c" */
	char *hostname;		       /* "alice-003" */
	struct mac mac;
	struct prefix4 address;	       /* 10.80.1.13/24 */
	struct ip4 gateway;
	struct prefix4 cluster_net;    /* covers every VM of the cluster; Open MPI's if_include */
	uint64_t mtu;		       /* 0: the interface's */
	struct proto_peers hosts;      /* all VMs of the cluster, this one too */
	char *user;		       /* unprivileged account that runs jobs, "night" */
	char *user_key;		       /* its OpenSSH private key of the night, PEM text */
	char *user_key_pub;	       /* "ssh-ed25519 AAAA... name", also the only authorized key */
	char *host_key, *host_key_pub; /* the VM's ssh host key pair (ed25519) */
	char *known_hosts;	       /* lines for every VM of the cluster */
};

/* An image a host should hold; fetched from goal.chunk_url, checked against `digest` of its manifest. */
struct proto_image {
	char *name;
	uint64_t revision;
	char *digest; /* SHA-256 of the manifest */
	struct strings peers; /* "http://10.71.0.12:8081": PCs that hold it, asked before chunk_url */
	bool record; /* nobody knows yet in which order a boot reads it: its first VM is to show that */
};
VEC_OF(proto_images, struct proto_image);

struct proto_vm {
	char *id;	 /* stable, unique in the lab: "alice-003" */
	char *image;	 /* manifest digest */
	uint64_t cpus, memory_mib;
	struct proto_context context;
};
VEC_OF(proto_vms, struct proto_vm);

enum proto_role { ROLE_HOST, ROLE_DESKTOP };

/* What one PC should be. Without a newer goal the host drops this one after lease_s by itself. */
struct proto_goal {
	uint64_t version;    /* PROTO_VERSION */
	uint64_t generation; /* grows with each change; echoed in the report */
	char *pc;
	int role;	     /* enum proto_role; ROLE_DESKTOP: hand back now */
	uint64_t lease_s;    /* from reception; 0 only with ROLE_DESKTOP */
	char *until;	     /* the hand-back time for people, RFC 3339 */
	uint64_t grace_s;    /* ACPI shutdown grace before destroy (60) */
	char *chunk_url;     /* "http://10.71.0.1:8080": + "/manifests/DIGEST", "/chunks/DIGEST" */
	char *cast;	     /* "10.71.0.1:7867": casts the images (images/cast_recv.h); NULL: nobody does */
	char *image_key;     /* public key of publications, 64 hex digits; NULL: they are not asked for */
	struct proto_images images;
	struct proto_vms vms;
};

enum proto_vm_state { VM_ABSENT, VM_WAITING, VM_STARTING, VM_RUNNING, VM_READY, VM_STOPPING, VM_FAILED };
extern const char *const proto_vm_state_names[]; /* "absent", "waiting", ... NULL-terminated */

struct proto_vm_seen {
	char *id;
	int state;	/* enum proto_vm_state; READY: the guest agent said so */
	char *reason;	/* why it is not ready, one line, or NULL */
	uint64_t ready_ms; /* from domain start to ready, 0 until then */
};
VEC_OF(proto_vms_seen, struct proto_vm_seen);

struct proto_image_seen {
	char *digest;
	uint64_t have, total; /* bytes of chunks present / all; equal: whole and verified */
	char *reason;	      /* why the last try to get it failed, one line; else NULL */
	struct strings notes; /* what went wrong on its way here and did not stop it, a line each: a
				 neighbour that sent wrong data, a way left for another. The newest */
};
VEC_OF(proto_images_seen, struct proto_image_seen);

struct proto_facts {
	char *boot_id;	  /* kernel's random boot id */
	struct mac mac;	  /* of the boot NIC */
	char *firmware;	  /* "bios" or "uefi" */
	char *model;	  /* DMI product name, may be empty */
	uint64_t cpus, memory_mib;
	bool kvm;	  /* a guest was really run under it */
	uint64_t boot_ms; /* kernel start to hostd start */
};

struct proto_report {
	uint64_t version, generation;
	int role;	 /* what it is now: ROLE_HOST, or ROLE_DESKTOP while it leaves */
	struct proto_facts facts;
	struct proto_images_seen images;
	struct proto_vms_seen vms;
	char *problem;	 /* what hinders this host as a whole, or NULL */
	uint64_t load_permille; /* one-minute load average * 1000 */
	uint64_t scratch_mib;   /* what its scratch partition gives for images; 0: it uses none */
	char *scratch;          /* why it uses none although it was told to, one line; else NULL */
};

int proto_goal_read(const char *bytes, size_t len, struct proto_goal *ret_goal, struct error **err);
char *proto_goal_write(const struct proto_goal *goal);
void proto_goal_done(struct proto_goal *goal);
int proto_report_read(const char *bytes, size_t len, struct proto_report *ret_report, struct error **err);
char *proto_report_write(const struct proto_report *report);
void proto_report_done(struct proto_report *report);
/* What it says of this image; NULL: nothing. */
const struct proto_image_seen *proto_report_image(const struct proto_report *report, const char *digest);
/* The facts alone: what a host says when it enrols. */
int proto_facts_read(const json_t *object, struct proto_facts *ret_facts, struct error **err);
json_t *proto_facts_write(const struct proto_facts *facts);
void proto_facts_done(struct proto_facts *facts);
/* The VM list alone: what one controller sends another for its part of a cluster. */
int proto_vms_read(const json_t *array, struct proto_vms *ret_vms, struct error **err);
json_t *proto_vms_write(const struct proto_vms *vms);
void proto_vms_done(struct proto_vms *vms);
void proto_context_copy(struct proto_context *to, const struct proto_context *from);

#endif
