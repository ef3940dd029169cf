"""Members of tar files as leaves; anything but plain files is refused unread.

Source: POSIX.1-2017, pax (headers, extended records); GNU tar, "Basic Tar Format" (long names).
"""

from __future__ import annotations

import dataclasses
import io
import struct
import tarfile
from collections.abc import Generator, Iterator
from typing import IO

from fmnist_tfds import errors
from fmnist_tfds.exchange.adopt import archives
from fmnist_tfds.exchange.adopt.leaf import Leaf, Limits, spool


@dataclasses.dataclass(frozen=True, slots=True)
class _Member:
    name: str
    type: bytes
    start: int
    size: int


def of_tar(leaf: Leaf, limits: Limits) -> Generator[Leaf]:
    """The members of an uncompressed tar leaf.

    Raises:
        ArchiveError: a name, link, device, size or count is refused.
        ContentError: the archive is damaged.
    """
    form = f"{leaf.form} > tar" if leaf.form else "tar"
    with leaf.open() as raw:
        members: list[_Member] = []
        for member in _tar_members(raw, leaf, limits):
            if member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE):
                kind = _TAR_KINDS.get(member.type, "special file")
                name = archives.shown(member.name)
                raise errors.ArchiveError(f"{leaf.name}: member {name} is a {kind}")
            members.append(member)
        archives.check_names((member.name for member in members), leaf.name)
        for member in members:
            raw.seek(member.start)
            content: IO[bytes] = _Content(raw, member.size)
            with spool(content, f"{leaf.name}!{member.name}", leaf.name, form, limits) as inner:
                yield inner


class _Content(io.BytesIO):
    """The next bytes of a stream as a stream of their own."""

    def __init__(self, raw: IO[bytes], size: int) -> None:
        super().__init__()
        self._raw, self._left = raw, size

    def read(self, size: int | None = -1, /) -> bytes:
        """At most `size` bytes, or all that are left."""
        wanted = self._left if size is None or size < 0 else min(size, self._left)
        data = self._raw.read(wanted)
        self._left -= len(data)
        return data


def _tar_members(raw: IO[bytes], leaf: Leaf, limits: Limits) -> Iterator[_Member]:
    """Header after header, in a time that grows with their number alone.

    tarfile's own walk searches extension headers in quadratic time, follows them by recursion and
    takes any size that they declare.
    """
    at, in_row, extended = 0, 0, _Extended()
    while block := raw.read(tarfile.BLOCKSIZE):
        try:
            header = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        except tarfile.HeaderError as error:
            if not block.strip(b"\0"):
                return  # a block of zeros ends the archive
            raise errors.ContentError(f"{leaf.name}: not a readable tar file: {error}") from error
        # int() and struct on forged fields.
        except (ValueError, struct.error) as error:
            raise errors.ContentError(f"{leaf.name}: not a readable tar file: {error}") from error
        limits.count(1, leaf.name)
        is_extension = header.type in _TAR_EXTENSIONS
        size = header.size if is_extension or extended.size is None else extended.size
        if header.type in _TAR_WITHOUT_DATA:
            size = 0
        at += tarfile.BLOCKSIZE
        end = at + -(-size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
        if size > limits.stream_bytes:
            is_given = is_extension or extended.size is not None
            given = "an extended header: " if is_given else ""
            raise errors.ArchiveError(
                f"{leaf.name}: {given}member {archives.shown(extended.name or header.name)} "
                f"unpacks to {size:,} bytes, more than this data set takes in any form"
            )
        if size < 0 or at + size > leaf.size:
            raise errors.ContentError(f"{leaf.name}: not a readable tar file: it is cut short")
        if is_extension:
            in_row += 1
            if in_row > _MOST_EXTENSIONS or size > _MAX_EXTENSION_BYTES:
                raise errors.ArchiveError(
                    f"{leaf.name}: an extended header of {size:,} bytes, the {in_row}th in a row"
                )
            extended.add(header.type, raw.read(size), leaf.name)
        else:
            name = extended.name or header.name
            if header.type != tarfile.DIRTYPE:
                yield _Member(name, header.type, at, size)
            in_row, extended = 0, _Extended()
        at = end
        raw.seek(at)


class _Extended:
    """What the extension headers before a member say of it."""

    def __init__(self) -> None:
        self.name = ""
        self.size: int | None = None

    def add(self, kind: bytes, body: bytes, archive: str) -> None:
        if kind == tarfile.GNUTYPE_LONGNAME:
            self.name = body.partition(b"\0")[0].decode("utf-8", "surrogateescape")
        if kind not in (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE):
            return  # a link's target, or what holds for all members (git's comment)
        at, end = 0, len(body.rstrip(b"\0"))
        while at < end:
            digits = body[at : at + 8].partition(b" ")[0]
            length = int(digits) if digits.isdigit() and len(digits) < 8 else 0
            record = body[at + len(digits) + 1 : at + length]
            key, _, value = record.partition(b"=")
            if not key or not record.endswith(b"\n"):
                raise errors.ArchiveError(f"{archive}: an extended header is damaged")
            at += length
            if key == b"path":
                self.name = value[:-1].decode("utf-8", "surrogateescape")
            elif key == b"size":
                if not value[:-1].isdigit() or len(value) > 20:
                    raise errors.ArchiveError(
                        f"{archive}: an extended header gives the size {value[:20]!r}"
                    )
                self.size = int(value)
            elif key.startswith(b"GNU.sparse"):
                raise errors.ArchiveError(f"{archive}: an extended header makes a sparse file")


# A path takes a few hundred bytes; Linux allows 4,096. At most one header of each kind in a row.
_MAX_EXTENSION_BYTES = 1 << 16
_MOST_EXTENSIONS = 4
_TAR_EXTENSIONS = (
    *(tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE),
    *(tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK),
)
_TAR_WITHOUT_DATA = (
    *(tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE),
    *(tarfile.FIFOTYPE, tarfile.DIRTYPE),
)
_TAR_KINDS = {
    tarfile.SYMTYPE: "symbolic link",
    tarfile.LNKTYPE: "hard link",
    tarfile.CHRTYPE: "character device",
    tarfile.BLKTYPE: "block device",
    tarfile.FIFOTYPE: "named pipe",
    tarfile.GNUTYPE_SPARSE: "sparse file",
}
