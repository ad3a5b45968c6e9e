/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The HTTPS client of CLI, host and controllers: one blocking exchange per call over libcurl with
 * GnuTLS. What it refuses is the point of it: any protocol but http and https, redirects, proxies
 * from the environment (a token would travel through them), answers larger than asked for, silence
 * beyond the time-out. A server is checked against the one CA file given, which is a lab's own CA.
 *
 * The handle keeps its connection, so a host that polls does one handshake per night. Long polls
 * set a time-out that covers the wait; streams (on_body) are ended by silence, not by their length,
 * and by a time for the whole when one is given. Of an answer that is no success only the beginning
 * is read: its status says enough, and a stranger could make it endless.
 *
 * Errors name host and reason, never the token or the whole URL. Must not be called on a loop
 * thread.
 */
#include <curl/curl.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdbool.h>
#include <strings.h>
#include <sys/socket.h>

#include "lib/address.h"
#include "lib/clock.h"
#include "lib/httpc.h"
#include "lib/json.h"
#include "lib/str.h"

enum {
	TIMEOUT_MS = 30000,
	CONNECT_MS = 10000,
	BODY_MAX = 16 << 20,
	REFUSAL_MAX = 64 << 10, /* read of a body whose status is no success */
	HEADER_MAX = 1024,
	LOCATION_MAX = 2048
};

struct httpc {
	CURL *curl;
	char *ca_file, *cert_file, *key_file, *auth, *interface;
	uint32_t closed_mss; /* of the connection that was closed last */
	bool (*address_ok)(const struct sockaddr *address, void *arg);
	void *address_arg;
	char *refused; /* the address that address_ok refused last */
};

/* One call of httpc_do. */
struct exchange {
	struct httpc *client;
	const struct httpc_request *request;
	struct httpc_response *response;
	struct buf body;
	size_t streamed, max; /* max 0: unbounded (a stream that sets none) */
	bool headed;	      /* on_head was called */
	bool cut;	      /* enough of a refusal's body was read */
	int64_t refused_ms;   /* when it began, 0: not yet */
	int abort_code;	      /* why a callback stopped the exchange */
	char reason[CURL_ERROR_SIZE];
};

static void curl_start(void)
{
	if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
		abort();
}

struct httpc *httpc_new(const struct httpc_trust *trust)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	struct httpc *client = xnew(struct httpc);

	pthread_once(&once, curl_start);
	client->curl = curl_easy_init();
	if (!client->curl)
		abort();
	if (!trust)
		return client;
	client->ca_file = xstrdup(trust->ca_file);
	client->cert_file = xstrdup(trust->cert_file);
	client->key_file = xstrdup(trust->key_file);
	if (trust->token)
		client->auth = xasprintf("Authorization: Bearer %s", trust->token);
	client->address_ok = trust->address_ok;
	client->address_arg = trust->address_arg;
	if (trust->interface)
		client->interface = xasprintf("host!%s", trust->interface);
	return client;
}

void httpc_free(struct httpc *client)
{
	if (!client)
		return;
	curl_easy_cleanup(client->curl); /* may call on_close */
	if (client->auth)
		explicit_bzero(client->auth, strlen(client->auth));
	free(client->auth);
	free(client->ca_file);
	free(client->cert_file);
	free(client->key_file);
	free(client->interface);
	free(client->refused);
	free(client);
}

static uint32_t socket_mss(curl_socket_t fd)
{
	socklen_t size = sizeof(int);
	int mss = 0;

	if (getsockopt(fd, IPPROTO_TCP, TCP_MAXSEG, &mss, &size) < 0 || mss < 0)
		return 0;
	return (uint32_t)mss;
}

/* A server that hangs up after its answer leaves no socket to ask later. */
static int on_close(void *arg, curl_socket_t fd)
{
	struct httpc *client = arg;

	client->closed_mss = socket_mss(fd);
	return close(fd);
}

/* The address is judged as it is about to be connected to: no name can change under us. */
static curl_socket_t on_open(void *arg, curlsocktype purpose, struct curl_sockaddr *address)
{
	struct httpc *client = arg;

	(void)purpose;
	if (client->address_ok && !client->address_ok(&address->addr, client->address_arg)) {
		free(client->refused);
		client->refused = address_text(&address->addr);
		return CURL_SOCKET_BAD;
	}
	return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

static int status_now(const struct exchange *exchange)
{
	long status = 0;

	curl_easy_getinfo(exchange->client->curl, CURLINFO_RESPONSE_CODE, &status);
	return (int)status;
}

static int tell_head(struct exchange *exchange)
{
	struct httpc_response *head = exchange->response;
	curl_off_t length = 0;

	exchange->headed = true;
	if (!exchange->request->on_head)
		return 0;
	head->status = status_now(exchange);
	curl_easy_getinfo(exchange->client->curl, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
	head->length = length > 0 ? (uint64_t)length : 0;
	return exchange->request->on_head(head, exchange->request->arg);
}

static long timeout_of(const struct httpc_request *request)
{
	return request->timeout_ms > 0 ? request->timeout_ms : TIMEOUT_MS;
}

/* The body of an answer that is no success, as far as it is read. Bytes that trickle in are no
 * silence, so its time is counted here. */
static size_t on_refusal(struct exchange *exchange, const char *bytes, size_t len)
{
	size_t room = REFUSAL_MAX - exchange->body.len;
	int64_t now = clock_real_ms();

	if (!exchange->refused_ms)
		exchange->refused_ms = now;
	exchange->cut = len > room || now - exchange->refused_ms > timeout_of(exchange->request);
	buf_add(&exchange->body, bytes, len < room ? len : room);
	return exchange->cut ? 0 : len;
}

static size_t on_body(char *bytes, size_t size, size_t n, void *arg)
{
	struct exchange *exchange = arg;
	const struct httpc_request *request = exchange->request;
	bool success = status_now(exchange) / 100 == 2, stream = request->on_body && success;
	size_t len = size * n, max = exchange->max;

	if (!success)
		return on_refusal(exchange, bytes, len);
	if (!max && !stream)
		max = BODY_MAX;
	if (stream && !exchange->headed)
		exchange->abort_code = tell_head(exchange);
	if (exchange->abort_code)
		return 0;
	exchange->streamed += len;
	if (max && exchange->streamed > max) {
		exchange->abort_code = -E2BIG;
		return 0;
	}
	if (stream)
		exchange->abort_code = len ? request->on_body(bytes, len, request->arg) : 0;
	else
		buf_add(&exchange->body, bytes, len);
	return exchange->abort_code ? 0 : len;
}

/* The value of a header line when it has this name and is no longer than `max`. */
static void keep_header(
	const char *line, size_t len, const char *name, size_t max, char **ret_value)
{
	size_t name_len = strlen(name);
	auto_free char *value = NULL;

	if (len <= name_len || line[name_len] != ':' || strncasecmp(line, name, name_len) != 0)
		return;
	for (line += name_len + 1, len -= name_len + 1; len > 0 && *line == ' '; len--)
		line++;
	while (len > 0 && (line[len - 1] == '\r' || line[len - 1] == '\n' || line[len - 1] == ' '))
		len--;
	value = xstrndup(line, len);
	if (!text_ok(value, max))
		return;
	free(*ret_value);
	*ret_value = TAKE_PTR(value);
}

static size_t on_header(char *line, size_t size, size_t n, void *arg)
{
	struct exchange *exchange = arg;

	keep_header(line, size * n, "ETag", HEADER_MAX, &exchange->response->etag);
	keep_header(line, size * n, "Location", LOCATION_MAX, &exchange->response->location);
	return size * n;
}

static void set_connection(CURL *curl, struct exchange *exchange)
{
	struct httpc *client = exchange->client;

	curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(curl, CURLOPT_FOLLOWLOCATION, 0L);
	curl_easy_setopt(curl, CURLOPT_PROXY, "");
	curl_easy_setopt(curl, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, exchange->reason);
	curl_easy_setopt(curl, CURLOPT_CLOSESOCKETFUNCTION, on_close);
	curl_easy_setopt(curl, CURLOPT_CLOSESOCKETDATA, client);
	curl_easy_setopt(curl, CURLOPT_OPENSOCKETFUNCTION, on_open);
	curl_easy_setopt(curl, CURLOPT_OPENSOCKETDATA, client);
	curl_easy_setopt(curl, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	if (client->ca_file) {
		curl_easy_setopt(curl, CURLOPT_CAINFO, client->ca_file);
		curl_easy_setopt(curl, CURLOPT_CAPATH, NULL);
	}
	if (client->cert_file)
		curl_easy_setopt(curl, CURLOPT_SSLCERT, client->cert_file);
	if (client->key_file)
		curl_easy_setopt(curl, CURLOPT_SSLKEY, client->key_file);
	if (client->interface)
		curl_easy_setopt(curl, CURLOPT_INTERFACE, client->interface);
}

static void set_timeouts(CURL *curl, const struct httpc_request *request)
{
	long ms = timeout_of(request);

	curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, ms < CONNECT_MS ? ms : (long)CONNECT_MS);
	if (!request->on_body) {
		curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, ms);
		return;
	}
	if (request->total_ms > 0)
		curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS,
			request->total_ms < LONG_MAX ? (long)request->total_ms : LONG_MAX);
	/* curl counts silence in whole seconds */
	curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
	curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, (ms + 999) / 1000);
}

static void add_header(struct curl_slist **headers, const char *line)
{
	struct curl_slist *more = curl_slist_append(*headers, line);

	if (!more)
		abort();
	*headers = more;
}

static struct curl_slist *set_request(CURL *curl, struct exchange *exchange)
{
	const struct httpc_request *request = exchange->request;
	struct curl_slist *headers = NULL;
	auto_free char *type = xasprintf("Content-Type: %s",
		request->content_type ? request->content_type : "application/json");
	auto_free char *accept = xasprintf("Accept: %s", request->accept ? request->accept : "*/*");

	curl_easy_setopt(curl, CURLOPT_URL, request->url);
	if (request->body) {
		curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)request->body_len);
		curl_easy_setopt(curl, CURLOPT_POSTFIELDS, request->body);
		add_header(&headers, type);
		add_header(&headers, "Expect:");
	}
	if (strcmp(request->method, "HEAD") == 0)
		curl_easy_setopt(curl, CURLOPT_NOBODY, 1L);
	curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, request->method);
	add_header(&headers, accept);
	if (request->header && text_ok(request->header, HEADER_MAX))
		add_header(&headers, request->header);
	if (exchange->client->auth)
		add_header(&headers, exchange->client->auth);
	if (request->range_from)
		curl_easy_setopt(curl, CURLOPT_RESUME_FROM_LARGE, (curl_off_t)request->range_from);
	curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
	curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(curl, CURLOPT_WRITEDATA, exchange);
	curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, on_header);
	curl_easy_setopt(curl, CURLOPT_HEADERDATA, exchange);
	return headers;
}

/* "https://lab:8443/..." -> "lab:8443", without a user's name. */
static char *host_of(const char *url)
{
	const char *start = strstr(url, "://"), *at = NULL;
	size_t len = 0;

	start = start ? start + 3 : url;
	len = strcspn(start, "/?#");
	at = memrchr(start, '@', len);
	if (at) {
		len -= (size_t)(at + 1 - start);
		start = at + 1;
	}
	return xstrndup(start, len < 255 ? len : 255);
}

static int connect_code(CURL *curl)
{
	long os = 0;

	curl_easy_getinfo(curl, CURLINFO_OS_ERRNO, &os);
	switch (os) {
	case EHOSTUNREACH:
	case ENETUNREACH:
	case ENETDOWN:
	case EADDRNOTAVAIL:
		return -EHOSTUNREACH;
	case ETIMEDOUT:
		return -ETIMEDOUT;
	default:
		return -ECONNREFUSED;
	}
}

static int code_of(CURL *curl, CURLcode result)
{
	switch (result) {
	case CURLE_URL_MALFORMAT:
	case CURLE_UNSUPPORTED_PROTOCOL:
		return -EINVAL;
	case CURLE_COULDNT_RESOLVE_HOST:
	case CURLE_INTERFACE_FAILED:
		return -EHOSTUNREACH;
	case CURLE_COULDNT_CONNECT:
		return connect_code(curl);
	case CURLE_OPERATION_TIMEDOUT:
		return -ETIMEDOUT;
	case CURLE_SSL_CONNECT_ERROR:
	case CURLE_PEER_FAILED_VERIFICATION:
	case CURLE_SSL_CERTPROBLEM:
	case CURLE_SSL_CIPHER:
	case CURLE_SSL_CACERT_BADFILE:
	case CURLE_SSL_ISSUER_ERROR:
	case CURLE_WEIRD_SERVER_REPLY:
		return -EPROTO;
	case CURLE_GOT_NOTHING:
	case CURLE_SEND_ERROR:
	case CURLE_RECV_ERROR:
	case CURLE_PARTIAL_FILE:
		return -ECONNRESET;
	case CURLE_RANGE_ERROR:
		return -ERANGE;
	default:
		return -EIO;
	}
}

static int failed(struct exchange *exchange, CURLcode result, struct error **err)
{
	auto_free char *host = host_of(exchange->request->url);

	if (exchange->client->refused && result == CURLE_COULDNT_CONNECT)
		return error_make(err, -EPERM, "%s: Its address %s is not allowed here.", host,
			exchange->client->refused);
	if (exchange->abort_code == -E2BIG && exchange->streamed > exchange->max)
		return error_make(err, -E2BIG, "%s: The answer is larger than is taken.", host);
	if (exchange->abort_code)
		return error_make(err, exchange->abort_code, "%s: The transfer was stopped: %s.",
			host, error_text(NULL, exchange->abort_code));
	return error_make(err, code_of(exchange->client->curl, result), "%s: %s.", host,
		*exchange->reason ? exchange->reason : curl_easy_strerror(result));
}

static void take_facts(struct exchange *exchange)
{
	struct httpc_response *response = exchange->response;
	curl_socket_t fd = CURL_SOCKET_BAD;

	response->status = status_now(exchange);
	curl_easy_getinfo(exchange->client->curl, CURLINFO_TOTAL_TIME, &response->seconds);
	curl_easy_getinfo(exchange->client->curl, CURLINFO_ACTIVESOCKET, &fd);
	response->mss = fd == CURL_SOCKET_BAD ? exchange->client->closed_mss : socket_mss(fd);
	response->len = exchange->body.len;
	response->body = buf_take(&exchange->body);
}

int httpc_do(struct httpc *client, const struct httpc_request *request,
	struct httpc_response *ret_response, struct error **err)
{
	struct httpc_response response = {0};
	struct exchange exchange = {.client = client,
		.request = request,
		.response = &response,
		.max = request->max_body};
	struct curl_slist *headers = NULL;
	CURLcode result = CURLE_OK;
	int r = 0;

	curl_easy_reset(client->curl);
	client->closed_mss = 0;
	free(TAKE_PTR(client->refused));
	set_connection(client->curl, &exchange);
	set_timeouts(client->curl, request);
	headers = set_request(client->curl, &exchange);
	result = curl_easy_perform(client->curl);
	if (result == CURLE_OK || exchange.cut)
		take_facts(&exchange);
	else
		r = failed(&exchange, result, err);
	curl_slist_free_all(headers);
	curl_easy_setopt(client->curl, CURLOPT_ERRORBUFFER, NULL);
	buf_done(&exchange.body);
	if (r < 0)
		httpc_response_done(&response);
	else
		*ret_response = response;
	return r;
}

void httpc_response_done(struct httpc_response *response)
{
	free(response->body);
	free(response->etag);
	free(response->location);
	*response = (struct httpc_response){0};
}

static int code_of_status(int status)
{
	switch (status) {
	case 400:
		return -EINVAL;
	case 401:
		return -EACCES;
	case 403:
		return -EPERM;
	case 404:
		return -ENOENT;
	case 409:
		return -EBUSY;
	case 413:
		return -E2BIG;
	case 502:
		return -EHOSTUNREACH;
	case 503:
		return -EAGAIN;
	case 504:
		return -ETIMEDOUT;
	default:
		return -EIO;
	}
}

/* The member's text when it is printable, else NULL: a server's words end on a terminal. */
static const char *member(const json_t *object, const char *name)
{
	const char *text = json_string_value(json_object_get(object, name));

	return text && *text && text_ok(text, 4096) ? text : NULL;
}

int httpc_problem(const struct httpc_response *response, struct error **err)
{
	auto_json json_t *object = NULL;
	const char *detail = NULL, *next = NULL, *field = NULL;
	int code = code_of_status(response->status);

	if (response->status < 400)
		return 0;
	if (response->body)
		json_parse_object(response->body, response->len, &object, NULL);
	field = member(object, "field");
	next = member(object, "next");
	detail = member(object, "detail");
	if (!detail)
		detail = member(object, "title");
	if (!detail)
		return error_make(
			err, code, "The server answered with status %d.", response->status);
	if (field)
		return error_field(
			err, code, field, "%s%s%s", detail, next ? " " : "", next ? next : "");
	return error_make(err, code, "%s%s%s", detail, next ? " " : "", next ? next : "");
}
