/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Work that blocks (libvirt, hashing, HTTP to other labs, child processes) runs here, beside the
 * loop thread that owns the state. A worker gets one argument of its own and hands it back:
 * work(arg) in the thread, then done(arg) on the loop thread, woken by an eventfd. The two queues
 * are the only things shared, and their mutex the only one that a daemon's state lies behind.
 *
 * Threads start on demand up to eight and stay. Signals are blocked in them (loop.c blocked them
 * before), so SIGTERM always reaches the loop. At the end running work is waited for: time-outs
 * belong into the work. Must not call done() in a worker, must not drop an argument (somebody owns
 * its memory).
 */
#include <pthread.h>
#include <stdbool.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include "lib/workers.h"

enum { THREADS_MAX = 8 };

struct item {
	loop_fn *work, *done;
	void *arg;
	struct item *next;
};

/* A queue in order of arrival; `last` points at the link to fill. */
struct queue {
	struct item *first, **last;
};

struct workers {
	pthread_mutex_t lock;
	pthread_cond_t more;
	struct queue todo, finished;
	pthread_t threads[THREADS_MAX];
	int n_threads, idle, n_todo; /* a thread that was woken is idle until it has the lock */
	bool ending;
	int wake;
	sd_event_source *source;
};

static void put(struct queue *queue, struct item *item)
{
	item->next = NULL;
	*queue->last = item;
	queue->last = &item->next;
}

static struct item *get(struct queue *queue)
{
	struct item *item = queue->first;

	if (!item)
		return NULL;
	queue->first = item->next;
	if (!queue->first)
		queue->last = &queue->first;
	return item;
}

static struct item *new_item(loop_fn *work, loop_fn *done, void *arg)
{
	struct item *item = xnew(struct item);

	*item = (struct item){.work = work, .done = done, .arg = arg};
	return item;
}

/* With the lock held. */
static void finish(struct workers *workers, struct item *item)
{
	uint64_t one = 1;

	put(&workers->finished, item);
	/* fails only when the counter is at its end, and then the loop is awake anyway */
	if (write(workers->wake, &one, sizeof(one)) < 0)
		return;
}

static void *thread_main(void *arg)
{
	struct workers *workers = arg;

	pthread_mutex_lock(&workers->lock);
	for (;;) {
		struct item *item = workers->ending ? NULL : get(&workers->todo);

		if (item) {
			workers->n_todo--;
			pthread_mutex_unlock(&workers->lock);
			item->work(item->arg);
			pthread_mutex_lock(&workers->lock);
			finish(workers, item);
		} else if (workers->ending) {
			break;
		} else {
			workers->idle++;
			pthread_cond_wait(&workers->more, &workers->lock);
			workers->idle--;
		}
	}
	pthread_mutex_unlock(&workers->lock);
	return NULL;
}

/* Calls what is finished at this moment; what these calls post comes next time. */
static void call_finished(struct workers *workers)
{
	struct item *item = NULL;

	pthread_mutex_lock(&workers->lock);
	item = workers->finished.first;
	workers->finished = (struct queue){NULL, &workers->finished.first};
	pthread_mutex_unlock(&workers->lock);
	while (item) {
		struct item *next = item->next;

		if (item->done)
			item->done(item->arg);
		free(item);
		item = next;
	}
}

static int on_wake(sd_event_source *source, int fd, uint32_t events, void *arg)
{
	uint64_t count = 0;

	(void)source;
	(void)events;
	if (read(fd, &count, sizeof(count)) < 0 && errno != EAGAIN)
		return -errno;
	call_finished(arg);
	return 0;
}

int workers_new(sd_event *event, struct workers **ret_workers)
{
	struct workers *workers = xnew(struct workers);
	int r = 0;

	pthread_mutex_init(&workers->lock, NULL);
	pthread_cond_init(&workers->more, NULL);
	workers->todo.last = &workers->todo.first;
	workers->finished.last = &workers->finished.first;
	workers->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	r = workers->wake < 0 ? -errno : 0;
	if (r == 0)
		r = sd_event_add_io(
			event, &workers->source, workers->wake, EPOLLIN, on_wake, workers);
	if (r < 0) {
		workers_free(workers);
		return r;
	}
	*ret_workers = workers;
	return 0;
}

void workers_free(struct workers *workers)
{
	struct item *item = NULL;

	if (!workers)
		return;
	pthread_mutex_lock(&workers->lock);
	workers->ending = true;
	pthread_cond_broadcast(&workers->more);
	pthread_mutex_unlock(&workers->lock);
	for (int i = 0; i < workers->n_threads; i++)
		pthread_join(workers->threads[i], NULL);
	while ((item = get(&workers->todo)))
		put(&workers->finished, item);
	/* a done() may add or post once more */
	while (workers->finished.first)
		call_finished(workers);
	sd_event_source_disable_unref(workers->source);
	cleanup_close(&workers->wake);
	pthread_cond_destroy(&workers->more);
	pthread_mutex_destroy(&workers->lock);
	free(workers);
}

void workers_add(struct workers *workers, loop_fn *work, loop_fn *done, void *arg)
{
	struct item *item = new_item(work, done, arg);

	pthread_mutex_lock(&workers->lock);
	if (workers->ending) {
		put(&workers->finished, item);
	} else {
		put(&workers->todo, item);
		workers->n_todo++;
		if (workers->n_todo > workers->idle && workers->n_threads < THREADS_MAX &&
			pthread_create(&workers->threads[workers->n_threads], NULL, thread_main,
				workers) == 0)
			workers->n_threads++;
		pthread_cond_signal(&workers->more);
	}
	pthread_mutex_unlock(&workers->lock);
}

void workers_post(struct workers *workers, loop_fn *fn, void *arg)
{
	pthread_mutex_lock(&workers->lock);
	finish(workers, new_item(NULL, fn, arg));
	pthread_mutex_unlock(&workers->lock);
}
