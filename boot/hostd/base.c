/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One nbdkit for each image that VMs read while it comes, or whose first VM is to show in which order
 * a boot reads it (images/base_nbd.c is its plugin).
 *
 * A server is a child of ours and ends with us, however we end: what is left by a hostd that died
 * is a mark, and by it the next one knows that VMs wait there. (Not the socket: it is missing from
 * when a server is started until it listens.) They do wait: what meets the gap halts the VM
 * (domxml.c), which is set going again whenever it is listed (vm_libvirt.c), and a guest sees a slow
 * disk, not a broken one. So a server that dies is simply started again, with growing pauses when it
 * dies at once.
 *
 * A server stays for as long as its image is held, also when the image has become whole: running
 * VMs keep the road they began with, and it costs a few MiB. New VMs use the file.
 *
 * The socket can be connected by every user of this host, because QEMU is one of them; nobody else
 * is on it. The plugin sees to that.
 */
#include "boot/hostd/base.h"

#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <poll.h>
#include "boot/hostd/backoff.h"
#include "boot/hostd/hold.h"
#include "images/base_reader.h"
#include "lib/clock.h"
#include "lib/file.h"
#include "lib/hash.h"
#include "lib/log.h"
#include "lib/spawn.h"
#include "lib/vec.h"

enum { LIVED_MS = 10000, LOOK_MS = 20 };

struct base {
	struct bases *bases;
	char *digest, *image_dir, *socket, *mark;
	struct strings urls; /* "url=http://10.71.0.12:8081", as nbdkit is told them */
	pid_t pid; /* 0: none runs */
	sd_event_source *child;
	struct loop_timer *again;
	int64_t began_ms;
	unsigned failures;
};
VEC_OF(base_list, struct base *);

struct bases {
	struct loop *loop;
	char *plugin, *vm_dir;
	struct base_list list;
	bool stopped;
};

char *base_socket(const char *vm_dir, const char *digest)
{
	return xasprintf("%s/base-%.16s.sock", vm_dir, digest);
}

/* An empty file, there for as long as the image is to be served. */
static char *mark_path(const char *vm_dir, const char *digest)
{
	return xasprintf("%s/base-%.16s.served", vm_dir, digest);
}

struct bases *bases_new(struct loop *loop, const char *plugin, const char *vm_dir)
{
	struct bases *bases;

	if (access(plugin, R_OK) < 0)
		return NULL;
	bases = xnew(struct bases);
	bases->loop = loop;
	bases->plugin = xstrdup(plugin);
	bases->vm_dir = xstrdup(vm_dir);
	return bases;
}

static struct base *find(const struct bases *bases, const char *digest)
{
	if (bases)
		vec_each (struct base *, base, &bases->list)
			if (strcmp((*base)->digest, digest) == 0)
				return *base;
	return NULL;
}

static void start_later(struct base *base)
{
	auto_free char *hex = random_hex(4);
	uint32_t random = (uint32_t)strtoul(hex, NULL, 16);

	if (clock_mono_ms() - base->began_ms > LIVED_MS)
		base->failures = 0;
	loop_timer_at(base->again, base->failures++ == 0
					   ? clock_mono_ms()
					   : clock_mono_ms() + backoff_ms(base->failures, random));
}

static int ended(sd_event_source *source, const siginfo_t *info, void *arg)
{
	struct base *base = arg;

	(void)source;
	base->pid = 0;
	base->child = sd_event_source_unref(base->child);
	if (base->bases->stopped)
		return 0;
	log_warning("image %.12s: its disk server has ended (%s %d), it is started again",
		base->digest, info->si_code == CLD_EXITED ? "code" : "signal", info->si_status);
	start_later(base);
	return 0;
}

static int spawn_server(struct base *base, struct error **err)
{
	auto_free char *dir = xasprintf("dir=%s", base->image_dir);
	auto_free char *digest = xasprintf("digest=%s", base->digest);
	auto_free char *parent = xasprintf("parent=%d", (int)getpid());
	const char *argv[8 + BASE_URLS_MAX + 1] = {"nbdkit", "--foreground", "--unix", base->socket,
		base->bases->plugin, dir, digest, parent};
	int r = file_mkdirs(base->bases->vm_dir, 0755, err);

	for (size_t i = 0; i < base->urls.n; i++)
		argv[8 + i] = base->urls.at[i];
	if (r == 0)
		r = file_write(base->mark, "", 0, 0644, err);
	if (r < 0)
		return r;
	if (unlink(base->socket) < 0 && errno != ENOENT)
		return error_make(err, -errno, "%s: %s", base->socket, strerror(errno));
	return spawn_start(argv, NULL, 0, NULL, &base->pid, err);
}

static void end_server(struct base *base)
{
	base->child = sd_event_source_disable_unref(base->child);
	if (base->pid) {
		kill(base->pid, SIGKILL); /* it may be waiting for a chunk; it leaves nothing */
		waitpid(base->pid, NULL, 0);
	}
	base->pid = 0;
}

static void start(void *arg)
{
	struct base *base = arg;
	auto_error struct error *err = NULL;
	int r;

	if (base->bases->stopped || base->pid)
		return;
	base->began_ms = clock_mono_ms();
	r = spawn_server(base, &err);
	if (r == 0)
		r = sd_event_add_child(loop_event(base->bases->loop), &base->child, base->pid,
			WEXITED, ended, base);
	if (r < 0) {
		log_error("image %.12s: its disk server cannot start: %s", base->digest,
			error_text(err, r));
		end_server(base); /* one that nobody watches would not be started again */
		start_later(base);
	}
}

/* The PCs that hold the image, then the controller: its port is everybody's, and it may be dead. */
static void urls_add(struct strings *urls, const struct proto_goal *goal, const char *digest)
{
	vec_each (struct proto_image, image, &goal->images)
		for (size_t i = 0; i < image->peers.n && strcmp(image->digest, digest) == 0; i++)
			if (urls->n < BASE_URLS_MAX - 1)
				vec_push(urls, xasprintf("url=%s", image->peers.at[i]));
	if (goal->chunk_url)
		vec_push(urls, xasprintf("url=%s", goal->chunk_url));
}

void bases_serve(struct bases *bases, const char *image_dir, const char *digest, const struct proto_goal *goal)
{
	struct base *base;

	if (!bases || bases->stopped || find(bases, digest))
		return;
	base = xnew(struct base);
	base->bases = bases;
	base->digest = xstrdup(digest);
	base->image_dir = xstrdup(image_dir);
	urls_add(&base->urls, goal, digest);
	base->socket = base_socket(bases->vm_dir, digest);
	base->mark = mark_path(bases->vm_dir, digest);
	base->again = loop_timer_new(bases->loop, start, base);
	vec_push(&bases->list, base);
	log_info("image %.12s: its disk is served while it comes", digest);
	start(base);
}

void bases_note(struct bases *bases, struct image_track *image)
{
	if (!bases || !image->progress)
		return;
	image->startable |= image->progress->startable;
	image->limited = image->progress->limited;
}

void bases_follow(struct bases *bases, const char *image_dir, const struct proto_goal *goal,
	struct image_tracks *images)
{
	if (!bases)
		return;
	vec_each (struct image_track, image, images) {
		auto_free char *path = mark_path(bases->vm_dir, image->digest);

		bases_note(bases, image);
		if (goal && goal->chunk_url && access(path, F_OK) == 0)
			bases_serve(bases, image_dir, image->digest, goal);
	}
}

bool bases_serves(const struct bases *bases, const char *digest)
{
	return find(bases, digest) != NULL;
}

static void end(struct base *base)
{
	end_server(base);
	loop_timer_free(base->again);
	free(base->digest);
	free(base->image_dir);
	strings_done(&base->urls);
	free(base->socket);
	free(base->mark);
	free(base);
}

void bases_drop(struct bases *bases, const char *digest)
{
	for (size_t i = 0; bases && i < bases->list.n; i++) {
		struct base *base = bases->list.at[i];

		if (strcmp(base->digest, digest) != 0)
			continue;
		unlink(base->socket);
		unlink(base->mark);
		vec_remove(&bases->list, i);
		end(base);
		return;
	}
}

/* The marks stay: the next hostd of this boot serves there again. */
void bases_stop(struct bases *bases)
{
	if (!bases || bases->stopped)
		return;
	bases->stopped = true;
	vec_each (struct base *, base, &bases->list)
		end(*base);
	vec_done(&bases->list);
}

void bases_free(struct bases *bases)
{
	if (!bases)
		return;
	bases_stop(bases);
	free(bases->plugin);
	free(bases->vm_dir);
	free(bases);
}

/* Does a server greet there? Goes as the protocol wants it, or the server would complain. */
static bool greets(const struct sockaddr_un *address)
{
	static const char goodbye[] = "\0\0\0\3" /* client flags */
				      "IHAVEOPT"
				      "\0\0\0\2"  /* NBD_OPT_ABORT */
				      "\0\0\0\0"; /* without data */
	const struct timeval patience = {.tv_sec = 1};
	char greeting[18];
	auto_close int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	return fd >= 0 &&
	       setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) == 0 &&
	       connect(fd, (const struct sockaddr *)address, sizeof(*address)) == 0 &&
	       recv(fd, greeting, sizeof(greeting), MSG_WAITALL) == (ssize_t)sizeof(greeting) &&
	       memcmp(greeting, "NBDMAGIC", 8) == 0 &&
	       send(fd, goodbye, sizeof(goodbye) - 1, MSG_NOSIGNAL) > 0;
}

int base_wait(const char *path, unsigned timeout_ms, struct error **err)
{
	int64_t end_ms = clock_mono_ms() + timeout_ms;
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	if (strlen(path) >= sizeof(address.sun_path))
		return error_make(
			err, -ENAMETOOLONG, "the path of a disk server is too long: %s", path);
	memcpy(address.sun_path, path, strlen(path));
	while (!greets(&address)) {
		if (clock_mono_ms() >= end_ms)
			return error_make(err, -ETIMEDOUT, "the disk server does not answer");
		poll(NULL, 0, LOOK_MS);
	}
	return 0;
}
