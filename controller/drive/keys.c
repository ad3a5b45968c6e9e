/* SPDX-License-Identifier: GPL-2.0-or-later */
/* SSH keys that live for one night: one for the account that runs jobs, one host key per VM.
 *
 * They are made here, in memory, by libsodium and written in OpenSSH's own format (PROTOCOL.key: a header, the
 * public key, and one section with both halves, unencrypted, padded to eight bytes with 1, 2, 3 ...). A child
 * process per key would cost seconds for a cluster of a hundred VMs and would put secrets into temporary files.
 * The secrets are wiped from this function's memory; who keeps the texts (store, contexts) drops them when the
 * cluster closes. */
#include "controller/drive/keys.h"

#include <sodium.h>
#include "lib/log.h"

enum { LINE = 70 };
static const char key_type[] = "ssh-ed25519";

static void put_u32(struct buf *out, uint32_t value)
{
	uint8_t bytes[4] = {value >> 24, value >> 16, value >> 8, value};
	buf_add(out, bytes, sizeof(bytes));
}

static void put_string(struct buf *out, const void *bytes, size_t len)
{
	put_u32(out, (uint32_t)len);
	buf_add(out, bytes, len);
}

static void put_public(struct buf *out, const uint8_t *public)
{
	put_string(out, key_type, strlen(key_type));
	put_string(out, public, crypto_sign_PUBLICKEYBYTES);
}

static char *base64(const struct buf *in)
{
	size_t size = sodium_base64_ENCODED_LEN(in->len, sodium_base64_VARIANT_ORIGINAL);
	char *text = xcalloc(size, 1);
	sodium_bin2base64(text, size, (const uint8_t *)in->text, in->len, sodium_base64_VARIANT_ORIGINAL);
	return text;
}

static void wipe(struct buf *b)
{
	if (b->text)
		sodium_memzero(b->text, b->len);
	buf_done(b);
}

static char *armour(const struct buf *in)
{
	auto_free char *text = base64(in);
	struct buf out = {0};
	buf_adds(&out, "-----BEGIN OPENSSH PRIVATE KEY-----\n");
	for (size_t at = 0, len = strlen(text); at < len; at += LINE)
		buf_addf(&out, "%.*s\n", LINE, text + at);
	buf_adds(&out, "-----END OPENSSH PRIVATE KEY-----\n");
	sodium_memzero(text, strlen(text));
	return buf_take(&out);
}

static char *secret_text(const uint8_t *public, const uint8_t *secret, const char *comment)
{
	struct buf all = {0}, private = {0}, blob = {0};
	uint32_t check = randombytes_random();
	put_u32(&private, check);
	put_u32(&private, check);
	put_public(&private, public);
	put_string(&private, secret, crypto_sign_SECRETKEYBYTES);
	put_string(&private, comment, strlen(comment));
	for (uint8_t pad = 1; private.len % 8; pad++)
		buf_add(&private, &pad, 1);
	put_public(&blob, public);
	buf_add(&all, "openssh-key-v1", 15);
	put_string(&all, "none", 4);
	put_string(&all, "none", 4);
	put_string(&all, "", 0);
	put_u32(&all, 1);
	put_string(&all, blob.text, blob.len);
	put_string(&all, private.text, private.len);
	char *text = armour(&all);
	wipe(&private);
	wipe(&all);
	wipe(&blob);
	return text;
}

void key_make(const char *comment, struct cluster_key *ret_key)
{
	uint8_t public[crypto_sign_PUBLICKEYBYTES], secret[crypto_sign_SECRETKEYBYTES];
	if (sodium_init() < 0 || crypto_sign_keypair(public, secret) < 0) {
		log_error("keys: libsodium cannot make a key pair");
		abort();
	}
	struct buf blob = {0};
	put_public(&blob, public);
	auto_free char *blob_text = base64(&blob);
	buf_done(&blob);
	ret_key->secret = secret_text(public, secret, comment);
	ret_key->public = xasprintf("%s %s %s", key_type, blob_text, comment);
	sodium_memzero(secret, sizeof(secret));
}

void keys_make(const char *cluster, const struct vms *vms, struct cluster_keys *ret_keys)
{
	auto_free char *user = xasprintf("night@%s", cluster);
	struct cluster_keys keys = {0};
	key_make(user, &keys.user);
	vec_each (struct vm, vm, vms)
		key_make(vm->id, vec_add(&keys.hosts));
	*ret_keys = keys;
}
