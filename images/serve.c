/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Chunks for peers over HTTP, by libmicrohttpd in threads of its own.
 *
 * A PC of a lab listens for this alone, and anybody in the building may call, so the door is
 * narrow: one method, two paths whose only variable is 64 hex digits, no body, no query, no other
 * file; the path is judged as it came, before anybody decodes an escape in it. Connections are
 * bounded in all and per address, and one that has not got its answer or sent its request after a
 * minute is cut when the next one knocks (libmicrohttpd's own time-out is an idle timer, which one
 * byte a second defeats).
 *
 * A chunk is asked for by its digest alone. The images that lie in the folder are opened when they
 * are first needed and kept open, each with an index from digest to place, made once; all of them,
 * since any may have the chunk, and with room for fewer each would push out another. One that was
 * removed is closed when its remover says so, at the latest at the next request, since open files
 * keep their room. One that an earlier boot left is not opened: that would verify it, for minutes,
 * with all requests waiting behind it. What is held is packed anew for each answer, at zstd's
 * fastest level; a store's frames go out as they lie. Serving is no use of a chunk: it neither
 * keeps one in a bounded cache nor enters a boot trace.
 */
#include "images/serve.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <microhttpd.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "images/source.h"
#include "images/store.h"
#include "lib/clock.h"
#include "lib/proto.h"
#include "lib/str.h"

enum {
	CONNECTIONS = 64,
	PER_ADDRESS = 16,
	THREADS = 2,
	IDLE_S = 30,
	TURN_MS = 60000,	   /* for one request and its answer */
	IMAGES = PROTO_IMAGES_MAX, /* open at once: all that a host may have */
	LOOK_MS = 500,		   /* between two looks at the folder for new images */
	URI_MAX = 96,
	MEMORY = 8 << 10, /* of a connection, for its headers */
};

struct image {
	char digest[SHA256_TEXT];
	struct source *source; /* NULL: the slot is free */
	int64_t used;
};

struct visitor {
	int fd; /* -1: free */
	int64_t since;
};

struct serve {
	char *held, *store;
	struct MHD_Daemon *daemon;
	pthread_mutex_t lock; /* of the images and of the visitors */
	struct chunk_coder *coder;
	struct image images[IMAGES];
	struct visitor visitors[CONNECTIONS];
	int64_t looked;
};

struct asked {
	char uri[URI_MAX + 1];
	bool begun;
};

/* ---- images ---- */

static void image_close(struct image *image)
{
	source_close(TAKE_PTR(image->source));
}

/* Opens an image that is new in the folder, in place of the one that was used longest ago. */
static void image_open(struct serve *serve, const char *digest)
{
	struct source *source = NULL;
	struct image *slot = NULL;

	for (int i = 0; i < IMAGES; i++) {
		struct image *each = &serve->images[i];

		if (each->source && strcmp(each->digest, digest) == 0)
			return;
		if (!slot || !each->source || (slot->source && each->used < slot->used))
			slot = each;
	}
	if (source_open_held(serve->held, digest, &source, NULL) < 0)
		return;
	image_close(slot);
	slot->source = source;
	memcpy(slot->digest, digest, SHA256_TEXT);
	slot->used = clock_real_ms();
}

static void images_look(struct serve *serve)
{
	const struct dirent *entry;
	int64_t now = clock_real_ms();
	DIR *dir;

	if (serve->looked && now - serve->looked < LOOK_MS)
		return;
	serve->looked = now;
	dir = opendir(serve->held);
	while (dir && (entry = readdir(dir)))
		if (sha256_hex_ok(entry->d_name))
			image_open(serve, entry->d_name);
	if (dir)
		closedir(dir);
}

static struct MHD_Response *packed_chunk(
	struct serve *serve, struct image *image, const struct sha256 *digest)
{
	uint32_t number = chunk_index_find(source_index(image->source), digest);

	for (; number != SOURCE_NONE;
		number = chunk_index_same(source_index(image->source), number)) {
		const void *packed;
		size_t len;

		if (source_has(image->source, number) &&
			source_packed(image->source, serve->coder, number, &packed, &len, NULL) ==
				0) {
			image->used = clock_real_ms();
			return MHD_create_response_from_buffer(
				len, (void *)packed, MHD_RESPMEM_MUST_COPY);
		}
	}
	return NULL;
}

static struct MHD_Response *held_chunk(struct serve *serve, const struct sha256 *digest)
{
	struct MHD_Response *response = NULL;

	pthread_mutex_lock(&serve->lock);
	for (int pass = 0; pass < 2 && !response; pass++) {
		if (pass)
			images_look(serve);
		for (int i = 0; i < IMAGES && !response; i++) {
			struct image *image = &serve->images[i];

			if (image->source && source_is_removed(image->source))
				image_close(image);
			if (image->source)
				response = packed_chunk(serve, image, digest);
		}
	}
	pthread_mutex_unlock(&serve->lock);
	return response;
}

void serve_forget(struct serve *serve, const char *digest)
{
	if (!serve)
		return;
	pthread_mutex_lock(&serve->lock);
	for (int i = 0; i < IMAGES; i++)
		if (serve->images[i].source && strcmp(serve->images[i].digest, digest) == 0)
			image_close(&serve->images[i]);
	pthread_mutex_unlock(&serve->lock);
}

/* ---- files ---- */

static struct MHD_Response *file_response(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
		if (fd >= 0)
			close(fd);
		return NULL;
	}
	return MHD_create_response_from_fd64((uint64_t)st.st_size, fd);
}

static struct MHD_Response *find(
	struct serve *serve, bool manifest, const struct sha256 *digest, const char *hex)
{
	struct MHD_Response *response = NULL;
	auto_free char *path = NULL;

	if (serve->held && manifest) {
		path = xasprintf("%s/%s/manifest", serve->held, hex);
		response = file_response(path);
	} else if (serve->held) {
		response = held_chunk(serve, digest);
	}
	if (response || !serve->store)
		return response;
	free(path);
	path = manifest ? chunkstore_manifest_path(serve->store, digest)
			: chunkstore_chunk_path(serve->store, digest);
	return file_response(path);
}

/* ---- requests ---- */

static enum MHD_Result say(
	struct MHD_Connection *connection, unsigned status, struct MHD_Response *response)
{
	static char none[] = "";
	enum MHD_Result result;

	if (!response)
		response = MHD_create_response_from_buffer(0, none, MHD_RESPMEM_PERSISTENT);
	if (status == MHD_HTTP_METHOD_NOT_ALLOWED)
		MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, "GET");
	if (status == MHD_HTTP_OK)
		MHD_add_response_header(
			response, MHD_HTTP_HEADER_CONTENT_TYPE, "application/octet-stream");
	else if (status != MHD_HTTP_NOT_FOUND) /* nothing that follows is read as a request */
		MHD_add_response_header(response, MHD_HTTP_HEADER_CONNECTION, "close");
	result = MHD_queue_response(connection, status, response);
	MHD_destroy_response(response);
	return result;
}

/* "/chunks/" or "/manifests/" and a digest, and nothing behind it. */
static bool path_parse(const char *uri, bool *ret_manifest, const char **ret_hex)
{
	*ret_manifest = str_starts(uri, "/manifests/");
	if (!*ret_manifest && !str_starts(uri, "/chunks/"))
		return false;
	*ret_hex = strrchr(uri, '/') + 1;
	return *ret_hex == uri + (*ret_manifest ? 11 : 8) && sha256_hex_ok(*ret_hex);
}

static bool has_header(struct MHD_Connection *connection, const char *name)
{
	return MHD_lookup_connection_value(connection, MHD_HEADER_KIND, name) != NULL;
}

static enum MHD_Result on_request(void *arg, struct MHD_Connection *connection, const char *url,
	const char *method, const char *version, const char *data, size_t *data_len, void **context)
{
	struct serve *serve = arg;
	struct asked *asked = *context;
	struct MHD_Response *response;
	struct sha256 digest;
	const char *hex;
	bool manifest;

	(void)url;
	(void)version;
	(void)data;
	if (!asked || *data_len)
		return MHD_NO;
	if (!asked->begun) {
		asked->begun = true;
		if (has_header(connection, MHD_HTTP_HEADER_CONTENT_LENGTH) ||
			has_header(connection, MHD_HTTP_HEADER_TRANSFER_ENCODING))
			return say(connection, MHD_HTTP_BAD_REQUEST, NULL);
		return MHD_YES;
	}
	if (strcmp(method, MHD_HTTP_METHOD_GET) != 0)
		return say(connection, MHD_HTTP_METHOD_NOT_ALLOWED, NULL);
	if (!path_parse(asked->uri, &manifest, &hex) || sha256_parse(hex, &digest) < 0)
		return say(connection, MHD_HTTP_NOT_FOUND, NULL);
	response = find(serve, manifest, &digest, hex);
	return say(connection, response ? MHD_HTTP_OK : MHD_HTTP_NOT_FOUND, response);
}

/* The request's line as it came: nobody has decoded anything yet. */
static void *on_uri(void *arg, const char *uri, struct MHD_Connection *connection)
{
	struct asked *asked = xnew(struct asked);

	(void)arg;
	(void)connection;
	if (strlen(uri) <= URI_MAX)
		strcpy(asked->uri, uri);
	return asked;
}

/* ---- connections ---- */

static int fd_of(struct MHD_Connection *connection)
{
	return MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD)->connect_fd;
}

static void on_completed(void *arg, struct MHD_Connection *connection, void **context,
	enum MHD_RequestTerminationCode code)
{
	struct serve *serve = arg;
	int fd = fd_of(connection);

	(void)code;
	free(*context);
	*context = NULL;
	pthread_mutex_lock(&serve->lock);
	for (int i = 0; i < CONNECTIONS; i++)
		if (serve->visitors[i].fd == fd)
			serve->visitors[i].since = clock_real_ms();
	pthread_mutex_unlock(&serve->lock);
}

static void on_connection(void *arg, struct MHD_Connection *connection, void **socket_context,
	enum MHD_ConnectionNotificationCode code)
{
	struct serve *serve = arg;
	int fd = fd_of(connection), wanted = code == MHD_CONNECTION_NOTIFY_STARTED ? -1 : fd;
	int64_t now = clock_real_ms();
	struct visitor *slot = NULL;

	(void)socket_context;
	pthread_mutex_lock(&serve->lock);
	for (int i = 0; i < CONNECTIONS; i++) {
		struct visitor *each = &serve->visitors[i];

		if (!slot && each->fd == wanted)
			slot = each;
		if (each->fd >= 0 && each->fd != fd && now - each->since > TURN_MS)
			shutdown(each->fd, SHUT_RDWR);
	}
	if (slot)
		*slot = (struct visitor){.fd = wanted < 0 ? fd : -1, .since = now};
	pthread_mutex_unlock(&serve->lock);
}

/* ---- life ---- */

static struct MHD_Daemon *daemon_start(struct serve *serve, const struct sockaddr_in *at)
{
	return MHD_start_daemon(MHD_USE_EPOLL_INTERNAL_THREAD, 0, NULL, NULL, on_request, serve,
		MHD_OPTION_SOCK_ADDR, at, MHD_OPTION_THREAD_POOL_SIZE, (unsigned)THREADS,
		MHD_OPTION_CONNECTION_LIMIT, (unsigned)CONNECTIONS,
		MHD_OPTION_PER_IP_CONNECTION_LIMIT, (unsigned)PER_ADDRESS,
		MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)IDLE_S, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
		(size_t)MEMORY, MHD_OPTION_URI_LOG_CALLBACK, on_uri, NULL,
		MHD_OPTION_NOTIFY_COMPLETED, on_completed, serve, MHD_OPTION_NOTIFY_CONNECTION,
		on_connection, serve, MHD_OPTION_LISTENING_ADDRESS_REUSE, 1u,
		MHD_OPTION_STRICT_FOR_CLIENT, 1, MHD_OPTION_END);
}

int serve_start(const struct serve_options *options, struct serve **ret_serve, struct error **err)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(options->port)};
	struct serve *serve;
	int r;

	if (options->address && inet_pton(AF_INET, options->address, &at.sin_addr) != 1)
		return error_make(err, -EINVAL, "%s is no address to listen on", options->address);
	serve = xnew(struct serve);
	serve->held = xstrdup(options->held);
	serve->store = xstrdup(options->store);
	serve->coder = chunk_coder_new();
	pthread_mutex_init(&serve->lock, NULL);
	for (int i = 0; i < CONNECTIONS; i++)
		serve->visitors[i].fd = -1;
	errno = 0;
	serve->daemon = daemon_start(serve, &at);
	if (!serve->daemon) {
		r = errno ? -errno : -EIO;
		serve_stop(serve);
		return error_make(err, r, "cannot listen on port %u for peers: %s", options->port,
			strerror(-r));
	}
	*ret_serve = serve;
	return 0;
}

void serve_stop(struct serve *serve)
{
	if (!serve)
		return;
	if (serve->daemon)
		MHD_stop_daemon(serve->daemon);
	for (int i = 0; i < IMAGES; i++)
		image_close(&serve->images[i]);
	chunk_coder_free(serve->coder);
	pthread_mutex_destroy(&serve->lock);
	free(serve->held);
	free(serve->store);
	free(serve);
}

uint16_t serve_port(const struct serve *serve)
{
	return MHD_get_daemon_info(serve->daemon, MHD_DAEMON_INFO_BIND_PORT)->port;
}
