/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The HTTP client against a server of this test: one thread that answers each connection with the
 * bytes a row asks for, so also with what no real server sends. TLS is by a certificate made here.
 */
#include <arpa/inet.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/socket.h>
#include <cmocka.h>

#include "lib/clock.h"
#include "lib/file.h"
#include "lib/httpc.h"
#include "lib/str.h"

/* Answers one connection, then ends. */
struct server {
	int fd, port;
	pthread_t thread;
	const char *answer;	/* NULL: says nothing until the client leaves */
	const char *cert, *key; /* PEM; NULL: plain */
	int more_ms;		/* > 0: a byte each so often after the answer; < 0: blocks */
	size_t sent;		/* of what comes after the answer */
	char request[4096];
};

enum { MORE_MAX = 64 << 20 };

/* Goes on after the answer until the client leaves. */
static void serve_more(struct server *server, int fd)
{
	static const char block[1 << 16];
	struct pollfd left = {.fd = fd, .events = POLLIN | POLLRDHUP};
	size_t len = server->more_ms > 0 ? 1 : sizeof(block);
	int wait_ms = server->more_ms > 0 ? server->more_ms : 0;

	while (server->sent < MORE_MAX && poll(&left, 1, wait_ms) == 0 &&
		fd_write_all(fd, block, len) == 0)
		server->sent += len;
}

static void serve_plain(struct server *server, int fd)
{
	size_t len = 0;

	while (len < sizeof(server->request) - 1 && !strstr(server->request, "\r\n\r\n")) {
		ssize_t n = read(fd, server->request + len, sizeof(server->request) - 1 - len);

		if (n <= 0)
			return;
		len += (size_t)n;
		server->request[len] = '\0';
	}
	if (server->answer)
		fd_write_all(fd, server->answer, strlen(server->answer));
	if (server->more_ms)
		serve_more(server, fd);
	/* waits for the client to leave when nothing was said */
	while (!server->answer && read(fd, server->request, 1) > 0)
		;
}

static void serve_tls(struct server *server, int fd)
{
	gnutls_datum_t cert = {(unsigned char *)server->cert, (unsigned)strlen(server->cert)};
	gnutls_datum_t key = {(unsigned char *)server->key, (unsigned)strlen(server->key)};
	gnutls_certificate_credentials_t credentials;
	gnutls_session_t session;

	gnutls_certificate_allocate_credentials(&credentials);
	gnutls_certificate_set_x509_key_mem(credentials, &cert, &key, GNUTLS_X509_FMT_PEM);
	gnutls_init(&session, GNUTLS_SERVER);
	gnutls_set_default_priority(session);
	gnutls_credentials_set(session, GNUTLS_CRD_CERTIFICATE, credentials);
	gnutls_transport_set_int(session, fd);
	if (gnutls_handshake(session) == 0 &&
		gnutls_record_recv(session, server->request, sizeof(server->request) - 1) > 0) {
		gnutls_record_send(session, server->answer, strlen(server->answer));
		gnutls_bye(session, GNUTLS_SHUT_WR);
	}
	gnutls_deinit(session);
	gnutls_certificate_free_credentials(credentials);
}

static void *serve(void *arg)
{
	struct server *server = arg;
	auto_close int fd = accept(server->fd, NULL, NULL);

	if (server->cert)
		serve_tls(server, fd);
	else
		serve_plain(server, fd);
	return NULL;
}

static void server_listen(struct server *server)
{
	struct sockaddr_in address = {
		.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(address);

	server->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(server->fd, (struct sockaddr *)&address, len), 0);
	assert_int_equal(listen(server->fd, 1), 0);
	assert_int_equal(getsockname(server->fd, (struct sockaddr *)&address, &len), 0);
	server->port = ntohs(address.sin_port);
}

static void server_start(struct server *server)
{
	server_listen(server);
	assert_int_equal(pthread_create(&server->thread, NULL, serve, server), 0);
}

static void server_stop(struct server *server)
{
	shutdown(server->fd, SHUT_RDWR); /* nobody may have come */
	pthread_join(server->thread, NULL);
	close(server->fd);
}

/* One exchange with a fresh plain server and client. */
static int exchange(const char *answer, struct httpc_request *request,
	const struct httpc_trust *trust, struct server *server, struct httpc_response *response,
	struct error **err)
{
	struct httpc *client = httpc_new(trust);
	auto_free char *url = NULL;
	int r = 0;

	*server = (struct server){.answer = answer, .more_ms = server->more_ms};
	server_start(server);
	url = xasprintf("http://user@127.0.0.1:%d/secret", server->port);
	request->url = url;
	r = httpc_do(client, request, response, err);
	httpc_free(client);
	server_stop(server);
	return r;
}

static void test_answers(void **state)
{
	static const struct {
		const char *answer;
		size_t max;
		int r, status;
		const char *body;
	} rows[] = {
		{"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", 0, 0, 200, "hi"},
		{"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", 2, 0, 200, "hi"},
		{"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", 1, -E2BIG, 0, NULL},
		{"HTTP/1.1 200 OK\r\n\r\nto the end", 0, 0, 200, "to the end"},
		{"HTTP/1.1 204 No Content\r\n\r\n", 0, 0, 204, ""},
		{"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
			0, 0, 302, ""},
		{"HTTP/1.1 500 No\r\nContent-Length: 1\r\n\r\nx", 0, 0, 500, "x"},
		{"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhi", 0, -ECONNRESET, 0, NULL},
		{"", 0, -ECONNRESET, 0, NULL},
		{"SSH-2.0-x\r\n", 0, -EINVAL, 0, NULL},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct httpc_request request = {.method = "GET", .max_body = rows[i].max};
		struct httpc_response response = {0};
		auto_error struct error *err = NULL;
		struct server server = {0};
		int r = exchange(rows[i].answer, &request, NULL, &server, &response, &err);

		if (r != rows[i].r)
			fail_msg("row %zu: %d (%s), not %d", i, r, error_text(err, r), rows[i].r);
		if (r == 0) {
			assert_int_equal(response.status, rows[i].status);
			assert_string_equal(response.body, rows[i].body);
			assert_int_equal(response.len, strlen(rows[i].body));
			assert_true(response.mss > 0);
		} else {
			assert_true(str_starts(err->text, "127.0.0.1:"));
			assert_null(strstr(err->text, "secret"));
		}
		httpc_response_done(&response);
	}
}

static void test_request(void **state)
{
	struct httpc_request request = {.method = "PUT",
		.body = "{}",
		.body_len = 2,
		.range_from = 0,
		.header = "Upload-Length: 7",
		.accept = "text/plain"};
	struct httpc_trust trust = {.token = "t0k", .interface = "127.0.0.1"};
	struct httpc_response response = {0};
	struct server server = {0};

	(void)state;
	assert_int_equal(exchange("HTTP/1.1 200 OK\r\nETag: \"a\"\r\nlocation:  /b "
				  "\r\nContent-Length: 0\r\n\r\n",
				 &request, &trust, &server, &response, NULL),
		0);
	assert_string_equal(response.etag, "\"a\"");
	assert_string_equal(response.location, "/b");
	assert_true(str_starts(server.request, "PUT /secret HTTP/1.1\r\n"));
	assert_non_null(strstr(server.request, "\r\nAuthorization: Bearer t0k\r\n"));
	assert_non_null(strstr(server.request, "\r\nContent-Type: application/json\r\n"));
	assert_non_null(strstr(server.request, "\r\nContent-Length: 2\r\n"));
	assert_non_null(strstr(server.request, "\r\nUpload-Length: 7\r\n"));
	assert_non_null(strstr(server.request, "\r\nAccept: text/plain\r\n"));
	httpc_response_done(&response);
}

struct sink {
	struct buf got;
	int stop;
};

static int take(const void *bytes, size_t len, void *arg)
{
	struct sink *sink = arg;

	buf_add(&sink->got, bytes, len);
	return sink->stop;
}

static void test_stream(void **state)
{
	struct sink sink = {.stop = 0};
	struct httpc_request request = {
		.method = "GET", .on_body = take, .arg = &sink, .range_from = 5};
	struct httpc_response response = {0};
	struct server server = {0};

	(void)state;
	assert_int_equal(exchange("HTTP/1.1 206 P\r\nContent-Range: bytes 5-6/7\r\nContent-Length: "
				  "2\r\n\r\nhi",
				 &request, NULL, &server, &response, NULL),
		0);
	assert_non_null(strstr(server.request, "\r\nRange: bytes=5-\r\n"));
	assert_string_equal(sink.got.text, "hi");
	assert_string_equal(response.body, "");
	httpc_response_done(&response);
	buf_done(&sink.got);
	/* what is no success goes to the body, not into the stream */
	request.range_from = 0;
	assert_int_equal(exchange("HTTP/1.1 404 N\r\nContent-Length: 2\r\n\r\nno", &request, NULL,
				 &server, &response, NULL),
		0);
	assert_null(sink.got.text);
	assert_string_equal(response.body, "no");
	httpc_response_done(&response);
	sink.stop = -ENOSPC;
	assert_int_equal(exchange("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", &request, NULL,
				 &server, &response, NULL),
		-ENOSPC);
	buf_done(&sink.got);
}

static void test_silence(void **state)
{
	struct sink sink = {.stop = 0};
	struct httpc_request request = {.method = "GET", .timeout_ms = 200};
	struct httpc_response response = {0};
	int64_t start = clock_real_ms();
	struct server server = {0};

	(void)state;
	assert_int_equal(exchange(NULL, &request, NULL, &server, &response, NULL), -ETIMEDOUT);
	request.on_body = take;
	request.arg = &sink;
	assert_int_equal(exchange(NULL, &request, NULL, &server, &response, NULL), -ETIMEDOUT);
	assert_true(clock_real_ms() - start < 20000);
}

/* A refusal whose page has no end, or comes byte by byte, is known by its status. */
static void test_endless_refusal(void **state)
{
	static const struct {
		const char *answer;
		int more_ms, status;
		size_t len;
	} rows[] = {
		{"HTTP/1.1 404 N\r\n\r\n", -1, 404, 64 << 10},
		{"HTTP/1.1 302 F\r\nLocation: /b\r\nContent-Length: 99999999999\r\n\r\n", -1, 302,
			64 << 10},
		{"HTTP/1.1 404 N\r\n\r\n", 100, 404, 0},
	};

	(void)state;
	for (size_t i = 0; i < 2 * ARRAY_LEN(rows); i++) {
		bool stream = i % 2;
		struct sink sink = {.stop = 0};
		struct httpc_request request = {.method = "GET",
			.timeout_ms = rows[i / 2].more_ms > 0 ? 6000 : 60000,
			.max_body = SIZE_MAX,
			.on_body = stream ? take : NULL,
			.arg = &sink};
		struct httpc_response response = {0};
		struct server server = {.more_ms = rows[i / 2].more_ms};
		int r = 0;

		if (!stream && server.more_ms > 0)
			continue; /* its time-out is for the whole */
		r = exchange(rows[i / 2].answer, &request, NULL, &server, &response, NULL);
		assert_int_equal(r, 0);
		assert_int_equal(response.status, rows[i / 2].status);
		assert_true(server.sent < MORE_MAX);
		if (rows[i / 2].len)
			assert_int_equal(response.len, rows[i / 2].len);
		assert_null(sink.got.text);
		httpc_response_done(&response);
	}
}

/* Bytes that trickle in are no silence; the whole has its time all the same. */
static void test_whole_time(void **state)
{
	struct sink sink = {.stop = 0};
	struct httpc_request request = {.method = "GET",
		.timeout_ms = 20000,
		.total_ms = 1000,
		.on_body = take,
		.arg = &sink};
	struct httpc_response response = {0};
	struct server server = {.more_ms = 300};
	int64_t start = clock_real_ms();

	(void)state;
	assert_int_equal(
		exchange("HTTP/1.1 200 OK\r\n\r\n", &request, NULL, &server, &response, NULL),
		-ETIMEDOUT);
	assert_true(clock_real_ms() - start < 15000);
	buf_done(&sink.got);
}

static void test_refused(void **state)
{
	static const struct {
		const char *url;
		int r;
	} rows[] = {{"http://127.0.0.1:1/", -ECONNREFUSED}, {"file:///etc/passwd", -EINVAL},
		{"ftp://127.0.0.1/", -EINVAL}, {"gopher://127.0.0.1/", -EINVAL},
		{"http://", -EINVAL}, {"http://a b/", -EINVAL}};
	struct httpc *client = httpc_new(NULL);

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct httpc_request request = {.method = "GET", .url = rows[i].url};
		struct httpc_response response;

		assert_int_equal(httpc_do(client, &request, &response, NULL), rows[i].r);
	}
	httpc_free(client);
}

static void test_problem(void **state)
{
	static const struct {
		int status;
		const char *body;
		int code;
		const char *field, *text;
	} rows[] = {
		{400, "{\"detail\":\"Bad.\",\"field\":\"mac\",\"next\":\"Mend it.\"}", -EINVAL,
			"mac", "Bad. Mend it."},
		{401, "", -EACCES, NULL, "The server answered with status 401."},
		{403, "{\"title\":\"No\"}", -EPERM, NULL, "No"},
		{404, "[]", -ENOENT, NULL, "The server answered with status 404."},
		{409, "{\"detail\":\"a\\u001b[2J\"}", -EBUSY, NULL,
			"The server answered with status 409."},
		{413, "{\"detail\":7}", -E2BIG, NULL, "The server answered with status 413."},
		{502, "x", -EHOSTUNREACH, NULL, "The server answered with status 502."},
		{503, "x", -EAGAIN, NULL, "The server answered with status 503."},
		{504, "x", -ETIMEDOUT, NULL, "The server answered with status 504."},
		{500, "x", -EIO, NULL, "The server answered with status 500."},
	};
	struct httpc_response fine = {.status = 302};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct httpc_response response = {.status = rows[i].status,
			.body = (char *)rows[i].body,
			.len = strlen(rows[i].body)};
		auto_error struct error *err = NULL;

		assert_int_equal(httpc_problem(&response, &err), rows[i].code);
		assert_string_equal(err->text, rows[i].text);
		if (rows[i].field)
			assert_string_equal(err->field, rows[i].field);
		else
			assert_null(err->field);
	}
	assert_int_equal(httpc_problem(&fine, NULL), 0);
}

/* A self-signed certificate for 127.0.0.1, as PEM texts. */
static void make_certificate(char **ret_cert, char **ret_key)
{
	static const unsigned char loopback[] = {127, 0, 0, 1};
	gnutls_datum_t pem_cert, pem_key;
	gnutls_x509_privkey_t key;
	gnutls_x509_crt_t crt;
	time_t now = (time_t)clock_wall();

	gnutls_x509_privkey_init(&key);
	gnutls_x509_privkey_generate(
		key, GNUTLS_PK_ECDSA, GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1), 0);
	gnutls_x509_crt_init(&crt);
	gnutls_x509_crt_set_version(crt, 3);
	gnutls_x509_crt_set_serial(crt, "\1", 1);
	gnutls_x509_crt_set_activation_time(crt, now - 60);
	gnutls_x509_crt_set_expiration_time(crt, now + 3600);
	gnutls_x509_crt_set_dn(crt, "CN=test", NULL);
	gnutls_x509_crt_set_key(crt, key);
	gnutls_x509_crt_set_basic_constraints(crt, 1, -1);
	gnutls_x509_crt_set_subject_alt_name(
		crt, GNUTLS_SAN_IPADDRESS, loopback, 4, GNUTLS_FSAN_SET);
	assert_int_equal(gnutls_x509_crt_sign2(crt, crt, key, GNUTLS_DIG_SHA256, 0), 0);
	gnutls_x509_crt_export2(crt, GNUTLS_X509_FMT_PEM, &pem_cert);
	gnutls_x509_privkey_export2(key, GNUTLS_X509_FMT_PEM, &pem_key);
	*ret_cert = xstrndup((char *)pem_cert.data, pem_cert.size);
	*ret_key = xstrndup((char *)pem_key.data, pem_key.size);
	gnutls_free(pem_cert.data);
	gnutls_free(pem_key.data);
	gnutls_x509_crt_deinit(crt);
	gnutls_x509_privkey_deinit(key);
}

static void test_tls(void **state)
{
	auto_free char *cert = NULL, *key = NULL, *other = NULL, *other_key = NULL;
	char path[] = "/tmp/test-httpc-XXXXXX";

	(void)state;
	close(mkstemp(path));
	make_certificate(&cert, &key);
	make_certificate(&other, &other_key);
	for (int right = 0; right < 2; right++) {
		struct server server = {.cert = cert,
			.key = key,
			.answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"};
		struct httpc_request request = {.method = "GET", .timeout_ms = 60000};
		struct httpc_trust trust = {.ca_file = path};
		struct httpc_response response = {0};
		struct httpc *client = NULL;
		auto_free char *url = NULL;
		const char *ca = right ? cert : other;

		assert_int_equal(file_write(path, ca, strlen(ca), 0600, NULL), 0);
		client = httpc_new(&trust);
		server_start(&server);
		url = xasprintf("https://127.0.0.1:%d/", server.port);
		request.url = url;
		assert_int_equal(httpc_do(client, &request, &response, NULL), right ? 0 : -EPROTO);
		assert_int_equal(response.status, right ? 200 : 0);
		httpc_response_done(&response);
		httpc_free(client);
		server_stop(&server);
	}
	unlink(path);
}

int main(void)
{
	setenv("http_proxy", "http://127.0.0.1:2", 1); /* is never asked */
	signal(SIGPIPE, SIG_IGN);		       /* a client that leaves early */
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_answers),
		cmocka_unit_test(test_request),
		cmocka_unit_test(test_stream),
		cmocka_unit_test(test_silence),
		cmocka_unit_test(test_endless_refusal),
		cmocka_unit_test(test_whole_time),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_problem),
		cmocka_unit_test(test_tls),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
