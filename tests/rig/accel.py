# SPDX-License-Identifier: GPL-2.0-or-later
"""What the rig's QEMU PCs run by: KVM where a kernel starts in it, else emulation.

/dev/kvm proves nothing: there are machines where it opens and every kernel hangs. So the host image's own kernel is
started as a PC would be, and has to come as far as to miss its root. The answer holds for this boot of the machine
and is kept in build/. NIGHTCLASS_ACCEL=tcg or kvm overrules it."""
import os
import pathlib
import subprocess

# The processor has what Debian's programs and SSH use and AMD's virtualisation, which QEMU emulates: so the host in the
# PC has a working KVM and its VMs are emulated once, not twice. No AVX: inside a VM in the PC it would not work.
# One processor: with two, QEMU 7.2 may miss that the other one has patched the kernel (which Linux does in its scheduler
# whenever a VM starts), runs into the same breakpoint for ever, and the PC stands still: on a busy machine once in some
# 140 starts. With one, a night is a little faster besides: the machine has no idle cores for more.
CPU = "qemu64,+npt,+ssse3,+sse4.1,+sse4.2,+popcnt,+aes,+pclmulqdq,+rdrand"
WAYS = {"tcg": ["-accel", "tcg", "-cpu", CPU, "-smp", "1"], "kvm": ["-accel", "kvm", "-cpu", "host", "-smp", "2"]}
KERNEL_SECONDS = 20


def starts(way: str, kernel: pathlib.Path, seconds: float = KERNEL_SECONDS, qemu: str = "qemu-system-x86_64") -> bool:
    """True when the kernel comes to its end: no root, panic, reboot, which ends QEMU."""
    argv = [qemu, "-machine", "pc", *WAYS[way], "-m", "512", "-nodefaults", "-display", "none", "-no-reboot",
            "-serial", "stdio", "-kernel", str(kernel), "-append", "console=ttyS0 panic=-1"]
    try:
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0 and b"Unable to mount root fs" in done.stdout


def choose(kernel: pathlib.Path, answer: pathlib.Path, **how) -> str:
    """ "kvm" or "tcg"; asked once for each boot of the machine, remembered in the file `answer`."""
    told = os.environ.get("NIGHTCLASS_ACCEL")
    if told in WAYS:
        return told
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return "tcg"
    boot = pathlib.Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    try:
        when, way = answer.read_text(encoding="ascii").split()
        if when == boot and way in WAYS:
            return way
    except (OSError, ValueError):
        pass
    way = "kvm" if starts("kvm", kernel, **how) else "tcg"
    answer.parent.mkdir(parents=True, exist_ok=True)
    new = answer.with_name(f"{answer.name}.{os.getpid()}")
    new.write_text(f"{boot} {way}\n", encoding="ascii")
    new.replace(answer)
    return way
