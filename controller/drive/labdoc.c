/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The lab document: everything another controller needs to plan with this lab, and nothing else.
 *
 * Free CPUs and memory are what is left after every VM that an open cluster has on the host, whether it runs
 * already or is only promised; the reserve of the host system is off as well, and what images take that lie whole
 * in a host's memory and are read there. So two controllers that plan at the same time may promise the same host
 * twice, but the second one is refused by this lab when it comes (its veto), and plans anew. */
#include "controller/drive/labdoc.h"

#include "controller/drive/state.h"
#include "controller/plan/place.h"
#include "controller/store/cluster.h"
#include "controller/store/image.h"
#include "controller/store/join.h"
#include "controller/store/kept.h"
#include "controller/store/lab.h"
#include "controller/store/night.h"
#include "controller/store/pc.h"
#include "controller/store/vm.h"
#include "lib/clock.h"

void labdocs_done(struct lab_documents *documents)
{
	vec_each (struct lab_document, document, documents)
		lab_document_done(document);
	vec_done(documents);
}

struct promised {
	uint64_t cpus, memory_mib, n;
	struct strings images; /* digests, one per VM */
};

static int promised_on(struct controller *controller, const char *pc, const struct clusters *clusters,
	struct promised *ret_promised, struct error **err)
{
	struct vm_filter filter = {.lab = controller->config.lab, .pc = pc};
	struct vms vms = {0};
	int r = store_vm_list(controller->store, &filter, &vms, err);
	*ret_promised = (struct promised){0};
	vec_each (struct vm, vm, &vms)
		vec_each (struct cluster, cluster, clusters)
			if (strcmp(cluster->name, vm->cluster) == 0) {
				ret_promised->cpus += cluster->cpus;
				ret_promised->memory_mib += cluster->memory_mib;
				ret_promised->n++;
				vec_push(&ret_promised->images, xstrdup(cluster->image));
			}
	vms_done(&vms);
	return r;
}

static bool lists(const struct strings *list, const char *text)
{
	vec_each (char *, one, list)
		if (strcmp(*one, text) == 0)
			return true;
	return false;
}

/* Memory that is not to be had any more: a VM that began on a whole image reads its file. What was fetched
 * ahead goes when the memory is needed, and what is held in part shrinks. */
static uint64_t images_mib(struct controller *controller, const char *pc, const struct strings *used)
{
	struct proto_report report = {0};
	uint64_t bytes = 0;
	if (used->n == 0 || store_pc_report(controller->store, pc, &report, NULL) < 0)
		return 0;
	vec_each (struct proto_image_seen, image, &report.images)
		if (report.scratch_mib == 0 && image->have == image->total && lists(used, image->digest))
			bytes += image->total;
	proto_report_done(&report);
	bytes >>= 20;
	return bytes > PLACE_IMAGES_MIB ? bytes - PLACE_IMAGES_MIB : 0;
}

/* What it reports as whole, and what it keeps on its disk and is perhaps still verifying. */
static void held_images(struct controller *controller, const char *pc, struct strings *images)
{
	struct proto_report report = {0};
	if (store_kept_list(controller->store, pc, images, NULL) < 0 ||
		store_pc_report(controller->store, pc, &report, NULL) < 0)
		return;
	vec_each (struct proto_image_seen, image, &report.images) {
		bool whole = image->total > 0 && image->have == image->total;
		if (whole && !lists(images, image->digest))
			vec_push(images, xstrdup(image->digest));
	}
	proto_report_done(&report);
}

static int add_host(struct controller *controller, const struct pc *pc, const struct clusters *clusters,
	struct lab_hosts *hosts, struct error **err)
{
	struct promised promised;
	int r = promised_on(controller, pc->name, clusters, &promised, err);
	if (r < 0)
		return r;
	uint64_t taken_mib = promised.memory_mib + images_mib(controller, pc->name, &promised.images);
	strings_done(&promised.images);
	struct lab_host *host = vec_add(hosts);
	host->pc = xstrdup(pc->name);
	host->cpus = pc->facts.cpus;
	host->memory_mib = pc->facts.memory_mib;
	host->free_cpus = place_free_cpus(pc->facts.cpus, promised.cpus);
	host->free_memory_mib = place_free_memory(pc->facts.memory_mib, taken_mib, promised.n);
	held_images(controller, pc->name, &host->images);
	return 0;
}

static int add_hosts(struct controller *controller, struct lab_hosts *hosts, struct error **err)
{
	struct cluster_filter open = {.open_only = true};
	struct clusters clusters = {0};
	struct pcs pcs = {0};
	int r = store_cluster_list(controller->store, &open, &clusters, err);
	if (r >= 0)
		r = store_pc_list(controller->store, NULL, &pcs, err);
	vec_each (struct pc, pc, &pcs)
		if (r >= 0 && (pc->state == PC_HOST || pc->state == PC_HOSTING) && pc->has_facts)
			r = add_host(controller, pc, &clusters, hosts, err);
	clusters_done(&clusters);
	pcs_done(&pcs);
	return r;
}

static int add_images(struct controller *controller, struct strings *digests, struct error **err)
{
	struct images images = {0};
	int r = store_image_list(controller->store, NULL, &images, err);
	vec_each (struct image, image, &images)
		vec_push(digests, xstrdup(image->digest));
	images_done(&images);
	return r;
}

static int add_taken(struct controller *controller, struct strings *taken, struct error **err)
{
	struct vms vms = {0};
	int r = store_vm_list(controller->store, NULL, &vms, err);
	vec_each (struct vm, vm, &vms) {
		char ip[IP4_TEXT];
		vec_push(taken, xstrdup(ip4_format(vm->ip.address, ip)));
	}
	vms_done(&vms);
	return r;
}

static int add_nets(struct controller *controller, struct lab_nets *nets, struct error **err)
{
	struct joins joins = {0};
	int r = store_join_list(controller->store, true, &joins, err);
	vec_each (struct join, join, &joins)
		vec_push(nets, ((struct lab_net){join->net}));
	joins_done(&joins);
	return r;
}

static void add_night(struct controller *controller, struct lab_document *document)
{
	struct night night = {0};
	if (store_night_current(controller->store, &night, NULL) < 0)
		return;
	int64_t left = night.ends - clock_wall();
	document->has_night = true;
	document->night.state = night.state;
	document->night.ends_s = left > 0 ? (uint64_t)left : 0;
	night_done(&night);
}

int labdoc_self(struct controller *controller, struct lab_document *ret_document, struct error **err)
{
	const struct config *config = &controller->config;
	struct lab_document document = {.name = xstrdup(config->lab),
		.version = PROTO_VERSION,
		.boot_port = config->boot_port,
		.has_uplink = config->uplink_address.host != 0,
		.uplink = config->uplink_address,
		.lan = config->lan_address,
		.cluster_net = config->cluster_net};
	add_night(controller, &document);
	int r = add_nets(controller, &document.nets, err);
	if (r >= 0)
		r = add_images(controller, &document.images, err);
	if (r >= 0)
		r = add_taken(controller, &document.taken, err);
	if (r >= 0)
		r = add_hosts(controller, &document.hosts, err);
	if (r < 0)
		lab_document_done(&document);
	else
		*ret_document = document;
	return r;
}

int labdoc_peer(struct controller *controller, const char *name, struct lab_document *ret_document,
	struct error **err)
{
	struct lab lab = {0};
	auto_json json_t *json = NULL;
	int r = store_lab_get(controller->store, name, &lab, err);
	if (r < 0)
		return r;
	if (!lab.seen || lab.missed >= PEER_BEATS)
		r = error_make(err, -EHOSTUNREACH, "lab %s does not answer (%s)", name, lab.url);
	else
		r = json_parse_object(lab.seen, strlen(lab.seen), &json, err);
	if (r >= 0)
		r = lab_document_read(json, ret_document, err);
	lab_done(&lab);
	return r;
}

int labdoc_of(struct controller *controller, const char *lab, struct lab_document *ret_document,
	struct error **err)
{
	if (strcmp(lab, controller->config.lab) == 0)
		return labdoc_self(controller, ret_document, err);
	return labdoc_peer(controller, lab, ret_document, err);
}
