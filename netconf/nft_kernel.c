/* SPDX-License-Identifier: GPL-2.0-or-later */
/* From text to kernel and back, by libnftables: the same parser as nft(8), without a child process.
 * A check is a dry run of the very transaction that is loaded afterwards; a load is atomic in the
 * kernel. The listing is how netd notices that somebody flushed or edited our table: it keeps the
 * text from right after its own load and compares (the kernel's own wording on both sides, so
 * nothing needs to be parsed).
 *
 * Only table `inet nightclass` may be named here. A context is made per call: nothing is cached
 * between them, so a foreign change can never be overlooked. Must not log; nft's messages go into
 * the error text.
 */
#include <nftables/libnftables.h>

#include "netconf/nft.h"

static void cleanup_nft(struct nft_ctx **nft)
{
	if (*nft)
		nft_ctx_free(*nft);
}

static int make_context(struct nft_ctx **ret_nft, struct error **err)
{
	struct nft_ctx *nft = nft_ctx_new(NFT_CTX_DEFAULT);

	if (!nft)
		return error_make(err, -ENOMEM, "libnftables gives no context.");
	if (nft_ctx_buffer_error(nft) || nft_ctx_buffer_output(nft)) {
		nft_ctx_free(nft);
		return error_make(err, -ENOMEM, "libnftables gives no buffers.");
	}
	*ret_nft = nft;
	return 0;
}

/* nft's first line says what and why; the rest draws the place. */
static char *first_line(const char *text)
{
	return xstrndup(text, strcspn(text, "\n"));
}

static int run(const char *transaction, bool dry, struct error **err)
{
	__attribute__((cleanup(cleanup_nft))) struct nft_ctx *nft = NULL;
	auto_free char *why = NULL;
	int r = make_context(&nft, err);

	if (r < 0)
		return r;
	nft_ctx_set_dry_run(nft, dry);
	if (nft_run_cmd_from_buffer(nft, transaction) == 0)
		return 0;
	why = first_line(nft_ctx_get_error_buffer(nft));
	return error_make(err, dry ? -EINVAL : -EIO, "nft %s our table: %s",
		dry ? "does not accept" : "could not load", *why ? why : strerror(errno));
}

int nft_check(const char *transaction, struct error **err)
{
	return run(transaction, true, err);
}

int nft_load(const char *transaction, struct error **err)
{
	return run(transaction, false, err);
}

int nft_list(char **ret_text, struct error **err)
{
	__attribute__((cleanup(cleanup_nft))) struct nft_ctx *nft = NULL;
	int r = make_context(&nft, err);

	if (r < 0)
		return r;
	nft_ctx_output_set_flags(nft, NFT_CTX_OUTPUT_STATELESS | NFT_CTX_OUTPUT_NUMERIC_ALL);
	if (nft_run_cmd_from_buffer(nft, "list table " NFT_TABLE) != 0) {
		*ret_text =
			NULL; /* the one way this fails for root is that there is no such table */
		return 0;
	}
	*ret_text = xstrdup(nft_ctx_get_output_buffer(nft));
	return 0;
}
