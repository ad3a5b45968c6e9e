/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Does a PC's own desktop answer? */
#ifndef CONTROLLER_DRIVE_PROBE_H
#define CONTROLLER_DRIVE_PROBE_H

#include "controller/drive/state.h"

/* Is there a way to ask this PC (its own probe, else the lab's)? False for "none". */
bool probe_known(struct controller *controller, const struct pc *pc);
/* Is it a ping, which its firmware and its host answer, too? */
bool probe_weak(struct controller *controller, const struct pc *pc);
/* Asks, in a worker, every two seconds (every minute by day); true once an answer came in the PC's present state. */
bool probe_answers(struct drive *drive, const struct pc *pc);

#endif
