/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The order of work. The goal is written to the state file before the kernel is touched, so
 * whatever a crash leaves behind is known to the netd that comes after it; then nft (isolation
 * stands before the first packet can be forwarded), addresses and routes, forwarding last. Taking
 * down goes the other way round.
 *
 * Every change, every lease end, every start and a check each five seconds go through the same
 * converge(), which compares goal and kernel and does what is missing. So a repeated request does
 * nothing, a flushed table is back within the check's period, and a step that failed is simply
 * tried again.
 *
 * Time runs on the machine's boot clock; expiry is netd's own business and needs nobody alive. The
 * state file names the boot it belongs to: after a reboot of the lab server the kernel has
 * forgotten everything, and so do we (reservations stay).
 *
 * Must not touch what has not our mark. ip_forward is the one shared thing: its former value is
 * kept in the state file and put back when the last lease ends.
 */
#include <fcntl.h>
#include <sys/file.h>

#include "lib/clock.h"
#include "lib/file.h"
#include "lib/log.h"
#include "netconf/apply.h"
#include "netconf/commands.h"
#include "netconf/dnsmasq_child.h"
#include "netconf/nft.h"
#include "netconf/route.h"
#include "netconf/wire.h"

enum {
	CHECK_MS = 5000,
	STATE_MAX = 8 << 20,
	FORWARD_UNKNOWN = -1,
};
static const char forward_path[] = "/proc/sys/net/ipv4/ip_forward";

struct apply {
	struct loop *loop;
	const struct net_site *site;
	struct netd_state state;
	struct route_kernel *routes;
	struct dnsmasq *dnsmasq;
	char *nft_loaded, *nft_listing; /* what we loaded last, and how the kernel listed it then */
	bool dirty;	    /* the last converge failed: keep trying even without leases */
	bool dnsmasq_late;  /* it serves a former goal: the same */
	char *last_trouble; /* logged once, not every five seconds */
	struct loop_timer *expiry, *check;
	int lock;
};

static char *state_path(const struct apply *a)
{
	return xasprintf("%s/state.json", a->site->state_dir);
}

static int save(const struct apply *a, struct error **err)
{
	auto_free char *path = state_path(a), *text = netd_state_write(&a->state);

	return file_write(path, text, strlen(text), 0600, err);
}

/* --- one direction: kernel <- goal */

static int read_forward(int *ret_value, struct error **err)
{
	auto_free char *text = NULL;
	int r = file_read(forward_path, 16, &text, NULL, err);

	if (r == 0)
		*ret_value = text[0] == '1';
	return r;
}

static int write_forward(int value, struct error **err)
{
	auto_close int fd = open(forward_path, O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, value ? "1" : "0", 1) != 1)
		return error_make(
			err, -errno, "%s cannot be written: %s", forward_path, strerror(errno));
	return 0;
}

/* `wanted`: forwarding on; otherwise back to what it was before us, if we changed it. */
static int converge_forward(struct apply *a, bool wanted, int *changes, struct error **err)
{
	int before = a->state.forward_before, now = 0;
	int r = read_forward(&now, err);

	if (r < 0)
		return r;
	if (wanted && before == FORWARD_UNKNOWN) {
		a->state.forward_before = now;
		r = save(a, err);
		if (r < 0) {
			a->state.forward_before = FORWARD_UNKNOWN;
			return r;
		}
	}
	if (wanted && !now) {
		++*changes;
		return write_forward(1, err);
	}
	if (wanted || before == FORWARD_UNKNOWN)
		return 0;
	if (now != before) {
		r = write_forward(before, err);
		++*changes;
	}
	if (r == 0) {
		a->state.forward_before = FORWARD_UNKNOWN;
		r = save(a, err);
	}
	return r;
}

static bool same(const char *a, const char *b)
{
	return a && b && strcmp(a, b) == 0;
}

static int converge_nft(
	struct apply *a, const struct net_goal *goal, int *changes, struct error **err)
{
	auto_free char *text = nft_render(a->site, goal), *listing = NULL;
	int r = nft_list(&listing, err);

	if (r < 0)
		return r;
	if (goal->leases.n ? same(text, a->nft_loaded) && same(listing, a->nft_listing) : !listing)
		return 0;
	r = nft_check(text, err);
	if (r == 0)
		r = nft_load(text, err);
	if (r < 0)
		return r;
	++*changes;
	free(a->nft_loaded);
	a->nft_loaded = TAKE_PTR(text);
	free(TAKE_PTR(a->nft_listing));
	r = nft_list(&a->nft_listing, err);
	if (r == 0 && goal->leases.n && !a->nft_listing)
		r = error_make(err, -EIO, "The nft table is not there right after it was loaded.");
	return r;
}

static int converge_routes(
	struct apply *a, const struct net_goal *goal, int *changes, struct error **err)
{
	struct route_steps steps = {0};
	struct route_seen seen = {0};
	int r = route_scan(a->routes, &seen, err);

	if (r < 0)
		return r;
	route_diff(goal, &seen, &steps);
	if (!route_steps_empty(&steps)) {
		++*changes;
		r = route_apply(a->routes, &steps, err);
	}
	route_steps_done(&steps);
	route_seen_done(&seen);
	return r;
}

/* Makes the kernel match `goal`; how many of its three parts had to be changed. Taking away goes on
 * past a failure, so that one stubborn thing does not keep the rest alive; the first error is
 * returned. */
static int converge(
	struct apply *a, const struct net_goal *goal, int *ret_changes, struct error **err)
{
	bool wanted = goal->leases.n > 0;
	int changes = 0, r = 0, later = 0;

	if (wanted)
		r = converge_nft(a, goal, &changes, err);
	if (r == 0)
		r = converge_routes(a, goal, &changes, err);
	if (r == 0 || !wanted) {
		later = converge_forward(a, wanted, &changes, r < 0 ? NULL : err);
		r = r < 0 ? r : later;
	}
	if (!wanted) {
		later = converge_nft(a, goal, &changes, r < 0 ? NULL : err);
		r = r < 0 ? r : later;
	}
	a->dirty = r < 0;
	*ret_changes = changes;
	return r;
}

/* --- leases */

static void arm(struct apply *a)
{
	loop_timer_at(a->expiry, net_goal_next_expiry(&a->state.goal));
}

/* The same trouble every five seconds is one line in the log. */
static void log_trouble(struct apply *a, const struct error *err, int r)
{
	const char *text = error_text(err, r);

	if (same(text, a->last_trouble))
		return;
	log_error("netd: %s Trying again every %d s.", text, CHECK_MS / 1000);
	free(a->last_trouble);
	a->last_trouble = xstrdup(text);
}

/* Everything to the goal, the first failure logged, all of them left to the next check. */
static int settle(struct apply *a)
{
	auto_error struct error *err = NULL;
	int changes = 0, later = 0;
	int r = converge(a, &a->state.goal, &changes, &err);

	later = dnsmasq_set(a->dnsmasq, &a->state.goal, r < 0 ? NULL : &err);
	a->dnsmasq_late = later < 0;
	r = r < 0 ? r : later;
	if (r < 0)
		log_trouble(a, err, r);
	else
		free(TAKE_PTR(a->last_trouble));
	return changes;
}

static void on_expiry(void *arg)
{
	auto_error struct error *err = NULL;
	struct apply *a = arg;
	int64_t now = clock_mono_ms();
	size_t ended = 0;
	int r = 0;

	if (a->state.goal.boot_url && a->state.goal.boot_expires_ms <= now)
		log_notice("boot: lease ended, no more boot answers");
	vec_each (struct net_lease, lease, &a->state.goal.leases)
		if (lease->expires_ms <= now)
			log_notice("%s: lease ended, withdrawn", lease->name);
	ended = net_goal_expire(&a->state.goal, now);
	if (ended) {
		settle(a);
		r = save(a, &err);
		if (r < 0)
			log_error("netd: state not saved: %s", error_text(err, r));
	}
	arm(a);
}

static void on_check(void *arg)
{
	struct apply *a = arg;

	if (a->state.goal.leases.n || a->dirty || a->dnsmasq_late) {
		int changes = settle(a);

		if (changes)
			log_notice(
				"netd: repaired what was changed from outside (%d parts)", changes);
	}
	loop_timer_at(a->check, clock_mono_ms() + CHECK_MS);
}

/* --- start and end */

static char *boot_id(void)
{
	char *text = NULL;

	if (file_read("/proc/sys/kernel/random/boot_id", 64, &text, NULL, NULL) < 0)
		return xstrdup("unknown");
	text[strcspn(text, "\n")] = '\0';
	return text;
}

static void forget_leases(struct apply *a)
{
	free(TAKE_PTR(a->state.goal.boot_url));
	vec_each (struct net_lease, lease, &a->state.goal.leases)
		net_lease_done(lease);
	vec_done(&a->state.goal.leases);
	a->state.forward_before = FORWARD_UNKNOWN;
}

static void load(struct apply *a)
{
	auto_free char *path = state_path(a), *text = NULL, *id = boot_id();
	auto_error struct error *err = NULL;
	size_t len = 0;
	int r = file_read(path, STATE_MAX, &text, &len, &err);

	a->state.forward_before = FORWARD_UNKNOWN;
	if (r == 0)
		r = netd_state_read(text, len, &a->state, &err);
	if (r < 0 && r != -ENOENT)
		log_error("netd: %s is not usable, starting without leases: %s", path,
			error_text(err, r));
	if (!same(a->state.boot_id, id))
		forget_leases(a);
	free(a->state.boot_id);
	a->state.boot_id = TAKE_PTR(id);
	net_goal_expire(&a->state.goal, clock_mono_ms());
}

/* Two netds with one state would take down each other's work; the lock goes with the process. */
static int lock_state(struct apply *a, struct error **err)
{
	auto_free char *path = xasprintf("%s/lock", a->site->state_dir);
	int r = file_mkdirs(a->site->state_dir, 0755, err);

	if (r < 0)
		return r;
	a->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (a->lock < 0)
		return error_make(err, -errno, "%s cannot be opened: %s", path, strerror(errno));
	if (flock(a->lock, LOCK_EX | LOCK_NB) < 0)
		return error_make(err, -EADDRINUSE, "Another nightclass-netd works in %s already.",
			a->site->state_dir);
	return 0;
}

static void release(struct apply *a)
{
	netd_state_done(&a->state);
	route_close(a->routes);
	cleanup_close(&a->lock);
	free(a->nft_loaded);
	free(a->nft_listing);
	free(a->last_trouble);
	free(a);
}

int apply_new(
	struct loop *loop, const struct net_site *site, struct apply **ret_apply, struct error **err)
{
	struct apply *a = xnew(struct apply);
	int r = 0;

	a->loop = loop;
	a->site = site;
	a->lock = -1;
	r = lock_state(a, err);
	if (r == 0)
		r = route_open(site->lan_interface, &a->routes, err);
	if (r == 0) {
		load(a);
		r = save(a, err);
	}
	if (r < 0) {
		release(a);
		return r;
	}
	a->expiry = loop_timer_new(loop, on_expiry, a);
	a->check = loop_timer_new(loop, on_check, a);
	a->dnsmasq = dnsmasq_new(loop, site);
	settle(a);
	arm(a);
	loop_timer_at(a->check, clock_mono_ms() + CHECK_MS);
	*ret_apply = a;
	return 0;
}

void apply_free(struct apply *a)
{
	static const struct net_goal nothing;
	auto_error struct error *err = NULL;
	int changes = 0, r = 0;

	if (!a)
		return;
	r = converge(a, &nothing, &changes, &err);
	if (r < 0)
		log_error("netd: not everything could be taken down: %s", error_text(err, r));
	dnsmasq_free(a->dnsmasq);
	loop_timer_free(a->expiry);
	loop_timer_free(a->check);
	release(a);
}

/* --- requests */

enum part { PART_KERNEL, PART_DNSMASQ };

/* Makes `goal` (taken over) the goal; on any failure the former one is back and in force. Only the
 * part that the request speaks of is touched: a dnsmasq in trouble does not keep a join from coming
 * about. */
static int commit(struct apply *a, struct net_goal *goal, enum part part, struct error **err)
{
	struct net_goal former = a->state.goal;
	int changes = 0, r = 0;

	a->state.goal = *goal;
	memset(goal, 0, sizeof(*goal));
	r = save(a, err);
	if (r == 0 && part == PART_KERNEL)
		r = converge(a, &a->state.goal, &changes, err);
	if (r == 0 && part == PART_DNSMASQ) {
		r = dnsmasq_set(a->dnsmasq, &a->state.goal, err);
		a->dnsmasq_late = r < 0;
	}
	if (r < 0) {
		auto_error struct error *again = NULL;

		net_goal_done(&a->state.goal);
		a->state.goal = former;
		if (save(a, &again) < 0)
			log_error("netd: state not saved: %s", error_text(again, -EIO));
		settle(a);
	} else {
		net_goal_done(&former);
		free(TAKE_PTR(a->last_trouble));
	}
	arm(a);
	return r;
}

int apply_dhcp(
	struct apply *a, struct net_hosts *hosts, struct net_names *names, struct error **err)
{
	struct net_goal goal = {0};

	net_goal_copy(&goal, &a->state.goal);
	net_hosts_done(&goal.hosts);
	net_names_done(&goal.names);
	goal.hosts = *hosts;
	goal.names = *names;
	memset(hosts, 0, sizeof(*hosts));
	memset(names, 0, sizeof(*names));
	return commit(a, &goal, PART_DNSMASQ, err);
}

int apply_boot(struct apply *a, const char *url, int64_t lease_s, struct error **err)
{
	struct net_goal goal = {0};

	net_goal_copy(&goal, &a->state.goal);
	free(TAKE_PTR(goal.boot_url));
	if (lease_s > 0) {
		goal.boot_url = xstrdup(url);
		goal.boot_expires_ms = clock_mono_ms() + lease_s * 1000;
	}
	return commit(a, &goal, PART_DNSMASQ, err);
}

/* Two leases may share a route, but not lead the same network two ways. */
static int check_against_others(
	const struct net_goal *goal, const struct net_lease *lease, struct error **err)
{
	for (size_t i = 0; i < lease->routes.n; i++) {
		const struct net_route *route = &lease->routes.at[i];

		vec_each (struct net_lease, other, &goal->leases) {
			if (strcmp(other->name, lease->name) == 0)
				continue;
			vec_each (struct net_route, taken, &other->routes) {
				auto_free char *field = xasprintf("routes[%zu].to", i);

				if (prefix4_equal(taken->to, route->to) &&
					!ip4_equal(taken->via, route->via))
					return error_field(err, -EEXIST, field,
						"\"%s\" is routed another way by the lease \"%s\".",
						field, other->name);
			}
		}
	}
	return 0;
}

int apply_lease(struct apply *a, struct net_lease *lease, int64_t lease_s, struct error **err)
{
	struct net_goal goal = {0};
	struct net_lease *place = NULL;
	int r = check_against_others(&a->state.goal, lease, err);

	if (r < 0)
		return r;
	net_goal_copy(&goal, &a->state.goal);
	place = net_goal_lease(&goal, lease->name);
	if (place)
		net_lease_done(place);
	else
		place = vec_add(&goal.leases);
	*place = *lease;
	place->expires_ms = clock_mono_ms() + lease_s * 1000;
	memset(lease, 0, sizeof(*lease));
	return commit(a, &goal, PART_KERNEL, err);
}

int apply_withdraw(struct apply *a, const char *name, struct error **err)
{
	struct net_lease *lease = net_goal_lease(&a->state.goal, name);
	int changes = 0, r = 0, saved = 0;

	if (!lease)
		return 0;
	net_lease_done(lease);
	vec_remove(&a->state.goal.leases, (size_t)(lease - a->state.goal.leases.at));
	/* unlike a commit this is never undone: what could not be removed now is removed by a later
	 * check */
	r = converge(a, &a->state.goal, &changes, err);
	saved = save(a, r < 0 ? NULL : err);
	arm(a);
	return r < 0 ? r : saved;
}

json_t *apply_commands(const struct apply *a, const struct net_leases *leases)
{
	const struct net_goal goal = {.leases = *leases};
	struct strings lines = {0};
	json_t *commands = json_array();

	commands_list(a->site, &goal, &lines);
	vec_each (char *, line, &lines)
		json_array_append_new(commands, json_string(*line));
	strings_done(&lines);
	return commands;
}

json_t *apply_show(const struct apply *a)
{
	json_t *applied = json_array(), *boot = json_null();
	int64_t now = clock_mono_ms();

	vec_each (struct net_lease, lease, &a->state.goal.leases)
		json_array_append_new(applied, netd_lease_show(lease, now));
	if (a->state.goal.boot_url)
		boot = json_pack("{s:s, s:I}", "url", a->state.goal.boot_url, "left_s",
			(json_int_t)((a->state.goal.boot_expires_ms - now + 999) / 1000));
	return json_pack("{s:o, s:o, s:o, s:i, s:o}", "applied", applied, "boot", boot, "dnsmasq",
		dnsmasq_show(a->dnsmasq), "hosts", (int)a->state.goal.hosts.n, "commands",
		apply_commands(a, &a->state.goal.leases));
}
