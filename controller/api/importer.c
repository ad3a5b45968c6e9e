/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Runs nightclass-import as a child, because it reads foreign files and must do so in a jail of its
 * own, and because reading a disk image takes minutes that the loop does not have.
 *
 * What is to be done is a row of the store; this file only works on the oldest row that runs. So a
 * controller that was killed in between starts the same import anew, and since chunks are named by
 * their content nothing is done twice. Imports run one after the other: two would only fight for
 * disk and processor, and the revision of an image is the next free one when its import starts.
 *
 * The child says what it does as JSON lines. They are read strictly within bounds: it handles
 * hostile input, so its output is not trusted to be short. */
#include "controller/api/importer.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include "controller/api/http.h"
#include "controller/api/uploads.h"
#include "controller/drive/drive.h"
#include "controller/store/cluster.h"
#include "controller/store/image.h"
#include "controller/store/publish.h"
#include "controller/store/store.h"
#include "images/store.h"
#include "lib/clock.h"
#include "lib/log.h"
#include "lib/spawn.h"

enum { LINE_MAX_LEN = 8192 };

struct importer {
	struct controller *controller;
	int64_t id; /* 0: none runs */
	char *name, *upload;
	uint64_t revision, done, total, size, stored;
	char *digest, *reason;
	bool draft; /* to be published by somebody later */
	struct buf line;
	int fd;
	pid_t pid;
	sd_event_source *io, *child, *next;
};

static const char *const formats[] = {"raw", "qcow2", NULL};
static const struct json_field fields[] = {
	FIELD(struct import_request, name, JSON_KIND_NAME, true),
	FIELD(struct import_request, upload, JSON_KIND_SHA256, false),
	FIELD(struct import_request, path, JSON_KIND_STRING, false),
	{.name = "format",
		.kind = JSON_KIND_ENUM,
		.offset = offsetof(struct import_request, format),
		.has_offset = offsetof(struct import_request, has_format),
		.names = formats},
	FIELD(struct import_request, kernel, JSON_KIND_STRING, false),
	FIELD(struct import_request, initrd, JSON_KIND_STRING, false),
	FIELD_MAX(struct import_request, cmdline, JSON_KIND_STRING, false, 1024),
	FIELD(struct import_request, draft, JSON_KIND_BOOL, false),
};

void import_request_done(struct import_request *request)
{
	json_done(fields, ARRAY_LEN(fields), request);
}

static int check_file(const char *text, const char *field, struct error **err)
{
	if (!text || sha256_hex_ok(text) || (text[0] == '/' && !strstr(text, "/../")))
		return 0;
	return error_field(err, -EINVAL, field,
		"the SHA-256 of an upload, or an absolute path on the lab server");
}

int importer_read(const json_t *body, struct import_request *ret_request, struct error **err)
{
	struct import_request request = {0};
	int r = json_read(body, fields, ARRAY_LEN(fields), &request, err);
	if (r < 0)
		return r;
	if (!request.upload == !request.path)
		r = error_field(err, -EINVAL, "upload", "give one of upload and path");
	else if (request.path && request.path[0] != '/')
		r = error_field(err, -EINVAL, "path", "not an absolute path");
	else if ((request.initrd || request.cmdline) && !request.kernel)
		r = error_field(err, -EINVAL, "kernel", "initrd and cmdline need a kernel");
	if (r >= 0)
		r = check_file(request.kernel, "kernel", err);
	if (r >= 0)
		r = check_file(request.initrd, "initrd", err);
	if (r < 0) {
		import_request_done(&request);
		return r;
	}
	*ret_request = request;
	return 0;
}

/* The digest of an upload -> its path; a path stays one. */
static int resolve(
	struct controller *controller, const char *text, char **ret_path, struct error **err)
{
	if (text && sha256_hex_ok(text))
		return upload_path(controller, text, ret_path, err);
	*ret_path = xstrdup(text);
	return 0;
}

/* Our sibling in the same folder, else whatever PATH has. */
static char *program(void)
{
	char self[4096];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	if (n > 0) {
		self[n] = '\0';
		char *slash = strrchr(self, '/');
		if (slash) {
			*slash = '\0';
			auto_free char *beside = xasprintf("%s/nightclass-import", self);
			if (access(beside, X_OK) == 0)
				return TAKE_PTR(beside);
		}
	}
	return xstrdup("nightclass-import");
}

static void read_line(struct importer *importer, const char *line)
{
	auto_json json_t *object = json_loads(line, JSON_REJECT_DUPLICATES, NULL);
	const json_t *error = json_object_get(object, "error"),
		     *digest = json_object_get(object, "digest");
	if (error) {
		const char *text = json_string_value(json_object_get(error, "text"));
		free(importer->reason);
		importer->reason =
			xstrdup(text && text_ok(text, 1024) ? text : "the import failed");
	} else if (json_is_string(digest) && sha256_hex_ok(json_string_value(digest))) {
		free(importer->digest);
		importer->digest = xstrdup(json_string_value(digest));
		importer->size = (uint64_t)json_integer_value(json_object_get(object, "size"));
		importer->stored = (uint64_t)json_integer_value(json_object_get(object, "stored"));
	} else if (object) {
		importer->done = (uint64_t)json_integer_value(json_object_get(object, "done"));
		importer->total = (uint64_t)json_integer_value(json_object_get(object, "total"));
		auto_free char *topic = xasprintf("import/%lld", (long long)importer->id);
		http_wake(importer->controller->http, topic);
	}
}

static void read_output(struct importer *importer)
{
	char block[4096];
	ssize_t n;
	while ((n = read(importer->fd, block, sizeof(block))) > 0) {
		for (ssize_t i = 0; i < n; i++) {
			if (block[i] != '\n') {
				if (importer->line.len < LINE_MAX_LEN)
					buf_add(&importer->line, &block[i], 1);
				continue;
			}
			if (importer->line.len)
				read_line(importer, importer->line.text);
			importer->line.len = 0;
			if (importer->line.text)
				importer->line.text[0] = '\0';
		}
	}
	if (n == 0)
		sd_event_source_set_enabled(importer->io, SD_EVENT_OFF);
}

static int on_output(sd_event_source *source, int fd, uint32_t events, void *arg)
{
	(void)source;
	(void)fd;
	(void)events;
	read_output(arg);
	return 0;
}

static void clear(struct importer *importer)
{
	importer->io = sd_event_source_disable_unref(importer->io);
	importer->child = sd_event_source_disable_unref(importer->child);
	if (importer->fd >= 0)
		close(importer->fd);
	free(importer->name);
	free(importer->upload);
	free(importer->digest);
	free(importer->reason);
	buf_done(&importer->line);
	*importer = (struct importer){
		.controller = importer->controller, .next = importer->next, .fd = -1};
}

/* The end of an import, good or bad, in one transaction. */
static void finish(struct importer *importer, const char *reason)
{
	struct controller *controller = importer->controller;
	struct store *store = controller->store;
	auto_error struct error *err = NULL;
	int64_t id = importer->id;
	bool good = reason == NULL && importer->digest;
	int r = store_begin(store, &err);
	if (r >= 0) {
		if (good) {
			const struct image image = {.name = importer->name,
				.revision = importer->revision,
				.digest = importer->digest,
				.size = importer->size,
				.stored = importer->stored,
				.created = clock_wall()};
			r = store_image_insert(store, &image, &err);
			if (r >= 0 && !importer->draft)
				r = store_image_publish(store, image.name, image.revision, &err);
		}
		if (r >= 0)
			r = store_import_set_state(store, id, good ? IMPORT_DONE : IMPORT_FAILED,
				good ? importer->digest : NULL,
				good	 ? NULL
				: reason ? reason
					 : "the import ended without a result",
				&err);
		if (r >= 0)
			r = store_commit(store, &err);
		else
			store_rollback(store);
	}
	if (r < 0)
		log_error("import %lld: %s", (long long)id, error_text(err, r));
	else if (good && importer->upload)
		upload_remove(controller, importer->upload);
	clear(importer);
	auto_free char *topic = xasprintf("import/%lld", (long long)id);
	http_wake(controller->http, topic);
	drive_kick(controller);
	if (r >= 0)
		importer_kick(importer);
}

static int on_child(sd_event_source *source, const siginfo_t *info, void *arg)
{
	struct importer *importer = arg;
	auto_free char *reason = NULL;
	(void)source;
	importer->pid = 0;
	read_output(importer);
	if (info->si_code != CLD_EXITED)
		reason = xasprintf("nightclass-import was ended by signal %d", info->si_status);
	else if (info->si_status != 0)
		reason = importer->reason ? xstrdup(importer->reason)
					  : xasprintf("nightclass-import ended with status %d",
						    info->si_status);
	finish(importer, reason);
	return 0;
}

static int spawn(
	struct importer *importer, const struct import_request *request, struct error **err)
{
	struct controller *controller = importer->controller;
	sd_event *event = loop_event(controller->loop);
	auto_free char *self = program(),
		       *store = xasprintf("%s/store", controller->config.state_dir);
	auto_free char *revision = xasprintf("%llu", (unsigned long long)importer->revision);
	auto_free char *file = NULL, *kernel = NULL, *initrd = NULL;
	const char *argv[20] = {
		self, "--store", store, "--name", importer->name, "--revision", revision};
	size_t n = 7;
	int fds[3] = {-1, -1, -1};
	int r = resolve(controller, request->upload ? request->upload : request->path, &file, err);
	if (r >= 0)
		r = resolve(controller, request->kernel, &kernel, err);
	if (r >= 0)
		r = resolve(controller, request->initrd, &initrd, err);
	if (r < 0)
		return r;
	const char *const pairs[][2] = {
		{"--format", request->has_format ? formats[request->format] : NULL},
		{"--kernel", kernel}, {"--initrd", initrd}, {"--cmdline", request->cmdline}};
	for (size_t i = 0; i < ARRAY_LEN(pairs); i++) {
		if (!pairs[i][1])
			continue;
		argv[n++] = pairs[i][0];
		argv[n++] = pairs[i][1];
	}
	argv[n] = file;
	r = spawn_start(argv, NULL, 2, fds, &importer->pid, err);
	if (r < 0)
		return r;
	importer->fd = fds[1];
	fcntl(importer->fd, F_SETFL, O_NONBLOCK);
	r = sd_event_add_io(event, &importer->io, importer->fd, EPOLLIN, on_output, importer);
	if (r >= 0)
		r = sd_event_add_child(
			event, &importer->child, importer->pid, WEXITED, on_child, importer);
	return r < 0 ? error_make(err, r, "cannot watch nightclass-import: %s", strerror(-r)) : 0;
}

static int begin(struct importer *importer, const struct import *import, struct error **err)
{
	struct import_request request = {0};
	auto_json json_t *body = NULL;
	importer->id = import->id;
	importer->name = xstrdup(import->name);
	int r = json_parse_object(import->request, strlen(import->request), &body, err);
	if (r >= 0)
		r = importer_read(body, &request, err);
	if (r >= 0)
		r = store_image_next_revision(
			importer->controller->store, import->name, &importer->revision, err);
	if (r >= 0) {
		importer->upload = xstrdup(request.upload);
		importer->draft = request.draft;
		r = spawn(importer, &request, err);
	}
	import_request_done(&request);
	return r;
}

static int on_next(sd_event_source *source, void *arg)
{
	struct importer *importer = arg;
	struct imports imports = {0};
	auto_error struct error *err = NULL;
	(void)source;
	if (importer->id != 0)
		return 0;
	int r = store_import_list(importer->controller->store, &imports, &err);
	if (r < 0)
		log_error("imports: %s", error_text(err, r));
	vec_each (struct import, import, &imports) {
		if (import->state != IMPORT_RUNNING)
			continue;
		r = begin(importer, import, &err);
		if (r < 0)
			finish(importer, error_text(err, r));
		break;
	}
	imports_done(&imports);
	return 0;
}

void importer_kick(struct importer *importer)
{
	sd_event_source_set_enabled(importer->next, SD_EVENT_ONESHOT);
}

/* Manifests that no image or open cluster names go, and the chunks only they named. At the start
 * alone: later an import or another lab's image may be on its way in. What cannot be swept now
 * waits for the next start. */
static int sweep(struct controller *controller, struct error **err)
{
	auto_free char *dir = xasprintf("%s/store", controller->config.state_dir);
	auto_chunkstore struct chunkstore *chunks = NULL;
	struct images images = {0};
	struct clusters clusters = {0};
	struct chunkstore_swept swept = {0};
	VEC_OF(digests, struct sha256) live = {0};
	const struct cluster_filter open = {.open_only = true};
	int r = store_image_list(controller->store, NULL, &images, err);
	if (r >= 0)
		r = store_cluster_list(controller->store, &open, &clusters, err);
	vec_each (struct image, image, &images)
		sha256_parse(image->digest, vec_add(&live));
	vec_each (struct cluster, cluster, &clusters)
		sha256_parse(cluster->image, vec_add(&live));
	images_done(&images);
	clusters_done(&clusters);
	if (r >= 0)
		r = chunkstore_open(dir, CHUNKSTORE_WRITE, &chunks, err);
	if (r >= 0)
		r = chunkstore_gc(chunks, live.at, live.n, false, &swept, err);
	vec_done(&live);
	if (r >= 0 && swept.chunks + swept.manifests > 0)
		log_info("images: %llu manifests and %llu chunks (%llu bytes) were swept",
			(unsigned long long)swept.manifests, (unsigned long long)swept.chunks,
			(unsigned long long)swept.bytes);
	return r;
}

int importer_new(struct controller *controller, struct importer **ret_importer, struct error **err)
{
	struct importer *importer = xnew(struct importer);
	importer->controller = controller;
	importer->fd = -1;
	auto_error struct error *why = NULL;
	int r = sweep(controller, &why);
	if (r < 0)
		log_warning("images: the store was not swept: %s", error_text(why, r));
	r = sd_event_add_defer(loop_event(controller->loop), &importer->next, on_next, importer);
	if (r < 0) {
		free(importer);
		return error_make(err, r, "imports: %s", strerror(-r));
	}
	*ret_importer = importer;
	return 0;
}

void importer_free(struct importer *importer)
{
	if (!importer)
		return;
	if (importer->pid > 0) {
		kill(importer->pid, SIGTERM);
		waitpid(importer->pid, NULL, 0);
	}
	clear(importer);
	sd_event_source_disable_unref(importer->next);
	free(importer);
}

void importer_progress(
	const struct importer *importer, int64_t id, uint64_t *ret_done, uint64_t *ret_total)
{
	bool mine = importer && importer->id == id;
	*ret_done = mine ? importer->done : 0;
	*ret_total = mine ? importer->total : 0;
}
