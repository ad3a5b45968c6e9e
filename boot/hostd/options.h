/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How this hostd runs: from the kernel command line on a PC, from a file and -o on a test bench. */
#ifndef HOSTD_OPTIONS_H
#define HOSTD_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>
#include "lib/error.h"
#include "lib/hash.h"
#include "lib/hostlist.h"
#include "lib/log.h"
#include "lib/str.h"

struct hostd_options {
	char *url;	/* https://HOST:PORT of the controller */
	char *ca;	/* 64 hex digits: SHA-256 of its CA certificate (DER) */
	struct mac mac; /* of the card the PC booted from; all zero: taken from the bridge */
	char *cmdline;	/* file with the kernel command line */
	char *run_dir;	/* certificate, key, goal, deadline: a RAM file system */
	char *image_dir, *vm_dir;
	char *scratch;	    /* label of the partition that keeps images; NULL: no disk is looked at */
	char *scratch_dir;  /* where it is mounted */
	char *scratch_load; /* program that loads the drivers of disks; NULL: none is needed */
	char *base_plugin; /* of the disk servers; not there: VMs wait for whole images */
	uint16_t peer_port; /* where neighbours ask for chunks, and the one after it; 0: nowhere */
	char *libvirt_uri, *bridge;
	char *console;	      /* where the line for people goes; empty: nowhere */
	char *reboot_command; /* program run instead of reboot(2); NULL: reboot(2) */
	char *accel;	      /* "probe", "kvm" or "tcg" */
	char *boot_id;	      /* NULL: the kernel's */
	int64_t report_s;     /* between two reports */
	int64_t poll_s;	      /* how long the controller may hold the question for the goal */
	int64_t first_goal_s; /* a host that never got a goal reboots after this time */
	char *log_level;
};

/* Takes -c FILE, -o KEY=VALUE (of section [hostd]), then fills what is missing from the kernel
 * command line. `overrides` are the -o texts in order. -EINVAL when url or ca are nowhere. Freed by
 * options_done. */
int options_load(const char *file, const struct strings *overrides,
	struct hostd_options *ret_options, struct error **err);
void options_done(struct hostd_options *options);
/* The lines of --help about the keys; caller frees. */
char *options_help(void);

#endif
