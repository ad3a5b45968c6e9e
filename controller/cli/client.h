/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The way to the controller: where it is, who we are, and one REST exchange. */
#ifndef CONTROLLER_CLI_CLIENT_H
#define CONTROLLER_CLI_CLIENT_H

#include "controller/cli/cli.h"
#include "lib/httpc.h"

struct client;

/* Finds server, token and CA: options, then NIGHTCLASS_SERVER, NIGHTCLASS_TOKEN_FILE and
 * NIGHTCLASS_CA, then
 * ~/.config/nightclass/client.conf ([client] server, token_file, ca), then the lab server's own
 * files in /var/lib/nightclass where they are readable. -EINVAL when no server is named anywhere.
 */
int client_open(const struct cli *cli, struct client **ret_client, struct error **err);
void client_close(struct client *client);
const char *client_server(const struct client *client);
/* Did the last exchange bring an answer? Then an error is what the controller says, not the way to
 * it. */
bool client_answered(const struct client *client);
/* Is this URL's host a loopback address of this machine, and nothing that only begins like one? */
bool client_is_here(const char *server);

/* "/pcs/" + name with everything but letters, digits, '-', '_' and '.' percent-encoded; caller
 * frees. */
char *client_path(const char *collection, const char *name);

/* One exchange under /api/v1. `body` may be NULL; *ret_answer (ret_answer may be NULL) is NULL for
 * an answer without a body, the caller owns it. An answer >= 400 is an error with the problem's
 * code and text. */
int client_call(struct client *client, const char *method, const char *path, const json_t *body,
	json_t **ret_answer, struct error **err);
/* The same for GET. `wait_s`: the long poll's own time in the query, added to the time limit. */
int client_get(struct client *client, const char *path, int wait_s, json_t **ret_answer,
	struct error **err);
/* From here on a controller that is away for less than a minute (a restart) is waited for by
 * client_get. */
void client_be_patient(struct client *client);
/* Raw bytes out or in, always patient; `header` is one more request header "Name: value" or NULL.
 * The caller frees the response by httpc_response_done. */
int client_raw(struct client *client, const char *method, const char *path, const void *bytes,
	size_t len, const char *header, int wait_s, struct httpc_response *ret_response,
	struct error **err);

#endif
