/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A register of wishes for outside effects (netd calls, calls to peers, desktop probes).
 *
 * The moving part is level-triggered: each rethink says again what it wants done. This file turns that into
 * effects that happen once: one entry per key remembers which wish (identity) ended how and when, and
 * whether a worker is busy with it. So two calls under one key never overlap or overtake each other, a
 * failure is tried again at a pace, and a restart, which forgets everything here, merely does idempotent
 * things once more. Nothing here is the truth about anything: that is in the store.
 *
 * Workers get the JSON input as their own and post the answer back; they must not touch the entry. */
#include "controller/drive/task.h"

#include "controller/wake.h"
#include "controller/controller.h"
#include "controller/drive/drive.h"
#include "lib/clock.h"
#include "lib/vec.h"

struct flight {
	struct tasks *tasks; /* NULL: its owner is gone */
	char *key, *identity;
	bool forget;
	task_fn *fn;
	json_t *input, *answer;
	int code;
	struct error *error;
};

struct task {
	char *key, *identity; /* of the result; identity NULL: no result */
	int code;
	char *text;
	json_t *answer;
	int64_t at_ms;
	struct flight *flight; /* in a worker, or NULL */
};
VEC_OF(task_list, struct task);

struct tasks {
	struct controller *controller;
	struct task_list list;
};

struct tasks *tasks_new(struct controller *controller)
{
	struct tasks *tasks = xnew(struct tasks);
	tasks->controller = controller;
	return tasks;
}

static void result_clear(struct task *task)
{
	free(task->identity);
	free(task->text);
	json_decref(task->answer);
	task->identity = task->text = NULL;
	task->answer = NULL;
}

void tasks_free(struct tasks *tasks)
{
	if (!tasks)
		return;
	vec_each (struct task, task, &tasks->list) {
		if (task->flight)
			task->flight->tasks = NULL;
		result_clear(task);
		free(task->key);
	}
	vec_done(&tasks->list);
	free(tasks);
}

static struct task *find(struct tasks *tasks, const char *key)
{
	vec_each (struct task, task, &tasks->list)
		if (strcmp(task->key, key) == 0)
			return task;
	return NULL;
}

static void flight_free(struct flight *flight)
{
	free(flight->key);
	free(flight->identity);
	json_decref(flight->input);
	json_decref(flight->answer);
	error_free(flight->error);
	free(flight);
}

static void fly(void *arg)
{
	struct flight *flight = arg;
	flight->code = flight->fn(flight->input, &flight->answer, &flight->error);
}

static void land(void *arg)
{
	struct flight *flight = arg;
	struct tasks *tasks = flight->tasks;
	struct task *task = tasks ? find(tasks, flight->key) : NULL;
	if (task) {
		task->flight = NULL;
		result_clear(task);
		if (!flight->forget) {
			task->identity = TAKE_PTR(flight->identity);
			task->code = flight->code;
			task->text = xstrdup(
				flight->code ? error_text(flight->error, flight->code) : "");
			task->answer = TAKE_PTR(flight->answer);
			task->at_ms = clock_mono_ms();
		}
		http_wake(tasks->controller->http, task->key);
		drive_kick(tasks->controller);
	}
	flight_free(flight);
}

static void launch(struct tasks *tasks, struct task *task, const char *identity, task_fn *fn,
	json_t *input)
{
	struct flight *flight = xnew(struct flight);
	flight->tasks = tasks;
	flight->key = xstrdup(task->key);
	flight->identity = xstrdup(identity);
	flight->fn = fn;
	flight->input = input;
	task->flight = flight;
	loop_work(tasks->controller->loop, fly, land, flight);
}

/* Is the result under this identity still good, so that nothing needs to be done? */
static bool fresh(const struct task *task, int64_t again_ms, int64_t retry_ms)
{
	int64_t pace = task->code ? retry_ms : again_ms, age = clock_mono_ms() - task->at_ms;
	return pace == 0 || (age >= 0 && age < pace);
}

bool task_want(struct tasks *tasks, const char *key, const char *identity, int64_t again_ms,
	int64_t retry_ms, task_fn *fn, json_t *input, struct task_result *ret_result)
{
	struct task *task = find(tasks, key);
	if (!task) {
		task = vec_add(&tasks->list);
		task->key = xstrdup(key);
	}
	bool same = task->identity && strcmp(task->identity, identity) == 0;
	if (!task->flight && !(same && fresh(task, again_ms, retry_ms)))
		launch(tasks, task, identity, fn, input);
	else
		json_decref(input);
	if (!same)
		return false;
	if (ret_result)
		*ret_result = (struct task_result){.code = task->code,
			.text = task->text,
			.answer = task->answer,
			.at_ms = task->at_ms};
	return true;
}

const json_t *task_answer(struct tasks *tasks, const char *key)
{
	const struct task *task = find(tasks, key);
	return task ? task->answer : NULL;
}

void task_forget(struct tasks *tasks, const char *key)
{
	struct task *task = find(tasks, key);
	if (!task)
		return;
	if (task->flight) {
		task->flight->forget = true;
		result_clear(task);
		return;
	}
	result_clear(task);
	free(task->key);
	vec_remove(&tasks->list, (size_t)(task - tasks->list.at));
}
