/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The hypervisor by the local libvirt.
 *
 * Each call opens a connection of its own: they are local and cheap, calls come from several worker
 * threads, and a libvirtd that was restarted is simply found again. One thread runs libvirt's own
 * event loop for nothing but keep-alive: a libvirtd that hangs ends the call with an error after
 * about 20 s instead of holding a worker for ever. Only domains whose name carries our prefix are
 * listed; nothing else on the host is ever looked at or touched. Domains are transient
 * (virDomainCreateXML). A VM that halted because its disk could not be read is set going again
 * whenever it is listed: the disk server is started again when it dies (base.c).
 */
#include "boot/hostd/vm.h"

#include <libvirt/libvirt.h>
#include <libvirt/virterror.h>
#include <pthread.h>
#include "boot/hostd/domxml.h"

enum { KEEPALIVE_S = 5, KEEPALIVE_MISSES = 3, TICK_MS = 3600 * 1000 };

static int failed(struct error **err, const char *what)
{
	const virErrorPtr last = virGetLastError();
	const char *text = last && last->message ? last->message : "no reason given";
	return error_make(err, -EIO, "libvirt: %s: %s", what, text);
}

/* libvirt prints every error to stderr otherwise; ours are logged where they are handled. */
static void say_nothing(void *arg, virErrorPtr error)
{
	(void)arg;
	(void)error;
}

static void tick(int timer, void *arg)
{
	(void)timer;
	(void)arg;
}

static void *run_events(void *arg)
{
	(void)arg;
	while (virEventRunDefaultImpl() == 0)
		;
	return NULL;
}

static int backend_init(struct error **err)
{
	pthread_t thread;
	virSetErrorFunc(NULL, say_nothing);
	if (virInitialize() < 0 || virEventRegisterDefaultImpl() < 0)
		return failed(err, "start");
	if (virEventAddTimeout(TICK_MS, tick, NULL, NULL) < 0)
		return failed(err, "event loop");
	int r = pthread_create(&thread, NULL, run_events, NULL);
	if (r != 0)
		return error_make(err, -r, "thread for libvirt: %s", strerror(r));
	pthread_detach(thread);
	return 0;
}

static void close_connection(virConnectPtr *connection)
{
	if (*connection)
		virConnectClose(*connection);
}
#define auto_connection __attribute__((cleanup(close_connection)))

static int open_connection(const char *uri, virConnectPtr *ret_connection, struct error **err)
{
	virConnectPtr connection = virConnectOpen(uri);
	if (!connection)
		return failed(err, uri);
	/* Not offered by drivers that work in process, such as libvirt's test driver. */
	virConnectSetKeepAlive(connection, KEEPALIVE_S, KEEPALIVE_MISSES);
	*ret_connection = connection;
	return 0;
}

/* libvirt starts the emulator once to ask it what it can, which takes seconds on a small machine;
 * it remembers the answer, and a start that comes meanwhile waits for the same one. */
static void backend_warm(const char *uri)
{
	auto_connection virConnectPtr connection = NULL;
	if (open_connection(uri, &connection, NULL) == 0)
		free(virConnectGetDomainCapabilities(connection, NULL, NULL, NULL, NULL, 0));
}

static void add_domain(virDomainPtr domain, struct domains_seen *domains)
{
	const char *name = virDomainGetName(domain);
	int state = VIR_DOMAIN_NOSTATE, reason = 0;
	char uuid[VIR_UUID_STRING_BUFLEN];
	if (!name || !str_starts(name, DOMAIN_PREFIX) || !name_ok(name + strlen(DOMAIN_PREFIX)) ||
		virDomainGetUUIDString(domain, uuid) < 0 ||
		virDomainGetState(domain, &state, &reason, 0) < 0)
		return; /* foreign, or it ended this moment */
	/* The read that failed is made anew; when it fails again, the VM halts again. */
	if (state == VIR_DOMAIN_PAUSED && reason == VIR_DOMAIN_PAUSED_IOERROR)
		virDomainResume(domain);
	struct domain_seen *seen = vec_add(domains);
	seen->id = xstrdup(name + strlen(DOMAIN_PREFIX));
	snprintf(seen->uuid, sizeof(seen->uuid), "%s", uuid);
	seen->running = state == VIR_DOMAIN_RUNNING || state == VIR_DOMAIN_BLOCKED ||
			state == VIR_DOMAIN_SHUTDOWN;
}

static int backend_list(const char *uri, struct domains_seen *ret_domains, struct error **err)
{
	auto_connection virConnectPtr connection = NULL;
	virDomainPtr *list = NULL;
	int r = open_connection(uri, &connection, err);
	if (r < 0)
		return r;
	int n = virConnectListAllDomains(connection, &list, VIR_CONNECT_LIST_DOMAINS_ACTIVE);
	if (n < 0)
		return failed(err, "list of domains");
	struct domains_seen domains = {0};
	for (int i = 0; i < n; i++) {
		add_domain(list[i], &domains);
		virDomainFree(list[i]);
	}
	free(list);
	*ret_domains = domains;
	return 0;
}

static int backend_start(const char *uri, const char *xml, struct error **err)
{
	auto_connection virConnectPtr connection = NULL;
	int r = open_connection(uri, &connection, err);
	if (r < 0)
		return r;
	virDomainPtr domain = virDomainCreateXML(connection, xml, 0);
	if (!domain)
		return failed(err, "start");
	virDomainFree(domain);
	return 0;
}

/* Finds the domain and applies `verb`; a domain that is not there, or went meanwhile, is success.
 */
static int with_domain(const char *uri, const char *name, int (*verb)(virDomainPtr),
	const char *what, struct error **err)
{
	auto_connection virConnectPtr connection = NULL;
	int r = open_connection(uri, &connection, err);
	if (r < 0)
		return r;
	virDomainPtr domain = virDomainLookupByName(connection, name);
	if (!domain)
		return virGetLastErrorCode() == VIR_ERR_NO_DOMAIN ? 0 : failed(err, what);
	if (verb(domain) < 0 && virGetLastErrorCode() != VIR_ERR_NO_DOMAIN &&
		virDomainIsActive(domain) == 1)
		r = failed(err, what);
	virDomainFree(domain);
	return r;
}

static int backend_shutdown(const char *uri, const char *name, struct error **err)
{
	return with_domain(uri, name, virDomainShutdown, "shutdown", err);
}

static int backend_destroy(const char *uri, const char *name, struct error **err)
{
	return with_domain(uri, name, virDomainDestroy, "destroy", err);
}

const struct vm_backend vm_libvirt = {
	.name = "libvirt",
	.init = backend_init,
	.warm = backend_warm,
	.list = backend_list,
	.start = backend_start,
	.shutdown = backend_shutdown,
	.destroy = backend_destroy,
};
