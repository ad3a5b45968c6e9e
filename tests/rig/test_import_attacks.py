# SPDX-License-Identifier: GPL-2.0-or-later
"""Files made to harm, through the real nightclass-import: each is refused with its reason, and leaves nothing in the
store. Beside each kind stands the honest file that it was made from, which must be taken."""
import gzip
import hashlib
import io
import lzma
import pathlib
import random
import re
import struct
import subprocess
import tarfile
import time
import zlib

import pytest

from tests.rig.test_images import files_in, qemu_img, run_import

MIB = 1 << 20
SECTOR = 512
GRAIN = 65536


@pytest.fixture(scope="module")
def raw(tmp_path_factory) -> bytes:
    """A disk of 3 MiB + 512: noise, zeros, text, a short end."""
    noise = random.Random(11)
    return (noise.randbytes(300_000) + bytes(MIB) + b"abc" * 200_000 + bytes(MIB)).ljust(3 * MIB, b"\0") + noise.randbytes(512)


@pytest.fixture(scope="module")
def vmdk(raw, tmp_path_factory) -> bytes:
    folder = tmp_path_factory.mktemp("vmdk")
    (folder / "disk.raw").write_bytes(raw)
    qemu_img("convert", "-f", "raw", "-O", "vmdk", "-o", "subformat=streamOptimized", folder / "disk.raw", folder / "disk.vmdk")
    return (folder / "disk.vmdk").read_bytes()


@pytest.fixture(scope="module")
def digest_of_raw(raw, tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("good")
    return taken(folder, raw)


def taken(folder: pathlib.Path, data: bytes, *options) -> str:
    """The image's digest."""
    (folder / "file").write_bytes(data)
    code, answer, _ = run_import(folder / "store", folder / "file", *options)
    assert code == 0, answer
    return answer["digest"]


def refused(folder: pathlib.Path, data: bytes, reason: str, *options) -> None:
    (folder / "file").write_bytes(data)
    begin = time.monotonic()
    code, answer, _ = run_import(folder / "store", folder / "file", *options)
    assert code == 1, "it was taken"
    assert re.search(reason, answer["error"]["text"]), answer
    assert answer["error"]["code"].startswith("E")
    assert not (folder / "store").exists() or not files_in(folder / "store")
    assert time.monotonic() - begin < 60


def patch(data: bytes, at: int, new: bytes) -> bytes:
    return data[:at] + new + data[at + len(new):]


# --- VMDK

def u32(n: int) -> bytes:
    return struct.pack("<I", n)


def u64(n: int) -> bytes:
    return struct.pack("<Q", n)


def descriptor(data: bytes, old: str, new: str) -> bytes:
    """The same file with another text in its descriptor."""
    text = data[SECTOR:21 * SECTOR].rstrip(b"\0").decode()
    assert old in text, text
    return data[:SECTOR] + text.replace(old, new).encode().ljust(20 * SECTOR, b"\0") + data[21 * SECTOR:]


def tables(data: bytes) -> tuple[int, int]:
    """Where the grain directory and its first table are."""
    directory = struct.unpack_from("<Q", data, 56)[0] * SECTOR
    return directory, struct.unpack_from("<I", data, directory)[0] * SECTOR


def entry(data: bytes, n: int) -> int:
    return struct.unpack_from("<I", data, tables(data)[1] + 4 * n)[0]


def with_footer(data: bytes) -> bytes:
    """As a writer that cannot go back leaves it: the place of the directory at the end only."""
    footer = data[:SECTOR]
    return patch(data, 56, u64((1 << 64) - 1)) + bytes(SECTOR) + footer + bytes(SECTOR)


def test_honest_vmdks_are_taken(vmdk, digest_of_raw, tmp_path):
    for n, data in enumerate((vmdk, with_footer(vmdk))):
        (tmp_path / str(n)).mkdir()
        assert taken(tmp_path / str(n), data) == digest_of_raw
    assert taken(tmp_path, vmdk, "--format", "vmdk") == digest_of_raw


EXTENT = 'RW 6145 SPARSE "disk.vmdk"'
DESCRIPTORS = [
    ('"streamOptimized"', '"monolithicSparse"', "type monolithicSparse"),
    ('"streamOptimized"', '"monolithicFlat"', "type monolithicFlat"),
    ('"streamOptimized"', '"twoGbMaxExtentSparse"', "type twoGbMaxExtentSparse"),
    ('"streamOptimized"', '"vmfs"', "type vmfs"),
    ('createType="streamOptimized"', "", "no createType"),
    ('createType="streamOptimized"', 'createType="streamOptimized"\ncreateType="streamOptimized"', "not understood.*createType"),
    (EXTENT, 'RW 6145 FLAT "/etc/passwd" 0', "leads out of the file.*passwd"),
    (EXTENT, 'RW 6145 SPARSE "/etc/passwd"', "leads out of the file"),
    (EXTENT, 'RW 6145 SPARSE "../../etc/passwd"', "leads out of the file"),
    (EXTENT, 'RW 6145 SPARSE "other.vmdk" 0', "leads out of the file"),
    (EXTENT, f"{EXTENT}\nRW 8 SPARSE \"two.vmdk\"", "2 extents"),
    (EXTENT, "", "0 extents"),
    (EXTENT, 'RW 6144 SPARSE "disk.vmdk"', "6144 sectors"),
    ("parentCID=ffffffff", "parentCID=12345678", "has a parent"),
    ("parentCID=ffffffff", 'parentCID=ffffffff\nparentFileNameHint="/etc/passwd"', "has a parent"),
    ("parentCID=ffffffff", 'parentCID=ffffffff\nchangeTrackPath="/etc/passwd"', "names another file"),
    ("parentCID=ffffffff", "", "has a parent"),
    ("version=1", "version=1\nsurprise=1", "surprise"),
    ("version=1", "version=1\nsurprise", "surprise"),
]


@pytest.mark.parametrize("old, new, reason", DESCRIPTORS)
def test_vmdk_descriptors_that_lead_away(vmdk, tmp_path, old, new, reason):
    refused(tmp_path, descriptor(vmdk, old, new), reason)


def test_vmdk_descriptor_files_open_nothing(tmp_path):
    for kind in ("monolithicFlat", "twoGbMaxExtentFlat", "vmfsSparse", "streamOptimized"):
        text = f'# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\ncreateType="{kind}"\nRW 8 FLAT "/etc/passwd" 0\n'
        refused(tmp_path, text.encode(), kind if kind != "streamOptimized" else "leads out of the file")


HEADERS = [
    (4, u32(9), "version 9"),
    (8, u32(3), "not compressed"),
    (8, u32(0x80030003), "flags"),
    (12, u64(0), "disk of 0 sectors"),
    (12, u64(1 << 60), "1 TiB"),
    (12, u64(1 << 20), "descriptor has"),
    (20, u64(0), "grains of 0"),
    (20, u64(100), "grains of 100"),
    (20, u64(1 << 40), "grains of"),
    (28, u64(0), "no descriptor inside"),
    (28, u64(1 << 50), "no descriptor inside"),
    (36, u64(1 << 40), "no descriptor inside"),
    (44, u32(0), "tables of 0"),
    (44, u32(1 << 31), "tables of"),
    (56, u64(0), "cut off"),
    (56, u64(1 << 50), "cut off"),
    (56, u64((1 << 64) - 1), "no footer"),
    (72, b"\1", "not closed cleanly"),
    (73, b"\r\n \n", "transfer as text"),
    (77, b"\2\0", "not compressed"),
]


@pytest.mark.parametrize("at, new, reason", HEADERS)
def test_vmdk_headers_that_lie(vmdk, tmp_path, at, new, reason):
    refused(tmp_path, patch(vmdk, at, new), reason)


def test_vmdk_tables_that_lie(vmdk, tmp_path):
    directory, table = tables(vmdk)
    first, second = entry(vmdk, 0) * SECTOR, entry(vmdk, 1)
    for data, reason in (
            (patch(vmdk, directory, u32(1 << 30)), "grain table"),
            (patch(vmdk, table, u32(1 << 30)), "grain at byte .* ends behind"),
            (patch(vmdk, table, u32(second)), "another grain than number 0"),
            (patch(vmdk, table + 4 * 500, u32(second)), "behind the end of its disk"),
            (patch(vmdk, first, u64(7)), "another grain"),
            (patch(vmdk, first + 8, u32(0)), "0 packed bytes"),
            (patch(vmdk, first + 8, u32(1 << 31)), "packed bytes"),
            (patch(vmdk, first + 8, u32(100)), "does not unpack"),
            (patch(vmdk, first + 40, b"\xff" * 64), "does not unpack"),
            (with_footer(vmdk)[:-SECTOR], "no footer"),
            (patch(with_footer(vmdk), len(vmdk) + SECTOR + 12, u64(9)), "contradicts")):
        refused(tmp_path, data, reason)


def test_a_vmdk_cut_off_anywhere(vmdk, tmp_path):
    directory, table = tables(vmdk)
    last = max(entry(vmdk, n) for n in range(49)) * SECTOR
    places = {1, 3, 4, 100, 511, 512, 600, 21 * SECTOR - 1, directory, directory + 3, table, table + 5, last, last + 11, last + 50}
    places |= set(range(SECTOR, last, len(vmdk) // 12))
    for place in sorted(places):
        reason = "" if place < 4 else "cut off|no footer|no descriptor"
        refused(tmp_path, vmdk[:place], reason, "--format", "vmdk")


def vmdk_bomb() -> bytes:
    """Grains of 1 MiB, each of one byte repeated: a thousand times smaller in the file."""
    grains, grain = 250, MIB
    sectors = grains * grain // SECTOR
    text = (f'# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\ncreateType="streamOptimized"\n'
            f'RW {sectors} SPARSE "bomb.vmdk"\n').encode().ljust(2 * SECTOR, b"\0")
    out = bytearray(16 * SECTOR)
    place = []
    for n in range(grains):
        packed = zlib.compress(b"\1" * grain, 9)
        place.append(len(out) // SECTOR)
        piece = u64(n * grain // SECTOR) + u32(len(packed)) + packed
        out += piece.ljust(-(-len(piece) // SECTOR) * SECTOR, b"\0")
    header = (b"KDMV" + u32(3) + u32(0x30001) + u64(sectors) + u64(grain // SECTOR) + u64(1) + u64(2) + u32(512) + u64(0) + u64(3)
              + u64(16) + b"\0\n \r\n" + b"\1\0")
    out[:len(header)] = header
    out[SECTOR:3 * SECTOR] = text
    out[3 * SECTOR:3 * SECTOR + 4] = u32(4)
    table = b"".join(u32(p) for p in place).ljust(2048, b"\0")
    out[4 * SECTOR:4 * SECTOR + 2048] = table
    return bytes(out)


def test_a_vmdk_of_grains_that_burst(tmp_path):
    refused(tmp_path, vmdk_bomb(), "more than 100 times")


# --- OVA

OVF = '''<?xml version="1.0" encoding="UTF-8"?>{doctype}
<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1" xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1">
  <References>{files}</References>
  <DiskSection><Info>disks</Info>{disks}</DiskSection>
  <VirtualSystem ovf:id="vm"><Info>{info}</Info></VirtualSystem>
</Envelope>'''


def file_row(href="disk.vmdk", more="", number=1) -> str:
    return f'<File ovf:id="file{number}" ovf:href="{href}" {more}/>'


def disk_row(more="", capacity=3 * MIB + 512, number=1) -> str:
    return (f'<Disk ovf:diskId="vmdisk{number}" ovf:fileRef="file{number}" ovf:capacity="{capacity}" '
            f'ovf:capacityAllocationUnits="byte" {more}/>')


def ovf(files=None, disks=None, doctype="", info="") -> bytes:
    return OVF.format(files=file_row() if files is None else files, disks=disk_row() if disks is None else disks,
                      doctype=doctype, info=info).encode()


def member(name: str, data: bytes = b"", **more) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for key, value in more.items():
        setattr(info, key, value)
    return info, data


def ova(*members, form=tarfile.USTAR_FORMAT) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as tar:
        for info, data in members:
            tar.addfile(info, io.BytesIO(data) if info.isreg() else None)
    return out.getvalue()


def manifest(*named, how="SHA256") -> bytes:
    digest = {"SHA1": hashlib.sha1, "SHA256": hashlib.sha256, "SHA512": hashlib.sha512}[how]
    return "".join(f"{how}({name})= {digest(data).hexdigest()}\n" for name, data in named).encode()


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("how", [None, "SHA1", "SHA256", "SHA512"])
def test_honest_ovas_are_taken(vmdk, digest_of_raw, tmp_path, form, how):
    members = [member("vm.ovf", ovf()), member("disk.vmdk", vmdk)]
    if how:
        members.insert(1, member("vm.mf", manifest(("vm.ovf", ovf()), ("disk.vmdk", vmdk), how=how)))
    assert taken(tmp_path, ova(*members, form=form)) == digest_of_raw


def test_more_honest_ovas(raw, vmdk, digest_of_raw, tmp_path):
    packed = gzip.compress(vmdk)
    description = ovf(file_row("disk.vmdk.gz", 'ovf:compression="gzip"') + file_row("cd.iso", number=2),
                      disk_row(capacity=1, more="").replace('"byte"', '"byte * 2^9"').replace('capacity="1"', f'capacity="{len(raw) // 512}"'))
    assert taken(tmp_path, ova(member("vm.ovf", description), member("cd.iso", b"x" * 3000), member("disk.vmdk.gz", packed),
                               member("vm.cert", b"a certificate"))) == digest_of_raw
    assert taken(tmp_path, ova(member("vm.ovf", ovf(file_row("d.img"))), member("d.img", raw)), "--format", "ova") == digest_of_raw


def good(vmdk: bytes) -> list:
    return [member("vm.ovf", ovf()), member("disk.vmdk", vmdk)]


MEMBERS = [
    (lambda v: good(v) + [member("../evil", b"x")], "plain names"),
    (lambda v: good(v) + [member("/etc/cron.d/evil", b"x")], "plain names"),
    (lambda v: good(v) + [member("folder/evil", b"x")], "plain names"),
    (lambda v: good(v) + [member(".hidden", b"x")], "plain names"),
    (lambda v: good(v) + [member("a\nb", b"x")], "plain names"),
    (lambda v: good(v) + [member("-rf", b"x")], "plain names"),
    (lambda v: good(v) + [member("link", type=tarfile.SYMTYPE, linkname="/etc/passwd")], "link, a device"),
    (lambda v: good(v) + [member("link", type=tarfile.LNKTYPE, linkname="/etc/passwd")], "link, a device"),
    (lambda v: good(v) + [member("dev", type=tarfile.CHRTYPE, devmajor=1, devminor=5)], "link, a device"),
    (lambda v: good(v) + [member("dev", type=tarfile.BLKTYPE, devmajor=8, devminor=0)], "link, a device"),
    (lambda v: good(v) + [member("pipe", type=tarfile.FIFOTYPE)], "link, a device"),
    (lambda v: good(v) + [member("folder", type=tarfile.DIRTYPE)], "link, a device|plain names"),
    (lambda v: [member("vm.ovf", ovf()), member("disk.vmdk", type=tarfile.SYMTYPE, linkname="/etc/passwd")], "link, a device"),
    (lambda v: good(v) + [member("disk.vmdk", v)], "two members disk.vmdk"),
    (lambda v: good(v) + [member("DISK.vmdk", v)], "two members"),
    (lambda v: good(v) + [member("autorun.sh", b"x")], "does not name"),
    (lambda v: good(v) + [member(f"{n}.mf", b"") for n in range(2)], "two manifests"),
    (lambda v: [member("vm.ovf", ovf("".join(file_row(f"f{n}", number=n) for n in range(60))))]
     + [member(f"f{n}", b"x") for n in range(100)], "more than 64"),
    (lambda v: [member("disk.vmdk", v), member("vm.ovf", ovf())], "no OVA"),
    (lambda v: [member("vm.ovf", ovf())], "not in the archive"),
    (lambda v: [member("README", b"a tar of something else")], "no OVA"),
    (lambda v: [member("vm.ovf", ovf()), member("disk.vmdk", b"just text, no disk at all" * 100)], "multiple of 512"),
    (lambda v: [member("vm.ovf", ovf(file_row(more='ovf:compression="gzip"'))), member("disk.vmdk", v)], "but it is not"),
    (lambda v: [member("vm.ovf", ovf(file_row("disk.gz"))), member("disk.gz", gzip.compress(v))], "gzip file, not a disk"),
    (lambda v: [member("vm.ovf", ovf(file_row("inner.ova"))), member("inner.ova", ova(*good(v)))], "tar or OVA file"),
    (lambda v: good(v) + [member("vm.mf", manifest(("vm.ovf", ovf()), ("disk.vmdk", v + b"x")))], "another digest"),
    (lambda v: good(v) + [member("vm.mf", manifest(("vm.ovf", b"other"), ("disk.vmdk", v)))], "another digest"),
    (lambda v: good(v) + [member("vm.mf", manifest(("vm.ovf", ovf())))], "no digest of disk.vmdk"),
    (lambda v: good(v) + [member("vm.mf", manifest(("disk.vmdk", v)))], "no digest of vm.ovf"),
    (lambda v: good(v) + [member("vm.mf", manifest(("vm.ovf", ovf()), ("disk.vmdk", v), ("gone", b"")))], "gone, which is not"),
    (lambda v: good(v) + [member("vm.mf", manifest(("vm.ovf", ovf())) * 2)], "line 2 of"),
    (lambda v: good(v) + [member("vm.mf", b"MD5(vm.ovf)= " + b"0" * 32)], "line 1 of"),
    (lambda v: good(v) + [member("vm.mf", b"SHA256(../../etc/passwd)= " + b"0" * 64)], "line 1 of"),
    (lambda v: good(v) + [member("vm.mf", b"SHA256(a)= " + b"0" * 64 + b"\n" + b"\n" * 70000)], "at most 65536"),
    (lambda v: good(v) + [member("vm.mf", manifest(("vm.ovf", ovf())) * 4000)], "at most 65536"),
]


@pytest.mark.parametrize("make, reason", MEMBERS, ids=range(len(MEMBERS)))
def test_ovas_with_members_that_harm(vmdk, tmp_path, make, reason):
    refused(tmp_path, ova(*make(vmdk)), reason)


LAUGHS = "<!DOCTYPE x [" + "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10 if n else "ha"}">' for n in range(10)) + "]>"
DESCRIPTIONS = [
    (ovf(doctype="<!DOCTYPE Envelope>"), "document type"),
    (ovf(doctype='<!DOCTYPE Envelope SYSTEM "file:///etc/passwd">'), "document type"),
    (ovf(doctype='<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>', info="&e;"), "document type"),
    (ovf(doctype='<!DOCTYPE x [<!ENTITY % e SYSTEM "http://10.0.0.1/x"> %e;]>'), "document type"),
    (ovf(doctype=LAUGHS, info="&l9;"), "document type"),
    (ovf(info="&undeclared;"), "no well-formed XML"),
    (ovf(doctype="<!DOCTYPE Envelope>").decode().replace("UTF-8", "UTF-16").encode("utf-16"), "not UTF-8 text"),
    (ovf().replace(b"UTF-8", b"UTF-7"), ""),
    (ovf("<x:include xmlns:x='http://www.w3.org/2001/XInclude' href='/etc/passwd' parse='text'/>"), "does not name"),
    (ovf(info="<a>" * 300 + "</a>" * 300), "no well-formed XML"),
    (ovf(info="x" * (1 << 20)), "at most 1048576"),
    (b"<Envelope/>" + b"\0", "not UTF-8"),
    (b"<Envelope/>", "has no disk"),
    (b"<Other/>", "no Envelope"),
    (b"no xml at all", "no well-formed XML"),
    (b"", "0 bytes"),
    (ovf(file_row("../../etc/passwd")), "no plain name"),
    (ovf(file_row("/etc/passwd")), "no plain name"),
    (ovf(file_row("file:///etc/passwd")), "no plain name"),
    (ovf(file_row("http://10.0.0.1/disk.vmdk")), "no plain name"),
    (ovf(file_row() + file_row(number=2)), "twice"),
    (ovf(file_row() + file_row("other")), "twice"),
    (ovf("".join(file_row(f"f{n}", number=n) for n in range(80))), "more than 64"),
    (ovf(file_row(more='ovf:chunkSize="1000"')), "in pieces"),
    (ovf(file_row(more='ovf:compression="zip"')), 'by "zip"'),
    (ovf(file_row(more='ovf:size="17"')), "has 17 bytes"),
    (ovf(file_row(more='ovf:size="-1"')), "the size"),
    (ovf(disks=""), "has no disk"),
    (ovf(disks=disk_row() * 2), "more than one disk"),
    (ovf(disks=disk_row('ovf:parentRef="vmdisk0"')), "has a parent"),
    (ovf(disks=disk_row(number=7)), "does not name"),
    (ovf(disks=disk_row(capacity=4096)), "4096 bytes, the disk in it"),
    (ovf(disks=disk_row(capacity=1 << 70)), "capacity"),
    (ovf(disks=disk_row().replace('"byte"', '"furlong"')), "capacity"),
    (ovf(disks=disk_row().replace('"byte"', '"byte * 2^60"')), "capacity"),
]


@pytest.mark.parametrize("description, reason", DESCRIPTIONS, ids=range(len(DESCRIPTIONS)))
def test_ovf_descriptors_that_harm(vmdk, tmp_path, description, reason):
    if reason == "":  # taken as the UTF-8 it is, whatever it says
        assert taken(tmp_path, ova(member("vm.ovf", description), member("disk.vmdk", vmdk)))
    else:
        refused(tmp_path, ova(member("vm.ovf", description), member("disk.vmdk", vmdk)), reason)


def test_an_ova_cut_off_anywhere(vmdk, tmp_path):
    whole = ova(*good(vmdk), member("vm.mf", manifest(("vm.ovf", ovf()), ("disk.vmdk", vmdk))))
    end = len(whole.rstrip(b"\0"))
    for place in [300, 511, 512, 700, 1536, 2047, 2048, *range(3000, end - 600, len(vmdk) // 9)]:
        refused(tmp_path, whole[:place], "cut off|not in the archive|0 bytes|no OVA|multiple of 512", "--format", "ova")


def test_sparse_members_are_refused(tmp_path):
    """GNU tar's own: a few bytes that say they are 1 TiB."""
    (tmp_path / "vm.ovf").write_bytes(ovf(file_row("disk.img"), disk_row(capacity=1 << 40)))
    with open(tmp_path / "disk.img", "wb") as file:
        file.truncate(1 << 40)
    subprocess.run(["tar", "-C", tmp_path, "-S", "-cf", tmp_path / "out", "vm.ovf", "disk.img"], check=True)
    refused(tmp_path, (tmp_path / "out").read_bytes(), "sparse")


def test_a_member_that_says_it_is_endless(vmdk, tmp_path):
    data = bytearray(ova(*good(vmdk)))
    at = data.index(b"disk.vmdk\0")
    data[at + 124:at + 136] = b"\x80\0\0\0\x7f" + b"\xff" * 7
    data[at + 148:at + 156] = b" " * 8
    data[at + 148:at + 156] = b"%06o\0 " % sum(data[at:at + 512])
    refused(tmp_path, bytes(data), "cut off|sparse|size")


# --- packed files

def test_honest_packed_files_are_taken(raw, vmdk, digest_of_raw, tmp_path):
    zstd = subprocess.run(["zstd", "-cq"], input=raw, capture_output=True, check=True).stdout
    for data in (gzip.compress(raw), gzip.compress(raw[:MIB]) + gzip.compress(raw[MIB:]), lzma.compress(raw), zstd,
                 gzip.compress(vmdk), lzma.compress(vmdk)):
        assert taken(tmp_path, data) == digest_of_raw


def gzip_of(byte: bytes, mib: int) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    return b"".join(packer.compress(byte * MIB) for _ in range(mib)) + packer.flush()


def xz_of(byte: bytes, mib: int) -> bytes:
    packer = lzma.LZMACompressor(preset=0)
    return b"".join(packer.compress(byte * MIB) for _ in range(mib)) + packer.flush()


def zstd_of(byte: bytes, mib: int, *options) -> bytes:
    return subprocess.run(["zstd", "-cq", *options], input=byte * mib * MIB, capture_output=True, check=True).stdout


@pytest.mark.parametrize("make, reason", [
    (lambda r: gzip_of(b"\1", 96), "100 times"),
    (lambda r: xz_of(b"\1", 96), "100 times"),
    (lambda r: zstd_of(b"\1", 96), "100 times"),
    (lambda r: xz_of(b"\0", 256), "1100 times"),
    (lambda r: zstd_of(b"\0", 256), "1100 times"),
    (lambda r: gzip.compress(r)[:-9], "cut off or damaged"),
    (lambda r: patch(gzip.compress(r), 1000, b"\0\xff\0\xff"), "cut off or damaged"),
    (lambda r: patch(gzip.compress(r), len(gzip.compress(r)) - 8, b"\0\0\0\0"), "cut off or damaged"),
    (lambda r: lzma.compress(r)[:-100], "cut off or damaged"),
    (lambda r: patch(lzma.compress(r), 200_000, b"xxxx"), "cut off or damaged"),
    (lambda r: gzip.compress(gzip.compress(r)), "gzip file, not a disk"),
    (lambda r: lzma.compress(gzip.compress(r)), "packed more than once|gzip file, not a disk"),
    (lambda r: lzma.compress(lzma.compress(r)), "packed more than once|xz file, not a disk"),
    (lambda r: gzip.compress(ova(member("vm.ovf", ovf()), member("disk.vmdk", r))), "tar or OVA file"),
    (lambda r: gzip.compress(b""), "empty|multiple|none"),
    (lambda r: b"\x1f\x8b", "cut off or damaged"),
    (lambda r: b"\x1f\x8b\x08" + bytes(509), "cut off or damaged"),
    (lambda r: b"\xfd7zXZ\0", "cut off or damaged"),
    (lambda r: b"\x28\xb5\x2f\xfd" + b"\xff" * 100, "cut off or damaged"),
    (lambda r: b"BZh9" + bytes(508), "bzip2 file"),
    (lambda r: b"PK\3\4" + bytes(508), "zip file"),
])
def test_packed_files_that_burst_or_break(raw, tmp_path, make, reason):
    refused(tmp_path, make(raw), reason)


# --- qcow2 and raw beyond test_images.py

def test_a_qcow2_of_clusters_that_burst(tmp_path):
    """One compressed cluster that every entry of the table names."""
    bits, cluster = 16, 65536
    packer = zlib.compressobj(9, zlib.DEFLATED, -12)
    packed = packer.compress(b"\1" * cluster) + packer.flush()
    n = 8192
    data = bytearray(5 * cluster)
    data[:104] = struct.pack(">4sIQIIQIIQQIIQQQQII", b"QFI\xfb", 3, 0, 0, bits, n * cluster, 0, 1, 2 * cluster, cluster, 1, 0, 0, 0, 0,
                             0, 4, 104)
    data[2 * cluster:2 * cluster + 8] = struct.pack(">Q", 3 * cluster | 1 << 63)
    sectors = -(-len(packed) // SECTOR) - 1
    data[3 * cluster:3 * cluster + 8 * n] = struct.pack(">Q", 1 << 62 | sectors << (62 - (bits - 8)) | 4 * cluster) * n
    data[4 * cluster:4 * cluster + len(packed)] = packed
    refused(tmp_path, bytes(data), "more than 100 times")


def test_disks_beyond_all_size(tmp_path):
    with open(tmp_path / "file", "wb") as file:
        file.truncate((4 << 40) + 512)
    code, answer, _ = run_import(tmp_path / "store", tmp_path / "file")
    assert code == 1 and "1 TiB" in answer["error"]["text"] and not files_in(tmp_path / "store")


def test_a_decompressor_that_wants_all_memory(tmp_path):
    """zstd with a window of 2 GiB: refused by its own limit or by ours."""
    data = subprocess.run(["zstd", "-cq", "--ultra", "-1", "--long=31", "--no-check"], input=random.Random(1).randbytes(MIB),
                          capture_output=True, check=True).stdout
    header = bytearray(data)
    header[4] = header[4] & 0x1f & ~0x20  # no single segment: the window is what the next byte says
    refused(tmp_path, bytes(header[:5]) + b"\xff" + bytes(header[5:]), "cut off or damaged|memory")
