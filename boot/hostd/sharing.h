/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What this host holds, for its neighbours: chunks by HTTP and the peer chain. */
#ifndef HOSTD_SHARING_H
#define HOSTD_SHARING_H

#include <stdint.h>

struct chain_server;
struct sharing;

/* Listens on `port` (HTTP) and the one after it (chain), in threads of its own; 0: on nothing. A
 * listener that cannot be had is logged, and the host goes on without it. */
struct sharing *sharing_start(const char *image_dir, uint16_t port);
/* Nobody is served any more; NULL is fine. A fetch may still have the chain's server in its hand,
 * so its memory stays until sharing_free. */
void sharing_close(struct sharing *sharing);
/* When no fetch runs any more; NULL is fine. */
void sharing_free(struct sharing *sharing);
/* The image was removed: no file of it stays open. NULL is fine. */
void sharing_forget(struct sharing *sharing, const char *digest);
/* For chain_receive, so that what comes in goes on; NULL: there is none. */
struct chain_server *sharing_chain(const struct sharing *sharing);

#endif
