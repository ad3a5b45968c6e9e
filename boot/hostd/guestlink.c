/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Listens to the guests.
 *
 * Each VM has a virtio-serial channel whose host end is a unix socket made by the hypervisor; the
 * guest agent writes one JSON object per line: ready, host name, boot time, load. Lines are
 * observations from a machine that its user may have taken over: they are bounded, strict, and
 * change nothing but this VM's own state in the report. The guest repeats its line, so a hostd that
 * starts late or was restarted misses nothing. Everything here is non-blocking on the loop thread;
 * nothing is ever written to the guest.
 */
#include "boot/hostd/guestlink.h"

#include <sys/socket.h>
#include <sys/un.h>
#include "boot/hostd/vm.h"
#include "lib/clock.h"
#include "lib/json.h"
#include "lib/log.h"

enum { RETRY_MS = 1000 };

static const struct json_field line_fields[] = {
	FIELD(struct guest_line, ready, JSON_KIND_BOOL, true),
	FIELD(struct guest_line, hostname, JSON_KIND_NAME, true),
	FIELD(struct guest_line, boot_ms, JSON_KIND_UINT, true),
	FIELD(struct guest_line, load_permille, JSON_KIND_UINT, false),
};

struct guestlink {
	struct loop *loop;
	char *id, *path;
	guestlink_fn *fn;
	void *arg;
	int fd;
	sd_event_source *source;
	struct loop_timer *retry;
	char line[GUEST_LINE_MAX];
	size_t len;
	bool skipping;	 /* inside a line that was too long */
	bool complained; /* about a bad line, once per connection */
};

int guest_line_read(const char *bytes, size_t len, struct guest_line *ret_line, struct error **err)
{
	auto_json json_t *object = NULL;
	int r = json_parse_object(bytes, len, &object, err);
	return r < 0 ? r : json_read(object, line_fields, ARRAY_LEN(line_fields), ret_line, err);
}

void guest_line_done(struct guest_line *line)
{
	json_done(line_fields, ARRAY_LEN(line_fields), line);
}

static void hang_up(struct guestlink *link)
{
	link->source = sd_event_source_disable_unref(link->source);
	if (link->fd >= 0)
		close(link->fd);
	link->fd = -1;
	link->len = 0;
	link->skipping = link->complained = false;
}

static void take_line(struct guestlink *link)
{
	struct guest_line line = {0};
	auto_error struct error *err = NULL;
	int r = guest_line_read(link->line, link->len, &line, &err);
	if (r < 0) {
		if (!link->complained)
			log_warning("VM %s: a line of its guest agent is not understood: %s",
				link->id, error_text(err, r));
		link->complained = true;
		return;
	}
	link->fn(link->id, &line, link->arg);
	guest_line_done(&line);
}

static void take_bytes(struct guestlink *link, const char *bytes, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (bytes[i] == '\n') {
			if (!link->skipping && link->len > 0)
				take_line(link);
			link->len = 0;
			link->skipping = false;
		} else if (link->len == sizeof(link->line)) {
			link->skipping = true;
		} else {
			link->line[link->len++] = bytes[i];
		}
	}
}

static int readable(sd_event_source *source, int fd, uint32_t events, void *arg)
{
	(void)source;
	(void)events;
	struct guestlink *link = arg;
	char bytes[GUEST_LINE_MAX];
	ssize_t n = read(fd, bytes, sizeof(bytes));
	if (n > 0) {
		take_bytes(link, bytes, (size_t)n);
	} else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
		hang_up(link);
		loop_timer_at(link->retry, clock_mono_ms() + RETRY_MS);
	}
	return 0;
}

static int try_connect(struct guestlink *link)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	if (strlen(link->path) >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	memcpy(address.sun_path, link->path, strlen(link->path) + 1);
	link->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (link->fd < 0 ||
		connect(link->fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
		return -errno;
	return sd_event_add_io(
		loop_event(link->loop), &link->source, link->fd, EPOLLIN, readable, link);
}

static void connect_now(void *arg)
{
	struct guestlink *link = arg;
	if (try_connect(link) < 0) {
		hang_up(link);
		loop_timer_at(link->retry, clock_mono_ms() + RETRY_MS);
	}
}

struct guestlink *guestlink_new(
	struct loop *loop, const char *id, const char *path, guestlink_fn *fn, void *arg)
{
	struct guestlink *link = xnew(struct guestlink);
	link->loop = loop;
	link->id = xstrdup(id);
	link->path = xstrdup(path);
	link->fn = fn;
	link->arg = arg;
	link->fd = -1;
	link->retry = loop_timer_new(loop, connect_now, link);
	connect_now(link);
	return link;
}

void guestlink_free(struct guestlink *link)
{
	if (!link)
		return;
	hang_up(link);
	loop_timer_free(link->retry);
	free(link->id);
	free(link->path);
	free(link);
}

void guestlinks_follow(struct guestlinks *links, const struct vm_tracks *vms, struct loop *loop,
	const char *vm_dir, guestlink_fn *fn, void *arg)
{
	for (size_t i = links->n; i-- > 0;) {
		bool runs = false;
		vec_each (const struct vm_track, track, vms)
			runs |= track->domain && strcmp(track->id, links->at[i]->id) == 0;
		if (runs)
			continue;
		guestlink_free(links->at[i]);
		vec_remove(links, i);
	}
	vec_each (const struct vm_track, track, vms) {
		bool linked = !track->domain;
		vec_each (struct guestlink *, link, links)
			linked |= strcmp((*link)->id, track->id) == 0;
		if (linked)
			continue;
		auto_free char *path = vm_channel_path(vm_dir, track->id);
		vec_push(links, guestlink_new(loop, track->id, path, fn, arg));
	}
}

void guestlinks_done(struct guestlinks *links)
{
	vec_each (struct guestlink *, link, links)
		guestlink_free(*link);
	vec_done(links);
}
