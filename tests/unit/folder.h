/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A folder for one test: setup and teardown for cmocka, its path is *state. Include after cmocka.h.
 */
#ifndef TESTS_UNIT_FOLDER_H
#define TESTS_UNIT_FOLDER_H

#include "lib/file.h"

static int folder_make(void **state)
{
	char path[] = "/tmp/nightclass-test.XXXXXX";

	assert_non_null(mkdtemp(path));
	*state = xstrdup(path);
	return 0;
}

static int folder_remove(void **state)
{
	int r = file_remove_tree(*state, NULL);

	free(*state);
	return r;
}

#endif
