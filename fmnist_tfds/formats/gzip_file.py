"""gzip, both ways: the one bounded gunzip, and the published .gz made again from a payload.

zlib's deflate gives other bytes at every level; GNU gzip's level 6 gives the published ones.
Source: RFC 1952; the digests in `catalog` decide whether it worked.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import pathlib
import shutil
import struct
import subprocess
import zlib
from typing import IO, TYPE_CHECKING

from fmnist_tfds import catalog

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer as Buffer

MAGIC = b"\x1f\x8b"
# bgzip cuts 47 MB into 720 members; each costs a call, and an empty one has but 20 bytes.
_MOST_MEMBERS = 5_000
_CHUNK = 1 << 16
_TIMEOUT_S = 120.0
_PLAIN_HEADER_BYTES = 10
_FNAME = 0x08
_UNIX = 3


def write(payload: bytes, file: catalog.SourceFile, target: pathlib.Path) -> bool:
    """Writes the canonical .gz of `file` to `target`; False, nothing written, if impossible here.

    Raises:
        OSError: `target` cannot be written.
    """
    program = shutil.which("gzip")
    if not file.sha256 or program is None:
        return False
    try:
        # An empty environment: the GZIP variable would add options.
        done = subprocess.run(
            [program, "-n", "-6", "-c"],
            input=payload,
            capture_output=True,
            timeout=_TIMEOUT_S,
            env={},
            check=True,
        )
    except (subprocess.SubprocessError, OSError):
        # A gzip that cannot be run is as good as none: the caller has another way.
        return False
    data = _header(file) + done.stdout[_PLAIN_HEADER_BYTES:]
    if hashlib.sha256(data).hexdigest() != file.sha256:
        return False
    target.write_bytes(data)
    return True


def write_own(payload: bytes, file: catalog.SourceFile, target: pathlib.Path) -> None:
    """Writes a .gz of `payload` with zlib, the same bytes on every run; not the canonical ones.

    Raises:
        OSError: `target` cannot be written.
    """
    deflate = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS)
    body = deflate.compress(payload) + deflate.flush()
    trailer = struct.pack("<II", zlib.crc32(payload), len(payload) & 0xFFFFFFFF)
    target.write_bytes(_header(file) + body + trailer)


def _header(file: catalog.SourceFile) -> bytes:
    fixed = struct.pack("<2sBBIBB", MAGIC, 8, _FNAME, file.gzip_mtime, 0, _UNIX)
    return fixed + file.payload_name.encode("ascii") + b"\0"


class GzipError(ValueError):
    """A gzip stream is damaged, ends early or has too many members; `args[0]` says which."""


class Reader(io.RawIOBase):
    """What a gzip stream holds, all members one after the other; what follows them is ignored.

    Time and memory are linear in what is read: nothing is copied once more for each member.

    Attributes:
        members: how many members were begun.
        trailing: True where other bytes followed the last member.
    """

    def __init__(self, raw: IO[bytes]) -> None:
        self._raw = raw
        self._engine = zlib.decompressobj(wbits=31)
        self._waiting = b""
        self._is_done = False
        self.members = 1
        self.trailing = False

    def readable(self) -> bool:
        """True."""
        return True

    def readinto(self, buffer: Buffer) -> int:
        """Fills the buffer with at least one byte, or returns 0 at the end.

        Raises:
            GzipError: see there.
        """
        view = memoryview(buffer).cast("B")
        while len(view) and not self._is_at_end():
            waiting = self._waiting or self._raw.read(_CHUNK)
            if not waiting:
                raise GzipError("truncated")
            try:
                piece = self._engine.decompress(waiting, len(view))
            except zlib.error as error:
                raise GzipError(f"corrupt gzip stream ({error})") from error
            self._waiting = self._engine.unconsumed_tail
            if piece:
                view[: len(piece)] = piece
                return len(piece)
        return 0

    def _is_at_end(self) -> bool:
        """Whether nothing more comes; at the end of a member begins the next one."""
        if self._is_done or not self._engine.eof:
            return self._is_done
        rest = self._engine.unused_data or self._raw.read(_CHUNK)
        if len(rest) == 1:
            rest += self._raw.read(_CHUNK)
        if not rest.startswith(MAGIC):
            self.trailing, self._is_done = bool(rest), True
            return True
        self.members += 1
        if self.members > _MOST_MEMBERS:
            raise GzipError(f"more than {_MOST_MEMBERS:,} gzip members")
        self._engine, self._waiting = zlib.decompressobj(wbits=31), rest
        return False


@dataclasses.dataclass(frozen=True, slots=True)
class Unpacked:
    """What a .gz holds.

    Attributes:
        data: at most the limit's bytes, and one more.
        problem: "" or what is wrong: "bomb" (more than the limit), "truncated", or words.
        is_plain: one member, and nothing after it.
    """

    data: bytes
    problem: str
    is_plain: bool


def gunzip(data: bytes, limit: int) -> Unpacked:
    """What the gzip members hold, as far as it can be read, at most `limit` + 1 bytes."""
    reader = Reader(io.BytesIO(data))
    found = bytearray()
    try:
        while piece := reader.read(min(limit + 1 - len(found), 16 * _CHUNK)):
            found += piece
    except GzipError as error:
        return Unpacked(bytes(found), error.args[0], False)
    is_plain = reader.members == 1 and not reader.trailing
    return Unpacked(bytes(found), "bomb" if len(found) > limit else "", is_plain)
