/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the teacher reads in the morning, written while the night goes on:
 *
 *   {"begins", "ends", "pcs": {"pc1": {"wake", "boot", "host", "hand_back", "desktop", "failures": [{at, reason}]}},
 *    "done", "exceptions": [{"pc", "reason"}], "back": N}
 *
 * Times are UTC texts. A moment is noted when it happens first (a PC that boots twice keeps its first boot time
 * and gains a failure line), but hand_back and desktop are the last ones, because they are the promise. */
#include "controller/drive/report.h"

#include "controller/store/night.h"
#include "lib/clock.h"

static json_t *load(const struct night *night)
{
	json_t *report = NULL;
	if (night->report && json_parse_object(night->report, strlen(night->report), &report, NULL) == 0)
		return report;
	char begins[CLOCK_TEXT], ends[CLOCK_TEXT];
	return json_pack("{s:s, s:s, s:{}}", "begins", clock_format(night->begins, begins), "ends",
		clock_format(night->ends, ends), "pcs");
}

static int keep(struct controller *controller, int64_t night, json_t *report, struct error **err)
{
	auto_free char *text = json_text(report);
	json_decref(report);
	return store_night_set_report(controller->store, night, text, err);
}

static json_t *child(json_t *parent, const char *name, json_t *(*make)(void))
{
	json_t *value = json_object_get(parent, name);
	if (!value) {
		value = make();
		json_object_set_new(parent, name, value);
	}
	return value;
}

/* The member that stands for entering a state; NULL: not a moment of its own. */
static const char *moment(enum pc_state state)
{
	switch (state) {
	case PC_WAKING:
		return "wake";
	case PC_BOOTING:
		return "boot";
	case PC_HOST:
		return "host";
	case PC_DRAINING:
		return "hand_back";
	case PC_DESKTOP:
		return "desktop";
	case PC_HOSTING:
	case PC_RETURNING:
	case PC_EXCEPTION:
		break;
	}
	return NULL;
}

int report_note(struct controller *controller, const struct pc *pc, enum pc_state state, const char *reason,
	struct error **err)
{
	struct night night = {0};
	if (pc->night == 0 || store_night_get(controller->store, pc->night, &night, NULL) < 0)
		return 0;
	char now[CLOCK_TEXT];
	clock_format(clock_wall(), now);
	json_t *report = load(&night);
	json_t *entry = child(child(report, "pcs", json_object), pc->name, json_object);
	const char *name = moment(state);
	bool last = state == PC_DRAINING || state == PC_DESKTOP;
	if (name && (last || !json_object_get(entry, name)))
		json_object_set_new(entry, name, json_string(now));
	if (state == PC_EXCEPTION)
		json_array_append_new(child(entry, "failures", json_array),
			json_pack("{s:s, s:s}", "at", now, "reason", reason ? reason : ""));
	night_done(&night);
	return keep(controller, pc->night, report, err);
}

int report_close(struct controller *controller, const struct night *night, const struct pcs *pcs,
	struct error **err)
{
	char text[CLOCK_TEXT];
	json_t *report = load(night), *exceptions = json_array();
	json_int_t back = 0;
	vec_each (struct pc, pc, pcs) {
		if (pc->state == PC_DESKTOP)
			back++;
		else
			json_array_append_new(exceptions,
				json_pack("{s:s, s:s}", "pc", pc->name, "reason", pc->reason ? pc->reason : ""));
	}
	json_object_set_new(report, "ends", json_string(clock_format(night->ends, text)));
	json_object_set_new(report, "done", json_string(clock_format(clock_wall(), text)));
	json_object_set_new(report, "back", json_integer(back));
	json_object_set_new(report, "exceptions", exceptions);
	return keep(controller, night->id, report, err);
}
