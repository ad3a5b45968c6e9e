/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Gets the controller's CA certificate by its digest.
 *
 * The boot script is small, so it names the CA by SHA-256 only. The controller sends its chain,
 * leaf and CA, in every TLS handshake: we take one handshake without verifying anything, look for
 * the certificate with the right digest and hang up. Whoever answers in the controller's place can
 * show a chain, but not one with another certificate of that digest. From then on every connection
 * verifies against this CA by the usual rules (lib/httpc). No application byte is sent on the
 * unverified connection.
 */
#include "boot/hostd/pin.h"

#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <netdb.h>
#include <sys/socket.h>
#include "lib/hash.h"
#include "lib/str.h"

enum { PIN_TIMEOUT_MS = 10000 };

char *pin_pick(const struct pin_der *chain, unsigned n, const char *digest)
{
	for (unsigned i = 0; i < n; i++) {
		char text[SHA256_TEXT];
		struct sha256 d = sha256_of(chain[i].bytes, chain[i].len);
		if (strcmp(sha256_format(&d, text), digest) != 0)
			continue;
		gnutls_datum_t der = {(void *)(uintptr_t)chain[i].bytes, chain[i].len}, pem = {0};
		if (gnutls_pem_base64_encode2("CERTIFICATE", &der, &pem) < 0)
			return NULL;
		char *copy = xstrndup((const char *)pem.data, pem.size);
		gnutls_free(pem.data);
		return copy;
	}
	return NULL;
}

static int connect_to(const char *url, int *ret_fd, struct error **err)
{
	const char *host = url + strlen("https://");
	const char *colon = strchr(host, ':');
	auto_free char *name = colon ? xstrndup(host, (size_t)(colon - host)) : xstrdup(host);
	const char *port = colon ? colon + 1 : "443";
	const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
	struct addrinfo *list = NULL;
	int r = getaddrinfo(name, port, &hints, &list);
	if (r != 0)
		return error_make(err, -EHOSTUNREACH, "%s: %s", name, gai_strerror(r));
	auto_close int fd = socket(list->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	const struct timeval limit = {.tv_sec = PIN_TIMEOUT_MS / 1000};
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)) < 0 ||
		setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) < 0 ||
		connect(fd, list->ai_addr, list->ai_addrlen) < 0) {
		r = errno == EINPROGRESS ? -ETIMEDOUT : -errno;
		error_make(err, r, "the controller %s does not answer: %s", url, strerror(-r));
		freeaddrinfo(list);
		return r;
	}
	freeaddrinfo(list);
	*ret_fd = TAKE_FD(fd);
	return 0;
}

static int shake_hands(gnutls_session_t session, const char *url, struct error **err)
{
	int r;
	do {
		r = gnutls_handshake(session);
	} while (r < 0 && !gnutls_error_is_fatal(r) && r != GNUTLS_E_AGAIN);
	if (r < 0)
		return error_make(
			err, -EPROTO, "no TLS with the controller %s: %s", url, gnutls_strerror(r));
	return 0;
}

static int chain_of(gnutls_session_t session, const char *url, const char *digest, char **ret_pem,
	struct error **err)
{
	unsigned n = 0;
	const gnutls_datum_t *peers = gnutls_certificate_get_peers(session, &n);
	struct pin_der chain[8];
	if (n > ARRAY_LEN(chain))
		n = ARRAY_LEN(chain);
	for (unsigned i = 0; i < n; i++)
		chain[i] = (struct pin_der){peers[i].data, peers[i].size};
	char *pem = pin_pick(chain, n, digest);
	if (!pem)
		return error_make(err, -EACCES,
			"%s is not the controller the boot script named: its certificates have "
			"other digests. Boot this PC again; if that does not help, somebody "
			"answers "
			"in the controller's place",
			url);
	*ret_pem = pem;
	return 0;
}

int pin_fetch_ca(const char *url, const char *digest, char **ret_pem, struct error **err)
{
	auto_close int fd = -1;
	int r = connect_to(url, &fd, err);
	if (r < 0)
		return r;
	gnutls_session_t session = NULL;
	gnutls_certificate_credentials_t none = NULL;
	if (gnutls_certificate_allocate_credentials(&none) < 0 ||
		gnutls_init(&session, GNUTLS_CLIENT | GNUTLS_NO_SIGNAL) < 0 ||
		gnutls_set_default_priority(session) < 0 ||
		gnutls_credentials_set(session, GNUTLS_CRD_CERTIFICATE, none) < 0) {
		r = error_make(err, -ENOMEM, "TLS could not be set up");
	} else {
		gnutls_transport_set_int(session, fd);
		gnutls_handshake_set_timeout(session, PIN_TIMEOUT_MS);
		r = shake_hands(session, url, err);
		if (r == 0)
			r = chain_of(session, url, digest, ret_pem, err);
	}
	if (session)
		gnutls_deinit(session);
	if (none)
		gnutls_certificate_free_credentials(none);
	return r;
}
