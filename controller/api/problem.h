/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Errors as HTTP answers: RFC 7807 problem+json. */
#ifndef CONTROLLER_API_PROBLEM_H
#define CONTROLLER_API_PROBLEM_H

#include "lib/error.h"

/* The HTTP status of a negative errno (the mapping is in lib/error.h). */
int problem_status(int code);
/* The reason phrase of a status we use. */
const char *problem_title(int status);
/* The document {type,title,status,detail,field?}; caller frees. */
char *problem_text(int status, const char *detail, const char *field);

#endif
