/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Revisions of images: publish, rollback, verify, diff, gc. Which one is in use is the controller's
 * to say; here a word becomes a request, and an outcome a table.
 *
 * What takes as long as a disk needs (verify, gc) is begun and then followed, as an import is. */
#include "controller/cli/progress.h"
#include "controller/cli/show.h"
#include "controller/cli/verbs.h"
#include "lib/str.h"

static const struct show_column image_rows[] = {
	{"Name", "name", SHOW_TEXT},
	{"Revision", "revision", SHOW_TEXT},
	{"State", "state", SHOW_STATE},
	{"Digest", "digest", SHOW_TEXT},
	{"Sequence", "publication.sequence", SHOW_TEXT},
	{"Published", "publication.published", SHOW_TIME},
};

static const struct show_column verify_rows[] = {
	{"Name", "name", SHOW_TEXT},
	{"Revision", "revision", SHOW_TEXT},
	{"Chunks", "chunks", SHOW_TEXT},
	{"Read", "bytes", SHOW_SIZE},
	{"Damaged", "damaged", SHOW_TEXT},
};

static const struct show_column damage_columns[] = {
	{"part", "part", SHOW_TEXT},
	{"chunk", "number", SHOW_TEXT},
	{"digest", "digest", SHOW_DIGEST},
	{"reason", "reason", SHOW_TEXT},
};

static const struct show_column diff_rows[] = {
	{"Name", "name", SHOW_TEXT},
	{"From revision", "from", SHOW_TEXT},
	{"To revision", "to", SHOW_TEXT},
	{"Data", "bytes", SHOW_SIZE},
	{"Changed chunks", "changed_chunks", SHOW_TEXT},
	{"Changed", "changed_bytes", SHOW_SIZE},
	{"Chunks to send", "travel_chunks", SHOW_TEXT},
	{"To send", "travel_bytes", SHOW_SIZE},
};

static const struct show_column gc_rows[] = {
	{"Images", "images", SHOW_TEXT},
	{"Chunks", "chunks", SHOW_TEXT},
	{"Others", "others", SHOW_TEXT},
	{"Freed", "bytes", SHOW_SIZE},
};

static int read_revision(const char *text, uint64_t *ret_revision, struct error **err)
{
	if (uint_parse(text, 1, INT32_MAX, ret_revision) < 0)
		return error_field(
			err, -EINVAL, "REVISION", "\"%s\" is not a whole number from 1 on", text);
	return 0;
}

/* "/images/NAME/WORD"; caller frees. */
static char *path_of(const struct cli *cli, const char *word)
{
	auto_free char *path = client_path("/images", cli->args[0]);
	return xasprintf("%s/%s", path, word);
}

/* POSTs {"revision": N}, without the member when no revision was given. */
static int post_revision(struct cli *cli, const char *word, json_t **ret_answer, struct error **err)
{
	auto_free char *path = path_of(cli, word);
	auto_json json_t *body = json_object();
	uint64_t revision;
	if (cli->n_args > 1) {
		int e = read_revision(cli->args[1], &revision, err);
		if (e < 0)
			return e;
		json_object_set_new(body, "revision", json_integer((json_int_t)revision));
	}
	if (cli_value(cli, "again"))
		json_object_set_new(body, "again", json_true());
	return client_call(cli->client, "POST", path, body, ret_answer, err);
}

static int make_published(struct cli *cli, const char *word, struct error **err)
{
	auto_json json_t *image = NULL;
	int e = post_revision(cli, word, &image, err);
	return e < 0 ? e : show_one(cli, image, "name", image_rows, ARRAY_LEN(image_rows));
}

int image_publish(struct cli *cli, struct error **err)
{
	return make_published(cli, "publish", err);
}

int image_rollback(struct cli *cli, struct error **err)
{
	return make_published(cli, "rollback", err);
}

int image_diff(struct cli *cli, struct error **err)
{
	auto_json json_t *answer = NULL;
	uint64_t from, to;
	int e = read_revision(cli->args[1], &from, err);
	if (e == 0)
		e = read_revision(cli->args[2], &to, err);
	if (e < 0)
		return e;
	auto_free char *path = path_of(cli, "diff");
	auto_free char *query = xasprintf(
		"%s?from=%llu&to=%llu", path, (unsigned long long)from, (unsigned long long)to);
	e = client_get(cli->client, query, 0, &answer, err);
	return e < 0 ? e : show_one(cli, answer, "name", diff_rows, ARRAY_LEN(diff_rows));
}

/* ---- what is begun and followed ---- */

struct followed {
	char *path; /* "/checks/ID" */
	const char *word;
	json_t *result; /* when it is done */
};

static int look(struct cli *cli, void *arg, struct progress *p, bool *ret_done, struct error **err)
{
	struct followed *followed = arg;
	auto_json json_t *check = NULL;
	int e = client_get(cli->client, followed->path, 0, &check, err);
	if (e < 0)
		return e;
	const char *state = show_text(check, "state");
	if (strcmp(state, "failed") == 0)
		return error_make(err, -EIO, "%s", show_text(check, "reason"));
	*ret_done = strcmp(state, "done") == 0;
	uint64_t done = (uint64_t)json_integer_value(json_object_get(check, "done")),
		 total = (uint64_t)json_integer_value(json_object_get(check, "total"));
	if (*ret_done)
		followed->result = json_incref(json_object_get(check, "result"));
	else if (total)
		progress_bytes(p, followed->word, done, total);
	else
		progress_say(p, "%s: %s", followed->word, state);
	return 0;
}

/* Follows what `begun` (an answer with an id) stands for; *ret_result NULL: --no-wait was given,
 * and the id was shown. */
static int follow(struct cli *cli, const json_t *begun, const char *word, json_t **ret_result,
	struct error **err)
{
	static const struct show_column id_row[] = {{"Check", "id", SHOW_TEXT}};
	struct followed followed = {.word = word};
	*ret_result = NULL;
	if (!cli->wait)
		return show_one(cli, begun, "id", id_row, ARRAY_LEN(id_row));
	auto_free char *id = show_value(show_member(begun, "id"), SHOW_TEXT);
	followed.path = client_path("/checks", id);
	int e = wait_until(cli, look, &followed, err);
	free(followed.path);
	*ret_result = followed.result;
	return e;
}

int image_verify(struct cli *cli, struct error **err)
{
	auto_json json_t *begun = NULL, *result = NULL;
	int e = post_revision(cli, "verify", &begun, err);
	if (e == 0)
		e = follow(cli, begun, "verify", &result, err);
	if (e < 0 || !result)
		return e;
	show_one(cli, result, "name", verify_rows, ARRAY_LEN(verify_rows));
	show_part(cli, "Damaged chunks", json_object_get(result, "list"), damage_columns,
		ARRAY_LEN(damage_columns));
	if (json_integer_value(json_object_get(result, "damaged")) == 0)
		return 0;
	if (json_integer_value(json_object_get(result, "unread")) > 0)
		return error_make(err, -EIO,
			"the lab server's disk cannot read a part of image %s: look at the disk; if "
			"that part stays unreadable, remove the files named above there and import the "
			"same files again",
			cli->args[0]);
	return error_make(err, -EIO,
		"image %s is damaged; what is damaged was put aside, import the same files again "
		"to heal it",
		cli->args[0]);
}

int image_gc(struct cli *cli, struct error **err)
{
	auto_json json_t *begun = NULL, *result = NULL;
	auto_json json_t *body = json_pack("{s:b}", "dry_run", cli_value(cli, "dry-run") != NULL);
	int e = client_call(cli->client, "POST", "/store/gc", body, &begun, err);
	if (e == 0)
		e = follow(cli, begun, "gc", &result, err);
	return e < 0 || !result ? e : show_one(cli, result, "bytes", gc_rows, ARRAY_LEN(gc_rows));
}
