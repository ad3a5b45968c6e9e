/* SPDX-License-Identifier: GPL-2.0-or-later */
/* House-keeping of the folder of uploads and downloads, by what lies in it alone: names, ages and
 * the few words kept beside a part. Nothing of it is remembered, so nothing is wrong after a
 * restart.
 *
 * An upload that broke off may be gone on with for a week. How many such parts one token may have
 * is bounded, since each may be as large as a disk image; the one that was left longest makes room
 * for a new one, so nobody is locked out by his own broken uploads. */
#include "controller/api/incoming.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include "controller/store/image.h"
#include "lib/clock.h"
#include "lib/file.h"
#include "lib/hash.h"
#include "lib/hostlist.h"
#include "lib/str.h"

enum { KEEP_S = 7 * 86400, PARTS_MAX = 16, IDLE_S = 3600 };

char *incoming_path(const struct controller *controller, const char *name, const char *suffix)
{
	return xasprintf("%s/incoming/%s%s", controller->config.state_dir, name, suffix);
}

static DIR *open_folder(const struct controller *controller, const char *name)
{
	auto_free char *dir = xasprintf("%s/%s", controller->config.state_dir, name);
	return opendir(dir);
}

/* "SHA" of "SHA.part" and the like; caller frees. */
static char *stem_of(const char *name)
{
	return xstrndup(name, strcspn(name, "."));
}

static bool named_by(const struct imports *imports, const char *name)
{
	auto_free char *stem = stem_of(name);
	vec_each (struct import, import, imports)
		if (import->state == IMPORT_RUNNING && sha256_hex_ok(stem) &&
			strstr(import->request, stem))
			return true;
	return false;
}

bool incoming_wanted(struct controller *controller, const char *sha256)
{
	struct imports imports = {0};
	if (store_import_list(controller->store, &imports, NULL) < 0)
		return true;
	bool wanted = named_by(&imports, sha256);
	imports_done(&imports);
	return wanted;
}

/* Seconds since it was written; -1: it is no file of ours. What is kept beside a part is as young
 * as the part. */
static int64_t age_of(int folder, const char *name)
{
	auto_free char *stem = stem_of(name), *part = xasprintf("%s.part", stem);
	struct stat st, its;
	if (fstatat(folder, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode))
		return -1;
	if (strcmp(name, stem) != 0 && fstatat(folder, part, &its, AT_SYMLINK_NOFOLLOW) == 0)
		st = its;
	int64_t age = clock_wall() - st.st_mtime;
	return age > 0 ? age : 0;
}

static void drop_old(DIR *folder, const struct imports *imports)
{
	struct strings old = {0};
	struct dirent *entry;
	while ((entry = readdir(folder)))
		if (age_of(dirfd(folder), entry->d_name) > KEEP_S &&
			!named_by(imports, entry->d_name))
			vec_push(&old, xstrdup(entry->d_name));
	vec_each (char *, name, &old)
		unlinkat(dirfd(folder), *name, 0);
	strings_done(&old);
}

void incoming_drop_old(struct controller *controller)
{
	static const char *const folders[] = {"incoming", "loading"};
	struct imports imports = {0};
	if (store_import_list(controller->store, &imports, NULL) < 0)
		return;
	for (size_t i = 0; i < ARRAY_LEN(folders); i++) {
		DIR *folder = open_folder(controller, folders[i]);
		if (!folder)
			continue;
		drop_old(folder, &imports);
		closedir(folder);
	}
	imports_done(&imports);
}

int incoming_length_read(
	struct controller *controller, const char *sha256, struct incoming_length *ret_length)
{
	auto_free char *path = incoming_path(controller, sha256, ".length"), *text = NULL;
	struct incoming_length length = {0};
	uint64_t token = 0;
	int r = file_read(path, 64, &text, NULL, NULL);
	if (r < 0)
		return r;
	char *space = strchr(text, ' ');
	if (space) {
		*space = '\0';
		if (uint_parse(space + 1, 0, INT64_MAX, &token) < 0)
			return -EBADMSG;
	}
	if (uint_parse(text, 0, INT64_MAX, &length.length) < 0)
		return -EBADMSG;
	length.token = (int64_t)token;
	*ret_length = length;
	return 0;
}

int incoming_length_write(struct controller *controller, const char *sha256,
	const struct incoming_length *length, struct error **err)
{
	auto_free char *path = incoming_path(controller, sha256, ".length");
	auto_free char *text = xasprintf(
		"%llu %lld", (unsigned long long)length->length, (long long)length->token);
	return file_write(path, text, strlen(text), 0600, err);
}

int incoming_begin(struct controller *controller, int64_t token, struct error **err)
{
	DIR *folder = open_folder(controller, "incoming");
	auto_free char *oldest = NULL;
	int64_t oldest_age = -1;
	struct dirent *entry;
	size_t n = 0;
	while (folder && (entry = readdir(folder))) {
		auto_free char *stem = stem_of(entry->d_name);
		struct incoming_length length;
		if (!sha256_hex_ok(stem) || strcmp(entry->d_name + SHA256_TEXT - 1, ".part") != 0 ||
			incoming_length_read(controller, stem, &length) < 0 ||
			length.token != token)
			continue;
		int64_t age = age_of(dirfd(folder), entry->d_name);
		n++;
		if (age <= oldest_age)
			continue;
		oldest_age = age;
		free(oldest);
		oldest = TAKE_PTR(stem);
	}
	if (folder)
		closedir(folder);
	if (n < PARTS_MAX)
		return 0;
	if (oldest_age < IDLE_S)
		return error_make(err, -EBUSY,
			"%d uploads of this token are under way; let one of them end first",
			PARTS_MAX);
	auto_free char *part = incoming_path(controller, oldest, ".part"),
		       *length = incoming_path(controller, oldest, ".length");
	unlink(part);
	unlink(length);
	return 0;
}
