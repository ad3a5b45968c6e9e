/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How a PC that nobody knows becomes a host with a certificate for the night. */
#ifndef HOSTD_ENROL_H
#define HOSTD_ENROL_H

#include "boot/hostd/options.h"
#include "lib/httpc.h"
#include "lib/proto.h"

/* Who this host is. The files are in the run directory (RAM), key and certificate with mode 0600.
 */
struct identity {
	char *pc;  /* name the controller gave */
	char *api; /* https://HOST:PORT to be used from now on */
	char *ca_file, *cert_file, *key_file;
};

/* The identity a former hostd of this boot left in the run directory. -ENOENT: none (or of another
 * boot). */
int identity_load(const char *run_dir, const char *boot_id, struct identity *ret_identity,
	struct error **err);

/* One try of the whole enrolment: CA by digest, one-time token, key pair and request, certificate,
 * files. -EACCES, -EPERM when the controller refuses (this PC is not expected); every failure may
 * be tried again: the key stays the same for the whole boot. Blocks; for worker threads. */
int enrol(const struct hostd_options *options, const struct proto_facts *facts,
	struct identity *ret_identity, struct error **err);
void identity_done(struct identity *identity);

/* A PEM request for `key_pem` with the boot id as common name; exported for tests. Caller frees. */
int enrol_make_request(
	const char *key_pem, const char *boot_id, char **ret_pem, struct error **err);
int enrol_make_key(char **ret_pem, struct error **err);

#endif
