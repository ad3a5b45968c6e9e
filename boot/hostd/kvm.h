/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Whether hardware virtualisation really works on this PC. */
#ifndef HOSTD_KVM_H
#define HOSTD_KVM_H

#include <stdbool.h>
#include "lib/error.h"

enum { KVM_PROBE_MS = 30000 };

/* Runs a tiny guest under `accel` ("kvm"; "tcg" to test the guest itself) and tells whether it came
 * to its end. `dir` is for a scratch file. Blocks up to KVM_PROBE_MS; for worker threads. When it
 * answers false, *err says why. */
bool kvm_probe(const char *accel, const char *dir, struct error **err);

#endif
