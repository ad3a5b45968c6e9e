/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Peers in a goal: PCs that run as hosts and reported the image as whole.
 *
 * Reading every report for every goal would be the square of the lab, and goals are asked for by
 * all PCs at once; so one look at the reports serves all goals of some seconds. A peer named that
 * has gone meanwhile costs a host a moment: it asks the others, and in the end this controller.
 * What they send is verified by whom it reaches, so nobody has to be trusted here.
 */
#include "controller/drive/holders.h"

#include "controller/drive/state.h"
#include "controller/store/pc.h"
#include "lib/clock.h"

enum { LOOK_MS = 3000, PEER_PORT = 8081 }; /* the port: images/serve.h */

void holders_done(struct holders *holders)
{
	vec_each (struct holders_of, image, &holders->images) {
		free(image->digest);
		vec_done(&image->at);
	}
	vec_done(&holders->images);
}

static const struct holders_of *find(const struct holders *holders, const char *digest)
{
	vec_each (struct holders_of, image, &holders->images)
		if (strcmp(image->digest, digest) == 0)
			return image;
	return NULL;
}

static void add(struct holders *holders, const char *digest, struct ip4 address)
{
	struct holders_of *image = (struct holders_of *)find(holders, digest);
	if (!image) {
		image = vec_add(&holders->images);
		image->digest = xstrdup(digest);
	}
	vec_push(&image->at, address);
}

static void add_report(struct holders *holders, const struct pc *pc, const struct proto_report *report)
{
	vec_each (struct proto_image_seen, image, &report->images)
		if (image->total && image->have == image->total && report->role == ROLE_HOST)
			add(holders, image->digest, pc->address);
}

static int look(struct controller *controller, struct holders *holders, struct error **err)
{
	struct pcs pcs = {0};
	int r = store_pc_list(controller->store, NULL, &pcs, err);
	if (r < 0)
		return r;
	holders_done(holders);
	vec_each (struct pc, pc, &pcs) {
		struct proto_report report = {0};
		if (pc->state != PC_HOST && pc->state != PC_HOSTING)
			continue;
		if (store_pc_report(controller->store, pc->name, &report, NULL) < 0)
			continue;
		add_report(holders, pc, &report);
		proto_report_done(&report);
	}
	pcs_done(&pcs);
	holders->looked_ms = clock_real_ms();
	return 0;
}

static void name_peers(const struct holders *holders, const struct pc *pc, struct proto_image *image)
{
	const struct holders_of *of = find(holders, image->digest);
	struct ip4 peers[PEERS_NAMED];
	size_t n = of ? plan_peers(&of->at, pc->address, peers) : 0;
	for (size_t i = 0; i < n; i++) {
		char address[IP4_TEXT];
		vec_push(&image->peers, xasprintf("http://%s:%d", ip4_format(peers[i], address), PEER_PORT));
	}
}

int holders_goal(struct controller *controller, const struct pc *pc, struct proto_goal *goal, struct error **err)
{
	if (!controller->drive || goal->images.n == 0)
		return 0;
	struct holders *holders = &controller->drive->holders;
	int64_t now = clock_real_ms();
	int r = !holders->looked_ms || now - holders->looked_ms > LOOK_MS ? look(controller, holders, err) : 0;
	vec_each (struct proto_image, image, &goal->images)
		if (r >= 0)
			name_peers(holders, pc, image);
	return r;
}
