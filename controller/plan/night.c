/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One PC's way through a night, as a function of what is known now:
 *
 *   desktop -> waking -> booting -> host <-> hosting -> draining -> returning -> desktop
 *
 * with `exception` as the failure exit of every passing state. Passing states (waking, booting, draining,
 * returning) have a deadline, so nothing waits for ever. Steps that an outside event causes (the boot script
 * was fetched, the host enrolled, a report came) are written by drive/ where the event comes in; here are
 * those that follow from time and from what was seen.
 *
 * Unknown is not absent: a PC is woken only after the address check said "nobody else", a host is called lost
 * only after silence, never on the lack of one report, and silence counts from our own start or last pause at the
 * earliest: while nobody listened, nobody was silent. An answer of the desktop probe counts only when the host has been
 * silent, because a host, too, may answer a ping; and so may one whose reports are refused while it shuts its VMs
 * down, and the firmware that asks for the boot script: a ping counts when both must be over.
 *
 * No exception is for ever: during the night the PC comes back in when it boots or reports again; by day the
 * probe goes on, and an answer makes it a desktop. */
#include "controller/plan/night.h"

enum {
	PAUSE_MS = 5000,
	QUIET_S = 15, /* after the last report before an answer is taken for the desktop's */
	WEAK_S = 90,  /* after the boot script before a ping is; */
	LEAVE_S = 45, /* after the move home and the VMs' grace before it is: the host has gone */
};

int64_t plan_wake_pause(unsigned n)
{
	static const int64_t pauses[] = {5, 10, 15, 30};
	return n >= 1 && n <= ARRAY_LEN(pauses) ? pauses[n - 1] : 60;
}

static void move(struct night_step *step, enum pc_state state, int64_t deadline, char *reason)
{
	step->moves = true;
	step->state = state;
	step->deadline = deadline;
	step->reason = reason;
}

/* Not part of this night yet: check its address, then wake it. */
static void begin(const struct pc *pc, int64_t now, const struct night_seen *seen,
	const struct night_times *times, struct night_step *step)
{
	char address[IP4_TEXT], mine[MAC_TEXT], other[MAC_TEXT];
	switch (seen->conflict) {
	case CONFLICT_UNKNOWN:
		step->effect = EFFECT_CHECK_ADDRESS;
		break;
	case CONFLICT_NONE:
		move(step, PC_WAKING, now + times->wake, NULL);
		break;
	case CONFLICT_FOUND:
		move(step, PC_EXCEPTION, 0,
			xasprintf("address %s of %s (%s) is used by another machine (%s); not woken",
				ip4_format(pc->address, address), pc->name, mac_format(&pc->mac, mine),
				mac_format(&seen->other, other)));
		break;
	}
}

static void wake(const struct pc *pc, int64_t now, const struct night_seen *seen, const struct night_times *times,
	struct night_step *step)
{
	if (now >= pc->deadline)
		move(step, PC_EXCEPTION, 0,
			xasprintf("was not heard of within %lld s, after %u magic packets",
				(long long)times->wake, seen->wakes));
	else if (seen->wakes == 0 || now >= seen->waked_at + plan_wake_pause(seen->wakes))
		step->effect = EFFECT_WAKE;
}

/* A test's clock moves wall and monotonic clock together, so that it is no pause. */
void plan_hearing(struct night_hearing *hearing, int64_t wall_ms, int64_t mono_ms, int64_t real_ms)
{
	int64_t apart = wall_ms - mono_ms;
	if (hearing->since == 0 || real_ms - hearing->real_ms > PAUSE_MS ||
		llabs(apart - hearing->apart_ms) > PAUSE_MS)
		hearing->since = wall_ms / 1000;
	hearing->real_ms = real_ms;
	hearing->apart_ms = apart;
}

/* A host's silence is counted from here. */
static int64_t silent_from(const struct pc *pc, const struct night_seen *seen)
{
	int64_t heard = pc->reported_at > pc->since ? pc->reported_at : pc->since;
	return heard > seen->listens ? heard : seen->listens;
}

static void hold(const struct pc *pc, int64_t now, const struct night_seen *seen, const struct night_times *times,
	struct night_step *step)
{
	int64_t heard = silent_from(pc, seen);
	enum pc_state should = seen->vms ? PC_HOSTING : PC_HOST;
	if (now >= heard + times->lost)
		move(step, PC_EXCEPTION, 0,
			xasprintf("lost: no report for %lld s", (long long)(now - heard)));
	else if (pc->state != should)
		move(step, should, 0, NULL);
}

static bool quiet(
	const struct pc *pc, int64_t now, const struct night_seen *seen, const struct night_times *times)
{
	bool ours = now < seen->booted + WEAK_S || now < pc->since + times->grace + LEAVE_S;
	return now >= pc->reported_at + QUIET_S && (!seen->weak || !ours);
}

static void come_back(const struct pc *pc, int64_t now, const struct night_seen *seen,
	const struct night_times *times, struct night_step *step)
{
	if (quiet(pc, now, seen, times) && (seen->answers || !seen->probed)) {
		move(step, PC_DESKTOP, 0, NULL);
		step->desktop_seen = seen->probed;
		return;
	}
	if (now < pc->deadline + (seen->weak ? WEAK_S : 0)) {
		step->effect = seen->probed && quiet(pc, now, seen, times) ? EFFECT_PROBE : EFFECT_NONE;
		return;
	}
	const char *before = pc->reason && *pc->reason ? pc->reason : NULL;
	move(step, PC_EXCEPTION, 0,
		xasprintf("%s%sits desktop did not answer within %lld s of the hand-back", before ? before : "",
			before ? "; " : "", (long long)times->back));
}

static void leave(const struct pc *pc, int64_t now, const struct night_seen *seen,
	const struct night_times *times, struct night_step *step)
{
	int64_t heard = silent_from(pc, seen);
	if (seen->leaving || now >= pc->deadline || now >= heard + times->lost)
		move(step, PC_RETURNING, now + times->back, NULL);
}

/* The night runs and this PC is one of its PCs. */
static void in_night(const struct pc *pc, const struct night *night, int64_t now, const struct night_seen *seen,
	const struct night_times *times, struct night_step *step)
{
	bool fresh = pc->night != night->id;
	switch (pc->state) {
	case PC_DESKTOP:
		begin(pc, now, seen, times, step);
		break;
	case PC_WAKING:
		wake(pc, now, seen, times, step);
		break;
	case PC_BOOTING:
		if (now >= pc->deadline)
			move(step, PC_EXCEPTION, 0,
				xasprintf("fetched its boot script but did not enrol within %lld s",
					(long long)times->boot));
		break;
	case PC_HOST:
	case PC_HOSTING:
		hold(pc, now, seen, times, step);
		break;
	case PC_DRAINING:
		leave(pc, now, seen, times, step);
		break;
	case PC_RETURNING:
		come_back(pc, now, seen, times, step);
		break;
	case PC_EXCEPTION:
		if (fresh)
			begin(pc, now, seen, times, step);
		break;
	}
}

/* The night is over (or there is none): every PC on its way home. */
static void homeward(const struct pc *pc, const struct night *night, int64_t now, const struct night_seen *seen,
	const struct night_times *times, struct night_step *step)
{
	switch (pc->state) {
	case PC_DESKTOP:
		break;
	case PC_WAKING:
		move(step, PC_RETURNING, now + times->back, xstrdup("was not heard of before the night ended"));
		break;
	case PC_BOOTING:
		if (now >= pc->deadline)
			move(step, PC_RETURNING, now + times->back, NULL);
		break;
	case PC_HOST:
	case PC_HOSTING:
		move(step, PC_DRAINING, now + 2 * times->grace + times->lost, NULL);
		break;
	case PC_DRAINING:
		leave(pc, now, seen, times, step);
		break;
	case PC_RETURNING:
		come_back(pc, now, seen, times, step);
		break;
	case PC_EXCEPTION:
		/* It was in the night and fell out of it: its host, if it lives, leaves by its own lease. */
		if (night && pc->night == night->id && pc->boot_id && *pc->boot_id && pc->since < night->ends)
			move(step, PC_RETURNING, now + times->back, xstrdup(pc->reason));
		else if (seen->answers && quiet(pc, now, seen, times)) {
			move(step, PC_DESKTOP, 0, NULL);
			step->desktop_seen = true;
		} else if (seen->probed && quiet(pc, now, seen, times)) {
			step->effect = EFFECT_PROBE;
		}
		break;
	}
}

void plan_pc_step(const struct pc *pc, const struct night *night, int64_t now, const struct night_seen *seen,
	const struct night_times *times, struct night_step *ret_step)
{
	*ret_step = (struct night_step){.effect = EFFECT_NONE};
	if (night && night->state == NIGHT_RUNNING && now < night->ends)
		in_night(pc, night, now, seen, times, ret_step);
	else
		homeward(pc, night, now, seen, times, ret_step);
}

enum night_state plan_night_state(const struct night *night, int64_t now, bool all_back)
{
	switch (night->state) {
	case NIGHT_PLANNED:
		if (now >= night->ends)
			return NIGHT_DONE; /* called off, or the controller slept through it */
		return now >= night->begins ? NIGHT_RUNNING : NIGHT_PLANNED;
	case NIGHT_RUNNING:
		return now >= night->ends ? NIGHT_ENDING : NIGHT_RUNNING;
	case NIGHT_ENDING:
		return all_back ? NIGHT_DONE : NIGHT_ENDING;
	case NIGHT_DONE:
		break;
	}
	return NIGHT_DONE;
}
