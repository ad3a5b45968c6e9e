/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Says to the host that this VM is ready, again and again.
 *
 * The port is found by its name in /sys, because a lean guest has no udev to make the link. It is
 * non-blocking: with nobody at the other end a write is refused (-EAGAIN) and simply tried later,
 * so neither a host agent that starts late nor one that is restarted misses the word. A line is a
 * full observation, not a change; it fits the port's buffer, so it goes whole.
 */
#include "guest-agent/port.h"

#include <dirent.h>
#include <fcntl.h>
#include "lib/file.h"
#include "lib/json.h"

static bool is_named(const char *entry, const char *name)
{
	auto_free char *path = xasprintf("/sys/class/virtio-ports/%s/name", entry);
	auto_free char *text = NULL;
	if (file_read(path, 256, &text, NULL, NULL) < 0)
		return false;
	text[strcspn(text, "\n")] = '\0';
	return strcmp(text, name) == 0;
}

char *port_find(const char *name)
{
	char *device = xasprintf("/dev/virtio-ports/%s", name);
	if (access(device, F_OK) == 0)
		return device;
	free(TAKE_PTR(device));
	DIR *dir = opendir("/sys/class/virtio-ports");
	const struct dirent *entry;
	while (dir && !device && (entry = readdir(dir)))
		if (entry->d_name[0] != '.' && is_named(entry->d_name, name))
			device = xasprintf("/dev/%s", entry->d_name);
	if (dir)
		closedir(dir);
	return device;
}

int port_open(const char *device)
{
	int fd = open(device, O_RDWR | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

int port_say(int fd, const char *line)
{
	size_t len = strlen(line);
	ssize_t n = write(fd, line, len);
	if (n < 0)
		return -errno;
	return (size_t)n == len ? 0 : -EIO;
}

void port_drain(int fd)
{
	char bytes[256];
	while (read(fd, bytes, sizeof(bytes)) > 0)
		;
}

char *port_line(const char *hostname, uint64_t boot_ms, uint64_t load_permille)
{
	auto_json json_t *line = json_pack("{s:b, s:s, s:I, s:I}", "ready", 1, "hostname", hostname,
		"boot_ms", (json_int_t)boot_ms, "load_permille", (json_int_t)load_permille);
	auto_free char *text = json_text(line);
	return xasprintf("%s\n", text);
}
