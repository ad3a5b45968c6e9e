/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The words of the product as structs: rows of the store, input of the planners. No I/O here. */
#ifndef CONTROLLER_MODEL_MODEL_H
#define CONTROLLER_MODEL_MODEL_H

#include <stdbool.h>
#include <stdint.h>
#include "lib/proto.h"
#include "lib/str.h"
#include "lib/vec.h"

enum pc_state {
	PC_DESKTOP,   /* its own system, or off: the day */
	PC_WAKING,    /* magic packets are sent, nothing heard */
	PC_BOOTING,   /* it asked for its boot script */
	PC_HOST,      /* enrolled, no VM */
	PC_HOSTING,   /* has VMs */
	PC_DRAINING,  /* told to hand back, VMs are leaving */
	PC_RETURNING, /* rebooting to its desktop, not yet seen there */
	PC_EXCEPTION, /* a deadline passed or it failed; the reason says what */
};
extern const char *const pc_state_names[];

struct pc {
	char *name, *seat;
	struct mac mac;
	struct ip4 address;
	char *probe; /* "" the lab's */
	enum pc_state state;
	int64_t since, deadline; /* deadline 0: none */
	char *reason;
	int64_t night; /* id, 0: none */
	char *boot_id;
	bool has_facts;
	struct proto_facts facts;
	uint64_t generation, applied;
	int64_t reported_at, desktop_at; /* 0: never */
};
VEC_OF(pcs, struct pc);

/* DRAFT: never published. PUBLISHED: the one of its name that new clusters get. FORMER: it was. */
enum image_state { IMAGE_DRAFT, IMAGE_PUBLISHED, IMAGE_FORMER };
extern const char *const image_state_names[];
struct image {
	char *name;
	uint64_t revision;
	char *digest;
	uint64_t size, stored;
	int64_t created;
	enum image_state state; /* not looked at by store_image_insert: a new one is a draft */
};
VEC_OF(images, struct image);

enum place_policy { PLACE_SPREAD, PLACE_PACK }; /* of a cluster's VMs over the PCs: plan/place.c */
extern const char *const place_policy_names[];
enum place_policy place_policy_of(const char *text); /* PLACE_SPREAD for NULL and what is no name */

enum night_state { NIGHT_PLANNED, NIGHT_RUNNING, NIGHT_ENDING, NIGHT_DONE };
extern const char *const night_state_names[];
struct night {
	int64_t id, begins, ends;
	struct strings pcs;
	enum night_state state;
	char *report; /* JSON text or NULL */
};
VEC_OF(nights, struct night);

enum join_state { JOIN_PROPOSED, JOIN_PREPARED, JOIN_COMMITTED, JOIN_FAILED, JOIN_WITHDRAWN };
extern const char *const join_state_names[];
struct join_member {
	char *lab;
	struct ip4 uplink;
	struct prefix4 cluster_net; /* its VMs' subnet; address part is the network */
	enum join_state state;
};
VEC_OF(join_members, struct join_member);
struct join {
	char *id, *coordinator;
	enum join_state state;
	int64_t expires;
	struct prefix4 net;
	char *reason;
	char *probes; /* JSON text or NULL */
	struct join_members members;
};
VEC_OF(joins, struct join);

enum cluster_state {
	CLUSTER_DEPLOYING,
	CLUSTER_READY,
	CLUSTER_PARTLY,
	CLUSTER_CLOSING,
	CLUSTER_CLOSED,
	CLUSTER_FAILED
};
extern const char *const cluster_state_names[];
struct cluster {
	char *name, *owner, *home;
	char *image; /* manifest digest */
	char *image_name;
	uint64_t revision, n, cpus, memory_mib;
	char *policy;
	char *join; /* id or NULL */
	int64_t night;
	enum cluster_state state;
	char *keys; /* JSON or NULL */
	int64_t created;
	char *reason;
};
VEC_OF(clusters, struct cluster);

struct vm {
	char *id, *cluster;
	uint64_t number;
	char *lab, *pc;
	struct mac mac;
	struct prefix4 ip;
	char *context; /* proto_vm as JSON text */
	bool wanted;
	int state; /* enum proto_vm_state, last seen */
	char *reason;
	int64_t ready_at;
	uint64_t ready_ms;
	bool planned_on_holder; /* of a plan only, not kept: its PC has the image already */
};
VEC_OF(vms, struct vm);

struct lab {
	char *name;
	bool self;
	char *url, *ca_pem, *token;
	char *seen; /* last lab document, JSON text or NULL */
	int64_t seen_at;
	uint64_t missed;
};
VEC_OF(labs, struct lab);

enum run_state { RUN_STAGING, RUN_RUNNING, RUN_DONE, RUN_FAILED };
extern const char *const run_state_names[];
struct run {
	int64_t id;
	char *cluster, *owner, *program, *name, *args; /* args: JSON array text */
	uint64_t ranks;
	enum run_state state;
	int exit_code;
	char *reason;
	int64_t created, ended;
};
VEC_OF(runs, struct run);

/* The index of a text in a NULL-terminated table of names, -1 when it is none of them. */
int name_index(const char *const *names, const char *text);

/* Each frees what the struct owns and zeroes it. */
void pc_done(struct pc *pc);
void image_done(struct image *image);
void night_done(struct night *night);
void join_done(struct join *join);
void cluster_done(struct cluster *cluster);
void vm_done(struct vm *vm);
void lab_done(struct lab *lab);
void run_done(struct run *run);
void pcs_done(struct pcs *pcs);
void images_done(struct images *images);
void nights_done(struct nights *nights);
void joins_done(struct joins *joins);
void clusters_done(struct clusters *clusters);
void vms_done(struct vms *vms);
void labs_done(struct labs *labs);
void runs_done(struct runs *runs);

#endif
