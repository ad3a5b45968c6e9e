/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What nightclassd asks of nightclass-netd at all times: that booting PCs are answered (a lease, renewed three
 * times as often as needed) and that the PCs have their reserved addresses.
 *
 * The controller has no privilege of its own. netd ends every lease by itself, so that a dead controller
 * leaves no boot answer behind and PCs fall through to their own disk; all this file does is to keep saying
 * what should be. Requests are idempotent, so a repetition after a restart changes nothing. */
#include "controller/drive/netd.h"

#include "controller/store/pc.h"
#include "lib/log.h"
#include "netconf/netd_client.h"

enum { RETRY_MS = 3000, REFRESH_MS = 60000 };

static int netd_work(json_t *input, json_t **ret_answer, struct error **err)
{
	const char *socket = json_string_value(json_object_get(input, "socket"));
	return netd_call(socket, json_object_get(input, "request"), ret_answer, err);
}

bool netd_want(struct drive *drive, const char *name, const char *identity, int64_t again_ms, int64_t retry_ms,
	json_t *request, struct task_result *ret_result)
{
	auto_free char *key = xasprintf("netd/%s", name);
	json_t *input = json_pack(
		"{s:s, s:o}", "socket", drive->controller->config.netd_socket, "request", request);
	return task_want(drive->tasks, key, identity, again_ms, retry_ms, netd_work, input, ret_result);
}

static void want_boot(struct drive *drive)
{
	const struct config *config = &drive->controller->config;
	char address[IP4_TEXT];
	auto_free char *url = xasprintf("http://%s:%u/boot/start",
		ip4_format(config->lan_address.address, address), config->boot_port);
	json_t *request = json_pack("{s:s, s:I, s:s}", "op", "boot", "lease_s",
		(json_int_t)config->boot_lease, "url", url);
	netd_want(drive, "boot", url, config->boot_lease * 1000 / 3, RETRY_MS, request, NULL);
}

static int want_dhcp(struct drive *drive, struct error **err)
{
	struct pcs pcs = {0};
	int r = store_pc_list(drive->controller->store, NULL, &pcs, err);
	if (r < 0)
		return r;
	json_t *hosts = json_array();
	vec_each (struct pc, pc, &pcs) {
		char mac[MAC_TEXT], address[IP4_TEXT];
		json_array_append_new(hosts,
			json_pack("{s:s, s:s, s:s}", "name", pc->name, "mac", mac_format(&pc->mac, mac),
				"address", ip4_format(pc->address, address)));
	}
	pcs_done(&pcs);
	json_t *request = json_pack("{s:s, s:o}", "op", "dhcp", "hosts", hosts);
	auto_free char *identity = json_text(request);
	netd_want(drive, "dhcp", identity, REFRESH_MS, RETRY_MS, request, NULL);
	return 0;
}

int think_netd(struct drive *drive, struct error **err)
{
	want_boot(drive);
	return want_dhcp(drive, err);
}
