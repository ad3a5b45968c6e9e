/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files that answer for images share. */
#ifndef CONTROLLER_API_IMAGE_H
#define CONTROLLER_API_IMAGE_H

#include "controller/controller.h"
#include "controller/model/model.h"
#include "lib/json.h"

/* One revision as a row of the list. */
json_t *present_image(const struct image *image);
/* The same with what is signed for it: "publication" is null for a revision nobody may use. */
json_t *present_image_whole(struct controller *controller, const struct image *image);

#endif
