/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Goals of a host, and steps as text. Include after cmocka.h. */
#ifndef TESTS_UNIT_HOSTD_SAMPLE_H
#define TESTS_UNIT_HOSTD_SAMPLE_H

#include "boot/hostd/reconcile.h"

#define IMAGE "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define OTHER "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
enum { NOW = 100000 };

/* A goal with `n` VMs a-001.. of one image, instance ids "a-001-GENERATION". */
static inline struct proto_goal goal_of(unsigned n, const char *instance)
{
	struct proto_goal goal = {
		.version = 1, .generation = 1, .role = ROLE_HOST, .lease_s = 100, .grace_s = 60};
	for (unsigned i = 1; i <= n; i++) {
		struct proto_vm *vm = vec_add(&goal.vms);
		vm->id = xasprintf("a-%03u", i);
		vm->image = xstrdup(IMAGE);
		vm->context.instance_id = xasprintf("a-%03u-%s", i, instance);
	}
	return goal;
}

static inline char *digest_of(char letter)
{
	char *digest = xcalloc(65, 1);
	memset(digest, letter, 64);
	return digest;
}

static inline char *steps_text(const struct steps *steps)
{
	struct buf b = {0};
	vec_each (struct step, step, steps)
		buf_addf(&b, "%s%s %.*s", b.len ? "; " : "", step_names[step->kind],
			strlen(step->subject) == 64 ? 4 : 64, step->subject);
	return buf_take(&b);
}

static inline void check_steps(const char *name, const struct proto_goal *goal,
	const struct host_seen *seen, const char *want)
{
	struct steps steps;
	int64_t next_ms;
	reconcile(goal, false, seen, NOW, &steps, &next_ms);
	auto_free char *text = steps_text(&steps);
	if (strcmp(text, want) != 0)
		fail_msg("%s: \"%s\", wanted \"%s\"", name, text, want);
	steps_done(&steps);
}

#endif
