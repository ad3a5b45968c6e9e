/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Words for a filter of system calls (seccomp(2), BPF as in linux/filter.h): what jail.c and seal.c
 * share. A program of them looks at the architecture first (CALLS_BEGIN), then at the number of the
 * call, which is loaded. */
#ifndef IMAGES_CALLS_H
#define IMAGES_CALLS_H

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/syscall.h>

#if defined(__x86_64__)
#define ARCHITECTURE AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define ARCHITECTURE AUDIT_ARCH_AARCH64
#else
_Static_assert(0, "the filter of system calls does not know this architecture");
#endif

#define ANSWER(code) BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ((code)&SECCOMP_RET_DATA))
#define PASS BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)
#define IS(value, yes, no) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (value), (yes), (no))
#define LOAD(member) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, member))
#define ALLOW(name) IS(SYS_##name, 0, 1), PASS
#define DENY(name) IS(SYS_##name, 0, 1), ANSWER(EPERM)
/* A call by another architecture's numbers ends the program. */
#define CALLS_BEGIN                                                                                \
	LOAD(arch), IS(ARCHITECTURE, 1, 0), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),   \
		LOAD(nr)

#endif
