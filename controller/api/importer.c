/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Runs nightclass-import as a child, because it reads foreign files and must do so in a jail of its
 * own, and because reading a disk image takes minutes that the loop does not have. What comes from
 * a URL is brought first by another child, nightclass-download, which reads no image.
 *
 * What is to be done is a row of the store; this file only works on the oldest row that runs. So a
 * controller that was killed in between takes up the same import: the download goes on at its last
 * byte, and the chunks that were cut are found again under their digests, for which the sweep of
 * the store at the start is left out when an import is to be taken up. Imports run one after the
 * other: two would only fight for disk and processor, and the revision of an image is the next free
 * one when its import starts.
 *
 * The children say what they do as JSON lines. They are read strictly within bounds: the children
 * handle hostile input, so their output is not trusted to be short. */
#include "controller/api/importer.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include "controller/api/http.h"
#include "controller/api/import_request.h"
#include "controller/api/uploads.h"
#include "controller/drive/drive.h"
#include "controller/store/cluster.h"
#include "controller/store/image.h"
#include "controller/store/publish.h"
#include "controller/store/store.h"
#include "images/hostroot.h"
#include "images/store.h"
#include "lib/hash.h"
#include "lib/clock.h"
#include "lib/log.h"
#include "lib/spawn.h"

enum { LINE_MAX_LEN = 8192, REASON_MAX = 4096, RETRY_MS = 5000 };

struct importer {
	struct controller *controller;
	int64_t id;	/* 0: none runs */
	int64_t broken; /* the one that a restart broke off, 0: none */
	struct import_request request;
	char *loaded; /* where the download goes, or NULL */
	bool loading; /* the child is nightclass-download */
	uint64_t revision, done, total, size, stored;
	char phase[16], *digest, *reason;
	bool warned;   /* that the reader has no user of its own */
	bool refused;  /* by what its files are: they fail again, however often they are tried */
	char *failure; /* how it ended, once it has; NULL: well */
	bool retrying; /* it has ended, and the store could not be told yet */
	struct buf line;
	int fd;
	pid_t pid;
	sd_event_source *io, *child, *next;
	struct loop_timer *retry;
};

/* The digest of an upload -> its path; a path stays one. */
static int resolve(struct controller *controller, const char *text, const char *field,
	char **ret_path, struct error **err)
{
	if (text && sha256_hex_ok(text))
		return upload_path(controller, text, field, ret_path, err);
	*ret_path = xstrdup(text);
	return 0;
}

/* STATE_DIR/loading/url-HASH: by the URL, so that a later try goes on with the same part. In a
 * folder of its own, since the child may write all of it, and uploads are trusted by their names.
 */
static char *loaded_path(const struct controller *controller, const char *url)
{
	const struct sha256 digest = sha256_of(url, strlen(url));
	char hex[SHA256_TEXT];
	return xasprintf(
		"%s/loading/url-%.32s", controller->config.state_dir, sha256_format(&digest, hex));
}

static void read_progress(struct importer *importer, const json_t *object)
{
	const char *phase = json_string_value(json_object_get(object, "phase"));
	snprintf(importer->phase, sizeof(importer->phase), "%s",
		phase && name_ok(phase) ? phase : "");
	importer->done = (uint64_t)json_integer_value(json_object_get(object, "done"));
	importer->total = (uint64_t)json_integer_value(json_object_get(object, "total"));
	auto_free char *topic = xasprintf("import/%lld", (long long)importer->id);
	http_wake(importer->controller->http, topic);
}

/* The child's words, with the field that they are about in front. */
static char *reason_of(const json_t *error)
{
	const char *text = json_string_value(json_object_get(error, "text")),
		   *field = json_string_value(json_object_get(error, "field"));
	if (!text || !text_ok(text, REASON_MAX))
		return xstrdup("the import failed without words that can be shown; try it again");
	return field && name_ok(field) ? xasprintf("%s: %s", field, text) : xstrdup(text);
}

/* Is the error about the files that were brought? Not what the disk, the lab server's end or a
 * writer of the files is to blame for, nor who named another format than theirs. */
static bool is_refusal(const struct importer *importer, const json_t *error)
{
	static const char *const codes[] = {"EINVAL", "E2BIG", "EPROTO"};
	const char *code = json_string_value(json_object_get(error, "code")),
		   *field = json_string_value(json_object_get(error, "field"));
	if (importer->loading || (importer->request.has_format && field && strcmp(field, "format") == 0))
		return false;
	for (size_t i = 0; code && i < ARRAY_LEN(codes); i++)
		if (strcmp(code, codes[i]) == 0)
			return true;
	return false;
}

/* A setting or a service is missing, which nobody would see by the image that comes of it. */
static void warn(struct importer *importer, const char *why)
{
	auto_free char *subject = xasprintf("image/%s", importer->request.name);
	auto_error struct error *err = NULL;
	if (importer->warned || !text_ok(why, REASON_MAX))
		return;
	importer->warned = true;
	int r = store_event(importer->controller->store, "import.reader", subject, NULL, &err,
		"the file of image %s is read under the controller's own user (%s); start "
		"nightclass-reader.socket, see import_reader in nightclass.conf(5)",
		importer->request.name, why);
	if (r < 0)
		log_error("import %lld: %s", (long long)importer->id, error_text(err, r));
}

static void read_line(struct importer *importer, const char *line)
{
	auto_json json_t *object = json_loads(line, JSON_REJECT_DUPLICATES, NULL);
	const json_t *error = json_object_get(object, "error"),
		     *digest = json_object_get(object, "digest"),
		     *warning = json_object_get(object, "warning");
	if (json_is_string(warning)) {
		warn(importer, json_string_value(warning));
	} else if (error) {
		free(importer->reason);
		importer->reason = reason_of(error);
		importer->refused = is_refusal(importer, error);
	} else if (json_is_string(digest) && sha256_hex_ok(json_string_value(digest))) {
		free(importer->digest);
		importer->digest = xstrdup(json_string_value(digest));
		importer->size = (uint64_t)json_integer_value(json_object_get(object, "size"));
		importer->stored = (uint64_t)json_integer_value(json_object_get(object, "stored"));
	} else if (json_object_get(object, "done")) {
		read_progress(importer, object);
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

static void clear_child(struct importer *importer)
{
	importer->io = sd_event_source_disable_unref(importer->io);
	importer->child = sd_event_source_disable_unref(importer->child);
	if (importer->fd >= 0)
		close(importer->fd);
	importer->fd = -1;
	importer->done = importer->total = 0;
	importer->phase[0] = '\0';
	buf_done(&importer->line);
}

static void clear(struct importer *importer)
{
	clear_child(importer);
	import_request_done(&importer->request);
	free(importer->loaded);
	free(importer->digest);
	free(importer->reason);
	free(importer->failure);
	*importer = (struct importer){.controller = importer->controller,
		.next = importer->next,
		.retry = importer->retry,
		.broken = importer->broken,
		.fd = -1};
}

/* The end of an import, good or bad, in one transaction. */
static int end_write(struct importer *importer, struct error **err)
{
	struct store *store = importer->controller->store;
	bool good = !importer->failure;
	int r = store_begin(store, err);
	if (r < 0)
		return r;
	if (good) {
		const struct image image = {.name = importer->request.name,
			.revision = importer->revision,
			.digest = importer->digest,
			.size = importer->size,
			.stored = importer->stored,
			.created = clock_wall()};
		r = store_image_insert(store, &image, err);
		if (r >= 0 && !importer->request.draft)
			r = store_image_publish(store, image.name, image.revision, err);
	}
	if (r >= 0)
		r = store_import_set_state(store, importer->id, good ? IMPORT_DONE : IMPORT_FAILED,
			good ? importer->digest : NULL, importer->failure, err);
	if (r >= 0)
		return store_commit(store, err);
	store_rollback(store);
	return r;
}

/* What the store will say again, however often it is asked. */
static bool is_final(int code)
{
	return code == -EEXIST || code == -EINVAL || code == -ENOENT;
}

/* What was brought for it, when nobody else needs it: used up, or refused. What failed for another
 * reason may be tried again without being sent again. After the commit: until then the same import
 * may have to be begun anew. */
static void files_drop(struct importer *importer)
{
	if (importer->loaded && !importer->loading)
		unlink(importer->loaded);
	if (importer->failure && !importer->refused)
		return;
	upload_remove(importer->controller, importer->request.upload);
	upload_remove(importer->controller, importer->request.kernel);
	upload_remove(importer->controller, importer->request.initrd);
}

/* Writes the end down and goes on with the next import; both again later when the store cannot. */
static void end(void *arg)
{
	struct importer *importer = arg;
	struct controller *controller = importer->controller;
	auto_error struct error *err = NULL, *again = NULL;
	int64_t id = importer->id;
	int r = end_write(importer, &err);
	if (is_final(r) && !importer->failure) {
		importer->failure = xstrdup(error_text(err, r));
		r = end_write(importer, &again);
	}
	if (r < 0 && !importer->retrying)
		log_error("import %lld: its end cannot be written down yet: %s", (long long)id,
			error_text(again ? again : err, r));
	if (r < 0 && !is_final(r)) {
		importer->retrying = true;
		loop_timer_at(importer->retry, clock_mono_ms() + RETRY_MS);
		return;
	}
	files_drop(importer);
	clear(importer);
	auto_free char *topic = xasprintf("import/%lld", (long long)id);
	http_wake(controller->http, topic);
	drive_kick(controller);
	importer_kick(importer);
}

/* reason NULL: it ended well, if it left a digest. */
static void finish(struct importer *importer, const char *reason)
{
	clear_child(importer);
	if (!reason && !importer->digest)
		reason = "the import ended without a result; try it again";
	importer->failure = xstrdup(reason);
	end(importer);
}

static int import_start(struct importer *importer, struct error **err);

static int on_child(sd_event_source *source, const siginfo_t *info, void *arg)
{
	struct importer *importer = arg;
	const char *what = importer->loading ? "nightclass-download" : "nightclass-import";
	auto_free char *reason = NULL;
	auto_error struct error *err = NULL;
	(void)source;
	importer->pid = 0;
	read_output(importer);
	if (info->si_code != CLD_EXITED)
		reason = xasprintf("%s was ended by signal %d; try it again, and see the server's "
				   "log if it is ended once more",
			what, info->si_status);
	else if (info->si_status != 0)
		reason = importer->reason
				 ? xstrdup(importer->reason)
				 : xasprintf("%s ended with status %d", what, info->si_status);
	if (reason || !importer->loading)
		return finish(importer, reason), 0;
	clear_child(importer);
	int r = import_start(importer, &err);
	if (r < 0)
		finish(importer, error_text(err, r));
	return 0;
}

static int spawn(struct importer *importer, const char *const *argv, struct error **err)
{
	sd_event *event = loop_event(importer->controller->loop);
	int fds[3] = {-1, -1, -1};
	int r = spawn_start(argv, NULL, 2, fds, &importer->pid, err);
	if (r < 0)
		return r;
	importer->fd = fds[1];
	fcntl(importer->fd, F_SETFL, O_NONBLOCK);
	r = sd_event_add_io(event, &importer->io, importer->fd, EPOLLIN, on_output, importer);
	if (r >= 0)
		r = sd_event_add_child(
			event, &importer->child, importer->pid, WEXITED, on_child, importer);
	if (r >= 0)
		return 0;
	kill(importer->pid, SIGKILL); /* nobody would hear of its end */
	waitpid(importer->pid, NULL, 0);
	importer->pid = 0;
	return error_make(err, r, "cannot watch %s: %s", argv[0], strerror(-r));
}

/* Puts the options that have a value behind argv[n]; how many words there are then. */
static size_t add_options(
	const char **argv, size_t n, const char *const (*pairs)[2], size_t n_pairs)
{
	for (size_t i = 0; i < n_pairs; i++) {
		if (!pairs[i][1])
			continue;
		argv[n++] = pairs[i][0];
		argv[n++] = pairs[i][1];
	}
	return n;
}

/* The lab's own networks, which nobody's URL may lead into even where they are public; caller
 * frees. */
static char *own_networks(const struct config *config)
{
	char lan[PREFIX4_TEXT], cluster[PREFIX4_TEXT], uplink[IP4_TEXT];
	return xasprintf("%s,%s%s%s", prefix4_format(prefix4_network(config->lan_address), lan),
		prefix4_format(config->cluster_net, cluster),
		config->uplink_address.host ? "," : "",
		config->uplink_address.host ? ip4_format(config->uplink_address, uplink) : "");
}

/* First child, for a URL. */
static int download_start(struct importer *importer, struct error **err)
{
	const struct import_request *request = &importer->request;
	const struct config *config = &importer->controller->config;
	auto_free char *self = spawn_program("nightclass-download"),
		       *max = xasprintf("%llu", (unsigned long long)config->import_url_max),
		       *denied = own_networks(config);
	const char *argv[14] = {self, "--into", importer->loaded, "--max", max};
	const char *const pairs[][2] = {{"--sha256", request->sha256},
		{"--allow", config->import_urls_allowed}, {"--deny", denied}};
	size_t n = add_options(argv, 5, pairs, ARRAY_LEN(pairs));
	argv[n] = request->url;
	importer->loading = true;
	return spawn(importer, argv, err);
}

/* Second child, or the only one. */
static int import_start(struct importer *importer, struct error **err)
{
	struct controller *controller = importer->controller;
	const struct import_request *request = &importer->request;
	auto_free char *self = spawn_program("nightclass-import"),
		       *store = xasprintf("%s/store", controller->config.state_dir);
	auto_free char *revision = xasprintf("%llu", (unsigned long long)importer->revision);
	auto_free char *level =
		request->level ? xasprintf("%llu", (unsigned long long)request->level) : NULL;
	auto_free char *file = NULL, *kernel = NULL, *initrd = NULL;
	const char *argv[24] = {
		self, "--store", store, "--name", request->name, "--revision", revision};
	importer->loading = false;
	int r = resolve(controller,
		importer->loaded  ? importer->loaded
		: request->upload ? request->upload
				  : request->path,
		"upload", &file, err);
	if (r >= 0)
		r = resolve(controller, request->kernel, "kernel", &kernel, err);
	if (r >= 0)
		r = resolve(controller, request->initrd, "initrd", &initrd, err);
	if (r < 0)
		return r;
	const char *const pairs[][2] = {
		{"--format", request->has_format ? import_formats[request->format] : NULL},
		{"--kernel", kernel}, {"--initrd", initrd}, {"--cmdline", request->cmdline},
		{"--level", level},
		{"--reader", controller->config.import_reader}};
	size_t n = add_options(argv, 7, pairs, ARRAY_LEN(pairs));
	if (importer->id == importer->broken)
		argv[n++] = "--resume";
	argv[n] = file;
	return spawn(importer, argv, err);
}

static int begin(struct importer *importer, const struct import *import, struct error **err)
{
	auto_json json_t *body = NULL;
	importer->id = import->id;
	int r = json_parse_object(import->request, strlen(import->request), &body, err);
	if (r >= 0)
		r = import_request_read(body, &importer->request, err);
	if (r >= 0)
		r = store_image_next_revision(
			importer->controller->store, import->name, &importer->revision, err);
	if (r < 0)
		return r;
	if (importer->request.url)
		importer->loaded = loaded_path(importer->controller, importer->request.url);
	/* It is there when a restart broke off the import of it, or a crash its removal. */
	if (importer->loaded && import->id != importer->broken)
		unlink(importer->loaded);
	if (importer->loaded && access(importer->loaded, R_OK) != 0)
		return download_start(importer, err);
	return import_start(importer, err);
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

/* What must stay: the images of the database, and what open clusters are made of. */
static int live_list(struct store *store, struct digests *live, struct error **err)
{
	struct images images = {0};
	struct clusters clusters = {0};
	const struct cluster_filter open = {.open_only = true};
	int r = store_image_list(store, NULL, &images, err);
	if (r >= 0)
		r = store_cluster_list(store, &open, &clusters, err);
	vec_each (struct image, image, &images)
		sha256_parse(image->digest, vec_add(live));
	vec_each (struct cluster, cluster, &clusters)
		sha256_parse(cluster->image, vec_add(live));
	images_done(&images);
	clusters_done(&clusters);
	return r;
}

/* The database never knew an image. Either there was none, or it is a new one beside a store that
 * is full; whoever lost the old one still has the images, and shall not lose them too. */
static int keep_all(const struct chunkstore *chunks, struct error **err)
{
	struct strings names = {0};
	const char *one = NULL;
	size_t n = 0;
	int r = chunkstore_names(chunks, &names, err);
	vec_each (char *, name, &names)
		if (strcmp(*name, HOSTROOT_NAME) != 0) {
			one = *name;
			n++;
		}
	if (n > 0)
		log_warning(
			"images: the database knows no image, but %s holds %zu (%s among "
			"them), which are all kept. If the database was lost, stop nightclassd "
			"and put its backup back before anything is imported: once the database "
			"knows an image, a start removes all others. If they are not needed any "
			"more, nightclass image gc removes them",
			chunkstore_dir(chunks), n, one);
	strings_done(&names);
	return r;
}

/* Manifests that no image or open cluster names go, and the chunks only they named; where no image
 * was ever known, only chunks that no manifest names, by the opening. At the start alone: later an
 * import or another lab's image may be on its way in. What cannot be swept now waits for the next
 * start. */
static int sweep(struct controller *controller, struct error **err)
{
	auto_free char *dir = xasprintf("%s/store", controller->config.state_dir);
	auto_chunkstore struct chunkstore *chunks = NULL;
	struct chunkstore_swept swept = {0};
	struct digests live = {0};
	bool ever = true;
	int r = live_list(controller->store, &live, err);
	if (r >= 0)
		r = store_image_ever(controller->store, &ever, err);
	if (r >= 0)
		r = chunkstore_open(dir, CHUNKSTORE_WRITE, &chunks, err);
	if (r >= 0)
		r = !ever && live.n == 0
			    ? keep_all(chunks, err)
			    : chunkstore_gc(chunks, live.at, live.n, false, &swept, err);
	vec_done(&live);
	if (r >= 0 && swept.chunks + swept.manifests > 0)
		log_info("images: %llu manifests and %llu chunks (%llu bytes) were swept",
			(unsigned long long)swept.manifests, (unsigned long long)swept.chunks,
			(unsigned long long)swept.bytes);
	return r;
}

/* The first import that was running when we ended. */
static int find_broken(struct importer *importer, struct error **err)
{
	struct imports imports = {0};
	int r = store_import_list(importer->controller->store, &imports, err);
	vec_each (struct import, import, &imports)
		if (import->state == IMPORT_RUNNING && importer->broken == 0)
			importer->broken = import->id;
	imports_done(&imports);
	return r;
}

int importer_new(struct controller *controller, struct importer **ret_importer, struct error **err)
{
	struct importer *importer = xnew(struct importer);
	importer->controller = controller;
	importer->fd = -1;
	auto_error struct error *why = NULL;
	importer->retry = loop_timer_new(controller->loop, end, importer);
	int r = find_broken(importer, &why);
	if (r >= 0 && importer->broken == 0)
		r = sweep(controller, &why);
	if (r < 0)
		log_warning("images: the store was not swept: %s", error_text(why, r));
	r = sd_event_add_defer(loop_event(controller->loop), &importer->next, on_next, importer);
	if (r < 0) {
		loop_timer_free(importer->retry);
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
	loop_timer_free(importer->retry);
	sd_event_source_disable_unref(importer->next);
	free(importer);
}

struct import_progress importer_progress(const struct importer *importer, int64_t id)
{
	bool mine = importer && importer->id == id;
	return mine ? (struct import_progress){importer->phase, importer->done, importer->total}
		    : (struct import_progress){"waiting", 0, 0};
}
