"""Members of folders, zip and tar files as leaves; anything but plain files is refused unread.

Every name is checked before any member is read: path traversal, absolute names, links, devices
and duplicate names make the whole archive suspect.
"""

from __future__ import annotations

import collections
import os
import pathlib
import posixpath
import re
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import IO

from fmnist_tfds import catalog, errors
from fmnist_tfds.exchange.adopt.leaf import MAX_MEMBERS, Leaf, Limits, spool

_MAX_DIRECTORY_BYTES = 16 << 20
_END = b"PK\x05\x06"
_END64_LOCATOR = b"PK\x06\x07"
_CONTAINER_SUFFIXES = (".npz", ".parquet", ".csv", ".arff", ".zip", ".tar", ".tgz", ".gz", ".xz")


def files_below(
    folder: pathlib.Path, dataset: catalog.Catalog, passed_over: Callable[[str, str], None]
) -> Iterator[pathlib.Path]:
    """The regular files below a folder, the likeliest first; links are followed once.

    Args:
        folder: where to look.
        dataset: whose names come first.
        passed_over: is told the name of what is no regular file, and what it is.
    """
    names = {name for file in dataset.files for name in (file.name, file.payload_name)}
    found = sorted(_regular_files(folder, passed_over), key=lambda path: _rank(path, names))
    seen: set[tuple[int, int]] = set()
    for path in found:
        status = path.stat()
        if (status.st_dev, status.st_ino) not in seen:
            seen.add((status.st_dev, status.st_ino))
            yield path


def _regular_files(
    folder: pathlib.Path, passed_over: Callable[[str, str], None]
) -> Iterator[pathlib.Path]:
    seen: set[tuple[int, int]] = set()
    count = 0
    for root, folders, files in os.walk(folder, followlinks=True):
        status = pathlib.Path(root).stat()
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders.sort()
        for name in sorted(files):
            path = pathlib.Path(root, name)
            count += 1
            if count > MAX_MEMBERS:
                more = f"more than {MAX_MEMBERS:,} files; the others were not looked at"
                passed_over(folder.name, more)
                return
            # A FIFO or device in the folder would block the reader.
            if path.is_file():
                yield path
            elif path.is_symlink():
                where = f"a link to {path.readlink()}, where there is no file"
                passed_over(
                    str(path.relative_to(folder)), f"{where}; copy the files, not the links"
                )
            else:
                passed_over(str(path.relative_to(folder)), "a named pipe or device, not a file")


def _rank(path: pathlib.Path, names: set[str]) -> tuple[int, int, str]:
    likely = 0 if path.name in names else 1 if path.suffix.lower() in _CONTAINER_SUFFIXES else 2
    return likely, len(path.parts), str(path)


def of_zip(leaf: Leaf, limits: Limits) -> Generator[Leaf]:
    """The members of a zip leaf.

    Raises:
        ArchiveError: a name, link, password, size or count is refused.
        ContentError: the archive is damaged.
    """
    form = f"{leaf.form} > zip" if leaf.form else "zip"
    with leaf.open() as raw:
        try:
            _check_directory_size(raw, leaf)
            archive = zipfile.ZipFile(raw)
        # ValueError, struct.error, NotImplementedError: what zipfile raises on forged headers.
        except (
            zipfile.BadZipFile,
            ValueError,
            struct.error,
            NotImplementedError,
            OSError,
        ) as error:
            raise errors.ContentError(f"{leaf.name}: not a readable zip file: {error}") from error
        members = [info for info in archive.infolist() if not info.is_dir()]
        if any(info.filename == "xl/workbook.xml" for info in members):
            raise errors.ContentError(
                f"{leaf.name}: an Excel workbook, which is not read here; save its sheet as CSV"
            )
        limits.count(len(members), leaf.name)
        _check_names((info.orig_filename for info in members), leaf.name)
        for info in members:
            kind = stat.S_IFMT(info.external_attr >> 16)
            if kind not in (0, stat.S_IFREG):
                raise errors.ArchiveError(
                    f"{leaf.name}: member {info.filename!r} is a {_KINDS.get(kind, 'special file')}"
                )
            if info.flag_bits & 1:
                raise errors.ArchiveError(f"{leaf.name}: member {info.filename!r} is encrypted")
            if info.file_size > limits.stream_bytes:
                raise errors.ArchiveError(
                    f"{leaf.name}: member {info.filename!r} unpacks to {info.file_size:,} bytes, "
                    "more than this data set takes in any form"
                )
        for info in members:
            try:
                with (
                    archive.open(info) as stream,
                    spool(stream, f"{leaf.name}!{info.filename}", leaf.name, form, limits) as inner,
                ):
                    yield inner
            except _DAMAGED as error:
                raise errors.ContentError(
                    f"{leaf.name}: member {info.filename!r} is damaged: {error}"
                ) from error


# BadZipFile: CRC or header; zlib.error, EOFError, OSError: the streams; NotImplementedError: an
# unknown method; RuntimeError: a password; ValueError, struct.error: forged header fields.
_DAMAGED = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    OSError,
    NotImplementedError,
    RuntimeError,
    ValueError,
    struct.error,
)


def of_tar(leaf: Leaf, limits: Limits) -> Generator[Leaf]:
    """The members of an uncompressed tar leaf.

    Raises:
        ArchiveError: a name, link, device, size or count is refused.
        ContentError: the archive is damaged.
    """
    form = f"{leaf.form} > tar" if leaf.form else "tar"
    with leaf.open() as raw:
        _check_tar_headers(raw, leaf.name, limits)
        raw.seek(0)
        members: list[tarfile.TarInfo] = []
        try:
            archive = tarfile.TarFile(fileobj=raw, mode="r")
            for member in archive:
                if not member.isdir():
                    members.append(member)
        # tarfile lets ValueError, OverflowError and EOFError through on forged header fields.
        except (tarfile.TarError, EOFError, ValueError, OverflowError, OSError) as error:
            raise errors.ContentError(f"{leaf.name}: not a readable tar file: {error}") from error
        _check_names((member.name for member in members), leaf.name)
        for member in members:
            if not member.isreg() or member.issparse():
                kind = _TAR_KINDS.get(member.type, "special file")
                raise errors.ArchiveError(f"{leaf.name}: member {member.name!r} is a {kind}")
        for member in members:
            stream = archive.extractfile(member)
            if stream is None:
                raise errors.ArchiveError(f"{leaf.name}: member {member.name!r} is no plain file")
            try:
                with spool(stream, f"{leaf.name}!{member.name}", leaf.name, form, limits) as inner:
                    yield inner
            except (tarfile.TarError, EOFError, OSError) as error:
                raise errors.ContentError(
                    f"{leaf.name}: member {member.name!r} is damaged: {error}"
                ) from error


def _check_tar_headers(raw: IO[bytes], name: str, limits: Limits) -> None:
    """Refuses what costs tarfile time, memory or depth out of all proportion, before it looks.

    Raises:
        ArchiveError: extended headers that are long, many in a row, or give sizes of their own.
    """
    in_a_row = 0
    while len(header := raw.read(tarfile.BLOCKSIZE)) == tarfile.BLOCKSIZE and header.strip(b"\0"):
        limits.count(1, name)
        try:
            size = tarfile.nti(header[124:136])  # type: ignore[attr-defined]
        except tarfile.HeaderError:
            return  # tarfile says that it is damaged
        if header[156:157] in _EXTENDED:
            in_a_row += 1
            content = raw.read(size) if 0 <= size <= _MOST_HEADER_BYTES else None
            if content is None or in_a_row > _MOST_IN_A_ROW:
                raise errors.ArchiveError(f"{name}: an extended header is too long, or too many")
            if _RESIZES.search(content) and header[156:157] in (b"x", b"g"):
                raise errors.ArchiveError(
                    f"{name}: an extended header gives a member another size (or a sparse one)"
                )
            raw.seek(-size % tarfile.BLOCKSIZE, os.SEEK_CUR)
        else:
            in_a_row = 0
            blocks = -(-max(size, 0) // tarfile.BLOCKSIZE) if header[156:157] in _WITH_DATA else 0
            raw.seek(blocks * tarfile.BLOCKSIZE, os.SEEK_CUR)


# pax (of a member, of all), GNU's long name and long link; Solaris's pax.
_EXTENDED = (b"x", b"g", b"L", b"K", b"X")
_WITH_DATA = (b"0", b"\0", b"7", b"S", b"V")
_MOST_HEADER_BYTES = 1 << 16
_MOST_IN_A_ROW = 4
_RESIZES = re.compile(rb"\n?\d{1,6} (?:size|GNU\.sparse\.[a-z.]+|hdrcharset)=")

_KINDS = {
    stat.S_IFLNK: "symbolic link",
    stat.S_IFCHR: "character device",
    stat.S_IFBLK: "block device",
    stat.S_IFIFO: "named pipe",
    stat.S_IFSOCK: "socket",
    stat.S_IFDIR: "folder with contents",
}
_TAR_KINDS = {
    tarfile.SYMTYPE: "symbolic link",
    tarfile.LNKTYPE: "hard link",
    tarfile.CHRTYPE: "character device",
    tarfile.BLKTYPE: "block device",
    tarfile.FIFOTYPE: "named pipe",
    tarfile.GNUTYPE_SPARSE: "sparse file",
}


def _check_names(names: Iterable[str], archive: str) -> None:
    normal = collections.Counter()  # type: collections.Counter[str]
    for name in names:
        parts = re.split(r"[/\\]", name)
        if ".." in parts:
            raise errors.ArchiveError(f"{archive}: member {name!r} points outside the archive")
        if name.startswith(("/", "\\")) or re.match(r"[A-Za-z]:", name):
            raise errors.ArchiveError(f"{archive}: member {name!r} has an absolute name")
        if "\x00" in name:
            raise errors.ArchiveError(f"{archive}: member {name!r} has a NUL in its name")
        normal[posixpath.normpath(name.replace("\\", "/"))] += 1
    for name, count in normal.items():
        if count > 1:
            raise errors.ArchiveError(f"{archive}: the name {name!r} stands {count} times")


def _check_directory_size(raw: IO[bytes], leaf: Leaf) -> None:
    """Refuses a table of contents that would fill the memory before a single name is seen."""
    raw.seek(max(leaf.size - 65_557 - 76, 0))
    tail = raw.read()
    raw.seek(0)
    end = tail.rfind(_END)
    if end < 0 or end + 22 > len(tail):
        return  # zipfile says that it is no zip file
    (size,) = struct.unpack_from("<I", tail, end + 12)
    if end >= 76 and tail[end - 20 : end - 16] == _END64_LOCATOR:
        (size,) = struct.unpack_from("<Q", tail, end - 20 - 56 + 40)
    if size > _MAX_DIRECTORY_BYTES:
        raise errors.ArchiveError(f"{leaf.name}: its table of contents takes {size:,} bytes")
