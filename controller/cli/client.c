/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The way to the controller.
 *
 * Settings come from the first place that has them: option, environment, the user's client.conf,
 * and on the lab server itself the files nightclassd made for its administrator, so that root there
 * needs no setup at all. The token is read from a file and never from the command line, where `ps`
 * would show it. Trust is one CA file; a connection without certificate check does not exist.
 *
 * Requests that may be repeated (GET, and pieces of uploads, which name their offset) survive a
 * restart of the controller: while nobody answers they are tried again for a minute. Others are
 * tried once, since a POST whose answer got lost may have been done.
 */
#include <pwd.h>
#include <time.h>
#include "controller/cli/client.h"
#include "lib/clock.h"
#include "lib/conf.h"
#include "lib/file.h"
#include "lib/str.h"

#define LOCAL_DIR "/var/lib/nightclass"
enum { TOKEN_MAX = 4096, PATIENCE_MS = 60000, PAUSE_MS = 500, ANSWER_MS = 30000 };

struct client {
	struct httpc *http;
	char *server; /* without a slash at the end */
	bool patient;
	bool trusted;  /* it answered once, so its certificate is good */
	bool answered; /* the last exchange */
};

struct settings {
	char *server, *token_file, *ca;
};

static const struct conf_key keys[] = {
	{"client", "server", conf_set_string, offsetof(struct settings, server), false, NULL,
		"controller to ask, https://ADDRESS:8443"},
	{"client", "token_file", conf_set_path, offsetof(struct settings, token_file), false, NULL,
		"file that holds the bearer token"},
	{"client", "ca", conf_set_path, offsetof(struct settings, ca), false, NULL,
		"certificate of the controller's authority"},
};

static void settings_done(struct settings *settings)
{
	free(settings->server);
	free(settings->token_file);
	free(settings->ca);
}

static char *user_file(void)
{
	const char *config = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");
	if (config && *config == '/')
		return xasprintf("%s/nightclass/client.conf", config);
	if (!home || !*home) {
		const struct passwd *user = getpwuid(getuid());
		home = user ? user->pw_dir : "/";
	}
	return xasprintf("%s/.config/nightclass/client.conf", home);
}

/* Fills what is still open from `value`. */
static void offer(char **setting, const char *value)
{
	if (!*setting && value && *value)
		*setting = xstrdup(value);
}

static void offer_file(char **setting, const char *path)
{
	if (access(path, R_OK) == 0)
		offer(setting, path);
}

bool client_is_here(const char *server)
{
	const char *host = str_starts(server, "https://")  ? server + 8
			   : str_starts(server, "http://") ? server + 7
							   : "";
	struct ip4 address;
	bool six = str_starts(host, "[::1]");
	auto_free char *name = xstrndup(host, six ? 5 : strcspn(host, ":/"));
	char after = host[strlen(name)];
	if (after && after != ':' && after != '/')
		return false;
	return strpbrk(host, "@\\") == NULL && (six || strcmp(name, "localhost") == 0 ||
						       (ip4_parse(name, &address) == 0 && address.host >> 24 == 127));
}

static int settings_find(const struct cli *cli, struct settings *s, struct error **err)
{
	offer(&s->server, cli->server ? cli->server : getenv("NIGHTCLASS_SERVER"));
	offer(&s->token_file, cli->token_file ? cli->token_file : getenv("NIGHTCLASS_TOKEN_FILE"));
	offer(&s->ca, cli->ca_file ? cli->ca_file : getenv("NIGHTCLASS_CA"));
	auto_free char *path = user_file();
	if (access(path, F_OK) == 0) {
		struct settings file = {0};
		int e = conf_load(path, keys, ARRAY_LEN(keys), &file, err);
		offer(&s->server, file.server);
		offer(&s->token_file, file.token_file);
		offer(&s->ca, file.ca);
		settings_done(&file);
		if (e < 0)
			return e;
	}
	/* The administrator's token of this machine is nobody else's: a server that was named gets it only when it
	 * is this machine. */
	if (!s->server || client_is_here(s->server))
		offer_file(&s->token_file, LOCAL_DIR "/admin.token");
	offer_file(&s->ca, LOCAL_DIR "/tls/ca.pem");
	if (access(LOCAL_DIR "/tls/ca.pem", R_OK) == 0)
		offer(&s->server, "https://127.0.0.1:8443");
	if (s->server)
		return 0;
	return error_make(err, -EINVAL,
		"no controller is named. Give --server https://ADDRESS:8443, set "
		"NIGHTCLASS_SERVER, or write "
		"\"[client]\" and \"server = ...\" into %s",
		path);
}

static int read_token(const char *path, char **ret_token, struct error **err)
{
	auto_free char *text = NULL;
	int e = file_read(path, TOKEN_MAX, &text, NULL, err);
	if (e < 0)
		return error_wrap(err, e, "token file");
	size_t len = strcspn(text, "\r\n");
	if (len == 0 || text[len + strspn(text + len, "\r\n \t")])
		return error_make(
			err, -EINVAL, "token file %s must hold one line, the token", path);
	*ret_token = xstrndup(text, len);
	return 0;
}

static int settings_open(const struct settings *s, struct client **ret_client, struct error **err)
{
	auto_free char *token = NULL;
	if (!str_starts(s->server, "https://") && !str_starts(s->server, "http://"))
		return error_field(err, -EINVAL, "--server",
			"\"%s\" is no URL. Write https://ADDRESS:8443", s->server);
	/* Over plain HTTP only to this machine: a token must not be seen on the way. */
	if (str_starts(s->server, "http://") && !client_is_here(s->server))
		return error_field(err, -EINVAL, "--server",
			"\"%s\" would show the token to everybody on the way. Use https://",
			s->server);
	if (s->ca && access(s->ca, R_OK) < 0) {
		int e = -errno;
		return error_make(err, e, "cannot read the CA file %s: %s", s->ca, strerror(-e));
	}
	int e = s->token_file ? read_token(s->token_file, &token, err) : 0;
	if (e < 0)
		return e;
	const struct httpc_trust trust = {.ca_file = s->ca, .token = token};
	struct client *client = xnew(struct client);
	client->http = httpc_new(&trust);
	client->server = xstrdup(s->server);
	for (size_t n = strlen(client->server); n && client->server[n - 1] == '/'; n--)
		client->server[n - 1] = 0;
	*ret_client = client;
	return 0;
}

int client_open(const struct cli *cli, struct client **ret_client, struct error **err)
{
	struct settings s = {0};
	int e = settings_find(cli, &s, err);
	if (e == 0)
		e = settings_open(&s, ret_client, err);
	settings_done(&s);
	return e;
}

void client_close(struct client *client)
{
	if (!client)
		return;
	httpc_free(client->http);
	free(client->server);
	free(client);
}

const char *client_server(const struct client *client)
{
	return client->server;
}

bool client_answered(const struct client *client)
{
	return client->answered;
}

void client_be_patient(struct client *client)
{
	client->patient = true;
}

char *client_path(const char *collection, const char *name)
{
	auto_buf struct buf b = {0};
	buf_adds(&b, collection);
	buf_adds(&b, "/");
	for (const char *c = name; *c; c++) {
		if ((*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') ||
			(*c >= '0' && *c <= '9') || strchr("-_.", *c))
			buf_add(&b, c, 1);
		else
			buf_addf(&b, "%%%02X", (unsigned char)*c);
	}
	return buf_take(&b);
}

/* A controller that is killed breaks a TLS handshake too, which looks like a bad certificate; it is
 * none where the certificate was good before. */
static bool nobody_answers(const struct client *client, int e)
{
	return (e == -EPROTO && client->trusted) || e == -ECONNREFUSED || e == -EHOSTUNREACH ||
	       e == -ETIMEDOUT || e == -ECONNRESET;
}

static int exchange(struct client *client, const struct httpc_request *request,
	struct httpc_response *ret_response, struct error **err)
{
	struct httpc_response response = {0};
	int e = httpc_do(client->http, request, &response, err);
	client->answered = e == 0;
	if (e < 0)
		return e;
	client->trusted = true;
	e = httpc_problem(&response, err);
	if (e < 0) {
		httpc_response_done(&response);
		return e;
	}
	*ret_response = response;
	return 0;
}

static int exchange_patient(struct client *client, const struct httpc_request *request,
	struct httpc_response *ret_response, struct error **err)
{
	int64_t since = clock_mono_ms();
	for (;;) {
		auto_error struct error *trouble = NULL;
		int e = exchange(client, request, ret_response, &trouble);
		if (e == 0)
			return 0;
		if (client->answered || !nobody_answers(client, e) ||
			clock_mono_ms() - since > PATIENCE_MS)
			return error_make(err, e, "%s", error_text(trouble, e));
		const struct timespec pause = {.tv_nsec = PAUSE_MS * 1000000L};
		nanosleep(&pause, NULL);
	}
}

/* An answer's JSON, NULL for none. */
static int take_answer(struct httpc_response *response, json_t **ret_answer, struct error **err)
{
	int e = 0;
	if (ret_answer && (!response->body || response->len == 0))
		*ret_answer = NULL;
	else if (ret_answer)
		e = json_parse_object(response->body, response->len, ret_answer, err);
	httpc_response_done(response);
	return e < 0 ? error_wrap(err, e, "the controller's answer cannot be read") : 0;
}

int client_call(struct client *client, const char *method, const char *path, const json_t *body,
	json_t **ret_answer, struct error **err)
{
	auto_free char *url = xasprintf("%s/api/v1%s", client->server, path);
	auto_free char *text = body ? json_text(body) : NULL;
	struct httpc_response response = {0};
	const struct httpc_request request = {.method = method,
		.url = url,
		.body = text,
		.body_len = text ? strlen(text) : 0,
		.timeout_ms = ANSWER_MS,
		.accept = "application/json"};
	int e = exchange(client, &request, &response, err);
	return e < 0 ? e : take_answer(&response, ret_answer, err);
}

int client_get(struct client *client, const char *path, int wait_s, json_t **ret_answer,
	struct error **err)
{
	auto_free char *url = xasprintf("%s/api/v1%s", client->server, path);
	struct httpc_response response = {0};
	const struct httpc_request request = {.method = "GET",
		.url = url,
		.timeout_ms = ANSWER_MS + wait_s * 1000,
		.accept = "application/json"};
	int e = client->patient ? exchange_patient(client, &request, &response, err)
				: exchange(client, &request, &response, err);
	return e < 0 ? e : take_answer(&response, ret_answer, err);
}

int client_raw(struct client *client, const char *method, const char *path, const void *bytes,
	size_t len, const char *header, int wait_s, struct httpc_response *ret_response,
	struct error **err)
{
	auto_free char *url = xasprintf("%s/api/v1%s", client->server, path);
	const struct httpc_request request = {.method = method,
		.url = url,
		.content_type = "application/octet-stream",
		.body = bytes,
		.body_len = len,
		.header = header,
		.timeout_ms = ANSWER_MS + wait_s * 1000};
	return exchange_patient(client, &request, ret_response, err);
}
