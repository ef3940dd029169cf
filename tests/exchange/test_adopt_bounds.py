"""What was made to take time, memory or depth is refused in one sentence and leaves nothing.

No time is asserted: each of these took minutes, gigabytes or the recursion limit before.
"""

from __future__ import annotations

import bz2
import gzip
import io
import pathlib
import struct
import tarfile

import containers as made
import pytest

from fmnist_tfds import errors
from fmnist_tfds.exchange import bundle
from fmnist_tfds.exchange.adopt import adopt
from fmnist_tfds.formats import identify


def _header(name: str, kind: bytes, size: int, link: str = "") -> bytes:
    info = tarfile.TarInfo(name)
    info.type, info.size, info.linkname = kind, size, link
    return info.tobuf(tarfile.GNU_FORMAT)[-512:]


def _block(content: bytes) -> bytes:
    return content + bytes(-len(content) % 512)


def _extended(kind: bytes, content: bytes) -> bytes:
    return _header("x", kind, len(content)) + _block(content)


def _record(key: str, value: str) -> bytes:
    rest = f" {key}={value}\n"
    length = len(rest) + len(str(len(rest)))
    length = len(rest) + len(str(length))
    return f"{length}{rest}".encode()


PAX, LONG_NAME, LONG_LINK = tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK
PLAIN = _header("train", tarfile.REGTYPE, 4) + _block(b"abcd")
TARS = {
    "pax header of 4 MB of digits": (
        lambda: _extended(PAX, b"1" * (4 << 20)) + PLAIN,
        "an extended header of 4,194,304 bytes",
    ),
    "pax headers of digits, each short": (
        lambda: (_extended(PAX, b"1" * 60_000) + PLAIN) * 200,
        "an extended header is damaged",
    ),
    "pax size of 8 GB": (
        lambda: _extended(PAX, _record("size", str(8 << 30))) + PLAIN,
        "unpacks to 8,589,934,592 bytes",
    ),
    "pax size beyond all numbers": (
        lambda: _extended(PAX, _record("size", "9" * 5000)) + PLAIN,
        "an extended header gives the size",
    ),
    "pax size that is none": (
        lambda: _extended(PAX, _record("size", "-1")) + PLAIN,
        "an extended header gives the size",
    ),
    "3,000 nested pax headers": (
        lambda: _extended(PAX, _record("mtime", "1")) * 3000 + PLAIN,
        "the 5th in a row",
    ),
    "3,000 nested long names": (
        lambda: _extended(LONG_NAME, b"name\0") * 3000 + PLAIN,
        "the 5th in a row",
    ),
    "60,000 long links": (
        lambda: (_extended(LONG_LINK, b"y" * 120) + _header("0", tarfile.SYMTYPE, 0)) * 60_000,
        "'0' is a symbolic link",
    ),
    "a name of 60,000 letters": (
        lambda: _extended(LONG_NAME, b"../" + b"y" * 60_000) + PLAIN,
        "points outside",
    ),
    "a size of the header below zero, which leads back": (
        lambda: PLAIN + _header("x", tarfile.REGTYPE, -1024),
        "it is cut short",
    ),
    "a size of the header beyond the file": (
        lambda: _header("x", tarfile.REGTYPE, 1 << 20) + b"short",
        "it is cut short",
    ),
}


def _adopted(data, path: pathlib.Path):
    return adopt.adopt(path, path.parent / "out", dataset=data.dataset, table=data.table)


def _refused(data, path: pathlib.Path, match: str) -> None:
    before = sorted(path.parent.rglob("*"))
    with pytest.raises(errors.ContentError, match=match) as caught:
        _adopted(data, path)
    assert "\n" not in caught.value.message
    assert len(caught.value.message) < 700
    assert sorted(path.parent.rglob("*")) == before


@pytest.mark.parametrize("name", TARS)
def test_tar_made_to_take_for_ever_is_refused(name, standin, tmp_path):
    make, match = TARS[name]
    (tmp_path / "a.tar").write_bytes(make() + bytes(1024))
    _refused(standin, tmp_path / "a.tar", match)


@pytest.mark.parametrize("format_", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
def test_tar_of_every_format_is_read_with_long_names(format_, standin, tmp_path):
    folder = "f" * 90 + "/" if format_ == tarfile.USTAR_FORMAT else "é" * 200 + "/"
    with tarfile.open(tmp_path / "a.tar", "w", format=format_) as archive:
        archive.add(tmp_path, folder, recursive=False)
        for name, content in standin.gz.items():
            info = tarfile.TarInfo(folder + name)
            info.size, info.mtime = len(content), 1.5 if format_ == tarfile.PAX_FORMAT else 1
            archive.addfile(info, io.BytesIO(content))
    adoption = _adopted(standin, tmp_path / "a.tar")
    assert {n: p.read_bytes() for n, p in adoption.files.items()} == standin.gz
    assert folder in adoption.receipt["files"][made.NAMES[0]]["member"]


def test_size_that_a_tar_gives_a_folder_takes_no_room(standin, tmp_path):
    content = _header("folder/", tarfile.DIRTYPE, 4096)
    for name, gz in standin.gz.items():
        content += _header(f"folder/{name}", tarfile.REGTYPE, len(gz)) + _block(gz)
    (tmp_path / "a.tar").write_bytes(content + bytes(1024))
    adoption = _adopted(standin, tmp_path / "a.tar")
    assert {n: p.read_bytes() for n, p in adoption.files.items()} == standin.gz


def _members(content: bytes, count: int) -> bytes:
    return gzip.compress(content) * count


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (lambda: gzip.compress(b"") * 20_000, "more than 5,000 gzip members"),
    ],
)
def test_stream_of_very_many_members_is_refused(content, match, standin, tmp_path):
    (tmp_path / "a").write_bytes(content())
    _refused(standin, tmp_path / "a", match)


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress])
def test_stream_of_some_members_is_one_file(pack, standin, tmp_path):
    (tmp_path / "in").mkdir()
    for name, payload in standin.payloads.items():
        pieces = [payload[at : at + 997] for at in range(0, len(payload), 997)]
        (tmp_path / "in" / name).write_bytes(b"".join(map(pack, pieces)))
    adoption = _adopted(standin, tmp_path / "in")
    assert {n: gzip.decompress(p.read_bytes()) for n, p in adoption.files.items()} == (
        standin.payloads
    )


def test_identify_reads_members_once_each_and_bounds_their_number(standin, tmp_path):
    """Each member after a copy of all that follow took minutes for a body of this kind."""
    path = tmp_path / "body"
    payload = standin.payloads[made.NAMES[1]]
    path.write_bytes(b"".join(gzip.compress(payload[i : i + 1]) for i in range(len(payload))))
    found = identify.identify(path, dataset=standin.dataset)
    assert found.verdict == "genuine-payload"
    path.write_bytes(gzip.compress(b"") * 20_000)
    found = identify.identify(path, dataset=standin.dataset)
    assert (found.verdict, found.file) == ("unknown", None)


def test_bundle_whose_table_of_contents_would_fill_the_memory_is_refused():
    size = 2 << 20
    end = struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, 1, 1, size, 4, 0)
    with pytest.raises(errors.ContentError, match="table of contents takes 2,097,152 bytes"):
        bundle.verify(b"PK\x03\x04".ljust(size, b"\0") + end)
