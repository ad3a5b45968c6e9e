/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The table of verbs, and what is made of it: the reading of a command line, help, completion,
 * manual. */
#ifndef CONTROLLER_CLI_VERBS_H
#define CONTROLLER_CLI_VERBS_H

#include <stdio.h>
#include "controller/cli/cli.h"

extern const struct cli_verb cli_verbs[]; /* ends with an empty row */
extern const struct cli_option cli_global_options[], cli_wait_options[];

/* Reads a command line into *cli (zeroed before). -EINVAL names what is wrong and the usage to look
 * at. cli->args must be freed by the caller; the strings stay argv's. */
int cli_parse(int argc, char *const *argv, struct cli *cli, struct error **err);

/* "nightclass pc add NAME --mac MAC ..."; caller frees. */
char *cli_usage(const struct cli_verb *verb);
/* All verbs (noun NULL), those of one noun, or one verb with its options. -ENOENT for unknown
 * words. */
int cli_help(FILE *out, const char *noun, const char *verb);
/* The COMMANDS part of nightclass(1), in scdoc. */
void cli_manual(FILE *out);
/* A bash completion script. */
void cli_completion_bash(FILE *out);

/* The verbs, by file: nodes.c (lab, pc, token), image.c, revision.c (image publish to gc),
 * recipe.c (image build),
 * cluster.c (and join), night.c, run.c,
 * event.c, local.c. */
cli_verb_fn lab_list, lab_show, lab_add, lab_remove, pc_list, pc_show, pc_add, pc_remove, pc_edit,
	pc_release, image_list, image_show, image_import, image_delete, image_build,
	image_publish, image_rollback, image_verify, image_diff, image_gc, cluster_list,
	cluster_show, cluster_create, cluster_delete, join_list, join_show, join_create,
	join_delete, night_list, night_show, night_start, night_end, run_program, run_list,
	run_show, run_follow, event_list, event_follow, token_list, token_create, token_delete,
	config_check, config_list, completion_bash, help_text;

#endif
