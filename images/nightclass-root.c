/* SPDX-License-Identifier: GPL-2.0-or-later */
/* nightclass-root: receives the host's root image in the initramfs of a PC that becomes a host, by
 * multicast and no other way.
 *
 * The one program beside busybox there, so it is static and small: the receiver of a cast, what
 * that stands on, and nothing that fetches. The digest it is given is the manifest's, from the
 * kernel's command line; what lies at DIR/DIGEST/disk.raw after exit code 0 was verified chunk by
 * chunk against it. In every other case init fetches the image by HTTP, so what counts is to end
 * soon: when nobody casts, when no multicast arrives, and when what arrives is too little.
 *
 * Standard output is one line, for a person: what came in which time, or why nothing did.
 */
#include <signal.h>

#include "images/cast_recv.h"
#include "lib/clock.h"
#include "lib/str.h"

enum {
	SILENCE_MS = 2000,    /* a sender that says nothing for so long is not there */
	LOOK_MS = 3000,	      /* in so long, LOOK_BYTES have to come: */
	LOOK_BYTES = 2 << 20, /* less than this, and one connection to the server is faster */
};

struct pace {
	int64_t look_ms;
	uint64_t have;	/* when it was looked at last */
	uint64_t total; /* 0: the plan has not come */
	bool slow;
};

static bool on_progress(uint64_t have, uint64_t total, void *arg)
{
	struct pace *pace = arg;
	int64_t now = clock_real_ms();

	pace->total = total;
	if (now - pace->look_ms < LOOK_MS)
		return true;
	pace->slow = have - pace->have < LOOK_BYTES && (total == 0 || have < total);
	pace->look_ms = now;
	pace->have = have;
	return !pace->slow;
}

/* "10.71.0.1:7867" */
static int server_read(const char *text, struct ip4 *ret_address, uint16_t *ret_port)
{
	const char *colon = strchr(text, ':');
	auto_free char *address = colon ? xstrndup(text, (size_t)(colon - text)) : NULL;
	uint64_t port = 0;

	if (!colon || ip4_parse(address, ret_address) < 0 ||
		uint_parse(colon + 1, 1, 65535, &port) < 0)
		return -EINVAL;
	*ret_port = (uint16_t)port;
	return 0;
}

/* Without which image it is about: there is but one. */
static const char *reason(const struct error *err, int code)
{
	const char *text = error_text(err, code), *colon = strstr(text, ": ");

	return colon ? colon + 2 : text;
}

static int receive(struct cast_receive *job)
{
	struct pace pace = {.look_ms = clock_real_ms()};
	int64_t begun = pace.look_ms;
	auto_error struct error *err = NULL;
	int r;

	job->progress = on_progress;
	job->arg = &pace;
	r = cast_receive(job, NULL, &err);
	if (r == 0)
		printf("%.1f MB in %.2f s\n", (double)pace.total / 1e6,
			(double)(clock_real_ms() - begun) / 1e3);
	else if (pace.slow)
		printf("too slow: less than %d MiB in %d s\n", LOOK_BYTES >> 20, LOOK_MS / 1000);
	else
		printf("%s\n", reason(err, r));
	return r < 0;
}

int main(int argc, char **argv)
{
	struct cast_receive job = {.patience_ms = SILENCE_MS};

	if (argc != 5 || server_read(argv[1], &job.server, &job.port) < 0) {
		fputs("usage: nightclass-root ADDRESS:PORT DIGEST NAME DIR\n", stderr);
		return 2;
	}
	job.digest = argv[2];
	job.name = argv[3];
	job.dir = argv[4];
	clock_init();
	signal(SIGPIPE, SIG_IGN);
	return receive(&job);
}
