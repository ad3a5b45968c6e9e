/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The night's user, written into the system's three account files.
 *
 * An image normally brings the account; one that does not gets it here, without the tools for it:
 * they need seconds in a VM that is emulated twice. The password field is '*', which no password
 * matches and which, unlike '!', sshd does not take for a locked account. A number below 1000
 * belongs to the system: a seed that names such an account is refused, so that no seed can hand
 * root's or a daemon's files over.
 */
#include "guest-agent/account.h"

#include "lib/str.h"

enum { FIRST_ID = 1000, LAST_ID = 59999 };

/* The line of `name` in a colon-separated file; *ret_fields get pointers into a copy, caller frees
 * it. */
static char *line_of(const char *text, const char *name, char *fields[], size_t n)
{
	auto_free char *prefix = xasprintf("%s:", name);
	const char *at = text;
	while (at && !str_starts(at, prefix)) {
		at = strchr(at, '\n');
		at = at ? at + 1 : NULL;
	}
	if (!at)
		return NULL;
	char *copy = xstrndup(at, strcspn(at, "\n")), *rest = copy;
	for (size_t i = 0; i < n; i++)
		fields[i] = rest ? strsep(&rest, ":") : NULL;
	if (n > 0 && !fields[n - 1]) {
		free(copy);
		return NULL;
	}
	return copy;
}

static bool has_line(const char *text, const char *name)
{
	auto_free char *line = line_of(text, name, NULL, 0);
	return line != NULL;
}

/* The number of the group `name` when a user may have it, else 0. */
static unsigned group_of(const char *text, const char *name)
{
	char *fields[3];
	uint64_t id;
	auto_free char *line = line_of(text, name, fields, ARRAY_LEN(fields));
	return line && uint_parse(fields[2], FIRST_ID, LAST_ID, &id) == 0 ? (unsigned)id : 0;
}

/* Is `id` the third field of any line? */
static bool id_taken(const char *text, unsigned id)
{
	for (const char *at = text; at && *at;
		at = strchr(at, '\n') ? strchr(at, '\n') + 1 : NULL) {
		const char *two = strchr(at, ':');
		two = two ? strchr(two + 1, ':') : NULL;
		if (two && strtoul(two + 1, NULL, 10) == id)
			return true;
	}
	return false;
}

static int append(
	int root_fd, const char *path, const char *old, mode_t mode, char *line, struct error **err)
{
	const struct inside_owner root = {0, 0};
	size_t len = old ? strlen(old) : 0;
	auto_free char *text = xasprintf(
		"%s%s%s\n", len ? old : "", len && old[len - 1] != '\n' ? "\n" : "", line);
	free(line);
	return inside_write(root_fd, path, text, root, mode, 0755, err);
}

static int add(
	int root_fd, const char *passwd, const char *name, const char *shell, struct error **err)
{
	auto_free char *group = NULL, *shadow = NULL;
	unsigned id = FIRST_ID;
	int r = inside_read(root_fd, "/etc/group", &group, err);
	if (r == 0)
		r = inside_read(root_fd, "/etc/shadow", &shadow, err);
	if (r < 0)
		return r;
	/* Cut short before the last of the three, the next start goes on with the same number. */
	unsigned own_group = group_of(group, name);
	if (own_group)
		id = own_group;
	while (!own_group && (id_taken(passwd, id) || id_taken(group, id)))
		if (++id > LAST_ID)
			return error_make(err, -ENOSPC, "no account number is free");
	if (!own_group)
		r = append(
			root_fd, "/etc/group", group, 0644, xasprintf("%s:x:%u:", name, id), err);
	if (r == 0 && !has_line(shadow, name))
		r = append(root_fd, "/etc/shadow", shadow, 0640,
			xasprintf("%s:*:19000:0:99999:7:::", name), err);
	if (r == 0)
		r = append(root_fd, "/etc/passwd", passwd, 0644,
			xasprintf("%s:x:%u:%u::/home/%s:%s", name, id, id, name, shell), err);
	return r;
}

static int find(
	const char *passwd, const char *name, struct account *ret_account, struct error **err)
{
	char *fields[7];
	uint64_t uid, gid;
	auto_free char *line = line_of(passwd, name, fields, ARRAY_LEN(fields));
	if (!line)
		return -ENOENT;
	if (uint_parse(fields[2], FIRST_ID, LAST_ID, &uid) < 0 ||
		uint_parse(fields[3], FIRST_ID, LAST_ID, &gid) < 0 || fields[5][0] != '/')
		return error_make(err, -EINVAL, "%s is not an account of a user", name);
	*ret_account =
		(struct account){.owner = {(uid_t)uid, (gid_t)gid}, .home = xstrdup(fields[5])};
	return 0;
}

int account_ensure(int root_fd, const char *name, const char *shell, struct account *ret_account,
	struct error **err)
{
	auto_free char *passwd = NULL;
	if (!name_ok(name) || shell[0] != '/' || strpbrk(shell, ":\n"))
		return error_make(err, -EINVAL, "account %.64s: bad name or shell", name);
	int r = inside_read(root_fd, "/etc/passwd", &passwd, err);
	if (r < 0)
		return r;
	r = find(passwd, name, ret_account, err);
	if (r == -ENOENT) {
		r = add(root_fd, passwd, name, shell, err);
		free(TAKE_PTR(passwd));
		if (r == 0)
			r = inside_read(root_fd, "/etc/passwd", &passwd, err);
		if (r == 0)
			r = find(passwd, name, ret_account, err);
	}
	if (r == 0)
		r = inside_mkdir(root_fd, ret_account->home, ret_account->owner, 0700, err);
	if (r < 0)
		account_done(ret_account);
	return r;
}

void account_done(struct account *account)
{
	free(account->home);
	memset(account, 0, sizeof(*account));
}
