/* SPDX-License-Identifier: GPL-2.0-or-later */
/* dnsmasq gives out every readable file below its root, and the folder of a distribution's iPXE holds disk images,
 * kernels and option ROMs beside the two loaders that a PC is told of. So the root is a folder of our own with copies
 * of these two, and what happens to the package in the middle of a night is no matter. A copy is replaced as a whole; a
 * transfer that is on its way goes on with the old one.
 *
 * As root, dnsmasq gives out what the world may read, so copies are 0644 whatever the mode in the source is. Must not
 * leave a file in that folder that is no loader, nor take away a good copy because its source is gone. */
#include <dirent.h>

#include "lib/file.h"
#include "netconf/dnsmasq.h"
#include "netconf/loaders.h"

enum { LOADER_MAX = 16 << 20 };

static int copy(const struct net_site *site, const char *folder, const char *name, struct error **err)
{
	auto_free char *from = xasprintf("%s/%s", site->tftp_root, name), *to = xasprintf("%s/%s", folder, name);
	auto_free char *bytes = NULL;
	size_t len = 0;
	int r = file_read(from, LOADER_MAX, &bytes, &len, NULL);

	if (r < 0)
		return error_make(err, r,
			"PCs cannot boot without the loader %s: %s. Install the Debian package ipxe, or name the "
			"folder that has it as tftp_root in netd.conf.",
			from, error_text(NULL, r));
	return file_write(to, bytes, len, 0644, err);
}

static bool is_loader(const char *name)
{
	for (size_t i = 0; dnsmasq_loaders[i]; i++)
		if (strcmp(dnsmasq_loaders[i], name) == 0)
			return true;
	return false;
}

static int remove_others(const char *folder, struct error **err)
{
	DIR *dir = opendir(folder);
	int r = 0;

	if (!dir)
		return error_make(err, -errno, "%s cannot be read: %m.", folder);
	for (struct dirent *entry; r == 0 && (entry = readdir(dir));) {
		auto_free char *path = xasprintf("%s/%s", folder, entry->d_name);

		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 && !is_loader(entry->d_name))
			r = file_remove_tree(path, err);
	}
	closedir(dir);
	return r;
}

int loaders_copy(const struct net_site *site, struct error **err)
{
	auto_free char *folder = dnsmasq_tftp_path(site);
	int r = file_mkdirs(folder, 0755, err);

	if (r == 0)
		r = remove_others(folder, err);
	for (size_t i = 0; r == 0 && dnsmasq_loaders[i]; i++)
		r = copy(site, folder, dnsmasq_loaders[i], err);
	return r;
}
