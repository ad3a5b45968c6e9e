/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Requests as typed structs: what a person or another controller asked for, strictly read. Nothing here knows
 * the store or the clock; defaults that depend on them are filled in by model/context. */
#ifndef CONTROLLER_MODEL_REQUEST_H
#define CONTROLLER_MODEL_REQUEST_H

#include "controller/model/model.h"
#include "lib/error.h"
#include "lib/json.h"

/* Each reads a JSON object; -EINVAL names the field; free by the matching _done. */

struct request_night { /* POST /nights: one of ends and for_s */
	bool has_begins, has_ends, has_for_s;
	int64_t begins, ends;
	uint64_t for_s;
	struct strings pcs; /* empty: all of the lab */
};
int request_night_read(const json_t *body, struct request_night *ret_request, struct error **err);
void request_night_done(struct request_night *request);

struct request_cluster { /* POST /clusters */
	char *name, *owner, *image, *join; /* NULL: absent */
	uint64_t n;
	bool has_cpus, has_memory_mib, has_revision;
	uint64_t cpus, memory_mib;
	uint64_t revision; /* of the image; absent: the published one */
	int policy; /* enum place_policy */
};
int request_cluster_read(const json_t *body, struct request_cluster *ret_request, struct error **err);
void request_cluster_done(struct request_cluster *request);

struct request_join { /* POST /joins */
	struct strings labs;
};
int request_join_read(const json_t *body, struct request_join *ret_request, struct error **err);
void request_join_done(struct request_join *request);

struct request_run { /* POST /runs */
	char *cluster, *program, *name;
	uint64_t ranks;
	struct strings args;
};
int request_run_read(const json_t *body, struct request_run *ret_request, struct error **err);
void request_run_done(struct request_run *request);

/* PUT /peers/joins/{id}: this member should be `state` (prepared or committed). The join's id comes from the
 * path; ret_join->expires is set to expires_s from `now`. Free by join_done. */
int request_peer_join_read(const json_t *body, const char *id, int64_t now, struct join *ret_join,
	struct error **err);
json_t *request_peer_join_write(const struct join *join, enum join_state state, int64_t expires_s);

/* PUT /peers/clusters/{name}: our part of a cluster that another lab's controller holds. */
struct request_part_vm {
	char *pc;
	uint64_t number;
	json_t *vm; /* proto_vm */
};
VEC_OF(request_part_vms, struct request_part_vm);
struct request_part {
	bool go; /* false: promise the room; true: start */
	char *home; /* the lab that asks */
	char *owner, *image, *image_name, *join;
	uint64_t revision, n, cpus, memory_mib;
	int policy;
	struct request_part_vms vms;
};
int request_part_read(const json_t *body, struct request_part *ret_request, struct error **err);
json_t *request_part_write(const struct request_part *request);
void request_part_done(struct request_part *request);

/* The lab document that controllers exchange (GET /peers/lab). */
struct lab_host {
	char *pc;
	uint64_t cpus, memory_mib, free_cpus, free_memory_mib;
	struct strings images; /* digests held */
};
VEC_OF(lab_hosts, struct lab_host);
struct lab_net {
	struct prefix4 net;
};
VEC_OF(lab_nets, struct lab_net);
struct lab_night {
	int state; /* enum night_state */
	uint64_t ends_s; /* seconds from now: clocks of labs may differ */
};
struct lab_document {
	char *name;
	uint64_t version;
	uint64_t boot_port; /* of its plain HTTP listener, for the probes of a join */
	bool has_uplink;
	struct ip4 uplink;
	struct prefix4 lan, cluster_net;
	bool has_night;
	struct lab_night night;
	struct lab_nets nets;	/* of its live joins */
	struct strings images;	/* digests its store has */
	struct strings taken;	/* IP addresses of VMs it knows */
	struct lab_hosts hosts;
};
int lab_document_read(const json_t *body, struct lab_document *ret_document, struct error **err);
json_t *lab_document_write(const struct lab_document *document);
void lab_document_done(struct lab_document *document);

#endif
