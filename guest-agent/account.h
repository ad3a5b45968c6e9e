/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Unprivileged accounts in passwd, group and shadow below a root. */
#ifndef GUEST_ACCOUNT_H
#define GUEST_ACCOUNT_H

#include "guest-agent/inside.h"

struct account {
	struct inside_owner owner;
	char *home;
};

/* The account `name`; made when missing, with the next free number from 1000 on, no password and
 * home /home/NAME (folder 0700). -EINVAL for a name that is a system account. Freed by
 * account_done. */
int account_ensure(int root_fd, const char *name, const char *shell, struct account *ret_account,
	struct error **err);
void account_done(struct account *account);

#endif
