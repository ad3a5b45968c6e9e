# SPDX-License-Identifier: GPL-2.0-or-later
"""The files that are brought to receivers: noise that does not compress, a real disk that does, and a revision of noise
that differs in a known number of bytes."""
import dataclasses
import os
import pathlib
import random
import subprocess

BLOCK = 1 << 20


@dataclasses.dataclass
class Image:
    """A file, and what is known of it. `packed`: bytes that hold all of it (zstd level 3), the least anybody must send."""
    name: str
    path: pathlib.Path
    size: int
    packed: int
    base: "Image | None" = None  # the revision before
    changed: int = 0  # bytes that differ from it


def noise(folder: pathlib.Path, size: int) -> Image:
    """Nothing in it can be left out."""
    path = folder / f"noise-{size >> 20}.raw"
    if not path.exists():
        source = random.Random(size)
        with open(path, "wb") as file:
            for at in range(0, size, BLOCK):
                file.write(source.randbytes(min(BLOCK, size - at)))
    return Image(path.stem, path, size, size)


def disk(folder: pathlib.Path, source: pathlib.Path) -> Image:
    """The VM disk of the rehearsals as it was built; its packed size by zstd -3 of the whole."""
    path = folder / "disk.raw"
    if not path.exists():
        subprocess.run(["cp", "--sparse=always", source, path], check=True)
    packed = subprocess.run(f"zstd -3 -c {path} | wc -c", shell=True, check=True, capture_output=True, text=True)
    return Image("disk", path, path.stat().st_size, int(packed.stdout))


def revision(folder: pathlib.Path, base: Image, percent: float, run: int = BLOCK) -> Image:
    """The base with so many per cent of it written anew, in runs of that many bytes at random places, as an update of
    packages does: a file lies in extents."""
    path = folder / f"{base.name}-{percent:g}.raw"
    runs = max(1, round(base.size * percent / 100 / run))
    if not path.exists():
        source = random.Random(7)
        places = source.sample(range(base.size // run), runs)
        subprocess.run(["cp", base.path, path], check=True)
        with open(path, "r+b") as file:
            for place in places:
                file.seek(place * run)
                file.write(source.randbytes(run))
    return Image(path.stem, path, base.size, base.size, base, runs * run)


def same(got: pathlib.Path, image: Image) -> subprocess.Popen:
    """Begins to compare every byte; exit 0: the same."""
    return subprocess.Popen(["cmp", "-s", got, image.path])


def all_same(files: list[pathlib.Path], image: Image) -> list[pathlib.Path]:
    """Those that differ. As many at once as there are cores."""
    wrong, waiting = [], list(files)
    while waiting:
        batch, waiting = waiting[: os.cpu_count()], waiting[os.cpu_count():]
        jobs = [(path, same(path, image)) for path in batch]
        wrong += [path for path, job in jobs if job.wait() != 0]
    return wrong
