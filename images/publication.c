/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Publications: signing and checking.
 *
 * A manifest's digest says what an image is; a publication says that the lab's controller wants it
 * used, and since when. It travels over plain HTTP beside the manifest, so it is believed for its
 * signature alone (ed25519 by libsodium). What is signed is the document itself without its last
 * member, in its one canonical spelling, behind a word of our own: no other text that this key may
 * ever sign can be taken for a publication.
 *
 * The key is one file beside the CA's. It is made once; a key that is there but unreadable is never
 * replaced, because every host and scratch partition would take its successor for somebody else.
 *
 * This file holds no state and remembers no sequence number: who must refuse an older one keeps
 * that himself (boot/hostd/publication.c).
 */
#include "images/publication.h"

#include <sodium.h>

#include "lib/file.h"
#include "lib/hash.h"
#include "lib/json.h"
#include "lib/str.h"

#define DOMAIN "nightclass publication\n"
enum { SIGNATURE_TEXT = crypto_sign_BYTES * 2 + 1, SEED_TEXT = crypto_sign_SEEDBYTES * 2 + 1 };

struct publisher {
	unsigned char secret[crypto_sign_SECRETKEYBYTES];
	char key[PUBLICATION_KEY_TEXT], id[PUBLICATION_KEY_TEXT];
};

_Static_assert(crypto_sign_PUBLICKEYBYTES * 2 + 1 == PUBLICATION_KEY_TEXT, "a key is 64 digits");

struct document {
	uint64_t format;
	struct publication publication;
	char *signature;
};

#define MEMBER(member, k, least)                                                                   \
	{                                                                                          \
		.name = #member, .kind = (k), .required = true, .has_offset = NO_HAS,              \
		.offset = offsetof(struct document, publication.member), .min = (least)            \
	}

static const struct json_field fields[] = {
	FIELD_UINT(struct document, format, true, PUBLICATION_FORMAT, PUBLICATION_FORMAT),
	MEMBER(name, JSON_KIND_NAME, 0),
	MEMBER(revision, JSON_KIND_UINT, 1),
	MEMBER(digest, JSON_KIND_SHA256, 0),
	MEMBER(sequence, JSON_KIND_UINT, 0),
	MEMBER(published, JSON_KIND_UINT, 0),
	MEMBER(key, JSON_KIND_SHA256, 0),
	FIELD_MAX(struct document, signature, JSON_KIND_STRING, true, SIGNATURE_TEXT - 1),
};

static void cleanup_document(struct document *document)
{
	json_done(fields, ARRAY_LEN(fields), document);
}

void publication_done(struct publication *publication)
{
	free(publication->name);
	free(publication->digest);
	free(publication->key);
	*publication = (struct publication){0};
}

/* The canonical text; signature NULL: what is signed. */
static char *text_of(const struct publication *p, const char *key_id, const char *signature)
{
	auto_json json_t *object = json_pack("{s:i, s:s, s:I, s:s, s:I, s:I, s:s, s:s*}", "format",
		PUBLICATION_FORMAT, "name", p->name, "revision", (json_int_t)p->revision, "digest",
		p->digest, "sequence", (json_int_t)p->sequence, "published",
		(json_int_t)p->published, "key", key_id, "signature", signature);

	if (!object)
		abort();
	return json_text(object);
}

static char *signed_bytes(const struct publication *publication, const char *key_id)
{
	auto_free char *text = text_of(publication, key_id, NULL);

	return xasprintf(DOMAIN "%s", text);
}

static void key_id_of(
	const unsigned char key[crypto_sign_PUBLICKEYBYTES], char ret_id[PUBLICATION_KEY_TEXT])
{
	struct sha256 digest = sha256_of(key, crypto_sign_PUBLICKEYBYTES);

	sha256_format(&digest, ret_id);
}

static bool from_hex(const char *text, unsigned char *out, size_t len)
{
	size_t n;

	return strlen(text) == 2 * len && strspn(text, "0123456789abcdef") == 2 * len &&
	       sodium_hex2bin(out, len, text, 2 * len, NULL, &n, NULL) == 0 && n == len;
}

/* ---- the key ---- */

static int seed_make(const char *path, unsigned char *ret_seed, struct error **err)
{
	char text[SEED_TEXT + 1];
	int r;

	randombytes_buf(ret_seed, crypto_sign_SEEDBYTES);
	sodium_bin2hex(text, SEED_TEXT, ret_seed, crypto_sign_SEEDBYTES);
	strcat(text, "\n");
	r = file_write(path, text, strlen(text), 0600, err);
	sodium_memzero(text, sizeof(text));
	return r;
}

static int seed_read(const char *path, unsigned char *ret_seed, struct error **err)
{
	char *text = NULL;
	size_t len;
	int r = file_read(path, SEED_TEXT + 1, &text, &len, err);

	if (r < 0)
		return r;
	text[strcspn(text, "\n")] = '\0';
	r = from_hex(text, ret_seed, crypto_sign_SEEDBYTES) ? 0 : -EINVAL;
	sodium_memzero(text, len);
	free(text);
	return r;
}

int publisher_open(const char *path, struct publisher **ret_publisher, struct error **err)
{
	unsigned char seed[crypto_sign_SEEDBYTES], key[crypto_sign_PUBLICKEYBYTES];
	struct publisher *publisher;
	int r;

	if (sodium_init() < 0)
		return error_make(err, -EIO, "libsodium cannot be used on this machine");
	r = seed_read(path, seed, NULL);
	if (r == -ENOENT)
		r = seed_make(path, seed, err);
	if (r < 0)
		return error_make(err, r,
			"the key that signs images, %s, cannot be read; put it back from a backup, "
			"or remove it to have a new one",
			path);
	publisher = xnew(struct publisher);
	crypto_sign_seed_keypair(key, publisher->secret, seed);
	sodium_memzero(seed, sizeof(seed));
	sodium_bin2hex(publisher->key, sizeof(publisher->key), key, sizeof(key));
	key_id_of(key, publisher->id);
	*ret_publisher = publisher;
	return 0;
}

void publisher_free(struct publisher *publisher)
{
	if (!publisher)
		return;
	sodium_memzero(publisher, sizeof(*publisher));
	free(publisher);
}

const char *publisher_key(const struct publisher *publisher)
{
	return publisher->key;
}

const char *publisher_key_id(const struct publisher *publisher)
{
	return publisher->id;
}

/* ---- the document ---- */

char *publication_sign(const struct publisher *publisher, const struct publication *publication)
{
	auto_free char *bytes = signed_bytes(publication, publisher->id);
	unsigned char signature[crypto_sign_BYTES];
	char hex[SIGNATURE_TEXT];

	crypto_sign_detached(
		signature, NULL, (const unsigned char *)bytes, strlen(bytes), publisher->secret);
	sodium_bin2hex(hex, sizeof(hex), signature, sizeof(signature));
	return text_of(publication, publisher->id, hex);
}

static int document_read(
	const char *text, size_t len, struct document *document, struct error **err)
{
	auto_json json_t *object = NULL;
	auto_free char *again = NULL;
	int r;

	if (len > PUBLICATION_MAX_BYTES)
		return error_make(err, -EINVAL, "publication: %zu bytes, at most %d are read", len,
			PUBLICATION_MAX_BYTES);
	r = json_parse_object(text, len, &object, err);
	if (r == 0)
		r = json_read(object, fields, ARRAY_LEN(fields), document, err);
	if (r < 0)
		return error_wrap(err, r, "publication");
	again = text_of(&document->publication, document->publication.key, document->signature);
	if (strlen(again) != len || memcmp(again, text, len) != 0)
		return error_make(err, -EINVAL, "publication: its JSON is not in canonical form");
	return 0;
}

int publication_verify(const char *text, size_t len, const char *public_key,
	struct publication *ret_publication, struct error **err)
{
	__attribute__((cleanup(cleanup_document))) struct document document = {0};
	unsigned char key[crypto_sign_PUBLICKEYBYTES], signature[crypto_sign_BYTES];
	char id[PUBLICATION_KEY_TEXT];
	auto_free char *bytes = NULL;
	int r;

	if (sodium_init() < 0 || !from_hex(public_key, key, sizeof(key)))
		return error_make(err, -EINVAL, "\"%s\" is no public key", public_key);
	r = document_read(text, len, &document, err);
	if (r < 0)
		return r;
	key_id_of(key, id);
	if (strcmp(document.publication.key, id) != 0)
		return error_make(err, -EKEYREJECTED,
			"publication of image %s: signed by key %.12s, but this lab's key is %.12s",
			document.publication.name, document.publication.key, id);
	bytes = signed_bytes(&document.publication, id);
	if (!from_hex(document.signature, signature, sizeof(signature)) ||
		crypto_sign_verify_detached(
			signature, (const unsigned char *)bytes, strlen(bytes), key) != 0)
		return error_make(err, -EKEYREJECTED,
			"publication of image %s: its signature is wrong",
			document.publication.name);
	*ret_publication = document.publication;
	document.publication = (struct publication){0};
	return 0;
}
