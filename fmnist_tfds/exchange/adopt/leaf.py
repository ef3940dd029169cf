"""Files and archive members as leaves; what is unpacked is bounded and lies under names of ours.

A leaf is read from its first bytes on, never trusted by its name. What is decompressed lies in
memory where it is small and else in a private scratch folder under a number of ours, so no name
from an archive ever becomes a path.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import itertools
import math
import pathlib
from collections.abc import Iterator
from typing import IO

from fmnist_tfds import catalog, errors

CHUNK = 1 << 20
HEAD_BYTES = 16 << 10
# float64 is the widest form (8 bytes a pixel); text takes at most 4, tar and npz add headers.
_WIDEST = 9
_MIN_BYTES = 16 << 20
MAX_MEMBERS = 250_000


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
        gz: the published .gz that it was unpacked from, or None.
    """

    name: str
    group: str
    form: str
    head: bytes
    size: int
    path: pathlib.Path | None = None
    data: bytes = b""
    gz: bytes | None = None

    def open(self) -> IO[bytes]:
        """A seekable stream of its bytes."""
        return io.BytesIO(self.data) if self.path is None else self.path.open("rb")

    def read(self) -> bytes:
        """All its bytes."""
        return self.data if self.path is None else self.path.read_bytes()

    def inside(self, form: str) -> Leaf:
        """The same with one more container named in its form."""
        return dataclasses.replace(self, form=f"{self.form} > {form}" if self.form else form)


class Limits:
    """How much one file of the user's may unpack to, and where it may lie meanwhile.

    Attributes:
        stream_bytes: the most bytes that the data set takes in any form.
        published_sizes: of the .gz as they are published.
        bytes_left: what the present file may still unpack to, all its members together.
        members_left: how many members it may still have.
    """

    def __init__(self, dataset: catalog.Catalog, scratch: pathlib.Path) -> None:
        payload = sum(file.payload_bytes for file in dataset.files)
        self.stream_bytes = _WIDEST * payload + _MIN_BYTES
        self.published_sizes = {file.size_bytes for file in dataset.files}
        self.largest_payload = max(file.payload_bytes for file in dataset.files)
        self.pixels = math.prod(dataset.part("train", "images").shape[1:])
        self._scratch = scratch
        self._numbers = itertools.count()
        self.renew()

    def renew(self) -> None:
        """Begins another file: no bound is spent by what lies beside it."""
        self.bytes_left = 3 * self.stream_bytes
        self.members_left = MAX_MEMBERS

    def count(self, members: int, name: str) -> None:
        """Refuses one member too many."""
        self.members_left -= members
        if self.members_left < 0:
            raise errors.ArchiveError(f"{name}: holds more than {MAX_MEMBERS:,} members")

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

    Args:
        stream: what to read.
        name: the leaf's name, for people.
        group: the folder or archive it lies in.
        form: the containers around it, outermost first.
        limits: how much may be read.

    Raises:
        ArchiveError: the stream is longer than any form of the data can be.
    """
    buffer = stream.read(CHUNK)
    head = buffer[:HEAD_BYTES]
    limit = limits.of_stream(head)
    path, size = None, len(buffer)
    try:
        if size == CHUNK:
            path = limits.new_file()
            with path.open("xb") as file:
                file.write(buffer)
                while chunk := stream.read(CHUNK):
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
