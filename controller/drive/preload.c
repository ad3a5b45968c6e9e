/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Tonight's images before anybody asks for them.
 *
 * Each host's goal names the images of its VMs and, behind them, those that the lab wants to have at hand; hostd
 * fetches the latter only when it has nothing better to do. Which ones is decided anew for each goal from the
 * store: the published revision of each name, and for "recent" that of the newest cluster's image. A PC with a
 * scratch partition says so in its first report; before that it is planned like one without, so its goal changes
 * once when it does.
 *
 * Nothing here waits for an image, and no plan fails for the lack of one. */
#include "controller/drive/preload.h"

#include "controller/plan/place.h"
#include "controller/plan/preload.h"
#include "controller/store/cluster.h"
#include "controller/store/image.h"
#include "controller/store/kept.h"
#include "controller/store/pc.h"
#include "controller/store/publish.h"

static void copy_image(struct images *to, const struct image *image)
{
	struct image copy = *image;
	copy.name = xstrdup(image->name);
	copy.digest = xstrdup(image->digest);
	vec_push(to, copy);
}

static void add_digest(const struct images *all, const char *digest, struct images *to)
{
	vec_each (struct image, image, all)
		if (strcmp(image->digest, digest) == 0) {
			copy_image(to, image);
			return;
		}
}

static void add_published(struct controller *controller, const char *name, struct images *wishes)
{
	struct image image = {0};
	if (store_image_published(controller->store, name, &image, NULL) >= 0)
		vec_push(wishes, image);
}

static int add_recent(struct controller *controller, struct images *wishes, struct error **err)
{
	struct clusters clusters = {0};
	int r = store_cluster_list(controller->store, NULL, &clusters, err);
	if (r >= 0 && clusters.n > 0)
		add_published(controller, clusters.at[clusters.n - 1].image_name, wishes);
	clusters_done(&clusters);
	return r;
}

int preload_wishes(struct controller *controller, struct images *ret_wishes, struct error **err)
{
	struct strings words = {0};
	struct images wishes = {0};
	int r = 0;
	preload_words(controller->config.preload, &words);
	vec_each (char *, word, &words) {
		if (r < 0)
			break;
		if (strcmp(*word, "recent") == 0)
			r = add_recent(controller, &wishes, err);
		else
			add_published(controller, *word, &wishes);
	}
	strings_done(&words);
	if (r < 0)
		images_done(&wishes);
	else
		*ret_wishes = wishes;
	return r < 0 ? r : 0;
}

static uint64_t scratch_of(struct controller *controller, const char *pc)
{
	struct proto_report report = {0};
	if (store_pc_report(controller->store, pc, &report, NULL) < 0)
		return 0;
	uint64_t mib = report.scratch_mib;
	proto_report_done(&report);
	return mib;
}

static uint64_t memory_beside(const struct pc *pc, const struct proto_goal *goal)
{
	uint64_t vms_mib = 0;
	vec_each (struct proto_vm, vm, &goal->vms)
		vms_mib += vm->memory_mib;
	return place_free_memory(pc->facts.memory_mib, vms_mib, goal->vms.n);
}

static int needed_images(struct controller *controller, const struct proto_goal *goal,
	struct images *ret_needed, struct error **err)
{
	struct images all = {0}, needed = {0};
	int r = goal->images.n ? store_image_list(controller->store, NULL, &all, err) : 0;
	vec_each (struct proto_image, image, &goal->images)
		add_digest(&all, image->digest, &needed);
	images_done(&all);
	*ret_needed = needed;
	return r;
}

int preload_goal(
	struct controller *controller, const struct pc *pc, struct proto_goal *goal, struct error **err)
{
	const struct image *picked[PRELOAD_MAX];
	struct images wishes = {0}, needed = {0};
	int r = preload_wishes(controller, &wishes, err);
	if (r >= 0)
		r = needed_images(controller, goal, &needed, err);
	uint64_t room = preload_room(pc->facts.memory_mib, memory_beside(pc, goal), scratch_of(controller, pc->name));
	size_t n = r < 0 ? 0 : plan_preload(&wishes, &needed, room, picked);
	for (size_t i = 0; i < n; i++)
		vec_push(&goal->images, ((struct proto_image){.name = xstrdup(picked[i]->name),
						.revision = picked[i]->revision,
						.digest = xstrdup(picked[i]->digest)}));
	images_done(&wishes);
	images_done(&needed);
	return r;
}

int preload_reported(struct controller *controller, const char *pc, const struct proto_report *before,
	const struct proto_report *report, struct error **err)
{
	if (report->role == ROLE_DESKTOP)
		return 0; /* it puts its things away; what it kept, it keeps */
	int r = store_kept_set(controller->store, pc, report, err);
	if (r >= 0 && report->scratch_mib != (before ? before->scratch_mib : 0))
		r = store_pc_bump(controller->store, pc, NULL, err);
	return r;
}

bool preload_kept(struct controller *controller, const char *pc, const struct images *wishes)
{
	struct strings kept = {0};
	bool found = false;
	if (wishes->n == 0 || store_kept_list(controller->store, pc, &kept, NULL) < 0)
		return false;
	vec_each (char *, digest, &kept)
		vec_each (struct image, wish, wishes)
			found = found || strcmp(*digest, wish->digest) == 0;
	strings_done(&kept);
	return found;
}
