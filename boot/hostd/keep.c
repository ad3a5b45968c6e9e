/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The memory of hostd across its own restarts: deadline and goal in one file in RAM.
 *
 * Deadline and goal are written together, so that no crash can leave a new goal with an old lease
 * or the reverse. The deadline is on the product's monotonic clock, which counts from the start of
 * the kernel: it means the same to the next hostd, and a stepped wall clock does not move it. A
 * file of another boot is not ours and counts as absent. Losing the file is harmless for the
 * morning: without it a host has the short time of one that never got a goal.
 */
#include "boot/hostd/keep.h"

#include "lib/file.h"

struct stored {
	char *boot_id;
	int64_t boot_ms, deadline_ms, leaving_ms;
	json_t *goal;
};
static const struct json_field stored_fields[] = {
	FIELD(struct stored, boot_id, JSON_KIND_STRING, true),
	FIELD(struct stored, boot_ms, JSON_KIND_INT, true),
	FIELD(struct stored, deadline_ms, JSON_KIND_INT, true),
	FIELD(struct stored, leaving_ms, JSON_KIND_INT, true),
	FIELD(struct stored, goal, JSON_KIND_ANY, false),
};

static int take_goal(const struct stored *stored, struct keep *keep, struct error **err)
{
	if (!stored->goal)
		return 0;
	auto_free char *text = json_text(stored->goal);
	int r = proto_goal_read(text, strlen(text), &keep->goal, err);
	keep->has_goal = r == 0;
	return r;
}

int keep_load(const char *run_dir, const char *boot_id, struct keep *ret_keep, struct error **err)
{
	auto_free char *path = xasprintf("%s/keep.json", run_dir);
	auto_free char *text = NULL;
	auto_json json_t *object = NULL;
	struct stored stored = {0};
	struct keep keep = {0};
	size_t len;
	int r = file_read(path, GOAL_MAX_BYTES + 4096, &text, &len, err);
	if (r == 0)
		r = json_parse_object(text, len, &object, err);
	if (r == 0)
		r = json_read(object, stored_fields, ARRAY_LEN(stored_fields), &stored, err);
	if (r == 0 && strcmp(stored.boot_id, boot_id) != 0)
		r = error_make(err, -ENOENT, "%s is of another boot", path);
	if (r == 0)
		r = take_goal(&stored, &keep, err);
	if (r == 0) {
		keep.boot_id = TAKE_PTR(stored.boot_id);
		keep.boot_ms = stored.boot_ms;
		keep.deadline_ms = stored.deadline_ms;
		keep.leaving_ms = stored.leaving_ms;
		*ret_keep = keep;
	}
	json_done(stored_fields, ARRAY_LEN(stored_fields), &stored);
	return r;
}

int keep_save(const char *run_dir, const struct keep *keep, struct error **err)
{
	auto_free char *path = xasprintf("%s/keep.json", run_dir);
	auto_free char *goal = keep->has_goal ? proto_goal_write(&keep->goal) : NULL;
	struct stored stored = {keep->boot_id, keep->boot_ms, keep->deadline_ms, keep->leaving_ms,
		goal ? json_loads(goal, 0, NULL) : NULL};
	auto_json json_t *object = json_write(stored_fields, ARRAY_LEN(stored_fields), &stored);
	auto_free char *text = json_text(object);
	json_decref(stored.goal);
	return file_write(path, text, strlen(text), 0600, err);
}

void keep_done(struct keep *keep)
{
	free(keep->boot_id);
	if (keep->has_goal)
		proto_goal_done(&keep->goal);
	memset(keep, 0, sizeof(*keep));
}
