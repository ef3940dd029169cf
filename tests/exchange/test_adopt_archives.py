"""An archive is refused whole, before any of its data is taken, if one member is not acceptable.

Every archive here holds the whole data set beside what is not acceptable: a reader that overlooks
that completes, instead of failing otherwise.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import pathlib
import struct
import tarfile
import zipfile
import zlib

import containers as made
import numpy as np
import pytest

from fmnist_tfds import errors
from fmnist_tfds.exchange.adopt import adopt, archives, leaf


def refused(data, path: pathlib.Path, kind: type[errors.FmnistError], match: str) -> None:
    out = path.parent / "out"
    with pytest.raises(kind, match=match) as caught:
        adopt.adopt(path, out, dataset=data.dataset, table=data.table)
    assert type(caught.value) is kind
    assert not out.exists()


def zip_with(data, path: pathlib.Path, name: str, content: bytes = b"more") -> pathlib.Path:
    """A zip of the four genuine files, and of one member more behind them."""
    made.zip_of(path, data.gz)
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return path


def patched(path: pathlib.Path, name: str, at: int, value: bytes) -> None:
    """Changes a field of one entry of a zip's table of contents (offsets: APPNOTE 4.3.12)."""
    data = bytearray(path.read_bytes())
    entry = data.rindex(b"PK\x01\x02", 0, data.rindex(name.encode()))
    data[entry + at : entry + at + len(value)] = value
    path.write_bytes(data)


def test_zip_member_that_declares_too_much_condemns_the_archive_unread(standin, tmp_path):
    path = zip_with(standin, tmp_path / "a.zip", "bomb")
    patched(path, "bomb", 24, struct.pack("<I", 3 << 30))
    refused(standin, path, errors.ArchiveError, r"'bomb' unpacks to 3,221,225,472 bytes")


def test_encrypted_zip_member_condemns_the_archive(standin, tmp_path):
    path = zip_with(standin, tmp_path / "a.zip", "locked")
    patched(path, "locked", 8, b"\x01")
    refused(standin, path, errors.ArchiveError, "'locked' is encrypted")


def test_zip_that_was_streamed_and_has_a_name_in_utf_8_is_taken(standin, tmp_path):
    # Both are told by the flags that also say "encrypted" (bits 3 and 11; bit 0).
    class Stream(io.BytesIO):
        def tell(self):
            raise OSError("a pipe")

    stream = Stream()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("größe.txt", b"more")
        for name, content in standin.gz.items():
            archive.writestr(name, content)
    (tmp_path / "a.zip").write_bytes(stream.getvalue())
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert {info.flag_bits for info in archive.infolist()} == {1 << 3 | 1 << 11, 1 << 3}
    adopt.adopt(tmp_path / "a.zip", tmp_path / "out", dataset=standin.dataset, table=standin.table)
    assert len(list((tmp_path / "out").glob("*.gz"))) == len(standin.gz) == 4


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("../x", "points outside"),
        ("a/../../x", "points outside"),
        ("a\\..\\x", "points outside"),
        ("/x", "absolute name"),
        ("\\\\server\\x", "absolute name"),
        ("d:x", "absolute name"),
        (made.NAMES[0], "stands 2 times"),
        ("a/../" + made.NAMES[0], "points outside"),
        (".//" + made.NAMES[0], "stands 2 times"),
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_one_unacceptable_name_condemns_zip_and_tar(name, match, standin, tmp_path):
    refused(standin, zip_with(standin, tmp_path / "a.zip", name), errors.ArchiveError, match)
    made.tar_of(tmp_path / "a.tar", standin.gz, "w")
    with tarfile.open(tmp_path / "a.tar", "a") as archive:
        archive.addfile(tarfile.TarInfo(name))
    refused(standin, tmp_path / "a.tar", errors.ArchiveError, match)


def test_nul_in_a_zip_name_condemns_the_archive(standin, tmp_path):
    path = zip_with(standin, tmp_path / "a.zip", "x_y")
    path.write_bytes(path.read_bytes().replace(b"x_y", b"x\0y"))
    refused(standin, path, errors.ArchiveError, "NUL in its name")


@pytest.mark.parametrize(
    ("kind", "match"),
    [
        (tarfile.SYMTYPE, "symbolic link"),
        (tarfile.LNKTYPE, "hard link"),
        (tarfile.CHRTYPE, "character device"),
        (tarfile.BLKTYPE, "block device"),
        (tarfile.FIFOTYPE, "named pipe"),
        (b"Z", "special file"),
    ],
)
def test_one_tar_member_that_is_no_plain_file_condemns_the_archive(kind, match, standin, tmp_path):
    made.tar_of(tmp_path / "a.tar", standin.gz, "w")
    with tarfile.open(tmp_path / "a.tar", "a") as archive:
        info = tarfile.TarInfo("x")
        info.type, info.linkname = kind, made.NAMES[0]
        archive.addfile(info)
    refused(standin, tmp_path / "a.tar", errors.ArchiveError, f"'x' is a {match}")


def test_sparse_tar_member_which_would_unpack_to_a_terabyte_is_refused(standin, tmp_path):
    made.tar_of(tmp_path / "a.tar", standin.gz, "w")
    info = tarfile.TarInfo("holes")
    info.type = tarfile.GNUTYPE_SPARSE
    block = bytearray(info.tobuf(tarfile.GNU_FORMAT)[:512])
    # Source: GNU tar, struct oldgnu_header: sparse map at 386, real size at 483.
    block[386:410] = b"00000000000\0" * 2
    block[483:495] = b"%011o\0" % (1 << 32)
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    whole = (tmp_path / "a.tar").read_bytes().rstrip(b"\0")
    whole += bytes(-len(whole) % 512)
    (tmp_path / "a.tar").write_bytes(whole + block + bytes(1024))
    refused(standin, tmp_path / "a.tar", errors.ArchiveError, "'holes' is a sparse file")


def test_zip_of_more_members_than_any_form_of_the_data_is_refused_unread(standin, tmp_path):
    count = 250_001
    names = np.char.mod("%06x", np.arange(count)).astype("S6")
    entry = np.frombuffer(b"PK\x01\x02".ljust(28, b"\0") + b"\x06".ljust(18, b"\0"), np.uint8)
    table = np.empty((count, 52), np.uint8)
    table[:, :46], table[:, 46:] = entry, names.view(np.uint8).reshape(count, 6)
    zip64 = struct.pack(
        "<4sQHHIIQQQQ", b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, table.size, 4
    )
    zip64 += struct.pack("<4sIQI", b"PK\x06\x07", 0, 4 + table.size, 1)
    end = struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, 65535, 65535, 2**32 - 1, 2**32 - 1, 0)
    (tmp_path / "a.zip").write_bytes(b"PK\x03\x04" + table.tobytes() + zip64 + end)
    refused(standin, tmp_path / "a.zip", errors.ArchiveError, "holds more than 250,000 members")


@pytest.mark.parametrize("form", ["zip", "tar"])
def test_members_are_counted_in_every_kind_of_archive(form, standin, tmp_path, monkeypatch):
    monkeypatch.setattr(leaf, "MAX_MEMBERS", 3)  # a true one would take minutes to make
    if form == "zip":
        path = made.zip_of(tmp_path / "a.zip", standin.gz)
    else:
        path = made.tar_of(tmp_path / "a.tar", standin.gz, "w")
    refused(standin, path, errors.ArchiveError, "holds more than 3 members")


@pytest.mark.parametrize("is_zip64", [False, True])
def test_zip_whose_table_of_contents_would_fill_the_memory_is_refused(is_zip64, standin, tmp_path):
    size = 17 << 20
    end = struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, 1, 1, size, 4, 0)
    if is_zip64:
        end = struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, 1, 1, 2**32 - 1, 4, 0)
        zip64 = struct.pack("<4sQHHIIQQQQ", b"PK\x06\x06", 44, 45, 45, 0, 0, 1, 1, size, 4)
        end = zip64 + struct.pack("<4sIQI", b"PK\x06\x07", 0, 200, 1) + end
    (tmp_path / "a.zip").write_bytes(b"PK\x03\x04".ljust(200, b"\0") + end)
    refused(standin, tmp_path / "a.zip", errors.ArchiveError, "contents takes 17,825,792 bytes")


@pytest.mark.parametrize("depth", [1, 2])
def test_members_that_are_too_much_only_together_are_refused(depth, standin, tmp_path):
    # Each is allowed by itself: 17 MB, where any form of the stand-in may take 18 MB.
    zeros = gzip.compress(bytes(17_000_000), 1)
    for _ in range(depth - 1):
        zeros = gzip.compress(zeros, 1)
    content = {f"{i}.npy.gz": zeros for i in range(4)}
    path = made.zip_of(tmp_path / "a.zip", content)
    refused(standin, path, errors.ArchiveError, r"unpacks to more than .* 3 files: nothing known")


def test_zip_member_with_a_wrong_checksum_is_content_that_is_damaged(standin, tmp_path):
    path = tmp_path / "a.zip"
    payloads = {name.removesuffix(".gz"): data for name, data in standin.payloads.items()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in payloads.items():
            archive.writestr(name, data)
    name = "t10k-labels-idx1-ubyte"
    data = bytearray(path.read_bytes())
    data[data.index(payloads[name])] ^= 1
    path.write_bytes(data)
    refused(standin, path, errors.ContentError, f"{name}' is damaged")


@pytest.mark.parametrize(
    ("pack", "change"),
    [
        (gzip.compress, lambda packed: packed[:-3]),
        (lzma.compress, lambda packed: packed[:-3]),
        (bz2.compress, lambda packed: packed[:-3]),
        (lzma.compress, lambda packed: packed + b"more data"),
    ],
)
def test_compressed_file_that_is_cut_or_goes_on_is_damaged(pack, change, standin, tmp_path):
    (tmp_path / "a").write_bytes(change(pack(standin.payloads[made.NAMES[0]])))
    refused(standin, tmp_path / "a", errors.ContentError, "damaged or cut short")


def test_xz_that_asks_for_a_dictionary_of_a_gigabyte_is_refused(standin, tmp_path):
    folder = tmp_path / "xz"
    folder.mkdir()
    for name, payload in standin.payloads.items():
        data = bytearray(lzma.compress(payload, preset=0))
        # Source: the .xz format, 3.1: a block header of 12 bytes from byte 12 on; filter 0x21 has
        # one byte of properties, the size of its dictionary: 36 stands for 1 GiB.
        assert data[14:16] == b"\x21\x01"
        data[16] = 36
        data[20:24] = struct.pack("<I", zlib.crc32(data[12:20]))
        assert lzma.decompress(data) == payload
        (folder / f"{name}.xz").write_bytes(data)
    refused(standin, folder, errors.ContentError, "xz stream is damaged")


def npy(shape: str, content: bytes, descr: str = "|u1") -> bytes:
    header = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}"
    text = header.encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + content


@pytest.mark.parametrize(
    ("content", "kind", "match"),
    [
        (npy("(1099511627776,)", b"\0" * 9), errors.ArchiveError, "declares 1,099,511,627,776"),
        (npy("(-1, -784)", b"\0" * 784), errors.ArchiveError, "declares 784 bytes"),
        (npy("(2, 784)", b"\0" * 784), errors.ContentError, "declares 1,568 bytes .* holds 784"),
        (npy("(2, 784)", b"\0" * 1569), errors.ContentError, "declares 1,568 bytes .* holds 1,569"),
        (npy("(1,)", b"\x80\x04N.", "|O"), errors.ArchiveError, "pickled Python objects"),
        (npy("(2, 784)", b"\0" * 1568, "|i1"), errors.ContentError, "none of the stand-in"),
        (npy("(1, 784)", b"\xff" * 784, "|i1"), errors.ContentError, "the value -1, outside 0"),
    ],
)
def test_npy_header_is_not_believed(content, kind, match, standin, tmp_path):
    (tmp_path / "a.npy").write_bytes(content)
    refused(standin, tmp_path / "a.npy", kind, match)


def test_png_with_a_wrong_checksum_or_interlacing_is_refused(standin, tmp_path):
    good = made.quick_pngs(standin.x_test[:1])[0]
    broken = bytearray(good)
    broken[good.index(b"IDAT") + 9] ^= 1
    interlaced = bytearray(good)
    interlaced[28] = 1
    interlaced[29:33] = struct.pack(">I", zlib.crc32(interlaced[12:29]))
    long = made.png_of_lines(bytes(28 * 29), 28, 28)
    note = b"tEXt" + bytes(70_000)
    chunk = struct.pack(">I", len(note) - 4) + note + struct.pack(">I", zlib.crc32(note))
    long = long[:33] + chunk + long[33:]
    for image, match in ((broken, "damaged"), (interlaced, "interlaced"), (long, "a PNG of 70,")):
        (tmp_path / "7.png").write_bytes(image)
        refused(standin, tmp_path / "7.png", errors.ContentError, match)


@pytest.mark.parametrize("rows", [161, 1])
def test_parquet_that_declares_too_much_is_refused_before_it_is_read(rows, standin, tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    # One row of 20 MB, or one row more than the stand-in has.
    image = bytes(20_000_000) if rows == 1 else b"x"
    table = pyarrow.table({"image": [image] * rows, "label": [1] * rows})
    parquet.write_table(table, tmp_path / "a.parquet", compression="zstd", use_dictionary=False)
    kind, match = (
        (errors.ArchiveError, "unpacks to 20,0")
        if rows == 1
        else (errors.ContentError, "161 rows, expected at most 160")
    )
    refused(standin, tmp_path / "a.parquet", kind, match)


def test_genuine_members_beside_folders_and_odd_names_are_taken(standin, tmp_path):
    """The rules above refuse nothing harmless."""
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.mkdir("data..v1")
        archive.writestr("data..v1/..readme", "x")
        for name, content in standin.gz.items():
            archive.writestr("data..v1/" + name, io.BytesIO(content).getvalue())
    adoption = adopt.adopt(tmp_path / "a.zip", tmp_path / "out", dataset=standin.dataset)
    assert {n: p.read_bytes() for n, p in adoption.files.items()} == standin.gz


def _header(name: bytes, size: int, kind: bytes) -> bytes:
    block = bytearray(name.ljust(100, b"\0") + b"0000644\0" + b"0000000\0" * 2)
    block += b"%011o\0" % size + b"00000000000\0" + b" " * 8 + kind + bytes(100)
    block += b"ustar\00000"
    block = block.ljust(512, b"\0")
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def _extended(content: bytes, kind: bytes = b"x") -> bytes:
    return _header(b"pax", len(content), kind) + content + bytes(-len(content) % 512)


HOSTILE_TARS = {
    "sparse by pax": lambda: _extended(b"22 GNU.sparse.major=1\n") + _header(b"x", 0, b"0"),
    "a long name of 1 GB": lambda: _header(b"x", 1 << 30, b"L") + bytes(512),
}


@pytest.mark.parametrize("kind", HOSTILE_TARS)
def test_extended_header_that_costs_out_of_all_proportion_is_refused_unread(
    kind, standin, tmp_path
):
    (tmp_path / "a.tar").write_bytes(HOSTILE_TARS[kind]() + bytes(1024))
    refused(standin, tmp_path / "a.tar", errors.ArchiveError, "a.tar: an extended header")
    assert not list(tmp_path.glob("**/.adopt-*"))


def test_bound_of_one_archive_is_not_spent_by_its_neighbours(standin, tmp_path):
    """Three of them, each as large as one may be, would leave not a byte for the fourth."""
    most = 9 * sum(file.payload_bytes for file in standin.dataset.files) + (16 << 20)
    zeros = gzip.compress(bytes(most), 1)
    folder = made.write_all(tmp_path / "in", {f"{i}.npy.gz": zeros for i in range(3)})
    made.zip_of(folder / "z", {f"deep/{name}": data for name, data in standin.gz.items()})
    adoption = adopt.adopt(folder, tmp_path / "out", dataset=standin.dataset, table=standin.table)
    assert len(adoption.files) == 4


def test_more_files_than_are_looked_at_are_named(standin, tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "MAX_MEMBERS", 3)  # a true one would take minutes to make
    folder = made.write_all(tmp_path / "folder", {f"{i}.txt": b"words" for i in range(4)})
    refused(standin, folder, errors.ContentError, "more than 3 files; the others were not looked")
