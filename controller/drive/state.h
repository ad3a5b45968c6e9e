/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files of drive/ share. Memory here is a cache of things that may be forgotten: all that must
 * survive a restart is in the store. */
#ifndef CONTROLLER_DRIVE_STATE_H
#define CONTROLLER_DRIVE_STATE_H

#include "controller/controller.h"
#include "controller/drive/drive.h"
#include "controller/drive/holders.h"
#include "controller/drive/task.h"
#include "controller/model/model.h"
#include "controller/plan/night.h"

enum {
	BEAT_S = 10,	       /* a host reports at least this often */
	LOST_S = 3 * BEAT_S,   /* silent for so long: lost */
	PREPARE_LEASE_S = 120, /* what a join holds before it is committed */
	PEER_BEAT_NIGHT_S = 5,
	PEER_BEAT_DAY_S = 30,
	PEER_BEATS = 3,	       /* missed in a row: unreachable */
};

/* What a restart may forget about one PC. */
struct pc_memory {
	char *name;
	uint64_t told;	  /* generation its long poll was last woken for */
	unsigned wakes;	  /* magic packets sent in this state */
	int64_t waked_at; /* 0: none yet */
	int64_t desktop_at; /* its own system last said that it is there (Unix seconds), 0: not yet */
	int64_t booted_at; /* it last fetched a boot script, 0: not yet */
	bool local_boot;  /* fetched the local-disk script since it was told to leave */
	bool root_cast;	  /* its boot script named the cast of the root image */
	int64_t broke_at; /* it broke off a transfer, told at that time; 0: never */
};
VEC_OF(pc_memories, struct pc_memory);

struct peer_memory {
	char *name;
	int64_t heard_ms; /* of the beat that was counted last */
	int64_t asked_ms; /* when somebody last wanted it fresh */
};
VEC_OF(peer_memories, struct peer_memory);

struct join_watch { /* a committed join that this lab coordinates */
	char *id;
	int64_t since; /* wall clock: when this daemon first looked after it */
};
VEC_OF(join_watches, struct join_watch);

struct active_run;
struct cast;

struct drive {
	struct controller *controller;
	struct loop_timer *timer;
	struct night_hearing hearing;
	int64_t thought_ms, due_ms; /* last rethink, next one */
	bool thinking, kicked;
	struct tasks *tasks;
	struct pc_memories pcs;
	struct peer_memories peers;
	struct join_watches watches;
	struct admit_pcs admits; /* who loads the host image, who waits for it */
	int64_t wake_second;	 /* the second of the last magic packets */
	size_t wakes;		 /* and how many it had */
	struct holders holders;	 /* of images, for the peers in goals */
	struct cast *cast;	 /* the sender of images, made when first needed */
	struct strings vetoes; /* "CLUSTER/LAB": the lab refused its part */
	int64_t share_warned_ms; /* netd's failure that was logged last, 0: none */
	struct active_run *runs; /* list, drive/runs.c */
};

struct pc_memory *pc_memory(struct drive *drive, const char *pc);
struct peer_memory *peer_memory(struct drive *drive, const char *lab);

/* The steps of one rethink, each in its own file; called in this order inside one transaction. 0 or -errno. */
int think_peers(struct drive *drive, struct error **err);
int think_night(struct drive *drive, struct error **err);
int think_boots(struct drive *drive, struct error **err);
int think_pcs(struct drive *drive, struct error **err);
int think_joins(struct drive *drive, struct error **err);
int think_clusters(struct drive *drive, struct error **err);
int think_runs(struct drive *drive, struct error **err);
int think_netd(struct drive *drive, struct error **err);
int think_cast(struct drive *drive, struct error **err); /* ends the sender when no PC is lent */

#endif
