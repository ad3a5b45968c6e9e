/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The memory of preload: which PC has which image on its disk while it is a desktop.
 *
 * A report is the present; it is dropped when the PC goes home. These rows stay, because a scratch partition does,
 * so that the next plan can prefer the PC before it has booted, and while it still verifies what it has. A row is
 * a hint and never a promise: the partition may be wiped by day, so the host's next report decides, and a VM never
 * starts on the word of a row.
 *
 * An image that is there in part (or not yet verified) keeps the row it has and gets no new one. */
#include "controller/store/kept.h"

#include "controller/store/store.h"
#include "lib/clock.h"

static int forget(struct store *store, const char *pc, const char *digest, struct error **err)
{
	return store_exec(store, NULL, err, "DELETE FROM kept WHERE pc = ? AND digest = ?", "ss", pc, digest);
}

int store_kept_set(struct store *store, const char *pc, const struct proto_report *report, struct error **err)
{
	struct strings before = {0};
	int r = store_kept_list(store, pc, &before, err);
	vec_each (char *, digest, &before)
		if (r >= 0 && (report->scratch_mib == 0 || !proto_report_image(report, *digest)))
			r = forget(store, pc, *digest, err);
	strings_done(&before);
	vec_each (struct proto_image_seen, image, &report->images)
		if (r >= 0 && report->scratch_mib && image->total > 0 && image->have == image->total)
			r = store_exec(store, NULL, err,
				"INSERT INTO kept(pc, digest, seen) VALUES(?,?,?) "
				"ON CONFLICT(pc, digest) DO UPDATE SET seen = excluded.seen",
				"ssi", pc, image->digest, clock_wall());
	return r < 0 ? r : 0;
}

int store_kept_list(struct store *store, const char *pc, struct strings *ret_digests, struct error **err)
{
	struct strings digests = {0};
	sqlite3_stmt *stmt = NULL;
	int r = store_query(
		store, &stmt, err, "SELECT digest FROM kept WHERE pc = ? ORDER BY digest", "s", pc);
	if (r < 0)
		return r;
	while ((r = store_step(store, stmt, err)) > 0)
		vec_push(&digests, store_text(stmt, 0));
	store_finish(store, stmt);
	if (r < 0)
		strings_done(&digests);
	else
		*ret_digests = digests;
	return r < 0 ? r : 0;
}
