/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Downloading for somebody else.
 *
 * What could be made of such a service is to call addresses that only this server can reach:
 * private ones, and its own and its lab's where these are public. So every connection's address is
 * judged as it is made (lib/address.c): a name that means something else the second time gains
 * nothing. Redirects are followed here and not by libcurl, at most five, each judged like the first
 * URL, and never from https down to http.
 *
 * The part is taken up again by Range with If-Range of the strong ETag that came with its first
 * byte: a server whose file changed sends it from the start. One that does not look at If-Range is
 * found out by the ETag and the length of what it sends. Without an ETag, but with the digest
 * known, the digest is the judge; without both the part is begun anew. A lost connection is tried
 * again while tries bring bytes, and six times when they bring none.
 *
 * Time is limited in all and by silence, size before and while bytes come; of what is said besides
 * (an error's page, a redirect's) only the beginning is read (lib/httpc.c). The part is locked, so
 * a download whose parent died cannot write into that of its successor.
 */
#include "images/download.h"

#include <curl/curl.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>

#include "lib/address.h"
#include "lib/clock.h"
#include "lib/file.h"
#include "lib/httpc.h"
#include "lib/json.h"
#include "lib/space.h"
#include "lib/str.h"

enum {
	HOPS_MAX = 5,
	TRIES_MAX = 6,
	SILENCE_S = 30,
	BACK_OFF_MAX_S = 30,
	STATE_MAX = 8192,
	ETAG_MAX = 256, /* a longer one is as good as none */
	LOCK_S = 5
};

struct run {
	const struct download *download;
	struct httpc *client;
	char *part, *state;
	char *url, *host; /* of the hop at hand */
	char *etag;	  /* of what is in the part; strong, or NULL */
	int fd;
	uint64_t have, total;
	int64_t deadline_ms;
	bool restart; /* the server sends from the start */
};

/* ---- URLs ---- */

static char *url_part(CURLU *url, CURLUPart part)
{
	char *text = NULL, *copy;

	if (curl_url_get(url, part, &text, 0) != CURLUE_OK)
		return NULL;
	copy = xstrdup(text);
	curl_free(text);
	return copy;
}

static int parts_check(CURLU *parts, const char *before, struct error **err)
{
	auto_free char *scheme = url_part(parts, CURLUPART_SCHEME),
		       *user = url_part(parts, CURLUPART_USER),
		       *password = url_part(parts, CURLUPART_PASSWORD),
		       *host = url_part(parts, CURLUPART_HOST);

	if (!scheme || (strcmp(scheme, "http") != 0 && strcmp(scheme, "https") != 0))
		return error_field(err, -EINVAL, "url", "only http and https URLs are loaded");
	if (before && str_starts(before, "https:") && strcmp(scheme, "https") != 0)
		return error_field(err, -EINVAL, "url", "the server leads from https down to http");
	if (user || password)
		return error_field(err, -EINVAL, "url", "no user name or password in a URL");
	if (!host || !*host)
		return error_field(err, -EINVAL, "url", "the URL names no host");
	return 0;
}

/* `text`, seen from `base` when that is not NULL -> a whole URL that may be called. */
static int url_resolve(
	const char *base, const char *text, char **ret_url, char **ret_host, struct error **err)
{
	CURLU *parts = curl_url();
	int r = 0;

	if (!parts)
		abort();
	if (strlen(text) > DOWNLOAD_URL_MAX || !text_ok(text, DOWNLOAD_URL_MAX) ||
		(base && curl_url_set(parts, CURLUPART_URL, base, 0) != CURLUE_OK) ||
		curl_url_set(parts, CURLUPART_URL, text, 0) != CURLUE_OK)
		r = error_field(err, -EINVAL, "url", "this is not a URL that is understood");
	if (r == 0)
		r = parts_check(parts, base, err);
	if (r == 0) {
		free(*ret_url);
		free(*ret_host);
		*ret_url = url_part(parts, CURLUPART_URL);
		*ret_host = url_part(parts, CURLUPART_HOST);
	}
	curl_url_cleanup(parts);
	return r;
}

int download_url_check(const char *url, struct error **err)
{
	auto_free char *whole = NULL, *host = NULL;

	return url_resolve(NULL, url, &whole, &host, err);
}

static bool address_ok(const struct sockaddr *address, void *arg)
{
	const struct run *run = arg;

	if (address_listed(run->download->allowed, run->host, address))
		return true;
	return address_public(address) && !address_own(address) &&
	       !address_listed(run->download->denied, NULL, address);
}

/* ---- the part and what is known of it ---- */

static void state_write(const struct run *run)
{
	auto_json json_t *state = json_pack("{s:s, s:s*, s:I}", "url", run->download->url, "etag",
		run->etag, "total", (json_int_t)run->total);
	auto_free char *text = json_text(state);

	/* Without it the part is begun anew: no reason to fail. */
	file_write(run->state, text, strlen(text), 0600, NULL);
}

/* How much of the part can be relied on. */
static void state_read(struct run *run)
{
	auto_free char *text = NULL;
	auto_json json_t *state = NULL;
	const char *url, *etag;
	json_int_t total;
	struct stat st;

	if (file_read(run->state, STATE_MAX, &text, NULL, NULL) < 0 ||
		json_parse_object(text, strlen(text), &state, NULL) < 0)
		return;
	url = json_string_value(json_object_get(state, "url"));
	etag = json_string_value(json_object_get(state, "etag"));
	if (!url || strcmp(url, run->download->url) != 0 || fstat(run->fd, &st) < 0 ||
		(!etag && !run->download->sha256))
		return;
	total = json_integer_value(json_object_get(state, "total"));
	if (total < 0 || (total > 0 && st.st_size > total) ||
		(uint64_t)st.st_size > run->download->max)
		return;
	run->etag = xstrdup(etag);
	run->total = (uint64_t)total;
	run->have = (uint64_t)st.st_size;
}

static int part_restart(struct run *run, struct error **err)
{
	run->have = run->total = 0;
	free(TAKE_PTR(run->etag));
	if (ftruncate(run->fd, 0) < 0)
		return error_make(err, -errno, "%s: %s", run->part, strerror(errno));
	return 0;
}

/* Is what we locked still the part? The one who had it may have made it the file by now. */
static bool still_part(const struct run *run)
{
	struct stat mine, named;

	return fstat(run->fd, &mine) == 0 && lstat(run->part, &named) == 0 &&
	       mine.st_ino == named.st_ino && mine.st_dev == named.st_dev;
}

static int part_open(struct run *run, struct error **err)
{
	for (int i = 0;; i++) {
		if (run->fd < 0)
			run->fd = open(run->part, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
		if (run->fd < 0)
			return error_make(err, -errno, "%s: %s", run->part, strerror(errno));
		if (flock(run->fd, LOCK_EX | LOCK_NB) == 0) {
			if (still_part(run))
				break;
			close(run->fd);
			run->fd = -1;
		} else if (errno != EWOULDBLOCK || i >= LOCK_S * 10) {
			return error_make(err, -EBUSY, "%s: another download writes it", run->part);
		} else {
			nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
		}
	}
	state_read(run);
	return run->have ? 0 : part_restart(run, err);
}

static void part_remove(const struct run *run)
{
	unlink(run->part);
	unlink(run->state);
}

/* ---- one exchange ---- */

static int too_large(const struct run *run, struct error **err)
{
	return error_make(err, -E2BIG,
		"it is larger than %llu bytes, which is the most that is loaded",
		(unsigned long long)run->download->max);
}

/* Is it the rest of the file whose beginning is in the part? A server may not know If-Range. */
static bool same_file(const struct run *run, const struct httpc_response *head)
{
	if (run->etag && (!head->etag || strcmp(run->etag, head->etag) != 0))
		return false;
	return !run->total || !head->length || run->have + head->length == run->total;
}

static int on_head(const struct httpc_response *head, void *arg)
{
	struct run *run = arg;
	uint64_t max = run->download->max;

	if (head->status == 206 && run->have > 0 && same_file(run, head)) {
		if (head->length)
			run->total = run->have + head->length;
	} else if (head->status == 200 && run->have == 0) {
		free(TAKE_PTR(run->etag));
		if (head->etag && head->etag[0] == '"' && strlen(head->etag) <= ETAG_MAX)
			run->etag = xstrdup(head->etag);
		run->total = head->length;
		state_write(run);
	} else {
		run->restart = true;
		return -ERANGE;
	}
	return run->total > max ? -EFBIG : 0;
}

static int on_body(const void *bytes, size_t len, void *arg)
{
	struct run *run = arg;
	const char *from = bytes;

	if (clock_real_ms() > run->deadline_ms)
		return -ETIME;
	if (run->have > run->download->max || len > run->download->max - run->have)
		return -EFBIG;
	if (space_check(run->fd, len, NULL) < 0)
		return -ENOSPC;
	while (len > 0) {
		ssize_t n = pwrite(run->fd, from, len, (off_t)run->have);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		from += n;
		len -= (size_t)n;
		run->have += (uint64_t)n;
	}
	if (run->download->progress)
		run->download->progress(run->have, run->total, run->download->arg);
	return 0;
}

static int ask(struct run *run, struct httpc_response *ret_response, struct error **err)
{
	auto_free char *condition =
		run->have && run->etag ? xasprintf("If-Range: %s", run->etag) : NULL;
	int silence_s = run->download->silence_s ? run->download->silence_s : SILENCE_S;
	const struct httpc_request request = {.method = "GET",
		.url = run->url,
		.timeout_ms = silence_s * 1000,
		.total_ms = run->deadline_ms - clock_real_ms(),
		.max_body = SIZE_MAX,
		.on_head = on_head,
		.on_body = on_body,
		.arg = run,
		.range_from = run->have,
		.header = condition};

	run->restart = false;
	if (request.total_ms <= 0)
		return -ETIME;
	return httpc_do(run->client, &request, ret_response, err);
}

static bool is_redirect(int status)
{
	return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

/* Follows redirects to an answer that is none. */
static int ask_around(struct run *run, struct httpc_response *ret_response, struct error **err)
{
	int r = url_resolve(NULL, run->download->url, &run->url, &run->host, err);

	for (int hop = 0; r == 0; hop++) {
		auto_free char *base = NULL;

		r = ask(run, ret_response, err);
		if (r < 0 || !is_redirect(ret_response->status))
			return r;
		if (hop == HOPS_MAX)
			r = error_make(
				err, -EINVAL, "the server redirects more than %d times", HOPS_MAX);
		else if (!ret_response->location)
			r = error_make(err, -EINVAL, "the server redirects to nowhere");
		base = xstrdup(run->url);
		if (r == 0)
			r = url_resolve(base, ret_response->location, &run->url, &run->host, err);
		httpc_response_done(ret_response);
	}
	return r;
}

/* 1: whole, 0: try again, else given up. */
static int answer_judge(struct run *run, const struct httpc_response *response, struct error **err)
{
	int status = response->status;

	if (status == 200 || status == 206) {
		if (run->total && run->have != run->total)
			return 0;
		return 1;
	}
	if (status == 416 && run->have > 0)
		return part_restart(run, err);
	if (status >= 500 || status == 429 || status == 408)
		return error_make(err, -EAGAIN, "the server answers with status %d", status), 0;
	return error_field(err, status == 404 || status == 410 ? -ENOENT : -EINVAL, "url",
		"the server answers with status %d; %s", status,
		status == 401 || status == 403 ? "load the file yourself and import it from there"
					       : "look whether the URL is right");
}

static bool worth_a_try(int code)
{
	return code == -ECONNRESET || code == -ETIMEDOUT || code == -ECONNREFUSED ||
	       code == -EHOSTUNREACH || code == -EIO;
}

/* One try. 1: whole, 0: another may help (the reason is in err), else given up. */
static int try_once(struct run *run, struct error **err)
{
	auto_error struct error *why = NULL;
	struct httpc_response response = {0};
	int r = ask_around(run, &response, &why);

	if (r == 0) {
		r = answer_judge(run, &response, err);
		httpc_response_done(&response);
		return r;
	}
	if (r == -EFBIG)
		return too_large(run, err);
	if (r == -ENOSPC) /* in the words of the one who knows */
		return space_full(run->fd, err);
	if (r == -ETIME || (r < 0 && clock_real_ms() >= run->deadline_ms))
		return error_make(
			err, -ETIME, "it took longer than %lld s", (long long)run->download->max_s);
	/* Our own wish for a restart, or libcurl's word that the range was not heeded. */
	if (r == -ERANGE)
		return part_restart(run, err);
	if (r == -EPERM)
		return error_field(err, r, "url",
			"%s An administrator may list it in import_urls_allowed.",
			error_text(why, r));
	if (why && why->field)
		return error_field(err, r, why->field, "%s", why->text);
	error_make(err, r, "%s", error_text(why, r));
	return worth_a_try(r) ? 0 : r;
}

static void back_off(int failures)
{
	int64_t s = 1LL << (failures > 5 ? 5 : failures);

	nanosleep(&(struct timespec){.tv_sec = s > BACK_OFF_MAX_S ? BACK_OFF_MAX_S : s}, NULL);
}

static int try_on(struct run *run, struct error **err)
{
	for (int failures = 0;;) {
		auto_error struct error *why = NULL;
		uint64_t before = run->have;
		int r;

		/* It may have been killed between its last byte and its end: nothing to ask for. */
		if (run->total && run->have == run->total)
			return 0;
		r = try_once(run, &why);

		if (r == 1)
			return 0;
		failures = run->have > before ? 0 : failures + 1;
		if (r == 0 && failures < TRIES_MAX) {
			back_off(failures ? failures - 1 : 0);
			continue;
		}
		r = r < 0 ? r : why ? why->code : -ECONNRESET;
		if (why && why->field)
			return error_field(err, r, why->field, "%s", why->text);
		return error_make(err, r, "%s", error_text(why, r));
	}
}

static int digest_check(const struct run *run, struct error **err)
{
	struct sha256 seen;
	int r;

	if (!run->download->sha256)
		return 0;
	r = sha256_file(run->part, &seen, err);
	if (r == 0 && memcmp(seen.b, run->download->sha256->b, SHA256_LEN) != 0)
		r = error_field(err, -EBADMSG, "sha256",
			"what was loaded has another SHA-256 than was asked for");
	return r;
}

static int finish(struct run *run, struct error **err)
{
	int r = digest_check(run, err);

	if (r == 0 && fdatasync(run->fd) < 0)
		r = error_make(err, -errno, "%s: %s", run->part, strerror(errno));
	if (r == 0 && rename(run->part, run->download->file) < 0)
		r = error_make(err, -errno, "%s: %s", run->download->file, strerror(errno));
	if (r == 0)
		unlink(run->state);
	return r;
}

/* With a part from before that had no ETag, only the digest tells that the file is another now:
 * once more from the start, then. */
static int load(struct run *run, struct error **err)
{
	auto_error struct error *why = NULL;
	bool taken_up = run->have > 0;
	int r = try_on(run, err);

	if (r < 0)
		return r;
	r = finish(run, taken_up ? &why : err);
	if (r == -EBADMSG && taken_up) {
		r = part_restart(run, err);
		if (r == 0)
			r = try_on(run, err);
		return r == 0 ? finish(run, err) : r;
	}
	return r < 0 && why ? error_make(err, r, "%s", why->text) : r;
}

int download_run(const struct download *download, uint64_t *ret_size, struct error **err)
{
	struct run run = {.download = download, .fd = -1};
	const struct httpc_trust trust = {.address_ok = address_ok, .address_arg = &run};
	int r = download_url_check(download->url, err);

	if (r < 0)
		return r;
	run.deadline_ms = clock_real_ms() + download->max_s * 1000;
	run.part = xasprintf("%s.part", download->file);
	run.state = xasprintf("%s.state", download->file);
	run.client = httpc_new(&trust);
	r = part_open(&run, err);
	if (r == 0)
		r = load(&run, err);
	if (r == 0)
		*ret_size = run.have;
	else if (!worth_a_try(r) && r != -EAGAIN && r != -EBUSY)
		part_remove(&run);
	httpc_free(run.client);
	if (run.fd >= 0)
		close(run.fd);
	free(run.part);
	free(run.state);
	free(run.url);
	free(run.host);
	free(run.etag);
	return r;
}
