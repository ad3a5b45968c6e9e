/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Turns a seed into a system: name, account, keys, files.
 *
 * All of it is written before any service starts, in an order that leaves nothing half open: the
 * account first, then what belongs to it, the host keys and the host name last. What a seed may
 * write is a short list: /etc/hosts, and files in the home of the seed's own user; owners are root
 * or that user. Everything else in a seed is refused, whoever wrote it. Set-uid and world-writable
 * modes are refused too.
 */
#include "guest-agent/apply.h"

#include <fcntl.h>
#include "guest-agent/account.h"
#include "guest-agent/inside.h"

static int parse_mode(const char *text, mode_t *ret_mode)
{
	char *end;
	unsigned long mode = strtoul(text, &end, 8);
	if (strlen(text) != 4 || *end || text[0] != '0' || mode > 0777 || mode & 0022)
		return -EINVAL;
	*ret_mode = (mode_t)mode;
	return 0;
}

static int apply_file(int root_fd, const struct seed_file *file, const struct seed_user *user,
	const struct account *account, struct error **err)
{
	const struct inside_owner root = {0, 0};
	auto_free char *own = xasprintf("%s:%s", user->name, user->name);
	auto_free char *home = xasprintf("%s/", account->home);
	mode_t mode;
	if (parse_mode(file->permissions, &mode) < 0)
		return error_field(err, -EINVAL, file->path, "permissions \"%.16s\" are refused",
			file->permissions);
	if (strcmp(file->path, "/etc/hosts") == 0 && strcmp(file->owner, "root:root") == 0)
		return inside_write(root_fd, file->path, file->content, root, mode, 0755, err);
	if (str_starts(file->path, home) && strcmp(file->owner, own) == 0)
		return inside_write(
			root_fd, file->path, file->content, account->owner, mode, 0700, err);
	return error_field(err, -EINVAL, file->path,
		"a seed may write /etc/hosts and its user's home only, not %.200s for %.64s",
		file->path, file->owner);
}

static int apply_authorized_keys(int root_fd, const struct seed_user *user,
	const struct account *account, struct error **err)
{
	auto_buf struct buf keys = {0};
	auto_free char *path = xasprintf("%s/.ssh/authorized_keys", account->home);
	vec_each (char *, key, &user->ssh_authorized_keys)
		buf_addf(&keys, "%s\n", *key);
	if (keys.len == 0)
		return 0;
	return inside_write(root_fd, path, keys.text, account->owner, 0600, 0700, err);
}

static int apply_host_key(int root_fd, const struct seed *seed, struct error **err)
{
	const struct inside_owner root = {0, 0};
	if (!seed->host_key)
		return 0;
	auto_free char *public = xasprintf("%s\n", seed->host_key_pub);
	int r = inside_write(
		root_fd, "/etc/ssh/ssh_host_ed25519_key", seed->host_key, root, 0600, 0755, err);
	if (r == 0)
		r = inside_write(root_fd, "/etc/ssh/ssh_host_ed25519_key.pub", public, root, 0644,
			0755, err);
	return r;
}

static int apply_hostname(int root_fd, const struct seed *seed, bool real, struct error **err)
{
	const struct inside_owner root = {0, 0};
	auto_free char *line = xasprintf("%s\n", seed->hostname);
	int r = inside_write(root_fd, "/etc/hostname", line, root, 0644, 0755, err);
	if (r == 0 && real && sethostname(seed->hostname, strlen(seed->hostname)) < 0)
		r = error_make(err, -errno, "host name %s: %s", seed->hostname, strerror(errno));
	return r;
}

int apply_files(const struct seed *seed, const char *root, struct error **err)
{
	auto_close int root_fd = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct account account = {0};
	if (root_fd < 0)
		return error_make(err, -errno, "%s: %s", root, strerror(errno));
	if (seed->users.n != 1)
		return error_field(err, -EINVAL, "users", "exactly one user is wanted");
	const struct seed_user *user = &seed->users.at[0];
	int r = account_ensure(root_fd, user->name, user->shell, &account, err);
	vec_each (struct seed_file, file, &seed->files)
		if (r == 0)
			r = apply_file(root_fd, file, user, &account, err);
	if (r == 0)
		r = apply_authorized_keys(root_fd, user, &account, err);
	if (r == 0)
		r = apply_host_key(root_fd, seed, err);
	if (r == 0)
		r = apply_hostname(root_fd, seed, strcmp(root, "/") == 0, err);
	account_done(&account);
	return r;
}
