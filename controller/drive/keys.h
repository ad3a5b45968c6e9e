/* SPDX-License-Identifier: GPL-2.0-or-later */
/* SSH keys of the night. */
#ifndef CONTROLLER_DRIVE_KEYS_H
#define CONTROLLER_DRIVE_KEYS_H

#include "controller/plan/cluster.h"

/* A new ed25519 pair: `secret` in OpenSSH's private key format, `public` as "ssh-ed25519 AAAA... comment". */
void key_make(const char *comment, struct cluster_key *ret_key);
/* One for the user, one per VM. Free by cluster_keys_done. */
void keys_make(const char *cluster, const struct vms *vms, struct cluster_keys *ret_keys);

#endif
