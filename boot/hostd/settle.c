/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The two things that a host waits for at its start, each in a worker, beside each other.
 *
 * Enrolment talks to the controller and tests KVM; the scratch partition waits for drivers and
 * disks. Neither is quick, both block, and no goal may be acted on before both have ended: an image
 * that was begun in memory would not move to the disk. A scratch partition that cannot be used
 * never stops the host, it only is not used.
 *
 * Only carries work to a worker and its outcome back; what follows from it is hostd.c's. */
#include "boot/hostd/settle.h"

#include "boot/hostd/facts.h"
#include "boot/hostd/hold.h"

enum { SCRATCH_WAIT_MS = 8000 };

struct enrolment {
	const struct hostd_options *options;
	uint64_t boot_ms;
	struct enrol_end end;
	struct error *err;
	enrol_end_fn *fn;
	void *arg;
};

static void enrol_run(void *arg)
{
	struct enrolment *e = arg;
	struct enrol_end *end = &e->end;
	end->rc = 0;
	if (!end->facts.boot_id)
		end->rc = facts_gather(e->options, e->boot_ms, &end->facts, &e->err);
	if (end->rc < 0)
		return;
	end->rc = identity_load(e->options->run_dir, end->facts.boot_id, &end->identity, NULL);
	if (end->rc < 0)
		end->rc = enrol(e->options, &end->facts, &end->identity, &e->err);
}

static void enrol_done(void *arg)
{
	struct enrolment *e = arg;
	e->end.err = e->err;
	e->fn(&e->end, e->arg);
	error_free(e->err);
	free(e);
}

void enrol_start(struct loop *loop, const struct hostd_options *options, uint64_t boot_ms,
	const struct proto_facts *known, enrol_end_fn *fn, void *arg)
{
	struct enrolment *e = xnew(struct enrolment);
	*e = (struct enrolment){.options = options,
		.boot_ms = boot_ms,
		.end = {.facts = *known, .rc = -ECANCELED},
		.fn = fn,
		.arg = arg};
	loop_work(loop, enrol_run, enrol_done, e);
}

struct opening {
	const struct hostd_options *options;
	struct scratch_end end;
	struct error *err;
	scratch_end_fn *fn;
	void *arg;
};

static void open_run(void *arg)
{
	struct opening *o = arg;
	struct scratch_end *end = &o->end;
	const struct scratch_place place = {.label = o->options->scratch,
		.sys = "/sys/class/block",
		.dev = "/dev",
		.load = o->options->scratch_load,
		.mount = o->options->scratch_dir,
		.wait_ms = SCRATCH_WAIT_MS};
	end->rc = scratch_open(&place, &end->scratch, &o->err);
	if (end->rc < 0)
		return;
	end->rc = hold_scan(end->scratch.image_dir, &end->images, &o->err);
	if (end->rc == 0) {
		scratch_measure(end->scratch.image_dir, &end->images);
		return;
	}
	scratch_close(&end->scratch);
	scratch_free(&end->scratch);
}

static void open_done(void *arg)
{
	struct opening *o = arg;
	o->end.err = o->err;
	o->fn(&o->end, o->arg);
	error_free(o->err);
	free(o);
}

void scratch_start(
	struct loop *loop, const struct hostd_options *options, scratch_end_fn *fn, void *arg)
{
	struct opening *o = xnew(struct opening);
	*o = (struct opening){.options = options, .end = {.rc = -ECANCELED}, .fn = fn, .arg = arg};
	loop_work(loop, open_run, open_done, o);
}
