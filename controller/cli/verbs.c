/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The table of verbs: one row per `nightclass NOUN VERB`.
 *
 * A new verb is a row here and a function in the file of its noun. Help, usage errors, bash
 * completion and the COMMANDS part of nightclass(1) are made from the rows (usage.c, completion.c),
 * and the reading of the command line follows them (parse.c), so none of these can tell different
 * stories. Nothing is done here.
 */
#include "controller/cli/verbs.h"

#define OPTIONS(...)                                                                               \
	(const struct cli_option[])                                                                \
	{                                                                                          \
		__VA_ARGS__,                                                                       \
		{                                                                                  \
			0                                                                          \
		}                                                                                  \
	}

const struct cli_option cli_global_options[] = {
	{0, "server", "URL", false, "controller to ask, https://ADDRESS:8443"},
	{0, "token-file", "FILE", false, "file that holds the bearer token"},
	{0, "ca", "FILE", false, "certificate of the authority that the controller must show"},
	{'o', "output", "FORM", false, "table, json or name"},
	{'h', "help", NULL, false, "show help for the noun or verb"},
	{0, "version", NULL, false, "show the version"},
	{0},
};

const struct cli_option cli_wait_options[] = {
	{0, "wait", NULL, false, "follow until it is done, with progress (the default)"},
	{0, "no-wait", NULL, false, "return as soon as the controller has taken the request"},
	{0, "timeout", "TIME", false, "stop waiting after this long: 90s, 15m, 2h (default 1h)"},
	{0},
};

#define SEAT                                                                                       \
	{                                                                                          \
		0, "seat", "TEXT", false, "where it stands, as people call it: \"row 2, seat 3\""  \
	}
#define PROBE                                                                                      \
	{                                                                                          \
		0, "probe", "PROBE", false,                                                        \
			"how its desktop answers: ping, tcp:PORT, agent or none"                   \
	}
#define LEVEL {0, "level", "N", false, "how hard zstd packs, 1 to 19 (default: 14; 9: a fifth of the time, 8 % larger)"}
#define LOCAL_IMAGE_OPTIONS                                                                        \
	{0, "kernel", "FILE", false, "kernel for direct boot"},                                    \
		{0, "initrd", "FILE", false, "initial RAM disk for direct boot"},                  \
	{                                                                                          \
		0, "cmdline", "TEXT", false, "kernel command line, or @FILE that holds it"         \
	}

const struct cli_verb cli_verbs[] = {
	{"lab", "list", "", 0, 0, 0, lab_list, "lists this lab and those it knows", NULL},
	{"lab", "show", "[NAME]", 0, 1, 0, lab_show, "shows a lab: night, PCs, peers, join", NULL},
	{"lab", "add", "NAME", 1, 1, 0, lab_add, "makes another lab's controller known to this one",
		OPTIONS({0, "url", "URL", true, "of its controller, https://ADDRESS:8443"},
			{0, "ca-file", "FILE", true,
				"certificate of its authority (its tls/ca.pem)"},
			{0, "peer-token-file", "FILE", true, "a token of role peer, made there"})},
	{"lab", "remove", "NAME", 1, 1, 0, lab_remove,
		"forgets another lab, which no join or open cluster may need any more", NULL},

	{"pc", "list", "[HOSTLIST]", 0, 1, 0, pc_list, "lists the PCs with their states", NULL},
	{"pc", "show", "NAME", 1, 1, 0, pc_show, "shows one PC", NULL},
	{"pc", "add", "NAME", 1, 1, 0, pc_add, "makes a PC known",
		OPTIONS({0, "mac", "MAC", true, "of the network card it boots from"},
			{0, "address", "IP", true, "the address reserved for it"}, SEAT, PROBE)},
	{"pc", "remove", "HOSTLIST", 1, 1, 0, pc_remove, "forgets PCs that no night holds", NULL},
	{"pc", "edit", "HOSTLIST", 1, 1, 0, pc_edit, "changes what is known of PCs",
		OPTIONS({0, "mac", "MAC", false, "of the network card it boots from"},
			{0, "address", "IP", false, "the address reserved for it"}, SEAT, PROBE)},
	{"pc", "release", "HOSTLIST", 1, 1, 0, pc_release,
		"takes PCs out of state exception, once a person has seen to them", NULL},

	{"image", "list", "", 0, 0, 0, image_list, "lists the images", NULL},
	{"image", "show", "NAME", 1, 1, 0, image_show, "shows one image (its published revision)",
		OPTIONS({0, "revision", "N", false, "this revision"})},
	{"image", "import", "NAME FILE|DIR|URL", 2, 2, CLI_WAITS, image_import,
		"takes in a disk, an .ovf, or a recipe's folder as a new revision",
		OPTIONS({0, "format", "FORMAT", false,
				"raw, qcow2, vmdk or ova (default: by its first bytes)"},
			{0, "sha256", "DIGEST", false, "what the URL's file must be"},
			{0, "on-server", NULL, false,
				"the files are on the lab server already (administrators only)"},
			{0, "no-publish", NULL, false,
				"keep it a draft; `image publish` makes it the one to use"},
			LEVEL, LOCAL_IMAGE_OPTIONS)},
	{"image", "publish", "NAME REVISION", 2, 2, 0, image_publish,
		"makes a revision the one that new clusters get",
		OPTIONS({0, "again", NULL, false,
			"though it is published: hosts that take it for old get a new word"})},
	{"image", "rollback", "NAME [REVISION]", 1, 2, 0, image_rollback,
		"goes back to an older revision (default: the one before)", NULL},
	{"image", "verify", "NAME [REVISION]", 1, 2, CLI_WAITS, image_verify,
		"reads every chunk of a revision; exits 1 on damage", NULL},
	{"image", "diff", "NAME REVISION REVISION", 3, 3, 0, image_diff,
		"shows what the second one changes, and what would be sent", NULL},
	{"image", "gc", "", 0, 0, CLI_WAITS, image_gc,
		"frees what no image of the lab server needs any more",
		OPTIONS({0, "dry-run", NULL, false, "count only, remove nothing"})},
	{"image", "delete", "NAME", 1, 1, 0, image_delete,
		"deletes an image that no cluster uses, with all revisions",
		OPTIONS({0, "revision", "N", false, "only this revision"},
			{0, "force", NULL, false,
				"though it is published, as each import is by itself"})},
	{"image", "build", "[RECIPE]", 0, 1, CLI_WAITS | CLI_LOCAL, image_build,
		"builds an image by a recipe, a name or a path, and imports it",
		OPTIONS({0, "list", NULL, false, "list the recipes; see nightclass-recipe(7)"},
			{0, "out", "DIR", false,
				"where to build, kept afterwards (default: a folder in /var/tmp)"},
			{0, "name", "NAME", false, "of the image (default: the recipe's)"},
			{0, "guest", "FILE", false, "the nightclass-guest program to put in"},
			{0, "no-import", NULL, false, "build only; needs --out"}, LEVEL)},

	{"cluster", "list", "", 0, 0, 0, cluster_list, "lists the clusters", NULL},
	{"cluster", "show", "NAME", 1, 1, 0, cluster_show, "shows a cluster and its VMs", NULL},
	{"cluster", "create", "NAME", 1, 1, CLI_WAITS, cluster_create, "deploys a cluster of VMs",
		OPTIONS({'n', "vms", "N", true, "number of VMs, at most 512"},
			{0, "image", "NAME", false, "image of the VMs (default: mpi)"},
			{0, "revision", "N", false, "of the image (default: the published one)"},
			{0, "owner", "NAME", false, "whose cluster it is (default: the token's)"},
			{0, "cpus", "N", false, "virtual CPUs of each VM (default: 1)"},
			{0, "memory", "SIZE", false, "memory of each VM: 2GiB (default: 512MiB)"},
			{0, "policy", "POLICY", false, "spread (over PCs, the default) or pack (few PCs)"},
			{0, "join", "ID", false, "spread over the labs of this join (default: the one this lab is in)"},
			{0, "dry-run", NULL, false, "show the plan, change nothing"})},
	{"cluster", "delete", "NAME", 1, 1, CLI_WAITS, cluster_delete,
		"ends a cluster, gives all back; exits 3 where a lost PC keeps some", NULL},

	{"join", "list", "", 0, 0, 0, join_list, "lists the joins of labs", NULL},
	{"join", "show", "ID", 1, 1, 0, join_show, "shows a join: members, probes, commands", NULL},
	{"join", "create", "LAB...", 1, -1, CLI_WAITS, join_create,
		"joins this lab with others by routes, until hand-back", NULL},
	{"join", "delete", "ID", 1, 1, 0, join_delete, "withdraws a join", NULL},

	{"night", "list", "", 0, 0, 0, night_list, "lists the nights", NULL},
	{"night", "show", "[ID]", 0, 1, 0, night_show,
		"shows a night and its report (default: the current one, or the last)", NULL},
	{"night", "start", "[HOSTLIST]", 0, 1, CLI_WAITS, night_start,
		"lends PCs (default: all) to computing until the hand-back time",
		OPTIONS({0, "until", "TIME", false,
				"hand-back time, 07:30 or 2026-11-21T07:30:00Z"},
			{0, "for", "TIME", false, "or how long: 90m, 8h"},
			{0, "begins", "TIME", false, "when to start (default: now); it is not waited for"})},
	{"night", "end", "[ID]", 0, 1, CLI_WAITS, night_end,
		"hands all PCs back now (default: the current night)", NULL},

	{"run", NULL, "PROGRAM [ARGUMENT...]", 1, -1, CLI_WAITS | CLI_REST, run_program,
		"runs a program by MPI in a cluster, as if it ran here",
		OPTIONS({'n', "ranks", "N", true, "number of MPI ranks"},
			{0, "cluster", "NAME", false,
				"where (default: the only one that is ready)"})},
	{"run", "list", "", 0, 0, 0, run_list, "lists the runs", NULL},
	{"run", "show", "ID", 1, 1, 0, run_show, "shows one run", NULL},
	{"run", "follow", "ID", 1, 1, 0, run_follow, "shows the output of a run until it ends",
		NULL},

	{"event", "list", "", 0, 0, 0, event_list, "lists what happened",
		OPTIONS({0, "after", "N", false, "only events after this sequence number"})},
	{"event", "follow", "", 0, 0, 0, event_follow, "shows events as they happen",
		OPTIONS({0, "after", "N", false,
			"start after this sequence number (default: now)"})},

	{"token", "list", "", 0, 0, 0, token_list, "lists the tokens, never their secrets", NULL},
	{"token", "create", "NAME", 1, 1, 0, token_create, "makes a token and prints it, this once",
		OPTIONS({0, "role", "ROLE", true, "viewer, user, teacher, operator, admin or peer"},
			{0, "expires", "TIME", false,
				"how long it is good: 8h, 30d (default: for ever)"})},
	{"token", "delete", "NAME", 1, 1, 0, token_delete, "makes a token worthless", NULL},

	{"config", "check", "FILE", 1, 1, CLI_LOCAL, config_check,
		"checks a nightclass.conf strictly", NULL},
	{"config", "keys", "", 0, 0, CLI_LOCAL, config_list, "lists what a nightclass.conf can say",
		NULL},
	{"completion", "bash", "", 0, 0, CLI_LOCAL, completion_bash,
		"prints a completion script for bash", NULL},
	{"help", NULL, "[NOUN [VERB]]", 0, 2, CLI_LOCAL, help_text, "shows help",
		OPTIONS({0, "manual", NULL, false,
			"print the COMMANDS part of nightclass(1) in scdoc"})},
	{0},
};
