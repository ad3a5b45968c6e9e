/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The sender of images as a child of the daemon.
 *
 * It is started by the first boot script that names the cast (a host's root image comes by it too),
 * or by the first goal that names an image its PC lacks, gets further digests on its standard input
 * while it runs, and is ended after nobody listened to it for a while, or when no PC is lent any
 * more; so a lab without work sends nothing and keeps no process. It dies with us, for its input
 * ends then. Where the lab has no multicast it is the meeting point and the root of the chain,
 * nothing else.
 *
 * Nothing depends on it: a host that finds no cast goes on by its peers and by HTTP, so a sender that
 * cannot start or dies is one line in the log, and it is not started again before a pause. The same
 * goes for a single image that it cannot open: hosts would ask for it in vain, so no goal names the
 * cast for it until it is offered again, after the same pause.
 *
 * What it says of receivers comes, in the end, from the segment, where anybody may speak in the name
 * of a PC: names are looked up among this lab's PCs before they become an event, and of each PC and
 * image there is one a minute, so that no flood fills log and store. How far each PC is comes with its
 * own report over TLS, as for any other way.
 */
#include "controller/drive/cast.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include "controller/drive/state.h"
#include "controller/store/pc.h"
#include "controller/store/store.h"
#include "lib/clock.h"
#include "lib/hash.h"
#include "lib/log.h"
#include "lib/spawn.h"

enum {
	LINE_MAX_LEN = 1 << 20, /* a line of progress names every receiver */
	PIECE = 32 << 10,
	IDLE_MS = 10 * 60 * 1000,
	AGAIN_MS = 60 * 1000,
	DIGESTS_MAX = 64, /* of one sender */
	TOLD_AGAIN_MS = 60 * 1000,
	TOLD_MAX = 1024, /* events in that time */
};

/* What was heard of lately. */
struct told {
	char *what;
	int64_t at_ms;
};
VEC_OF(tolds, struct told);

struct cast {
	struct controller *controller;
	pid_t pid;
	int in, out;
	sd_event_source *io, *child;
	struct strings digests; /* that it was told */
	struct buf line;
	struct tolds told;    /* "PC/DIGEST" of events within TOLD_AGAIN_MS */
	struct tolds refused; /* digests that a sender could not open within AGAIN_MS */
	int64_t busy_ms;  /* somebody listened last */
	int64_t began_ms; /* the last start, 0: never */
	bool ending;
	char root[SHA256_TEXT]; /* of the host's root image, "": not cast yet */
	bool root_fails;	/* the last PC of which we know had to do without it */
};

/* ---- what it says ---- */

/* The others of a lab will do as the last one did. */
static void root_whole(struct cast *cast, const char *name)
{
	cast->root_fails = false;
	plan_admit_end(&cast->controller->drive->admits, name);
}

/* All that is older than `pause_ms`. */
static void told_forget(struct tolds *list, int64_t now_ms, int64_t pause_ms)
{
	for (size_t i = list->n; i-- > 0;)
		if (now_ms - list->at[i].at_ms >= pause_ms) {
			free(list->at[i].what);
			vec_remove(list, i);
		}
}

static bool told_has(const struct tolds *list, const char *what)
{
	vec_each (const struct told, told, list)
		if (strcmp(told->what, what) == 0)
			return true;
	return false;
}

/* Was it told of this PC and image lately? Else it is from now on. */
static bool told_lately(struct cast *cast, const char *name, const char *image)
{
	auto_free char *what = xasprintf("%s/%s", name, image);
	int64_t now_ms = clock_real_ms();
	told_forget(&cast->told, now_ms, TOLD_AGAIN_MS);
	if (told_has(&cast->told, what))
		return true;
	if (cast->told.n == TOLD_MAX)
		return true;
	vec_push(&cast->told, ((struct told){TAKE_PTR(what), now_ms}));
	return false;
}

/* {"event":LANE,"name":PC,"image":DIGEST,"reason":TEXT} */
static void event_said(struct cast *cast, const json_t *object)
{
	struct store *store = cast->controller->store;
	const char *lane = json_string_value(json_object_get(object, "event"));
	const char *name = json_string_value(json_object_get(object, "name"));
	const char *image = json_string_value(json_object_get(object, "image"));
	const char *reason = json_string_value(json_object_get(object, "reason"));
	struct pc pc = {0};
	if (!lane || !name || !image || !name_ok(name))
		return;
	bool root = strcmp(image, cast->root) == 0;
	if (root && strcmp(lane, "done") == 0)
		root_whole(cast, name);
	if (!reason || !text_ok(reason, 512) || store_pc_get(store, name, &pc, NULL) < 0)
		return;
	pc_done(&pc);
	if (told_lately(cast, name, image))
		return;
	auto_free char *subject = xasprintf("pc/%s", name);
	auto_free char *what = root ? xstrdup("the host root") : xasprintf("image %.12s", image);
	log_notice("cast: PC %s, %s: %s", name, what, reason);
	store_event(store, root ? "boot.cast" : "image.cast", subject, NULL, NULL,
		"PC %s leaves the cast of %s: %s", name, what, reason);
}

/* Who listens, or takes part in a chain that begins here, keeps it alive. */
static void progress_said(struct cast *cast, const json_t *object)
{
	const json_t *all = json_object_get(object, "receivers"), *one;
	size_t i;
	if (json_integer_value(json_object_get(object, "chain")) > 0)
		cast->busy_ms = clock_real_ms();
	json_array_foreach(all, i, one)
	{
		const char *lane = json_string_value(json_object_get(one, "lane"));
		if (lane && strcmp(lane, "multicast") == 0)
			cast->busy_ms = clock_real_ms();
	}
}

/* It cannot send this image: what was told it is taken back. */
static void image_refused(struct cast *cast, const char *digest)
{
	for (size_t i = 0; i < cast->digests.n; i++)
		if (strcmp(cast->digests.at[i], digest) == 0) {
			vec_push(&cast->refused, ((struct told){cast->digests.at[i], clock_real_ms()}));
			vec_remove(&cast->digests, i);
			return;
		}
}

/* {"error":{"text":TEXT}}, of one image with "image":DIGEST */
static void error_said(struct cast *cast, const json_t *object)
{
	const char *text = json_string_value(json_object_get(json_object_get(object, "error"), "text"));
	const char *image = json_string_value(json_object_get(object, "image"));
	if (!text)
		return;
	if (image)
		image_refused(cast, image);
	if (text_ok(text, 1024))
		log_warning("cast: %s%s", text,
			image ? "; hosts get it from their peers and by HTTP until it can be cast" : "");
}

static void line_said(struct cast *cast, const char *line)
{
	auto_json json_t *object = NULL;
	if (json_parse_object(line, strlen(line), &object, NULL) < 0)
		return;
	event_said(cast, object);
	progress_said(cast, object);
	error_said(cast, object);
}

static void end(struct cast *cast)
{
	if (cast->pid > 0 && !cast->ending)
		kill(cast->pid, SIGTERM);
	cast->ending = true;
}

static int on_readable(sd_event_source *source, int fd, uint32_t events, void *arg)
{
	struct cast *cast = arg;
	char bytes[PIECE], *newline;
	(void)events;
	ssize_t n = read(fd, bytes, sizeof(bytes));
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (n <= 0)
		return sd_event_source_set_enabled(source, SD_EVENT_OFF);
	buf_add(&cast->line, bytes, (size_t)n);
	while (cast->line.text && (newline = strchr(cast->line.text, '\n'))) {
		*newline = '\0';
		line_said(cast, cast->line.text);
		size_t used = (size_t)(newline + 1 - cast->line.text);
		memmove(cast->line.text, newline + 1, cast->line.len - used + 1);
		cast->line.len -= used;
	}
	if (cast->line.len > LINE_MAX_LEN)
		buf_done(&cast->line);
	if (clock_real_ms() - cast->busy_ms > IDLE_MS)
		end(cast);
	return 0;
}

/* ---- the child ---- */

static void forget(struct cast *cast)
{
	cast->io = sd_event_source_disable_unref(cast->io);
	cast->child = sd_event_source_disable_unref(cast->child);
	if (cast->in >= 0)
		close(cast->in);
	if (cast->out >= 0)
		close(cast->out);
	cast->in = cast->out = -1;
	cast->pid = 0;
	cast->ending = false;
	buf_done(&cast->line);
	strings_done(&cast->digests);
	cast->digests = (struct strings){0};
}

static int on_exit_child(sd_event_source *source, const siginfo_t *info, void *arg)
{
	struct cast *cast = arg;
	(void)source;
	if (!cast->ending)
		log_warning("cast: the sender ended (%s %d); hosts get images from their peers and by HTTP",
			info->si_code == CLD_EXITED ? "exit" : "signal", info->si_status);
	else
		cast->began_ms = 0; /* it did well, and may come again at once */
	forget(cast);
	return 0;
}

static int start(struct cast *cast, struct error **err)
{
	const struct config *config = &cast->controller->config;
	char address[IP4_TEXT];
	ip4_format(config->lan_address.address, address);
	auto_free char *path = spawn_program("nightclass-cast");
	auto_free char *store = xasprintf("%s/store", config->state_dir);
	auto_free char *port = xasprintf("%u", config->cast_port);
	auto_free char *rate = xasprintf("%llu", (unsigned long long)config->cast_rate * 1000000);
	bool none = strcmp(config->cast_group, "none") == 0;
	const char *const argv[] = {path, "send", "--store", store, "--port", port, "--interface", address, "--rate",
		rate, "--more", none ? "--no-multicast" : "--group", none ? NULL : config->cast_group, NULL};
	sd_event *event = loop_event(cast->controller->loop);
	int fds[3];
	cast->began_ms = cast->busy_ms = clock_real_ms();
	int r = spawn_start(argv, NULL, 1 | 2, fds, &cast->pid, err);
	if (r < 0)
		return r;
	cast->in = fds[0];
	cast->out = fds[1];
	fcntl(cast->in, F_SETFL, O_NONBLOCK);
	fcntl(cast->out, F_SETFL, O_NONBLOCK);
	r = sd_event_add_child(event, &cast->child, cast->pid, WEXITED, on_exit_child, cast);
	if (r >= 0)
		r = sd_event_add_io(event, &cast->io, cast->out, EPOLLIN, on_readable, cast);
	if (r < 0) {
		kill(cast->pid, SIGKILL);
		waitpid(cast->pid, NULL, 0);
		forget(cast);
		return error_make(err, r, "%s cannot be watched: %s", path, strerror(-r));
	}
	return 0;
}

/* True: it sends this image from now on. */
static bool offer(struct cast *cast, const char *digest)
{
	auto_error struct error *err = NULL;
	auto_free char *line = xasprintf("%s\n", digest);
	if (cast->ending)
		return false;
	told_forget(&cast->refused, clock_real_ms(), AGAIN_MS);
	if (told_has(&cast->refused, digest))
		return false;
	if (cast->pid == 0) {
		if (cast->began_ms && clock_real_ms() - cast->began_ms < AGAIN_MS)
			return false;
		int r = start(cast, &err);
		if (r < 0) {
			log_warning("cast: %s; hosts get images by HTTP", error_text(err, r));
			return false;
		}
	}
	vec_each (char *, known, &cast->digests)
		if (strcmp(*known, digest) == 0)
			return true;
	/* A pipe takes a line whole or, when the child hangs, not at all. */
	if (cast->digests.n == DIGESTS_MAX || write(cast->in, line, strlen(line)) != (ssize_t)strlen(line))
		return false;
	vec_push(&cast->digests, xstrdup(digest));
	return true;
}

/* Made when it is first needed; NULL: nothing moves yet. */
static struct cast *cast_of(struct controller *controller)
{
	struct drive *drive = controller->drive;
	if (!drive)
		return NULL;
	if (!drive->cast) {
		drive->cast = xnew(struct cast);
		*drive->cast = (struct cast){.controller = controller, .in = -1, .out = -1};
	}
	return drive->cast;
}

/* ---- the root image ---- */

bool cast_root(struct controller *controller, const char *digest)
{
	bool none = strcmp(controller->config.cast_group, "none") == 0;
	struct cast *cast = none ? NULL : cast_of(controller);
	if (!cast || !offer(cast, digest))
		return false;
	cast->busy_ms = clock_real_ms(); /* a PC in its firmware listens some time later */
	snprintf(cast->root, sizeof(cast->root), "%s", digest);
	return true;
}

bool cast_root_works(const struct cast *cast)
{
	return cast && !cast->root_fails;
}

void cast_root_failed(struct cast *cast)
{
	if (cast)
		cast->root_fails = true;
}

/* ---- goals ---- */

static bool has(const struct proto_report *report, const char *digest)
{
	const struct proto_image_seen *image = proto_report_image(report, digest);
	return image && image->total && image->have == image->total;
}

void cast_goal(struct controller *controller, const char *pc, struct proto_goal *goal)
{
	const struct config *config = &controller->config;
	struct proto_report report = {0};
	char address[IP4_TEXT];
	struct cast *cast = goal->images.n ? cast_of(controller) : NULL;
	bool sends = false;
	if (!cast)
		return;
	bool reported = store_pc_report(controller->store, pc, &report, NULL) >= 0;
	vec_each (struct proto_image, image, &goal->images)
		if (!reported || !has(&report, image->digest))
			sends = offer(cast, image->digest) || sends;
	proto_report_done(&report);
	if (sends)
		goal->cast = xasprintf(
			"%s:%u", ip4_format(config->lan_address.address, address), config->cast_port);
}

int think_cast(struct drive *drive, struct error **err)
{
	struct cast *cast = drive->cast;
	struct pcs pcs = {0};
	bool lent = false;
	if (!cast || cast->pid == 0)
		return 0;
	int r = store_pc_list(drive->controller->store, NULL, &pcs, err);
	if (r < 0)
		return r;
	vec_each (struct pc, pc, &pcs)
		lent |= pc->state >= PC_WAKING && pc->state <= PC_DRAINING;
	pcs_done(&pcs);
	if (!lent)
		end(cast);
	return 0;
}

void cast_free(struct cast *cast)
{
	if (!cast)
		return;
	if (cast->pid > 0) { /* it has nothing to save */
		kill(cast->pid, SIGKILL);
		cast->child = sd_event_source_disable_unref(cast->child);
		waitpid(cast->pid, NULL, 0);
	}
	forget(cast);
	told_forget(&cast->told, INT64_MAX, TOLD_AGAIN_MS);
	vec_done(&cast->told);
	told_forget(&cast->refused, INT64_MAX, AGAIN_MS);
	vec_done(&cast->refused);
	free(cast);
}
