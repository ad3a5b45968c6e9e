/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Hardware virtualisation, proved by running a guest.
 *
 * The file /dev/kvm proves nothing: on some machines (virtual ones above all) it opens and answers,
 * real mode code even runs, and yet every kernel hangs in it. So a guest of one sector is run which
 * does what a kernel does first: it waits for timer interrupts, builds page tables, enters long
 * mode, works for a while and asks for the processor's name. When all went well it writes to QEMU's
 * debug-exit port, which ends QEMU with a status of our choosing; anything else within the time
 * limit, or no end at all, means no. The guest gets no disk but its own sector and no network.
 */
#include "boot/hostd/kvm.h"

#include "lib/file.h"
#include "lib/spawn.h"

enum { EXIT_VALUE = 0x21, EXIT_STATUS = (EXIT_VALUE << 1) | 1 };

/* The sector, at 0x7c00 when it runs: addresses are written as distance from its start plus 0x7c00.
 * Page tables are at 0x10000: one 2 MiB page, mapped to itself, holds all of it. */
__asm__(".pushsection .rodata\n"
	"kvm_sector:\n"
	".code16\n"
	"	xorw %ax, %ax\n"
	"	movw %ax, %ds\n"
	"	sti\n"
	"	movw 0x46c, %bx\n" /* the BIOS counts timer interrupts here, 18 a second */
	"	addw $3, %bx\n"
	"1:	hlt\n"
	"	movw 0x46c, %ax\n"
	"	subw %bx, %ax\n" /* a busy machine makes up for lost ones: two at once */
	"	js 1b\n"
	"	cli\n"
	"	movw $0x1000, %ax\n"
	"	movw %ax, %es\n"
	"	xorw %di, %di\n"
	"	xorl %eax, %eax\n"
	"	movw $0xc00, %cx\n"
	"	cld\n"
	"	rep stosl\n"
	"	movl $0x11003, %es:0\n"
	"	movl $0x12003, %es:0x1000\n"
	"	movl $0x00083, %es:0x2000\n"
	"	movl $0x10000, %eax\n"
	"	movl %eax, %cr3\n"
	"	movl %cr4, %eax\n"
	"	orb $0x20, %al\n" /* physical address extension */
	"	movl %eax, %cr4\n"
	"	movl $0xc0000080, %ecx\n"
	"	rdmsr\n"
	"	orb $1, %ah\n" /* long mode enable */
	"	wrmsr\n"
	"	lgdtw kvm_gdtr - kvm_sector + 0x7c00\n"
	"	movl %cr0, %eax\n"
	"	orl $0x80000001, %eax\n"
	"	movl %eax, %cr0\n"
	"	ljmpw $8, $(kvm_long - kvm_sector + 0x7c00)\n"
	".code64\n"
	"kvm_long:\n"
	"	movl $20000000, %ecx\n"
	"2:	decl %ecx\n"
	"	jnz 2b\n"
	"	xorl %eax, %eax\n"
	"	cpuid\n"
	"	movb $0x21, %al\n"
	"	outb %al, $0xf4\n"
	"3:	hlt\n"
	"	jmp 3b\n"
	"	.balign 8\n"
	"kvm_gdt:\n"
	"	.quad 0\n"
	"	.quad 0x00209a0000000000\n"
	"kvm_gdtr:\n"
	"	.word 15\n"
	"	.long kvm_gdt - kvm_sector + 0x7c00\n"
	"	.org kvm_sector + 510\n"
	"	.byte 0x55, 0xaa\n"
	".popsection\n");
extern const char kvm_sector[512];

bool kvm_probe(const char *accel, const char *dir, struct error **err)
{
	if (strcmp(accel, "kvm") == 0 && access("/dev/kvm", R_OK | W_OK) < 0) {
		error_make(err, -errno, "/dev/kvm: %s", strerror(errno));
		return false;
	}
	auto_free char *path = xasprintf("%s/probe.img", dir);
	auto_free char *drive = xasprintf("file=%s,format=raw,if=ide", path);
	if (file_write(path, kvm_sector, sizeof(kvm_sector), 0644, err) < 0)
		return false;
	const char *const argv[] = {"qemu-system-x86_64", "-accel", accel, "-nodefaults",
		"-nographic", "-no-user-config", "-no-reboot", "-m", "16", "-drive", drive,
		"-device", "isa-debug-exit,iobase=0xf4,iosize=1", NULL};
	struct spawn_result result = {0};
	const struct spawn spawn = {.argv = argv, .timeout_ms = KVM_PROBE_MS, .max_output = 4096};
	int r = spawn_run(&spawn, &result, err);
	unlink(path);
	if (r < 0)
		return false;
	bool works = result.status == EXIT_STATUS;
	if (result.timed_out)
		error_make(err, -ETIMEDOUT, "the probe's guest hung");
	else if (!works)
		error_make(err, -EIO, "the probe's guest ended with %d: %s", result.status,
			result.err);
	spawn_result_done(&result);
	return works;
}
