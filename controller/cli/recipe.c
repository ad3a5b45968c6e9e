/* SPDX-License-Identifier: GPL-2.0-or-later */
/* image build: runs a recipe's own program on this machine and imports what it made.
 *
 * A recipe is a folder with a program `build`, which is given a folder to fill and the guest agent
 * to put in. It is known by name (a folder of ./images/recipes or of the installed ones) or by its
 * path, and it is the caller's own choice what to run; so it gets the caller's rights and
 * environment, and nothing of it is interpreted here. What it writes to standard output is progress
 * and goes to our standard error with the time, so that our own standard output stays the result;
 * its last word on standard error is the reason when it fails. The controller is asked before the
 * work begins: who may not import learns so at once. An interrupt ends the recipe first, so that it
 * can clean up, and then takes the folder away; one during the import ends us at once, and the
 * folder goes all the same.
 */
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include "controller/cli/progress.h"
#include "controller/cli/recipe.h"
#include "controller/cli/show.h"
#include "controller/cli/verbs.h"
#include "lib/clock.h"
#include "lib/file.h"
#include "lib/spawn.h"
#include "lib/str.h"

enum { ABOUT_MAX = 4096, LINE_MAX_LEN = 1000 };

/* Where we are installed: over the folder bin that we stand in, else /usr; caller frees. */
static char *prefix(void)
{
	auto_free char *own = spawn_folder();
	size_t n = own ? strlen(own) : 0;
	if (n > 4 && strcmp(own + n - 4, "/bin") == 0)
		return xstrndup(own, n - 4);
	return xstrdup("/usr");
}

enum { FOLDERS = 2 };

/* Where recipes are looked for by name, in this order: the source tree, the installed ones; caller
 * frees. */
static char *recipes_folder(size_t i)
{
	auto_free char *installed = prefix();
	return i == 0 ? xstrdup("images/recipes")
		      : xasprintf("%s/share/nightclass/images/recipes", installed);
}

static bool holds_program(const char *folder)
{
	struct stat st;
	auto_free char *path = xasprintf("%s/build", folder);
	return stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

/* ---- which there are ---- */

/* The first line of FOLDER/about, or "". */
static char *about(const char *folder)
{
	auto_free char *path = xasprintf("%s/about", folder);
	char *text = NULL;
	if (file_read(path, ABOUT_MAX, &text, NULL, NULL) < 0)
		return xstrdup("");
	text[strcspn(text, "\r\n")] = 0;
	return text;
}

static bool is_listed(const json_t *items, const char *name)
{
	size_t i;
	json_t *item;
	json_array_foreach (items, i, item)
		if (strcmp(show_text(item, "name"), name) == 0)
			return true;
	return false;
}

/* Adds the recipes in `parent`; a name that was found before hides a later one, as when building.
 */
static void list_folder(const char *parent, json_t *items)
{
	struct dirent **entries = NULL;
	int n = scandir(parent, &entries, NULL, alphasort);
	for (int i = 0; i < n; i++) {
		const char *name = entries[i]->d_name;
		auto_free char *folder = xasprintf("%s/%s", parent, name);
		if (name_ok(name) && holds_program(folder) && !is_listed(items, name)) {
			auto_free char *line = about(folder);
			json_array_append_new(items, json_pack("{s:s,s:s,s:s}", "name", name,
							     "about", line, "folder", folder));
		}
		free(entries[i]);
	}
	free(entries);
}

static json_t *all_recipes(void)
{
	json_t *items = json_array();
	for (size_t i = 0; i < FOLDERS; i++) {
		auto_free char *parent = recipes_folder(i);
		list_folder(parent, items);
	}
	return items;
}

static int list(const struct cli *cli)
{
	static const struct show_column columns[] = {
		{"recipe", "name", SHOW_TEXT},
		{"makes", "about", SHOW_TEXT},
		{"folder", "folder", SHOW_TEXT},
	};
	auto_json json_t *items = all_recipes();
	return show_items(cli, items, "name", columns, ARRAY_LEN(columns));
}

/* ---- which one is meant ---- */

static int unknown(const char *recipe, struct error **err)
{
	size_t i;
	json_t *item;
	auto_json json_t *items = all_recipes();
	auto_buf struct buf names = {0};
	json_array_foreach (items, i, item)
		buf_addf(&names, "%s%s", i ? ", " : "", show_text(item, "name"));
	auto_free char *installed = recipes_folder(1);
	return error_make(err, -ENOENT,
		"no recipe \"%s\" in ./images/recipes or %s (%s there); an own one is named by its "
		"path, ./%s",
		recipe, installed, names.len ? names.text : "none is", recipe);
}

/* The folder of the recipe: `recipe` itself when it has a '/' in it, else by name. */
static int find_recipe(const char *recipe, char **ret_folder, struct error **err)
{
	char *folder = NULL;
	if (strchr(recipe, '/')) {
		folder = realpath(recipe, NULL);
		if (folder && holds_program(folder)) {
			*ret_folder = folder;
			return 0;
		}
		free(folder);
		return error_make(err, -ENOENT,
			"%s is no recipe: a recipe is a folder with a program \"build\" in it",
			recipe);
	}
	if (!name_ok(recipe))
		return error_field(err, -EINVAL, "RECIPE", "\"%s\" is no name of a recipe", recipe);
	for (size_t i = 0; i < FOLDERS; i++) {
		auto_free char *parent = recipes_folder(i);
		folder = xasprintf("%s/%s", parent, recipe);
		if (holds_program(folder)) {
			*ret_folder = folder;
			return 0;
		}
		free(folder);
	}
	return unknown(recipe, err);
}

/* The guest agent to put in: beside this program (a source tree's build folder), or installed. */
static char *find_guest(const struct cli *cli)
{
	const char *given = cli_value(cli, "guest");
	if (given)
		return xstrdup(given);
	auto_free char *installed = prefix();
	char *beside = spawn_beside("nightclass-guest");
	return beside ? beside : xasprintf("%s/sbin/nightclass-guest", installed);
}

/* A recipe that is not ours finds debian-tree and vm-image by $NIGHTCLASS_RECIPES. */
static void tell_library(void)
{
	for (size_t i = 0; i < FOLDERS; i++) {
		auto_free char *parent = recipes_folder(i);
		auto_free char *tool = xasprintf("%s/debian-tree", parent),
			       *folder = realpath(parent, NULL);
		if (folder && access(tool, X_OK) == 0) {
			setenv("NIGHTCLASS_RECIPES", folder, 0);
			return;
		}
	}
}

/* ---- its run ---- */

static volatile sig_atomic_t interrupted;

static void note_interrupt(int signo)
{
	interrupted = signo;
}

static void heed_interrupts(void (*handler)(int))
{
	struct sigaction action = {.sa_handler = handler}; /* no SA_RESTART: poll() is to return */
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGHUP, &action, NULL);
}

/* One of the recipe's two outputs, read line by line. */
struct stream {
	int fd;
	bool is_progress;
	char line[LINE_MAX_LEN + 1];
	size_t len;
};

struct build {
	const char *name;
	struct progress progress;
	char *said; /* the last line of progress */
	char *last; /* the last line of standard error */
};

static void take_line(struct build *b, struct stream *s)
{
	s->line[s->len] = 0;
	s->len = 0;
	if (!s->line[0])
		return;
	if (s->is_progress) {
		progress_say(&b->progress, "%s: %s", b->name, s->line);
		free(b->said);
		b->said = xstrdup(s->line);
		return;
	}
	progress_end(&b->progress);
	fprintf(stderr, "%s\n", s->line);
	free(b->last);
	b->last = xstrdup(s->line);
}

/* Control characters of a foreign program do not reach the terminal; a line that is too long loses
 * its end. */
static void take_bytes(struct build *b, struct stream *s)
{
	char bytes[4096];
	ssize_t n = read(s->fd, bytes, sizeof(bytes));
	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return;
	for (ssize_t i = 0; i < n; i++) {
		if (bytes[i] == '\n' || bytes[i] == '\r')
			take_line(b, s);
		else if (s->len < LINE_MAX_LEN)
			s->line[s->len++] =
				(unsigned char)bytes[i] < ' ' || bytes[i] == 127 ? '?' : bytes[i];
	}
	if (n <= 0) {
		take_line(b, s);
		close(s->fd);
		s->fd = -1;
	}
}

/* Until both outputs are closed. On a terminal the time goes on between two lines. */
static void follow(struct build *b, pid_t pid, struct stream streams[2])
{
	bool told = false;
	while (streams[0].fd >= 0 || streams[1].fd >= 0) {
		struct pollfd fds[2];
		for (int i = 0; i < 2; i++)
			fds[i] = (struct pollfd){.fd = streams[i].fd, .events = POLLIN};
		int n = poll(fds, 2, 1000);
		if (interrupted && !told) {
			kill(-pid, SIGTERM); /* its shell hears it when what it waits for has ended */
			told = true;
		}
		if (n == 0 && b->progress.cli->err_is_terminal && b->said)
			progress_say(&b->progress, "%s: %s", b->name, b->said);
		for (int i = 0; n > 0 && i < 2; i++)
			if (fds[i].revents)
				take_bytes(b, &streams[i]);
	}
}

static int judge(const struct build *b, int status, struct error **err)
{
	if (interrupted)
		return error_make(err, -EINTR, "recipe %s was interrupted", b->name);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return 0;
	if (WIFSIGNALED(status))
		return error_make(err, -EIO, "recipe %s failed: ended by signal %d", b->name,
			WTERMSIG(status));
	return error_make(err, -EIO, "recipe %s failed: %s", b->name,
		b->last ? b->last : "it did not say why");
}

static int run_recipe(
	struct cli *cli, const char *name, const char *folder, const char *out, struct error **err)
{
	auto_free char *program = xasprintf("%s/build", folder), *guest = find_guest(cli);
	const char *const argv[] = {program, out, guest, NULL};
	struct stream streams[2] = {{.is_progress = true}, {0}};
	struct build build = {.name = name};
	pid_t pid;
	int status = 0, fds[3];
	if (access(program, X_OK) < 0)
		return error_make(err, -EACCES, "%s may not be run: chmod +x %s", program, program);
	tell_library();
	heed_interrupts(note_interrupt);
	int e = spawn_start(argv, NULL, 2 | 4, fds, &pid, err);
	if (e < 0)
		return e;
	streams[0].fd = fds[1];
	streams[1].fd = fds[2];
	progress_begin(&build.progress, cli);
	follow(&build, pid, streams);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	progress_end(&build.progress);
	e = judge(&build, status, err);
	heed_interrupts(SIG_DFL);
	free(build.said);
	free(build.last);
	return e;
}

/* ---- the verb ---- */

/* What was made and not imported: the folder, its files and the time it took. */
static int show_made(
	const struct cli *cli, const char *name, const char *out, int64_t ms, struct error **err)
{
	static const struct show_column rows[] = {
		{"Recipe", "recipe", SHOW_TEXT},
		{"Folder", "folder", SHOW_TEXT},
		{"Size", "size", SHOW_SIZE},
		{"In use", "used", SHOW_SIZE},
		{"Time", "build_ms", SHOW_MS},
	};
	static const char *const disks[] = {"disk.raw", "disk.qcow2"};
	struct stat st;
	for (size_t i = 0; i < ARRAY_LEN(disks); i++) {
		auto_free char *path = xasprintf("%s/%s", out, disks[i]);
		if (stat(path, &st) < 0)
			continue;
		auto_json json_t *made = json_pack("{s:s,s:s,s:I,s:I,s:I}", "recipe", name,
			"folder", out, "size", (json_int_t)st.st_size, "used",
			(json_int_t)st.st_blocks * 512, "build_ms", (json_int_t)ms);
		return show_one(cli, made, "folder", rows, ARRAY_LEN(rows));
	}
	return error_make(err, -EIO,
		"recipe %s said it was done, but %s holds neither disk.raw nor disk.qcow2", name,
		out);
}

/* Nothing holds back a signal in an upload or in the wait for the import: a process in a session of its own sees our
 * end, whatever it was, by that of a pipe, and then removes the folder. */
static void remove_at_our_end(const char *folder)
{
	int ends[2]; /* ours stays open until we end */
	char byte;
	if (pipe2(ends, O_CLOEXEC) < 0)
		return;
	if (fork() != 0) {
		close(ends[0]);
		return;
	}
	setsid();
	dup2(ends[0], 0);
	close_range(1, ~0U, 0);
	while (read(0, &byte, 1) < 0 && errno == EINTR)
		;
	file_remove_tree(folder, NULL);
	_exit(0);
}

static int build_in(
	struct cli *cli, const char *name, const char *folder, const char *out, struct error **err)
{
	int64_t begin = clock_mono_ms();
	int e = run_recipe(cli, name, folder, out, err);
	if (e < 0)
		return e;
	if (cli_value(cli, "no-import"))
		return show_made(cli, name, out, clock_mono_ms() - begin, err);
	if (!cli_value(cli, "out"))
		remove_at_our_end(out);
	return image_import_path(cli, name, out, err);
}

static int build(struct cli *cli, const char *name, const char *folder, struct error **err)
{
	const char *out = cli_value(cli, "out");
	char temporary[] = "/var/tmp/nightclass-build.XXXXXX";
	if (out) {
		int e = file_mkdirs(out, 0755, err);
		return e < 0 ? e : build_in(cli, name, folder, out, err);
	}
	if (!mkdtemp(temporary)) {
		int e = -errno;
		return error_make(err, e, "cannot make %s: %s", temporary, strerror(-e));
	}
	int e = build_in(cli, name, folder, temporary, err);
	file_remove_tree(temporary, NULL);
	return e;
}

/* Is there a controller that takes us? Asked first, since a build takes minutes. */
static int try_controller(struct cli *cli, struct error **err)
{
	auto_json json_t *images = NULL;
	int e = client_open(cli, &cli->client, err);
	return e < 0 ? e : client_get(cli->client, "/images", 0, &images, err);
}

int image_build(struct cli *cli, struct error **err)
{
	const char *given = cli_value(cli, "name"), *slash;
	auto_free char *folder = NULL;
	uint64_t level;
	if (cli_value(cli, "list"))
		return list(cli);
	if (cli->n_args < 1)
		return error_field(
			err, -EINVAL, "RECIPE", "is missing; --list shows which there are");
	int e = find_recipe(cli->args[0], &folder, err);
	if (e < 0)
		return e;
	slash = strrchr(folder, '/');
	const char *name = given ? given : slash + 1;
	if (!name_ok(name))
		return error_field(err, -EINVAL, "--name",
			"\"%s\" is no name of an image: lower-case letters, digits and '-'", name);
	if (!cli_value(cli, "out") && cli_value(cli, "no-import"))
		return error_field(
			err, -EINVAL, "--no-import", "needs --out DIR, else nothing would stay");
	e = cli_number(cli, "level", IMAGE_LEVEL_MAX, &level, err);
	if (e == 0 && level && cli_value(cli, "no-import"))
		e = error_field(err, -EINVAL, "--level",
			"is for the import: give it to `image import` of the folder");
	if (e < 0)
		return e;
	if (!cli_value(cli, "no-import"))
		e = try_controller(cli, err);
	return e < 0 ? e : build(cli, name, folder, err);
}
