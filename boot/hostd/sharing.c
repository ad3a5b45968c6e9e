/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The only doors of a host: two ports on which neighbours ask for chunks of images.
 *
 * They are opened when it is known where images lie (a scratch partition may still be coming), and
 * closed last. Both only read, and serve nothing but chunks and manifests named by a digest; what
 * they may be asked and by how many is bounded in images/serve.c and images/chain_serve.c. A host
 * without them works as well, its neighbours only ask elsewhere, so trouble here is a line in the
 * log and no more.
 */
#include "boot/hostd/sharing.h"

#include "images/chain.h"
#include "images/serve.h"
#include "lib/log.h"

struct sharing {
	struct serve *serve;
	struct chain_server *chain; /* a reference: a fetch may begin with it to the last */
	bool closed;
};

struct sharing *sharing_start(const char *image_dir, uint16_t port)
{
	const struct serve_options http = {.port = port, .held = image_dir};
	const struct chain_serve chain = {.port = (uint16_t)(port + 1), .held = image_dir};
	struct sharing *sharing = xnew(struct sharing);
	auto_error struct error *err = NULL, *chain_err = NULL;
	int r;
	if (port == 0)
		return sharing;
	r = serve_start(&http, &sharing->serve, &err);
	if (r < 0)
		log_warning("peers: %s", error_text(err, r));
	r = chain_server_start(&chain, &sharing->chain, &chain_err);
	if (r < 0)
		log_warning("peers: %s", error_text(chain_err, r));
	else
		chain_server_ref(sharing->chain);
	return sharing;
}

void sharing_close(struct sharing *sharing)
{
	if (!sharing || sharing->closed)
		return;
	sharing->closed = true;
	chain_server_stop(sharing->chain);
	serve_stop(sharing->serve);
}

void sharing_forget(struct sharing *sharing, const char *digest)
{
	if (sharing && !sharing->closed)
		serve_forget(sharing->serve, digest);
}

void sharing_free(struct sharing *sharing)
{
	if (!sharing)
		return;
	sharing_close(sharing);
	if (sharing->chain)
		chain_server_unref(sharing->chain);
	free(sharing);
}

struct chain_server *sharing_chain(const struct sharing *sharing)
{
	return sharing ? sharing->chain : NULL;
}
