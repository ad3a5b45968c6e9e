/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What this lab tells others about itself, and what others told. */
#ifndef CONTROLLER_DRIVE_LABDOC_H
#define CONTROLLER_DRIVE_LABDOC_H

#include "controller/controller.h"
#include "controller/model/request.h"

VEC_OF(lab_documents, struct lab_document);

/* This lab now: uplink, nets in use, night, images, hosts with what is free on them. */
int labdoc_self(struct controller *controller, struct lab_document *ret_document, struct error **err);
/* A peer's document as last heard; -EHOSTUNREACH when it never answered or has been silent for three beats. */
int labdoc_peer(struct controller *controller, const char *lab, struct lab_document *ret_document,
	struct error **err);
/* The one or the other. */
int labdoc_of(struct controller *controller, const char *lab, struct lab_document *ret_document,
	struct error **err);
void labdocs_done(struct lab_documents *documents);

#endif
