/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a PC does with an image, as a program, for make bench-images:
 *
 *   host bring SERVER NAME DIGEST DIR PORT-BITS   has the image whole, by whatever way works
 *   host start URL DIGEST DIR                     brings what a VM needs to start
 *   host trace DIGEST DIR                         prints the boot trace: the order of first reads
 *
 * `bring` is a hostd that was running before it heard of the image: it serves its peers, says
 * "ready" and waits for a line; when it has the image it says "whole" and goes on serving until its
 * input ends. Which way is taken when is decided in images/bring.c, nothing is decided here: what
 * the bench measures is the product and not this file. A way that was left is told on standard
 * output. */
#include <stdio.h>
#include <unistd.h>

#include "images/bring.h"
#include "images/fetch.h"
#include "images/held.h"
#include "images/reuse.h"
#include "images/serve.h"
#include "images/trace.h"

enum { CAST_PORT = 7867, HTTP_PORT = 8080 };

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

static void note(const char *text, void *arg)
{
	(void)arg;
	printf("note: %s\n", text);
}

static bool progress(uint64_t have, uint64_t total, void *arg)
{
	(void)have, (void)total, (void)arg;
	return true;
}

/* False: the input ended. */
static bool await_line(void)
{
	char byte = 0;

	while (byte != '\n')
		if (read(STDIN_FILENO, &byte, 1) <= 0)
			return false;
	return true;
}

static int bring(char **argv)
{
	const struct chain_serve chain = {
		.port = CHAIN_PORT, .port_bits = strtoull(argv[4], NULL, 10), .held = argv[3]};
	const struct serve_options options = {.port = SERVE_PORT, .held = argv[3]};
	auto_free char *base = xasprintf("http://%s:%d", argv[0], HTTP_PORT);
	struct bring job = {.digest = argv[2],
		.dir = argv[3],
		.base = base,
		.cast_port = CAST_PORT,
		.name = argv[1],
		.serve_port = SERVE_PORT,
		.progress = progress,
		.note = note};
	auto_error struct error *err = NULL;
	struct serve *serve = NULL;
	int r = ip4_parse(argv[0], &job.cast);

	if (r == 0)
		r = serve_start(&options, &serve, &err);
	if (r == 0)
		r = chain_server_start(&chain, &job.chain, &err);
	if (r == 0) {
		puts("ready");
		if (!await_line())
			r = error_make(&err, -ECANCELED, "the input ended before it began");
	}
	if (r == 0) {
		held_prepare(job.dir, job.digest, base, 0, NULL);
		r = bring_image(&job, &err);
	}
	if (r == 0) {
		puts("whole");
		while (await_line())
			;
	}
	chain_server_stop(job.chain);
	serve_stop(serve);
	return r < 0 ? say(r, err) : 0;
}

int main(int argc, char **argv)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc == 7 && strcmp(argv[1], "bring") == 0)
		return bring(argv + 2);
	if (argc == 5 && strcmp(argv[1], "start") == 0)
		return start(argv[2], argv[3], argv[4]);
	if (argc == 4 && strcmp(argv[1], "trace") == 0)
		return trace(argv[2], argv[3]);
	fputs("usage: host bring SERVER NAME DIGEST DIR PORT-BITS | host start URL DIGEST DIR |\n"
	      "       host trace DIGEST DIR\n",
		stderr);
	return 2;
}
