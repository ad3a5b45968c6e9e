/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The host's agent: makes this PC match its goal until the goal or its lease ends. */
#ifndef HOSTD_HOSTD_H
#define HOSTD_HOSTD_H

#include "boot/hostd/options.h"
#include "boot/hostd/vm.h"
#include "lib/loop.h"

struct hostd;

/* Reads what a former hostd of this boot left, and begins: facts, enrolment, goal. The loop stays
 * the caller's; options and backend must outlive it. */
int hostd_new(struct loop *loop, const struct hostd_options *options,
	const struct vm_backend *backend, struct hostd **ret_hostd, struct error **err);
/* Two halves of the end, around loop_free: nothing new is begun, then all is freed. */
void hostd_stop(struct hostd *hostd);
void hostd_free(struct hostd *hostd);
/* A worker hangs in libvirt: waiting for it (loop_free) could last for ever. */
bool hostd_stuck(const struct hostd *hostd);

#endif
