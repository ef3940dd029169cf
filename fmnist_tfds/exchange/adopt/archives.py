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
            check_directory_size(raw, leaf.size, leaf.name)
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
        check_names((info.orig_filename for info in members), leaf.name)
        for info in members:
            kind = stat.S_IFMT(info.external_attr >> 16)
            if kind not in (0, stat.S_IFREG):
                raise errors.ArchiveError(
                    f"{leaf.name}: member {shown(info.filename)} is a "
                    f"{_KINDS.get(kind, 'special file')}"
                )
            if info.flag_bits & 1:
                raise errors.ArchiveError(
                    f"{leaf.name}: member {shown(info.filename)} is encrypted"
                )
            if info.file_size > limits.stream_bytes:
                raise errors.ArchiveError(
                    f"{leaf.name}: member {shown(info.filename)} unpacks to "
                    f"{info.file_size:,} bytes, more than this data set takes in any form"
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
                    f"{leaf.name}: member {shown(info.filename)} is damaged: {error}"
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


_KINDS = {
    stat.S_IFLNK: "symbolic link",
    stat.S_IFCHR: "character device",
    stat.S_IFBLK: "block device",
    stat.S_IFIFO: "named pipe",
    stat.S_IFSOCK: "socket",
    stat.S_IFDIR: "folder with contents",
}


def shown(name: str) -> str:
    """A name of any length for a message."""
    return repr(name if len(name) <= 80 else name[:77] + "…")


def check_names(names: Iterable[str], archive: str) -> None:
    """Refuses names that are no place inside the archive, or are one place twice."""
    normal = collections.Counter()  # type: collections.Counter[str]
    for name in names:
        parts = re.split(r"[/\\]", name)
        if ".." in parts:
            raise errors.ArchiveError(f"{archive}: member {shown(name)} points outside the archive")
        if name.startswith(("/", "\\")) or re.match(r"[A-Za-z]:", name):
            raise errors.ArchiveError(f"{archive}: member {shown(name)} has an absolute name")
        if "\x00" in name:
            raise errors.ArchiveError(f"{archive}: member {shown(name)} has a NUL in its name")
        normal[posixpath.normpath(name.replace("\\", "/"))] += 1
    for name, count in normal.items():
        if count > 1:
            raise errors.ArchiveError(f"{archive}: the name {shown(name)} stands {count} times")


def check_directory_size(
    raw: IO[bytes], size: int, name: str, most_bytes: int = _MAX_DIRECTORY_BYTES
) -> None:
    """Refuses a table of contents that would fill the memory before a single name is seen.

    Args:
        raw: the zip file; left at its start.
        size: its length in bytes.
        name: how messages call it.
        most_bytes: of the table of contents.

    Raises:
        ArchiveError: the table of contents is longer.
    """
    raw.seek(max(size - 65_557 - 76, 0))
    tail = raw.read()
    raw.seek(0)
    end = tail.rfind(_END)
    if end < 0 or end + 22 > len(tail):
        return  # zipfile says that it is no zip file
    (declared,) = struct.unpack_from("<I", tail, end + 12)
    if end >= 76 and tail[end - 20 : end - 16] == _END64_LOCATOR:
        (declared,) = struct.unpack_from("<Q", tail, end - 20 - 56 + 40)
    if declared > most_bytes:
        raise errors.ArchiveError(f"{name}: its table of contents takes {declared:,} bytes")
