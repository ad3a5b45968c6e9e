/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The eyes on libvirt: a list of our domains every few seconds, made in a worker.
 *
 * A list says what was true when it was made. If a step began or ended meanwhile, it may show a VM
 * as gone that is just being started, so it is thrown away and made again. A libvirtd may also
 * hang, even in mid greeting where its keep-alive does not reach; a list that is not back in time
 * is told as "no answer", and what was known stays unknown until one comes: unknown is not absent.
 * At most one list is under way, so a hanging libvirt holds one worker here and no more.
 */
#include "boot/hostd/lister.h"

#include "lib/clock.h"

enum { EVERY_MS = 5000, PATIENCE_MS = 15000 };

struct lister {
	struct loop *loop;
	const struct vm_place *place;
	lister_fn *fn;
	void *arg;
	struct loop_timer *timer; /* the next list; while one is under way, the end of patience */
	bool under_way, late, stale, stopped;
	/* of the list under way; the worker's until it is done */
	struct domains_seen domains;
	int rc;
	struct error *err;
};

static void run(void *arg)
{
	struct lister *l = arg;
	l->rc = l->place->backend->list(l->place->uri, &l->domains, &l->err);
}

static void deliver(struct lister *l)
{
	if (l->rc < 0)
		l->fn(NULL, error_text(l->err, l->rc), l->arg);
	else if (!l->stale)
		l->fn(&l->domains, NULL, l->arg);
}

static void done(void *arg)
{
	struct lister *l = arg;
	l->under_way = l->late = false;
	if (!l->stopped) {
		bool again = l->stale && l->rc == 0;
		loop_timer_at(l->timer, clock_mono_ms() + (again ? 0 : EVERY_MS));
		deliver(l);
	}
	domains_seen_done(&l->domains);
	error_free(TAKE_PTR(l->err));
}

static void look(void *arg)
{
	struct lister *l = arg;
	if (l->under_way) {
		l->late = true;
		l->fn(NULL, "libvirt does not answer", l->arg);
		return;
	}
	l->under_way = true;
	l->stale = false;
	l->rc = -ECANCELED;
	loop_timer_at(l->timer, clock_mono_ms() + PATIENCE_MS);
	loop_work(l->loop, run, done, l);
}

struct lister *lister_new(struct loop *loop, const struct vm_place *place, lister_fn *fn, void *arg)
{
	struct lister *l = xnew(struct lister);
	l->loop = loop;
	l->place = place;
	l->fn = fn;
	l->arg = arg;
	l->timer = loop_timer_new(loop, look, l);
	look(l);
	return l;
}

void lister_changed(struct lister *l)
{
	l->stale = true;
	if (!l->under_way)
		loop_timer_at(l->timer, clock_mono_ms());
}

void lister_stop(struct lister *l)
{
	if (!l)
		return;
	l->stopped = true;
	loop_timer_at(l->timer, -1);
}

void lister_free(struct lister *l)
{
	free(l);
}

bool lister_stuck(const struct lister *l)
{
	return l && l->late;
}
