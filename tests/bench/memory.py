# SPDX-License-Identifier: GPL-2.0-or-later
"""The memory that a bench fills: what it may take, and that the machine keeps it while the bench lasts."""
import mmap
import pathlib
import subprocess

PAGE = mmap.PAGESIZE
STRIDE = 1 << 20  # one page of so many bytes is never freed
POPULATE_WRITE = 23  # MADV_POPULATE_WRITE, which the mmap module does not name


def available() -> int:
    """Bytes of memory that a bench may fill."""
    for line in pathlib.Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable"):
            return int(line.split()[1]) << 10
    return 0


def room(at: pathlib.Path, need: int) -> None:
    """A file system in memory for what receivers write, of at most `need` bytes."""
    if need > available():
        raise SystemExit(f"the receivers' files may need {need >> 20} MiB of memory, {available() >> 20} are available:"
                         " leave first-vm out (name others in BENCH_ONLY) or give it a smaller image (BENCH_VM_SIZE);"
                         " where that is not enough, take fewer receivers (BENCH_N) or a smaller image (BENCH_SIZE)")
    at.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={need},mode=755", "bench", at], check=True)


def keep(size: int) -> mmap.mmap:
    """Memory to run in, for as long as what this gives is held: free, and of this machine.

    A virtual machine tells its host of memory that is free in large blocks (free page reporting: 2 MiB on x86), the host
    takes it, and gives it back page by page at half the speed that 32 receivers write with. So a run after one that had
    written less, or after half a minute of rest, measured that. Here `size` bytes are taken and freed again but for one
    page in each MiB: no block is large enough to be told of, and who wants a page gets one of the small blocks first."""
    region = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    region.madvise(mmap.MADV_NOHUGEPAGE)
    region.madvise(POPULATE_WRITE)
    for at in range(0, size - STRIDE + 1, STRIDE):
        region.madvise(mmap.MADV_DONTNEED, at + PAGE, STRIDE - PAGE)
    return region
