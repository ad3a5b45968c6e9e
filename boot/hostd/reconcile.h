/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Goal and seen in, steps out. Pure: no clock, no libvirt, no files. */
#ifndef HOSTD_RECONCILE_H
#define HOSTD_RECONCILE_H

#include <stdbool.h>
#include "lib/proto.h"

enum { VM_TRIES = 3, UUID_TEXT = 37, IMAGE_LEAST_MIB = 256 };

/* What this host knows of one VM of ours. */
struct vm_track {
	char *id;
	char uuid[UUID_TEXT];  /* of what is on this host: domain or files; "" for neither */
	bool domain;	       /* libvirt lists it */
	bool running;	       /* and it runs (else: paused, crashed) */
	bool files;	       /* its folder exists */
	bool busy;	       /* a step is under way */
	bool starting;	       /* that step is a start */
	unsigned failures;     /* starts that failed, or ended before the guest was ready */
	int64_t retry_at_ms;   /* not before */
	int64_t stop_since_ms; /* when it was asked to shut down; -1: it was not */
	int64_t started_ms;    /* of the running domain */
	uint64_t ready_ms;     /* from start to ready, 0: not yet */
	int64_t late_ms;       /* how long its guest was not ready when it was last asked why, or 0 */
	char *reason;	       /* of the last failure or of being late, or NULL */
};
VEC_OF(vm_tracks, struct vm_track);

/* What this host knows of one image. */
struct image_track {
	char *digest;
	bool whole;	/* every part present and verified */
	bool startable; /* enough is here for a VM, which reads the rest as it comes */
	bool limited;	/* all is here that may be: there is no room for the whole image */
	bool busy;  /* being fetched or dropped */
	unsigned failures;
	int64_t retry_at_ms;
	uint64_t have, total;
	uint64_t bytes; /* found here at the beginning */
	uint64_t room;	/* bytes it was given; 0: as many as it has */
	int64_t used;	/* when it was wanted there last, Unix seconds; 0: in this boot */
	bool full;	/* the last fetch found no room */
	struct hold_progress *progress; /* while it is being fetched, else NULL */
	char *reason;
	struct strings notes; /* as in proto_image_seen */
};
VEC_OF(image_tracks, struct image_track);

struct host_seen {
	bool domains_known; /* libvirt has answered since the last change; else nothing is taken
			       away */
	struct vm_tracks vms;
	struct image_tracks images;
	uint64_t room;	 /* bytes for images on the scratch partition; 0: they are in memory */
	uint64_t memory; /* bytes for images in memory; 0: unknown */
};

enum step_kind {
	STEP_FETCH_IMAGE,
	STEP_DROP_IMAGE,
	STEP_MAKE_VM,
	STEP_STOP_VM,	 /* ask it to shut down */
	STEP_DESTROY_VM, /* end it and remove its files */
	STEP_CLEAN_VM,	 /* it is gone: remove its files */
};
extern const char *const step_names[];

struct step {
	enum step_kind kind;
	char *subject; /* VM id or image digest */
};
VEC_OF(steps, struct step);

/* The next step of every VM and image, at most one each and none for a busy one. `goal` NULL:
 * nothing is known of what should be, so nothing is done. `leaving`: the goal is an empty host,
 * whatever it says. ret_next_ms gets the time of the next thing that falls due by itself (retry,
 * end of grace), -1: none. */
void reconcile(const struct proto_goal *goal, bool leaving, const struct host_seen *seen,
	int64_t now_ms, struct steps *ret_steps, int64_t *ret_next_ms);
void steps_done(struct steps *steps);

/* The identity of a VM as libvirt knows it, derived from the instance id alone. */
void vm_uuid(const char *instance_id, char ret_uuid[UUID_TEXT]);
const struct proto_vm *goal_vm(const struct proto_goal *goal, const char *id);
/* Bytes that an image takes, or will take when it is wanted and its size is known. */
uint64_t image_need(const struct image_track *track, bool wanted);
/* Of the scratch partition's room or the memory for images, what the other images that the goal wants
 * leave to this one, but a little in any case; 0 when there is neither. One that no VM is made of leaves
 * nothing to a VM's. */
uint64_t image_share(const struct host_seen *seen, const struct proto_goal *goal, const char *digest);
/* By its list or by one of its VMs; goal NULL: no. */
bool goal_image_wanted(const struct proto_goal *goal, const char *digest);
/* Is the order in which a boot reads it wanted? Goal NULL: no. */
bool goal_image_record(const struct proto_goal *goal, const char *digest);
struct vm_track *vm_track_find(const struct host_seen *seen, const char *id);
struct image_track *image_track_find(const struct host_seen *seen, const char *digest);
void host_seen_done(struct host_seen *seen);
void image_tracks_done(struct image_tracks *images);

#endif
