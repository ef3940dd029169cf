"""Files and archive members as leaves, found by content; decompression bounded by known sizes.

A leaf is read from its first bytes on, never trusted by its name. What is decompressed lies in
memory where it is small and else in a private scratch folder under a number of ours, so no name
from an archive ever becomes a path.

Source: RFC 1952 (gzip), the xz, bzip2, zip, tar, PNG, NumPy and Parquet signatures.
"""

from __future__ import annotations

import bz2
import contextlib
import dataclasses
import gzip
import io
import itertools
import lzma
import math
import os
import pathlib
import zlib
from collections.abc import Callable, Iterator
from typing import IO, TYPE_CHECKING, Any, Literal

from fmnist_tfds import catalog, errors

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer as Buffer

Kind = Literal[
    "gzip", "xz", "bzip2", "zip", "tar", "IDX", "npy", "parquet", "PNG", "ARFF", "CSV", "other"
]
_CHUNK = 1 << 20
_IN_MEMORY = 1 << 20
HEAD_BYTES = 16 << 10
# float64 is the widest form (8 bytes a pixel); text takes at most 4, tar and npz add headers.
_WIDEST = 9
_MIN_BYTES = 16 << 20
_MAX_MEMBERS = 250_000
_XZ_MEMORY = 256 << 20
_SIGNATURES: tuple[tuple[bytes, Kind], ...] = (
    (b"\x1f\x8b", "gzip"),
    (b"\xfd7zXZ\x00", "xz"),
    (b"BZh", "bzip2"),
    (b"PK\x03\x04", "zip"),
    (b"PK\x05\x06", "zip"),
    (b"\x00\x00\x08", "IDX"),
    (b"\x93NUMPY", "npy"),
    (b"PAR1", "parquet"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
)
_FOREIGN = (
    (b"version https://git-lfs", "a Git LFS pointer, not the file it points to"),
    (b"<!doctype", "an HTML page"),
    (b"<html", "an HTML page"),
    (b"<?xml", "an XML document"),
    (b"\xff\xd8\xff", "a JPEG image, whose pixels are no longer the original ones"),
    (b"\x80\x02", "a Python pickle, which could run code"),
    (b"\x80\x03", "a Python pickle, which could run code"),
    (b"\x80\x04", "a Python pickle, which could run code"),
    (b"\x80\x05", "a Python pickle, which could run code"),
)


@dataclasses.dataclass(frozen=True, slots=True)
class Leaf:
    """One file, archive member or decompressed stream.

    Attributes:
        name: how messages call it: "data.zip!train/x.gz".
        group: the folder or archive it lies in.
        form: the containers around it, outermost first, such as "zip > gzip".
        head: its first bytes, at most HEAD_BYTES.
        size: its length in bytes.
        path: the file that holds it, or None.
        data: its bytes where path is None.
    """

    name: str
    group: str
    form: str
    head: bytes
    size: int
    path: pathlib.Path | None = None
    data: bytes = b""

    def open(self) -> IO[bytes]:
        """A seekable stream of its bytes."""
        return io.BytesIO(self.data) if self.path is None else self.path.open("rb")

    def read(self) -> bytes:
        """All its bytes."""
        return self.data if self.path is None else self.path.read_bytes()

    @property
    def kind(self) -> Kind:
        """What its first bytes say."""
        for signature, kind in _SIGNATURES:
            if self.head.startswith(signature):
                return kind
        if self.head[257:262] == b"ustar":
            return "tar"
        return _text_kind(self.head)

    def foreign(self) -> str:
        """What it is when it is no container of ours, for people."""
        start = self.head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
        for signature, title in _FOREIGN:
            if start.startswith(signature) or self.head.startswith(signature):
                return title
        return f"nothing known here (it starts with {self.head[:12]!r})" if self.size else "empty"


def _text_kind(head: bytes) -> Kind:
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if text[:1] == b"%" or text[:9].lower() == b"@relation":
        return "ARFF"
    first = text.split(b"\n", 1)[0]
    # 785 columns; an HTML or log line has far fewer commas.
    return "CSV" if first.count(b",") >= 256 or first.lower().startswith(b"label,") else "other"


class Limits:
    """How much may be decompressed in one adoption, and where it may lie meanwhile."""

    def __init__(self, dataset: catalog.Catalog, scratch: pathlib.Path) -> None:
        payload = sum(file.payload_bytes for file in dataset.files)
        self.stream_bytes = _WIDEST * payload + _MIN_BYTES
        self.bytes_left = 3 * self.stream_bytes
        self.members_left = _MAX_MEMBERS
        self.largest_payload = max(file.payload_bytes for file in dataset.files)
        self.pixels = math.prod(dataset.part("train", "images").shape[1:])
        self._scratch = scratch
        self._numbers = itertools.count()

    def count(self, members: int, name: str) -> None:
        """Refuses one member too many."""
        self.members_left -= members
        if self.members_left < 0:
            raise errors.ArchiveError(f"{name}: holds more than {_MAX_MEMBERS:,} members")

    def of_stream(self, head: bytes) -> int:
        """How many bytes a stream that starts so may have."""
        # The length of an IDX file is known to the byte: a bomb behind its magic stops early.
        return self.largest_payload if head.startswith(b"\x00\x00\x08") else self.stream_bytes

    def new_file(self) -> pathlib.Path:
        """A fresh path in the scratch folder."""
        self._scratch.mkdir(parents=True, exist_ok=True)
        return self._scratch / str(next(self._numbers))


@contextlib.contextmanager
def spool(stream: IO[bytes], name: str, group: str, form: str, limits: Limits) -> Iterator[Leaf]:
    """The leaf that a stream holds, read at most up to the limit; removed at the end.

    Raises:
        ArchiveError: the stream is longer than any form of the data can be.
    """
    buffer = stream.read(_CHUNK)
    head = buffer[:HEAD_BYTES]
    limit = limits.of_stream(head)
    path, size = None, len(buffer)
    try:
        if size == _CHUNK:
            path = limits.new_file()
            with path.open("xb") as file:
                file.write(buffer)
                while chunk := stream.read(_CHUNK):
                    size += len(chunk)
                    _check(size, limit, limits, name)
                    file.write(chunk)
            buffer = b""
        _check(size, limit, limits, name)
        limits.bytes_left -= size
        yield Leaf(name, group, form, head, size, path, buffer)
    finally:
        if path is not None:
            path.unlink(missing_ok=True)


def _check(size: int, limit: int, limits: Limits, name: str) -> None:
    if size > limit or size > limits.bytes_left:
        raise errors.ArchiveError(
            f"{name}: unpacks to more than {min(limit, limits.bytes_left):,} bytes, "
            "more than this data set takes in any form"
        )


class _Xz(io.RawIOBase):
    """An .xz stream whose dictionary may not take all memory; LZMAFile has no such limit."""

    def __init__(self, raw: IO[bytes]) -> None:
        self._raw = raw
        self._engine = lzma.LZMADecompressor(memlimit=_XZ_MEMORY)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer) -> int:
        view = memoryview(buffer).cast("B")
        while not self._engine.eof:
            data = self._raw.read(_CHUNK) if self._engine.needs_input else b""
            out = self._engine.decompress(data, len(view))
            if out:
                view[: len(out)] = out
                return len(out)
            if not data and self._engine.needs_input:
                raise EOFError("the xz stream is cut short")
        if self._engine.unused_data.strip(b"\x00") or self._raw.read(1):
            raise lzma.LZMAError("data after the end of the xz stream")
        return 0


@contextlib.contextmanager
def decompressed(leaf: Leaf, limits: Limits) -> Iterator[Leaf]:
    """The leaf inside a gzip, xz or bzip2 leaf.

    Raises:
        ArchiveError: it unpacks to more than the limit.
        ContentError: the stream is damaged or cut short.
    """
    openers: dict[str, Callable[[IO[bytes]], Any]] = {
        "gzip": lambda raw: gzip.GzipFile(fileobj=raw),
        "bzip2": bz2.BZ2File,
        "xz": lambda raw: io.BufferedReader(_Xz(raw), _CHUNK),
    }
    # gzip, zlib and lzma raise these for a damaged or short stream; OSError: bz2, gzip's header.
    damaged = (OSError, EOFError, zlib.error, lzma.LZMAError, ValueError)
    with contextlib.ExitStack() as stack:
        raw = stack.enter_context(leaf.open())
        try:
            stream = stack.enter_context(openers[leaf.kind](raw))
            form = f"{leaf.form} > {leaf.kind}" if leaf.form else leaf.kind
            inner = stack.enter_context(
                spool(stream, _inner_name(leaf.name), leaf.group, form, limits)
            )
        except damaged as error:
            raise errors.ContentError(
                f"{leaf.name}: the {leaf.kind} stream is damaged or cut short: {error}"
            ) from error
        yield inner


def _inner_name(name: str) -> str:
    stem, suffix = os.path.splitext(name)  # noqa: PTH122 - a name, not a path of this disk
    return stem if suffix.lower() in (".gz", ".xz", ".bz2") else name


def of_file(path: pathlib.Path, name: str, group: str) -> Leaf:
    """The leaf that a regular file is.

    Raises:
        StoreError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
        return Leaf(name, group, "", head, path.stat().st_size, path)
    except OSError as error:
        raise errors.StoreError(f"{name}: cannot be read: {error.strerror or error}") from error
