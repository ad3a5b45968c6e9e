/* SPDX-License-Identifier: GPL-2.0-or-later */
/* /pcs: the computers of this lab, as people enter them and as they were seen.
 *
 * A PC can be changed at any time but only moved to another address or MAC while no night holds it:
 * in the night these are how its host is known. "release" takes a PC out of the exception that two
 * claimed sessions, or a missed deadline, put it into; what it is told next follows from the night.
 */
#include "controller/api/route.h"

#include "controller/api/present.h"
#include "controller/drive/drive.h"
#include "controller/store/enrolment.h"
#include "controller/store/kept.h"
#include "controller/store/pc.h"
#include "controller/store/vm.h"

enum { BODY_MAX = 4096, SEAT_MAX = 64 };

static json_t *present_images(const struct proto_report *report)
{
	json_t *images = json_array();
	vec_each (struct proto_image_seen, image, &report->images)
		json_array_append_new(images,
			json_pack("{s:s, s:I, s:I, s:s*}", "digest", image->digest, "have",
				(json_int_t)image->have, "total", (json_int_t)image->total, "reason",
				image->reason));
	return images;
}

/* Its place in the boot queue, null when it neither loads nor waits. */
static json_t *present_boot(struct controller *controller, const char *name)
{
	unsigned ahead = 0;
	const struct admit_pc *place = drive_boot_place(controller, name, &ahead);
	if (!place)
		return json_null();
	auto_free char *text = place->slot ? xasprintf("loads, slot %u", place->slot)
					   : xasprintf("waits, %u before it", ahead);
	return json_pack("{s:s, s:i, s:i, s:o, s:s}", "state", place->slot ? "loads" : "waits", "slot",
		(int)place->slot, "ahead", (int)ahead, "since", present_time(place->since), "text", text);
}

/* Its scratch partition as its host last told: how much, or why not; null when it told nothing. */
static json_t *present_scratch(const struct proto_report *report)
{
	if (report->scratch_mib == 0 && !report->scratch)
		return json_null();
	auto_free char *text = report->scratch ? xasprintf("unused: %s", report->scratch)
					       : xasprintf("%llu MiB for images",
							 (unsigned long long)report->scratch_mib);
	return json_pack("{s:I, s:s?, s:s}", "mib", (json_int_t)report->scratch_mib, "trouble",
		report->scratch, "text", text);
}

static json_t *present_kept(struct controller *controller, const char *pc)
{
	struct strings digests = {0};
	json_t *kept = json_array();
	if (store_kept_list(controller->store, pc, &digests, NULL) >= 0)
		vec_each (char *, digest, &digests)
			json_array_append_new(kept, json_string(*digest));
	strings_done(&digests);
	return kept;
}

static int present_pc(
	struct controller *controller, const struct pc *pc, json_t **ret_pc, struct error **err)
{
	char mac[MAC_TEXT], address[IP4_TEXT];
	struct vms vms = {0};
	struct proto_report report = {0};
	const struct vm_filter filter = {
		.lab = controller->config.lab, .pc = pc->name, .wanted_only = true};
	int r = store_vm_list(controller->store, &filter, &vms, err);
	if (r < 0)
		return r;
	json_t *ids = json_array();
	vec_each (struct vm, vm, &vms)
		json_array_append_new(ids, json_string(vm->id));
	vms_done(&vms);
	bool reported = store_pc_report(controller->store, pc->name, &report, NULL) == 0;
	json_t *images = reported ? present_images(&report) : json_array();
	json_t *scratch = reported ? present_scratch(&report) : json_null();
	if (reported)
		proto_report_done(&report);
	*ret_pc =
		json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:o, s:o, s:s, s:o, s:o, s:o, s:o, s:o}",
			"name", pc->name, "seat", pc->seat, "mac", mac_format(&pc->mac, mac),
			"address", ip4_format(pc->address, address), "probe", pc->probe, "state",
			pc_state_names[pc->state], "since", present_time(pc->since), "deadline",
			present_time(pc->deadline), "reason", pc->reason, "facts",
			pc->has_facts ? proto_facts_write(&pc->facts) : json_null(), "images",
			images, "reported_at", present_time(pc->reported_at), "desktop_at",
			present_time(pc->desktop_at), "vms", ids);
	json_object_set_new(*ret_pc, "night", pc->night ? json_integer((json_int_t)pc->night) : json_null());
	json_object_set_new(*ret_pc, "scratch", scratch);
	json_object_set_new(*ret_pc, "kept", present_kept(controller, pc->name));
	json_object_set_new(*ret_pc, "boot", present_boot(controller, pc->name));
	return 0;
}

static int answer_pc(struct controller *controller, const char *name, int status,
	struct api_answer *ret_answer, struct error **err)
{
	struct pc pc = {0};
	int r = store_pc_get(controller->store, name, &pc, err);
	if (r >= 0)
		r = present_pc(controller, &pc, &ret_answer->body, err);
	pc_done(&pc);
	if (r < 0)
		return r;
	ret_answer->status = status;
	if (status == 201)
		ret_answer->location = xasprintf("/api/v1/pcs/%s", name);
	return 0;
}

static int pcs_get(
	const struct api_request *request, struct api_answer *ret_answer, struct error **err)
{
	struct pcs pcs = {0};
	json_t *items = json_array();
	int r = store_pc_list(request->controller->store, NULL, &pcs, err);
	vec_each (struct pc, pc, &pcs) {
		json_t *item = NULL;
		if (r >= 0)
			r = present_pc(request->controller, pc, &item, err);
		if (r >= 0)
			json_array_append_new(items, item);
	}
	pcs_done(&pcs);
	ret_answer->status = 200;
	ret_answer->body = present_list(items);
	return r;
}

static int pc_get(
	const struct api_request *request, struct api_answer *ret_answer, struct error **err)
{
	return answer_pc(request->controller, request->params[0], 200, ret_answer, err);
}

struct pc_body {
	char *name, *seat, *probe;
	struct mac mac;
	struct ip4 address;
	bool has_mac, has_address, release;
};
static const struct json_field post_fields[] = {
	FIELD(struct pc_body, name, JSON_KIND_NAME, true),
	FIELD(struct pc_body, mac, JSON_KIND_MAC, true),
	FIELD(struct pc_body, address, JSON_KIND_IP4, true),
	FIELD_MAX(struct pc_body, seat, JSON_KIND_STRING, false, SEAT_MAX),
	FIELD_MAX(struct pc_body, probe, JSON_KIND_STRING, false, 16),
};
static const struct json_field patch_fields[] = {
	FIELD_HAS(struct pc_body, mac, JSON_KIND_MAC),
	FIELD_HAS(struct pc_body, address, JSON_KIND_IP4),
	FIELD_MAX(struct pc_body, seat, JSON_KIND_STRING, false, SEAT_MAX),
	FIELD_MAX(struct pc_body, probe, JSON_KIND_STRING, false, 16),
	FIELD(struct pc_body, release, JSON_KIND_BOOL, false),
};

/* "" and NULL: the lab's. */
static int check_probe(const char *probe, struct error **err)
{
	auto_error struct error *why = NULL;
	if (!probe || !*probe || config_probe_check(probe, &why) == 0)
		return 0;
	return error_field(err, -EINVAL, "probe", "%s", why->text);
}

static int check_address(const struct config *config, struct ip4 address, struct error **err)
{
	struct prefix4 lan = prefix4_network(config->lan_address);
	uint32_t last = lan.address.host | ~prefix4_mask(lan.len);
	char text[PREFIX4_TEXT];
	if (!prefix4_contains(lan, address) || address.host == lan.address.host ||
		address.host == last)
		return error_field(err, -EINVAL, "address",
			"it has to be one of the PCs' segment %s", prefix4_format(lan, text));
	if (address.host == config->lan_address.address.host)
		return error_field(err, -EINVAL, "address", "this is the lab server's own address");
	return 0;
}

/* Two PCs with one name, MAC or address: somebody should look which of them is the real one. */
static void tell_duplicate(
	const struct api_request *request, const char *pc, const char *verb, struct error **err)
{
	api_alarm(request, "pc.refused", "pc/duplicate", "PC %s was not %s: %s", pc, verb,
		err && *err ? (*err)->text : "it is taken");
}

static int pcs_post(
	const struct api_request *request, struct api_answer *ret_answer, struct error **err)
{
	struct controller *controller = request->controller;
	struct pc_body body = {0};
	int r = json_read(request->body, post_fields, ARRAY_LEN(post_fields), &body, err);
	if (r < 0)
		return r;
	struct pc pc = {.name = body.name,
		.seat = body.seat,
		.probe = body.probe,
		.mac = body.mac,
		.address = body.address};
	r = check_probe(body.probe, err);
	if (r >= 0)
		r = check_address(&controller->config, body.address, err);
	if (r >= 0)
		r = store_pc_insert(controller->store, &pc, err);
	if (r >= 0)
		r = answer_pc(controller, body.name, 201, ret_answer, err);
	if (r == -EEXIST)
		tell_duplicate(request, body.name, "added", err);
	json_done(post_fields, ARRAY_LEN(post_fields), &body);
	if (r >= 0)
		drive_kick(controller);
	return r;
}

static int release(struct controller *controller, const struct pc *pc, struct error **err)
{
	if (pc->state != PC_EXCEPTION)
		return error_field(err, -EBUSY, "release",
			"PC %s is in state %s; only an exception is released", pc->name,
			pc_state_names[pc->state]);
	int r = store_enrolment_forget(controller->store, pc->name, err);
	return r < 0 ? r
		     : store_pc_set_state(controller->store, pc->name, PC_DESKTOP, 0, NULL, err);
}

static int change(struct controller *controller, const struct pc_body *body, struct pc *pc,
	struct error **err)
{
	if ((body->has_mac || body->has_address) && pc->night != 0)
		return error_field(err, -EBUSY, body->has_mac ? "mac" : "address",
			"night %d holds PC %s; change it after the night", (int)pc->night,
			pc->name);
	struct pc wanted = *pc;
	if (body->has_mac)
		wanted.mac = body->mac;
	if (body->has_address)
		wanted.address = body->address;
	if (body->seat)
		wanted.seat = body->seat;
	if (body->probe)
		wanted.probe = body->probe;
	int r = check_probe(body->probe, err);
	if (r >= 0 && body->has_address)
		r = check_address(&controller->config, body->address, err);
	return r < 0 ? r : store_pc_update(controller->store, &wanted, err);
}

static int pc_patch(
	const struct api_request *request, struct api_answer *ret_answer, struct error **err)
{
	struct controller *controller = request->controller;
	struct pc_body body = {0};
	struct pc pc = {0};
	int r = store_pc_get(controller->store, request->params[0], &pc, err);
	if (r < 0)
		return r;
	r = json_read(request->body, patch_fields, ARRAY_LEN(patch_fields), &body, err);
	if (r >= 0 && (body.has_mac || body.has_address || body.seat || body.probe))
		r = change(controller, &body, &pc, err);
	if (r >= 0 && body.release)
		r = release(controller, &pc, err);
	if (r >= 0)
		r = answer_pc(controller, request->params[0], 200, ret_answer, err);
	if (r == -EEXIST)
		tell_duplicate(request, pc.name, "changed", err);
	json_done(patch_fields, ARRAY_LEN(patch_fields), &body);
	pc_done(&pc);
	if (r >= 0)
		drive_kick(controller);
	return r;
}

static int pc_delete(
	const struct api_request *request, struct api_answer *ret_answer, struct error **err)
{
	int r = store_pc_delete(request->controller->store, request->params[0], err);
	if (r < 0)
		return r;
	ret_answer->status = 204;
	drive_kick(request->controller);
	return 0;
}

static const struct route rows[] = {
	{"GET", "/api/v1/pcs", ROLE_VIEWER, ROUTE_JSON, 0, NULL, pcs_get, "the PCs of this lab"},
	{"POST", "/api/v1/pcs", ROLE_OPERATOR, ROUTE_JSON, BODY_MAX, NULL, pcs_post,
		"makes a PC known"},
	{"GET", "/api/v1/pcs/{name}", ROLE_VIEWER, ROUTE_JSON, 0, NULL, pc_get, "one PC"},
	{"PATCH", "/api/v1/pcs/{name}", ROLE_OPERATOR, ROUTE_JSON, BODY_MAX, NULL, pc_patch,
		"changes or releases a PC"},
	{"DELETE", "/api/v1/pcs/{name}", ROLE_OPERATOR, ROUTE_JSON, 0, NULL, pc_delete,
		"forgets a PC"},
};
const struct routes routes_pc = {rows, ARRAY_LEN(rows)};
