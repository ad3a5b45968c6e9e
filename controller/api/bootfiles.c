/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The host image is 160 MB and every boot script names its digest, so digests are kept by (size,
 * mtime, inode) and computed anew, in a worker, when the file was replaced. A PC that asks
 * meanwhile waits on its connection.
 *
 * The root image is also put into the chunk store, beside the images of VMs, for the cast. That
 * follows each new digest of it, and is begun when the controller starts, so that it is there long
 * before a PC asks. Without it (no room, no cast) PCs get the file by HTTP.
 *
 * Only the names of the table are ever opened: the boot path serves no directory. */
#include "controller/api/bootfiles.h"

#include <fcntl.h>
#include <sys/stat.h>
#include "controller/api/http.h"
#include "images/hostroot.h"
#include "lib/log.h"

static const char *const names[] = {"vmlinuz", "initrd.img", "host.squashfs", "disks.squashfs",
	"local.efi"};
static const char root_name[] = "host.squashfs";

struct known {
	struct stat seen; /* of the digest */
	bool has, busy;
	struct sha256 digest;
};

struct bootfiles {
	struct controller *controller;
	struct known known[ARRAY_LEN(names)];
	bool root_has, root_busy;
	struct sha256 root_of;	     /* the file's digest, when it was put into the store last */
	struct sha256 root_manifest; /* and what that gave */
};

struct job {
	struct bootfiles *files;
	size_t i;
	char *path;
	struct stat seen;
	struct sha256 digest;
	int result;
};

struct root_job {
	struct bootfiles *files;
	char *path, *store;
	struct sha256 of, manifest;
	int result;
	struct error *err;
};

struct bootfiles *bootfiles_new(struct controller *controller)
{
	struct bootfiles *files = xnew(struct bootfiles);
	files->controller = controller;
	return files;
}

void bootfiles_free(struct bootfiles *files)
{
	free(files);
}

static int index_of(const char *name, struct error **err)
{
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (strcmp(names[i], name) == 0)
			return (int)i;
	return error_make(err, -ENOENT, "no boot file is named %s", name);
}

/* ---- the root image in the chunk store ---- */

static void root_begin(struct bootfiles *files, const struct sha256 *of);

static void root_work(void *arg)
{
	struct root_job *job = arg;
	job->result = hostroot_store(job->store, job->path, &job->manifest, &job->err);
}

static void root_done(void *arg)
{
	struct root_job *job = arg;
	struct bootfiles *files = job->files;
	const struct known *known = &files->known[index_of(root_name, NULL)];
	files->root_busy = false;
	files->root_of = job->of;
	files->root_has = job->result >= 0;
	files->root_manifest = job->manifest;
	if (job->result < 0)
		log_warning("boot: PCs get the host root by HTTP only: %s",
			error_text(job->err, job->result));
	if (known->has && memcmp(&known->digest, &job->of, sizeof(job->of)) != 0)
		root_begin(files, &known->digest);
	http_wake(files->controller->http, "boot/files");
	error_free(job->err);
	free(job->path);
	free(job->store);
	free(job);
}

static void root_begin(struct bootfiles *files, const struct sha256 *of)
{
	const struct config *config = &files->controller->config;
	if (files->root_busy || strcmp(config->cast_group, "none") == 0)
		return;
	struct root_job *job = xnew(struct root_job);
	*job = (struct root_job){.files = files,
		.of = *of,
		.path = xasprintf("%s/%s", config->boot_dir, root_name),
		.store = xasprintf("%s/store", config->state_dir)};
	files->root_busy = true;
	loop_work(files->controller->loop, root_work, root_done, job);
}

int bootfiles_root(const struct bootfiles *files, struct sha256 *ret_manifest)
{
	const struct known *known = &files->known[index_of(root_name, NULL)];
	if (!files->root_has || !known->has ||
		memcmp(&files->root_of, &known->digest, sizeof(files->root_of)) != 0)
		return files->root_busy ? 0 : -ENOENT;
	*ret_manifest = files->root_manifest;
	return 1;
}

/* ---- digests ---- */

static void work(void *arg)
{
	struct job *job = arg;
	job->result = sha256_file(job->path, &job->digest, NULL);
}

static void done(void *arg)
{
	struct job *job = arg;
	struct known *known = &job->files->known[job->i];
	known->busy = false;
	if (job->result >= 0) {
		known->has = true;
		known->seen = job->seen;
		known->digest = job->digest;
		if (strcmp(names[job->i], root_name) == 0)
			root_begin(job->files, &job->digest);
	} else {
		log_error("boot: %s cannot be read: %s", job->path, strerror(-job->result));
	}
	http_wake(job->files->controller->http, "boot/files");
	free(job->path);
	free(job);
}

static bool same(const struct stat *a, const struct stat *b)
{
	return a->st_ino == b->st_ino && a->st_dev == b->st_dev && a->st_size == b->st_size &&
	       a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

int bootfiles_digest(
	struct bootfiles *files, const char *name, char ret_text[SHA256_TEXT], struct error **err)
{
	struct stat now;
	int i = index_of(name, err);
	if (i < 0)
		return i;
	struct known *known = &files->known[i];
	auto_free char *path = xasprintf("%s/%s", files->controller->config.boot_dir, name);
	if (stat(path, &now) < 0 || !S_ISREG(now.st_mode))
		return error_make(err, -ENOENT, "%s is not there; install the host image", path);
	if (known->has && same(&now, &known->seen)) {
		sha256_format(&known->digest, ret_text);
		return 1;
	}
	if (!known->busy) {
		struct job *job = xnew(struct job);
		*job = (struct job){
			.files = files, .i = (size_t)i, .path = TAKE_PTR(path), .seen = now};
		known->busy = true;
		loop_work(files->controller->loop, work, done, job);
	}
	return 0;
}

void bootfiles_prepare(struct bootfiles *files)
{
	char digest[SHA256_TEXT];
	bootfiles_digest(files, root_name, digest, NULL);
}

int bootfiles_open(struct bootfiles *files, const char *name, int *ret_fd, uint64_t *ret_size,
	struct error **err)
{
	struct stat st;
	int i = index_of(name, err);
	if (i < 0)
		return i;
	auto_free char *path = xasprintf("%s/%s", files->controller->config.boot_dir, names[i]);
	auto_close int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return error_make(err, -ENOENT, "%s is not there; install the host image", path);
	*ret_size = (uint64_t)st.st_size;
	*ret_fd = TAKE_FD(fd);
	return 0;
}
