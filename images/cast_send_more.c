/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Images that are named while the cast goes on: a line each, its digest.
 *
 * To open one, every chunk of it is looked at, which takes seconds where they lie on a disk that
 * has to seek, and nobody is sent anything by a loop that waits for a disk. So a thread does it, one
 * image after the other, straight into the place that the image will have; nothing else looks there
 * until the thread was joined. Who says hello for such an image meanwhile is not answered, and says
 * it again.
 *
 * What the store does not have, or cannot read now, is left out: who asks for it is told so, and
 * who named it is told why, for it may be there, or be readable, a moment later.
 */
#include "images/cast_send_inside.h"

#include <sys/eventfd.h>

/* ---- the thread ---- */

static void *open_run(void *arg)
{
	struct send_more *more = arg;

	more->result =
		send_image_open(more->image, more->store, more->digest, more->number, &more->error);
	atomic_store(&more->opened, true);
	eventfd_write(more->wake, 1);
	return NULL;
}

/* Begins to open the first of those that come. Without a thread it is done here and now. */
static void open_next(struct sender *sender)
{
	struct send_more *more = &sender->more;

	if (more->opens || more->n_coming == 0)
		return;
	more->image = &sender->images[sender->n_images];
	more->number = (uint8_t)sender->n_images;
	sha256_format(&more->coming[0], more->digest);
	atomic_store(&more->opened, false);
	more->opens = true;
	more->thread_runs = pthread_create(&more->thread, NULL, open_run, more) == 0;
	if (!more->thread_runs)
		open_run(more);
}

/* The image that was opened, if one was, has its place. */
static void open_end(struct sender *sender)
{
	struct send_more *more = &sender->more;
	eventfd_t count;

	if (more->thread_runs)
		pthread_join(more->thread, NULL);
	(void)eventfd_read(more->wake, &count);
	more->opens = more->thread_runs = false;
	more->n_coming--;
	memmove(more->coming, more->coming + 1, more->n_coming * sizeof(more->coming[0]));
	if (more->result == 0) {
		sender->n_images++;
		return;
	}
	send_image_close(more->image);
	memset(more->image, 0, sizeof(*more->image));
	if (sender->job->refused)
		sender->job->refused(more->digest, more->result, more->error, sender->job->arg);
	error_free(TAKE_PTR(more->error));
}

/* ---- the loop's side ---- */

int send_more_init(struct send_more *more, const char *store, int fd)
{
	*more = (struct send_more){.fd = fd, .store = store};
	more->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return more->wake < 0 ? -errno : 0;
}

void send_more_done(struct sender *sender)
{
	if (sender->more.opens)
		open_end(sender);
	if (sender->more.wake >= 0)
		close(sender->more.wake);
}

bool send_more_comes(const struct sender *sender, const struct sha256 *name)
{
	for (size_t i = 0; i < sender->more.n_coming; i++)
		if (memcmp(sender->more.coming[i].b, name->b, SHA256_LEN) == 0)
			return true;
	return false;
}

static void name_take(struct sender *sender, const char *digest)
{
	struct send_more *more = &sender->more;
	struct sha256 name;

	if (sha256_parse(digest, &name) < 0 || send_image_find(sender, &name) ||
		send_more_comes(sender, &name) || sender->n_images + more->n_coming == CAST_IMAGES)
		return;
	more->coming[more->n_coming++] = name;
}

void send_more_read(struct sender *sender)
{
	struct send_more *more = &sender->more;
	ssize_t n = read(
		more->fd, more->line + more->line_len, sizeof(more->line) - more->line_len - 1);
	char *end;

	if (n <= 0) {
		if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
			more->fd = -1;
			sender->ended = true;
		}
		return;
	}
	more->line_len += (size_t)n;
	more->line[more->line_len] = '\0';
	while ((end = strchr(more->line, '\n'))) {
		*end = '\0';
		name_take(sender, more->line);
		more->line_len -= (size_t)(end + 1 - more->line);
		memmove(more->line, end + 1, more->line_len + 1);
	}
	if (more->line_len == sizeof(more->line) - 1)
		more->line_len = 0; /* no digest is so long */
}

void send_more_tick(struct sender *sender)
{
	if (sender->more.opens && atomic_load(&sender->more.opened))
		open_end(sender);
	open_next(sender);
}
