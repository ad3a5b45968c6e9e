/* SPDX-License-Identifier: GPL-2.0-or-later */
/* nightclass-base: the plugin by which nbdkit serves the disk of an image that is still on its way
 * (images/base_reader.c), read-only, to the VMs of one host:
 *
 *   nbdkit -f -U SOCKET nightclass-base.so dir=DIR digest=DIGEST url=BASE [url=BASE...]
 * [parent=PID]
 *
 * nbdkit speaks the protocol and brings the threads; here is only what stands between it and the
 * reader. There is no write call, so nbdkit itself tells every client that the disk is read-only.
 * Chunks of zeros are told as holes, so that nobody copies them. Many connections see one disk that
 * never changes, which is what multi-conn asks.
 *
 * The server must not need anything but the folder and the network: it is started again when it
 * dies. QEMU halts a VM whose read or write met the gap, hostd sets it going again, and QEMU then
 * connects anew. An error that is answered halts the VM in the same way, but a server that is asked
 * to end would go on answering errors until its last client has gone. So with its parent it dies by
 * SIGKILL, which nbdkit's own --exit-with-parent does not do.
 */
#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>

#include "images/base_reader.h"
#include "lib/str.h"

#define THREAD_MODEL NBDKIT_THREAD_MODEL_PARALLEL

static char *dir, *digest, *urls[BASE_URLS_MAX + 1];
static size_t n_urls;
static uint64_t patience_ms = BASE_PATIENCE_MS, deadline_ms = BASE_DEADLINE_MS;
static uint64_t parent;
static struct base_reader *base;

static int set_text(char **to, const char *key, const char *value)
{
	if (*to) {
		nbdkit_error("%s is given twice", key);
		return -1;
	}
	*to = xstrdup(value);
	return 0;
}

static int set_number(uint64_t *to, const char *key, const char *value)
{
	if (uint_parse(value, 0, 24 * 3600 * 1000, to) == 0)
		return 0;
	nbdkit_error("%s=%s is no number", key, value);
	return -1;
}

static int on_config(const char *key, const char *value)
{
	if (strcmp(key, "dir") == 0) {
		dir = nbdkit_absolute_path(value);
		return dir ? 0 : -1;
	}
	if (strcmp(key, "digest") == 0)
		return set_text(&digest, key, value);
	if (strcmp(key, "url") == 0 && n_urls < BASE_URLS_MAX)
		return set_text(&urls[n_urls++], key, value);
	if (strcmp(key, "patience-ms") == 0)
		return set_number(&patience_ms, key, value);
	if (strcmp(key, "deadline-ms") == 0)
		return set_number(&deadline_ms, key, value);
	if (strcmp(key, "parent") == 0)
		return set_number(&parent, key, value);
	nbdkit_error("%s=%s is not known here", key, value);
	return -1;
}

static int on_config_complete(void)
{
	if (dir && digest && sha256_hex_ok(digest))
		return 0;
	nbdkit_error("dir= and digest= say which image to serve");
	return -1;
}

static int on_get_ready(void)
{
	const struct base_options options = {
		.dir = dir,
		.digest = digest,
		.urls = (const char *const *)urls,
		.patience_ms = (unsigned)patience_ms,
		.deadline_ms = (unsigned)deadline_ms,
	};
	auto_error struct error *err = NULL;
	int r = base_new(&options, &base, &err);

	/* nbdkit binds its socket after this and would leave it to root alone; QEMU is another
	 * user. What we make ourselves names its mode. */
	umask(0);
	if (r == 0)
		return 0;
	nbdkit_error("%s", error_text(err, r));
	return -1;
}

static int on_after_fork(void)
{
	if (!parent || (prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 && getppid() == (pid_t)parent))
		return 0;
	nbdkit_error(
		"process %llu, whose child this should be, has ended", (unsigned long long)parent);
	return -1;
}

static void on_unload(void)
{
	base_free(base);
	for (size_t i = 0; i < n_urls; i++)
		free(urls[i]);
	free(dir);
	free(digest);
}

static void *on_open(int readonly)
{
	(void)readonly;
	return NBDKIT_HANDLE_NOT_NEEDED;
}

static int64_t on_get_size(void *handle)
{
	(void)handle;
	return (int64_t)base_size(base);
}

static int yes(void *handle)
{
	(void)handle;
	return 1;
}

static int on_pread(void *handle, void *out, uint32_t count, uint64_t at, uint32_t flags)
{
	auto_error struct error *err = NULL;
	int r = base_read(base, out, count, at, &err);

	(void)handle;
	(void)flags;
	if (r == 0)
		return 0;
	nbdkit_error("%s", error_text(err, r));
	nbdkit_set_error(EIO);
	return -1;
}

static int on_extents(
	void *handle, uint32_t count, uint64_t at, uint32_t flags, struct nbdkit_extents *extents)
{
	uint64_t end = at + count;

	(void)handle;
	while (at < end) {
		bool hole;
		uint64_t len = base_extent(base, at, end - at, &hole);

		if (nbdkit_add_extent(extents, at, len,
			    hole ? NBDKIT_EXTENT_HOLE | NBDKIT_EXTENT_ZERO : 0) < 0)
			return -1;
		if (flags & NBDKIT_FLAG_REQ_ONE)
			break;
		at += len;
	}
	return 0;
}

static struct nbdkit_plugin plugin = {
	.name = "nightclass-base",
	.version = NIGHTCLASS_VERSION,
	.longname = "an image that is on its way",
	.unload = on_unload,
	.config = on_config,
	.config_complete = on_config_complete,
	.get_ready = on_get_ready,
	.after_fork = on_after_fork,
	.open = on_open,
	.get_size = on_get_size,
	.pread = on_pread,
	.can_extents = yes,
	.can_multi_conn = yes,
	.extents = on_extents,
	.errno_is_preserved = 0,
};

struct nbdkit_plugin *plugin_init(void);
NBDKIT_REGISTER_PLUGIN(plugin)
