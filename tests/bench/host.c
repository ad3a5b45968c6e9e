/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What hostd does with an image at the start of a VM, as a program, for make bench-images:
 *
 *   host start URL DIGEST DIR     brings what a VM needs to start: manifest, kernel, initrd
 *   host trace DIGEST DIR         prints the order in which chunks were first read: a boot trace
 *
 * Both are one call of the library. Nothing is decided here, so that what the bench measures is the
 * product and not this file. */
#include <stdio.h>

#include "images/fetch.h"
#include "images/held.h"
#include "images/trace.h"

static int say(int r, const struct error *err)
{
	fprintf(stderr, "host: %s\n", error_text(err, r));
	return 1;
}

static int start(const char *url, const char *digest, const char *dir)
{
	const struct fetch job = {.base = url, .digest = digest, .dir = dir, .start_only = true};
	auto_error struct error *err = NULL;
	struct fetch_result result;
	int r = fetch_image(&job, &result, &err);

	return r < 0 ? say(r, err) : 0;
}

static int trace(const char *digest, const char *dir)
{
	auto_error struct error *err = NULL;
	auto_held struct held *held = NULL;
	uint32_t numbers[TRACE_MAX];
	int r = held_open(dir, digest, &held, &err);

	if (r < 0)
		return say(r, err);
	auto_free char *text = trace_write(numbers, held_order(held, numbers, TRACE_MAX));
	fputs(text, stdout);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 5 && strcmp(argv[1], "start") == 0)
		return start(argv[2], argv[3], argv[4]);
	if (argc == 4 && strcmp(argv[1], "trace") == 0)
		return trace(argv[2], argv[3]);
	fputs("usage: host start URL DIGEST DIR | host trace DIGEST DIR\n", stderr);
	return 2;
}
