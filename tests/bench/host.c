/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a PC does with an image, as a program, for make bench-images:
 *
 *   host bring SERVER NAME DIGEST DIR PORT-BITS   has the image whole, by whatever way works
 *   host start URL DIGEST DIR                     brings what a VM needs to start
 *   host trace DIGEST DIR                         prints the boot trace: the order of first reads
 *
 * `bring` says "whole" and then serves its peers until its input ends. It takes the ways in the
 * order in which a PC of the lab does: what other revisions here have of it, the cast, where no
 * multicast comes through the chain of peers, where the port is too slow for the others chunks of
 * peers, and for what still lacks the server's HTTP. Each way is one call of the library, so that
 * what the bench measures is the product and not this file. The ways taken are told on standard
 * output. */
#include <dirent.h>
#include <stdio.h>
#include <unistd.h>

#include "images/cast_recv.h"
#include "images/chain.h"
#include "images/fetch.h"
#include "images/fetch_sources.h"
#include "images/held.h"
#include "images/reuse.h"
#include "images/serve.h"
#include "images/trace.h"

enum { CAST_PORT = 7867, HTTP_PORT = 8080 };

struct host {
	const char *server, *name, *digest, *dir;
	char *base; /* the server's chunks */
	uint64_t port_bits;
	struct chain_server *chain;
	struct cast_received cast;
};

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

/* Does this PC hold another image, which may be an earlier revision? */
static bool holds_another(const char *dir)
{
	DIR *all = opendir(dir);
	bool found = false;

	for (struct dirent *entry; all && !found && (entry = readdir(all));)
		found = entry->d_name[0] != '.';
	if (all)
		closedir(all);
	return found;
}

static int by_http(struct host *host, bool start_only, struct error **err)
{
	char bases[CAST_PEERS][64];
	const char *peers[CAST_PEERS];
	struct fetch job = {.base = host->base,
		.digest = host->digest,
		.dir = host->dir,
		.start_only = start_only,
		.peers = peers,
		.n_peers = start_only ? 0 : host->cast.n_peers,
		.note = note};
	struct fetch_result result;
	char text[IP4_TEXT];

	if (job.n_peers > FETCH_PEERS)
		job.n_peers = FETCH_PEERS;
	for (size_t i = 0; i < job.n_peers; i++) {
		snprintf(bases[i], sizeof(bases[i]), "http://%s:%u",
			ip4_format(host->cast.peers[i].address, text), host->cast.peers[i].port);
		peers[i] = bases[i];
	}
	return fetch_image(&job, &result, err);
}

static int by_cast(struct host *host, struct error **err)
{
	struct cast_receive job = {.port = CAST_PORT,
		.name = host->name,
		.digest = host->digest,
		.dir = host->dir,
		.serve_port = SERVE_PORT};
	int r = ip4_parse(host->server, &job.server);

	return r < 0 ? error_make(err, r, "%s: no address", host->server)
		     : cast_receive(&job, &host->cast, err);
}

static int by_chain(struct host *host, struct error **err)
{
	char texts[CAST_PEERS + 1][64];
	const char *sources[CAST_PEERS + 1];
	struct chain_job job = {.dir = host->dir,
		.digest = host->digest,
		.sources = sources,
		.server = host->chain,
		.port_bits = host->port_bits,
		.note = note};
	auto_held struct held *held = NULL;
	struct chain_result result;
	char text[IP4_TEXT];
	int r = by_http(host, true, err);

	if (r == 0)
		r = held_open(host->dir, host->digest, &held, err);
	if (r < 0)
		return r;
	job.held = held;
	for (; job.n_sources < host->cast.n_peers; job.n_sources++)
		snprintf(texts[job.n_sources], sizeof(texts[0]), "%s:%u",
			ip4_format(host->cast.peers[job.n_sources].address, text), CHAIN_PORT);
	snprintf(texts[job.n_sources++], sizeof(texts[0]), "%s:%u", host->server, CHAIN_PORT);
	for (size_t i = 0; i < job.n_sources; i++)
		sources[i] = texts[i];
	r = chain_receive(&job, &result, err);
	return r < 0 ? r : held_finish(held, err);
}

static void reuse(struct host *host)
{
	auto_held struct held *held = NULL;
	uint64_t bytes = 0;

	if (holds_another(host->dir) && by_http(host, true, NULL) == 0 &&
		held_open(host->dir, host->digest, &held, NULL) == 0 &&
		held_reuse(held, host->dir, host->digest, NULL, &bytes, NULL) == 0)
		printf("%llu bytes of other revisions\n", (unsigned long long)bytes);
}

static int bring(struct host *host, struct error **err)
{
	auto_error struct error *way = NULL;
	int r;

	reuse(host);
	r = by_cast(host, &way);
	if (r == 0)
		return 0;
	printf("cast: %s\n", error_text(way, r));
	if (r == -ENOTCONN) {
		auto_error struct error *chain_way = NULL;

		r = by_chain(host, &chain_way);
		if (r == 0)
			return 0;
		printf("chain: %s\n", error_text(chain_way, r));
	}
	return by_http(host, false, err);
}

static int bring_and_serve(char **argv)
{
	struct host host = {.server = argv[0],
		.name = argv[1],
		.digest = argv[2],
		.dir = argv[3],
		.port_bits = strtoull(argv[4], NULL, 10)};
	const struct chain_serve chain = {
		.port = CHAIN_PORT, .port_bits = host.port_bits, .held = host.dir};
	const struct serve_options options = {.port = SERVE_PORT, .held = host.dir};
	auto_error struct error *err = NULL;
	auto_free char *base = host.base = xasprintf("http://%s:%u", host.server, HTTP_PORT);
	struct serve *serve = NULL;
	char byte;
	int r = serve_start(&options, &serve, &err);

	if (r == 0)
		r = chain_server_start(&chain, &host.chain, &err);
	if (r == 0)
		r = bring(&host, &err);
	if (r == 0) {
		puts("whole");
		while (read(STDIN_FILENO, &byte, 1) > 0)
			;
	}
	chain_server_stop(host.chain);
	serve_stop(serve);
	return r < 0 ? say(r, err) : 0;
}

int main(int argc, char **argv)
{
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc == 7 && strcmp(argv[1], "bring") == 0)
		return bring_and_serve(argv + 2);
	if (argc == 5 && strcmp(argv[1], "start") == 0)
		return start(argv[2], argv[3], argv[4]);
	if (argc == 4 && strcmp(argv[1], "trace") == 0)
		return trace(argv[2], argv[3]);
	fputs("usage: host bring SERVER NAME DIGEST DIR PORT-BITS | host start URL DIGEST DIR |\n"
	      "       host trace DIGEST DIR\n",
		stderr);
	return 2;
}
