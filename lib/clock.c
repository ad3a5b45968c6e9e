/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The one clock: wall time for people and timetables, milliseconds since boot (CLOCK_BOOTTIME, so
 * sleep counts) for leases and deadlines. In a rehearsal all programs of a night are started with
 * NIGHTCLASS_CLOCK naming one file whose number of seconds is added to both, so moving the night by
 * an hour is writing one file; whoever writes it replaces it by rename, and a file that is absent
 * or malformed for an instant leaves the offset as it was.
 *
 * Read from workers too, hence atomic. Must not be set by anything but the environment: in a school
 * the variable is absent and this is the system's clock and nothing more.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <time.h>

#include "lib/clock.h"
#include "lib/str.h"

static char *offset_path;
static _Atomic int64_t offset_ms;
static _Atomic int64_t fixed_ms = -1;

/* The number in the file (an optional '-', digits, an optional newline) in ms; false: not readable.
 */
static bool read_offset(int64_t *ret_ms)
{
	auto_close int fd = open(offset_path, O_RDONLY | O_CLOEXEC);
	char text[32] = "", *digits = text;
	uint64_t seconds = 0;
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);

	if (n <= 0)
		return false;
	text[n] = '\0';
	if (text[n - 1] == '\n')
		text[n - 1] = '\0';
	if (*digits == '-' || *digits == '+')
		digits++;
	if (uint_parse(digits, 0, 1ULL << 40, &seconds) < 0)
		return false;
	*ret_ms = (*text == '-' ? -1 : 1) * (int64_t)seconds * 1000;
	return true;
}

void clock_init(void)
{
	const char *path = getenv("NIGHTCLASS_CLOCK");

	if (offset_path || !path || !*path)
		return;
	offset_path = xstrdup(path);
	clock_reread();
}

int clock_reread(void)
{
	int64_t ms = 0;

	if (!offset_path || !read_offset(&ms))
		return 0;
	return atomic_exchange(&offset_ms, ms) != ms;
}

const char *clock_file(void)
{
	return offset_path;
}

static int64_t now_ms(clockid_t id)
{
	int64_t fixed = atomic_load(&fixed_ms);
	struct timespec ts;

	if (fixed >= 0)
		return fixed;
	clock_gettime(id, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000 + atomic_load(&offset_ms);
}

int64_t clock_wall_ms(void)
{
	return now_ms(CLOCK_REALTIME);
}

int64_t clock_wall(void)
{
	return clock_wall_ms() / 1000;
}

int64_t clock_mono_ms(void)
{
	return now_ms(CLOCK_BOOTTIME);
}

int64_t clock_real_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_BOOTTIME, &ts);
	return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

int64_t clock_real_ms(void)
{
	return clock_real_us() / 1000;
}

void clock_fix(int64_t wall_ms)
{
	atomic_store(&fixed_ms, wall_ms);
}

const char *clock_format(int64_t wall, char ret_text[CLOCK_TEXT])
{
	time_t t = (time_t)wall;
	struct tm tm;

	/* years of four digits only: what clock_parse takes back */
	if (wall < 0 || wall > 253402300799 || !gmtime_r(&t, &tm))
		memset(&tm, 0, sizeof(tm)), tm.tm_year = 70, tm.tm_mday = 1;
	strftime(ret_text, CLOCK_TEXT, "%Y-%m-%dT%H:%M:%SZ", &tm);
	return ret_text;
}

int clock_parse(const char *text, int64_t *ret_wall)
{
	static const char form[] = "0000-00-00T00:00:00Z";
	char again[CLOCK_TEXT];
	struct tm tm = {0};
	int64_t wall = 0;

	if (strlen(text) != sizeof(form) - 1)
		return -EINVAL;
	for (size_t i = 0; form[i]; i++)
		if (form[i] == '0' ? text[i] < '0' || text[i] > '9' : text[i] != form[i])
			return -EINVAL;
	tm.tm_year = atoi(text) - 1900;
	tm.tm_mon = atoi(text + 5) - 1;
	tm.tm_mday = atoi(text + 8);
	tm.tm_hour = atoi(text + 11);
	tm.tm_min = atoi(text + 14);
	tm.tm_sec = atoi(text + 17);
	wall = timegm(&tm);
	/* what does not come back the same was no real date (31 June, 24:00, before 1970) */
	if (strcmp(clock_format(wall, again), text) != 0)
		return -EINVAL;
	*ret_wall = wall;
	return 0;
}
