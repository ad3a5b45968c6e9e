/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A cluster from its request: VMs on PCs, each with number, host name, MAC, IP, and the context that makes it itself.
 *
 * Serial numbers go over labs and PCs in the order of placement, so that "alice-001" and "alice-002" are
 * neighbours. Host names are CLUSTER-NNN. Every VM knows all others: its hosts file names the whole cluster, its
 * known_hosts their keys, and the one user key of the night opens the account that runs jobs on each. Keys come
 * in from outside, because a pure function has no random numbers; they are thrown away with the cluster.
 *
 * Nothing here decides when a VM starts (drive/clusters) or how a context becomes a disc (boot/hostd/seed). */
#include "controller/plan/cluster.h"

#include "lib/json.h"

enum { GUEST_MTU = 0 /* the interface's own */ };
static const char job_user[] = "night";

static const struct join_member *member_of(const struct join *net, const char *lab)
{
	vec_each (struct join_member, member, &net->members)
		if (strcmp(member->lab, lab) == 0)
			return member;
	return NULL;
}

static int add_vm(const struct cluster *cluster, const struct join *net, const struct place_pc *on, uint64_t number,
	struct addr_taken *taken, struct vms *vms, struct error **err)
{
	const struct join_member *member = member_of(net, on->lab);
	if (!member)
		return error_make(err, -EINVAL, "lab %s is not in join %s", on->lab, net->id);
	struct prefix4 ip;
	int r = plan_ip(member->cluster_net, taken, &ip, err);
	if (r < 0)
		return r;
	struct vm *vm = vec_add(vms);
	vm->id = xasprintf("%s-%03llu", cluster->name, (unsigned long long)number);
	vm->cluster = xstrdup(cluster->name);
	vm->number = number;
	vm->lab = xstrdup(on->lab);
	vm->pc = xstrdup(on->pc);
	vm->planned_on_holder = on->holds;
	vm->mac = plan_mac(on->lab, cluster->name, number, taken);
	vm->ip = ip;
	vm->context = xstrdup("");
	vm->reason = xstrdup("");
	return 0;
}

int plan_cluster(const struct cluster *cluster, const struct join *net, const struct place_pcs *pcs,
	struct addr_taken *taken, struct vms *ret_vms, struct error **err)
{
	struct place_request request = {.n = cluster->n,
		.cpus = cluster->cpus,
		.memory_mib = cluster->memory_mib,
		.policy = place_policy_of(cluster->policy)};
	auto_free size_t *on = NULL;
	struct vms vms = {0};
	int r = plan_place(&request, pcs, &on, err);
	for (uint64_t i = 0; r >= 0 && i < cluster->n; i++)
		r = add_vm(cluster, net, &pcs->at[on[i]], i + 1, taken, &vms, err);
	if (r < 0)
		vms_done(&vms);
	else
		*ret_vms = vms;
	return r;
}

void cluster_keys_done(struct cluster_keys *keys)
{
	vec_each (struct cluster_key, key, &keys->hosts) {
		free(key->secret);
		free(key->public);
	}
	vec_done(&keys->hosts);
	free(keys->user.secret);
	free(keys->user.public);
	keys->user = (struct cluster_key){0};
}

char *plan_known_hosts(const struct vms *vms, const struct cluster_keys *keys)
{
	struct buf text = {0};
	for (size_t i = 0; i < vms->n && i < keys->hosts.n; i++) {
		char ip[IP4_TEXT];
		buf_addf(&text, "%s,%s %s\n", vms->at[i].id, ip4_format(vms->at[i].ip.address, ip),
			keys->hosts.at[i].public);
	}
	return buf_take(&text);
}

char *plan_hosts_file(const struct vms *vms)
{
	struct buf text = {0};
	vec_each (struct vm, vm, vms) {
		char ip[IP4_TEXT];
		buf_addf(&text, "%s %s\n", ip4_format(vm->ip.address, ip), vm->id);
	}
	return buf_take(&text);
}

static void add_hosts(const struct vms *vms, struct proto_peers *hosts)
{
	vec_each (struct vm, vm, vms) {
		struct proto_peer *peer = vec_add(hosts);
		peer->ip = vm->ip.address;
		peer->name = vm->id;
	}
}

void plan_contexts(const struct cluster *cluster, const struct join *net, const struct cluster_keys *keys,
	const char *nonce, struct vms *vms)
{
	auto_free char *known = plan_known_hosts(vms, keys);
	struct proto_peers hosts = {0};
	add_hosts(vms, &hosts);
	for (size_t i = 0; i < vms->n; i++) {
		struct vm *vm = &vms->at[i];
		auto_free char *instance = xasprintf("%s-%s", vm->id, nonce);
		/* Borrowed strings: the struct lives only until it is written. */
		struct proto_vm document = {.id = vm->id,
			.image = cluster->image,
			.cpus = cluster->cpus,
			.memory_mib = cluster->memory_mib,
			.context = {.instance_id = instance,
				.hostname = vm->id,
				.mac = vm->mac,
				.address = vm->ip,
				.gateway = addr_gateway(vm->ip).address,
				.cluster_net = net->net,
				.mtu = GUEST_MTU,
				.hosts = hosts,
				.user = (char *)job_user,
				.user_key = keys->user.secret,
				.user_key_pub = keys->user.public,
				.host_key = keys->hosts.at[i].secret,
				.host_key_pub = keys->hosts.at[i].public,
				.known_hosts = known}};
		struct proto_vms one = {.at = &document, .n = 1, .cap = 1};
		auto_json json_t *array = proto_vms_write(&one);
		free(vm->context);
		vm->context = json_text(json_array_get(array, 0));
	}
	vec_done(&hosts);
}
