/* SPDX-License-Identifier: GPL-2.0-or-later */
/* nightclass-cast: sends images of a store to a whole lab at once, or receives one.
 *
 * The sender is a child of nightclassd, without privileges; a PC receives inside nightclass-hostd,
 * and this program's `receive` does the same by hand.
 *
 * Standard output is for the program that started it, one JSON object a line. The sender says once
 * a second, and whenever a receiver's way changes:
 *   {"rate":bits/s,"sent":bytes,"chain":PCs that the chain's root serves,"receivers":[{"name":...,
 *    "address":...,"image":DIGEST,"have":bytes,"total":bytes,"loss":per mille,
 *    "lane":"multicast"|"done"|"peers"|"lost"|"left","reason":...}]}
 * and for each change one line before it: {"event":LANE,"name":...,"image":...,"reason":...}; of an
 * image that was named meanwhile and cannot be cast
 * {"image":DIGEST,"error":{"code":...,"text":...}}. The receiver says {"have":bytes,"total":bytes},
 * {"note":TEXT} when it leaves one way for another, and at its end {"result":"whole",...} with exit
 * code 0 or {"error":{"code":...,"text":...},"peers":["ADDRESS:PORT",...]} with 1. Wrong usage is
 * exit 2 with a line on standard error. SIGTERM ends either cleanly.
 */
#include <getopt.h>
#include <signal.h>
#include <time.h>

#include "images/bring.h"
#include "images/cast_recv.h"
#include "images/cast_send.h"
#include "images/reuse.h"
#include "images/serve.h"
#include "lib/clock.h"
#include "lib/file.h"
#include "lib/json.h"
#include "lib/log.h"
#include "lib/str.h"

static const char usage[] =
	"usage: nightclass-cast send --store DIR --port PORT --interface ADDRESS\n"
	"                            (--group 239.A.B.C [--until-done] [--no-chain] | "
	"--no-multicast)\n"
	"                            [--rate BITS] [--more] [DIGEST...]\n"
	"       nightclass-cast receive --dir DIR --server ADDRESS --port PORT --name NAME\n"
	"                            [--serve-port PORT] [--base URL] [--alone] "
	"[--patience SECONDS]\n"
	"                            DIGEST\n"
	"Sends images of the chunk store DIR by multicast to all receivers that ask for them, at "
	"no\n"
	"more than BITS per second (950000000); or receives one into DIR.\n";

static atomic_bool stop;

static void on_signal(int signo)
{
	(void)signo;
	atomic_store(&stop, true);
}

static void print_line(json_t *object)
{
	auto_free char *text = json_text(object);

	printf("%s\n", text);
	fflush(stdout);
	json_decref(object);
}

/* `image` (a digest), `peers` (taken): NULL when there is none. */
static void print_trouble(const char *image, int code, const struct error *err, json_t *peers)
{
	const char *name = strerrorname_np(-code);

	print_line(json_pack("{s:s*, s:{s:s, s:s*, s:s}, s:o*}", "image", image, "error", "code",
		name ? name : "EIO", "field", err ? err->field : NULL, "text",
		error_text(err, code), "peers", peers));
}

static int print_error(int code, const struct error *err, json_t *peers)
{
	print_trouble(NULL, code, err, peers);
	return 1;
}

/* ---- send ---- */

static void print_event(const struct cast_member *member)
{
	print_line(json_pack("{s:s, s:s, s:s, s:s*}", "event", cast_lane_names[member->lane],
		"name", member->name, "image", member->digest, "reason", member->reason));
}

static void print_progress(const struct cast_progress *progress, void *arg)
{
	struct chain_server **chain = arg;
	json_t *all = json_array();
	char address[IP4_TEXT];

	for (size_t i = 0; i < progress->n; i++) {
		const struct cast_member *m = &progress->members[i];

		if (m->changed)
			print_event(m);
		if (!progress->whole)
			continue;
		json_array_append_new(
			all, json_pack("{s:s, s:s, s:s, s:I, s:I, s:i, s:s, s:s*}", "name", m->name,
				     "address", ip4_format(m->address, address), "image", m->digest,
				     "have", (json_int_t)m->have, "total", (json_int_t)m->total,
				     "loss", (int)m->loss, "lane", cast_lane_names[m->lane],
				     "reason", m->reason));
	}
	if (!progress->whole) {
		json_decref(all);
		return;
	}
	print_line(json_pack("{s:I, s:I, s:i, s:o}", "rate", (json_int_t)progress->rate, "sent",
		(json_int_t)progress->sent, "chain",
		*chain ? (int)chain_server_successors(*chain) : 0, "receivers", all));
}

static void print_refused(const char *digest, int code, const struct error *why, void *arg)
{
	(void)arg;
	print_trouble(digest, code, why, NULL);
}

static int send_main(struct cast_send *job, bool chain)
{
	char address[IP4_TEXT];
	const struct chain_serve root = {.address = ip4_format(job->address, address),
		.port = CHAIN_PORT,
		.store = job->store,
		.rate = job->rate};
	struct chain_server *server = NULL;
	auto_error struct error *err = NULL;
	int r;

	if (chain && (r = chain_server_start(&root, &server, &err)) < 0) {
		log_warning("no chain for PCs that hear no multicast: %s", error_text(err, r));
		error_free(TAKE_PTR(err));
	}
	job->arg = &server;
	r = cast_send(job, &err);
	chain_server_stop(server);
	return r < 0 ? print_error(r, err, NULL) : 0;
}

/* ---- receive ---- */

/* Once a second. */
static bool print_have(uint64_t have, uint64_t total, void *arg)
{
	int64_t *next = arg, now = clock_real_ms();

	if (now < *next && have != total)
		return true;
	*next = now + 1000;
	print_line(json_pack("{s:I, s:I}", "have", (json_int_t)have, "total", (json_int_t)total));
	return true;
}

static void print_note(const char *text, void *arg)
{
	(void)arg;
	print_line(json_pack("{s:s}", "note", text));
}

static json_t *peers_of(const struct cast_received *seen)
{
	json_t *peers = json_array();
	char address[IP4_TEXT];

	for (unsigned i = 0; i < seen->n_peers; i++)
		json_array_append_new(
			peers, json_sprintf("%s:%u", ip4_format(seen->peers[i].address, address),
				       seen->peers[i].port));
	return peers;
}

/* By multicast only. */
static int receive_alone(struct cast_receive *job)
{
	auto_error struct error *err = NULL;
	struct cast_received seen = {0};
	int64_t next = 0, begun = clock_real_ms();
	int r;

	job->progress = print_have;
	job->arg = &next;
	r = cast_receive(job, &seen, &err);
	if (r < 0)
		return print_error(r, err, peers_of(&seen));
	print_line(json_pack("{s:s, s:I, s:I, s:I, s:I, s:i}", "result", "whole", "ms",
		(json_int_t)(clock_real_ms() - begun), "packets", (json_int_t)seen.packets,
		"missed", (json_int_t)seen.missed, "bytes", (json_int_t)seen.bytes, "wrong",
		(int)seen.wrong));
	return 0;
}

/* As a host does it, serving others meanwhile. */
static int receive_all_ways(const struct cast_receive *job, const char *base)
{
	const struct serve_options http = {.port = job->serve_port, .held = job->dir};
	const struct chain_serve chain = {
		.port = (uint16_t)(job->serve_port + 1), .held = job->dir};
	struct bring bring = {.digest = job->digest,
		.dir = job->dir,
		.base = base,
		.cast = job->server,
		.cast_port = job->port,
		.name = job->name,
		.serve_port = job->serve_port,
		.cancel = job->cancel,
		.progress = print_have,
		.note = print_note};
	auto_error struct error *err = NULL;
	struct serve *serve = NULL;
	int64_t next = 0, begun = clock_real_ms();
	int r = file_mkdirs(job->dir, 0755, &err);

	bring.arg = &next;
	if (r == 0)
		r = serve_start(&http, &serve, &err);
	if (r == 0)
		r = chain_server_start(&chain, &bring.chain, &err);
	if (r == 0) {
		held_prepare(job->dir, job->digest, base, 0, job->cancel);
		r = bring_image(&bring, &err);
	}
	if (r == 0)
		print_line(json_pack("{s:s, s:I}", "result", "whole", "ms",
			(json_int_t)(clock_real_ms() - begun)));
	else
		print_error(r, err, NULL);
	chain_server_stop(bring.chain);
	serve_stop(serve);
	return r < 0;
}

/* ---- options ---- */

struct options {
	const char *store, *dir, *name, *base;
	struct ip4 group, interface, server;
	uint64_t port, rate, serve_port, patience;
	bool until_done, more, no_chain, no_multicast, alone;
};

static const struct option send_options[] = {{"store", 1, NULL, 's'}, {"group", 1, NULL, 'g'},
	{"port", 1, NULL, 'p'}, {"interface", 1, NULL, 'i'}, {"rate", 1, NULL, 'r'},
	{"until-done", 0, NULL, 'u'}, {"more", 0, NULL, 'm'}, {"no-chain", 0, NULL, 'c'},
	{"no-multicast", 0, NULL, 'M'}, {0}};
static const struct option receive_options[] = {{"dir", 1, NULL, 'd'}, {"server", 1, NULL, 'S'},
	{"port", 1, NULL, 'p'}, {"name", 1, NULL, 'n'}, {"serve-port", 1, NULL, 'P'},
	{"patience", 1, NULL, 'w'}, {"base", 1, NULL, 'b'}, {"alone", 0, NULL, 'a'}, {0}};

/* 0 or -EINVAL. */
static int option_read(struct options *o, int option, const char *text)
{
	switch (option) {
	case 's':
		o->store = text;
		return 0;
	case 'd':
		o->dir = text;
		return 0;
	case 'n':
		o->name = text;
		return name_ok(text) ? 0 : -EINVAL;
	case 'g':
		return ip4_parse(text, &o->group);
	case 'i':
		return ip4_parse(text, &o->interface);
	case 'S':
		return ip4_parse(text, &o->server);
	case 'p':
		return uint_parse(text, 1, 65535, &o->port);
	case 'P':
		return uint_parse(text, 0, 65535, &o->serve_port);
	case 'r':
		return uint_parse(text, 100000, 100000000000ULL, &o->rate);
	case 'w':
		return uint_parse(text, 1, 3600, &o->patience);
	case 'b':
		o->base = text;
		return 0;
	case 'u':
		o->until_done = true;
		return 0;
	case 'm':
		o->more = true;
		return 0;
	case 'c':
		o->no_chain = true;
		return 0;
	case 'M':
		o->no_multicast = true;
		return 0;
	case 'a':
		o->alone = true;
		return 0;
	default:
		return -EINVAL;
	}
}

static int receive_main(const struct options *o, const char *digest)
{
	char address[IP4_TEXT];
	auto_free char *base =
		o->base ? xstrdup(o->base)
			: xasprintf("http://%s:8080", ip4_format(o->server, address));
	struct cast_receive job = {.server = o->server,
		.port = (uint16_t)o->port,
		.name = o->name,
		.digest = digest,
		.dir = o->dir,
		.serve_port = (uint16_t)o->serve_port,
		.patience_ms = (unsigned)o->patience * 1000,
		.cancel = &stop};

	return o->alone ? receive_alone(&job) : receive_all_ways(&job, base);
}

/* Without multicast there is nothing but the chain, and nobody to say when all are done. */
static bool send_fits(const struct options *o, bool has_images)
{
	return o->store && o->interface.host && o->port && has_images &&
	       (o->no_multicast ? !o->until_done && !o->no_chain : o->group.host != 0);
}

/* Who serves others does so at two ports, and says only the first. */
static bool serve_port_fits(const struct options *o)
{
	if (o->alone || (o->serve_port > 0 && o->serve_port < 65535))
		return true;
	fprintf(stderr,
		"nightclass-cast: --serve-port %u: must be 1 to 65534, because the chain takes the "
		"port next to it (anything goes with --alone, which serves nobody)\n",
		(unsigned)o->serve_port);
	return false;
}

static int wrong_usage(void)
{
	fputs(usage, stderr);
	return 2;
}

int main(int argc, char **argv)
{
	struct options o = {.rate = 950000000, .serve_port = SERVE_PORT};
	const char *verb = argc > 1 ? argv[1] : "";
	bool sends = strcmp(verb, "send") == 0;
	int option;

	if (strcmp(verb, "--help") == 0)
		return fputs(usage, stdout), 0;
	if (strcmp(verb, "--version") == 0)
		return puts("nightclass-cast " NIGHTCLASS_VERSION), 0;
	if (!sends && strcmp(verb, "receive") != 0)
		return wrong_usage();
	optind = 2;
	while ((option = getopt_long(
			argc, argv, "", sends ? send_options : receive_options, NULL)) >= 0)
		if (option_read(&o, option, optarg) < 0)
			return wrong_usage();
	clock_init();
	log_init("nightclass-cast", LOG_LEVEL_NOTICE);
	signal(SIGTERM, on_signal);
	signal(SIGINT, on_signal);
	signal(SIGPIPE, SIG_IGN);
	if (sends && send_fits(&o, optind < argc || o.more))
		return send_main(&(struct cast_send){.store = o.store,
					 .digests = (const char *const *)argv + optind,
					 .n_digests = (size_t)(argc - optind),
					 .group = o.group,
					 .no_multicast = o.no_multicast,
					 .address = o.interface,
					 .port = (uint16_t)o.port,
					 .rate = o.rate,
					 .until_done = o.until_done,
					 .more = o.more ? STDIN_FILENO : -1,
					 .stop = &stop,
					 .progress = print_progress,
					 .refused = print_refused},
			!o.no_chain);
	if (!sends && o.dir && o.name && o.server.host && o.port && optind + 1 == argc)
		return serve_port_fits(&o) ? receive_main(&o, argv[optind]) : 2;
	return wrong_usage();
}
