/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The moving part: looks at what is wanted and what was seen, and moves everything one step. Level-triggered:
 * after any change call drive_kick(); forgetting one costs a second, never correctness. Loop thread only. */
#ifndef CONTROLLER_DRIVE_DRIVE_H
#define CONTROLLER_DRIVE_DRIVE_H

#include <stdbool.h>
#include "controller/controller.h"
#include "controller/plan/admit.h"
#include "lib/error.h"
#include "lib/proto.h"

struct drive;

/* After the store is open and the loop, pki and http are there. Marks runs that a restart cut off as failed
 * and arms the first rethink; sets controller->drive itself. Everything else it needs is in the store. */
int drive_new(struct controller *controller, struct drive **ret_drive, struct error **err);
void drive_free(struct drive *drive); /* NULL is fine; children of runs get SIGTERM */

/* Something changed (a row was written, a report came): rethink soon. Calls in a burst become one. Fine
 * inside a transaction, because the rethink comes later from the loop. */
void drive_kick(struct controller *controller);

/* Which script the boot listener serves. */
enum drive_boot {
	DRIVE_BOOT_HOST,   /* a night holds this PC: into the hypervisor */
	DRIVE_BOOT_WAIT,   /* it becomes a host, but others load now: it asks again in a while */
	DRIVE_BOOT_LOCAL,  /* the day: its own disk */
	DRIVE_BOOT_REFUSE, /* no such PC */
};
/* The PC asked for its boot script: notes it (waking -> booting, draining -> returning) and decides. With
 * DRIVE_BOOT_WAIT, ret_turn says where it stands and when to ask again. */
enum drive_boot drive_booted(
	struct controller *controller, const char *pc, struct admit_answer *ret_turn);
/* The PC was answered with a boot script, whichever. */
void drive_scripted(struct controller *controller, const char *pc);
/* True: the root image with this manifest (NULL: there is none) is cast, and the PC's script may say so. */
bool drive_boot_cast(struct controller *controller, const char *pc, const char *digest);
/* The PC at this address asks the boot listener for a file. */
void drive_boot_asked(struct controller *controller, struct ip4 address, const char *file);
/* The boot listener sent a file to the PC at this address, or the PC broke the transfer off. With the last one that it
 * needs by HTTP to become a host, its slot ends. */
void drive_boot_sent(struct controller *controller, struct ip4 address, const char *file, bool whole);
/* Where the PC stands in the boot queue: its entry (borrowed until the loop goes on) or NULL. */
const struct admit_pc *drive_boot_place(struct controller *controller, const char *pc, unsigned *ret_ahead);

/* May this PC enrol now? True from the moment it got the host script until its boot deadline. */
bool drive_expects(struct controller *controller, const char *pc);
/* The enrol handler let a host session in: booting -> host, facts and boot id kept, goal renewed. */
int drive_enrolled(struct controller *controller, const char *pc, const struct proto_facts *facts,
	struct error **err);

/* What the PC should be now. In a night: ROLE_HOST with a lease up to the hand-back time; else ROLE_DESKTOP
 * with lease 0. Free by proto_goal_done. -ENOENT: no such PC. After a change http_wake("goal/PC") is called. */
int drive_goal(struct controller *controller, const char *pc, struct proto_goal *ret_goal, struct error **err);

/* True when what is known of every peer that answers is of now (1 s). Else the peers are asked at once, and the topic
 * "peers" is woken by each answer: a request that plans over several labs waits for that first. */
bool drive_peers_fresh(struct controller *controller);

/* The agent on the PC's own desktop says that it is there: what the probe "agent" waits for. Kicks. */
void drive_desktop(struct controller *controller, const char *pc);

/* What the host saw: kept, and the states of its VMs with it. Kicks. */
int drive_report(struct controller *controller, const char *pc, const struct proto_report *report,
	struct error **err);

#endif
