/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What `image build` needs of `image import`. */
#ifndef CONTROLLER_CLI_RECIPE_H
#define CONTROLLER_CLI_RECIPE_H

#include "controller/cli/cli.h"

enum { IMAGE_LEVEL_MAX = 19 }; /* zstd's, but for those that need more memory to unpack */

/* Imports the file or folder `path` as image `name` and shows the image (image.c). */
int image_import_path(struct cli *cli, const char *name, const char *path, struct error **err);

#endif
