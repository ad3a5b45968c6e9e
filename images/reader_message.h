/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Inner part of the reader: what goes over its socket (packets, of one machine and one build). */
#ifndef IMAGES_READER_MESSAGE_H
#define IMAGES_READER_MESSAGE_H

#include <stdint.h>

enum { READER_MAGIC = 0x4e435231, READER_TEXT = 1200, READER_FIELD = 24 };

/* With READER_FILES descriptors. */
struct reader_request {
	uint32_t magic, format;
};

/* READER_BEGAN: it is sealed and comes to the file; what becomes of it now is the file's work. */
enum reader_kind { READER_PROGRESS, READER_DONE, READER_FAILED, READER_BEGAN };

struct reader_reply {
	uint32_t magic, kind;
	uint32_t phase, disk, format;
	int32_t code;
	uint64_t done, total, size;
	char field[READER_FIELD], text[READER_TEXT];
};

#endif
