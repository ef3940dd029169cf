"""A file written whole or not at all: under a private name, to the disk, then renamed.

Imports nothing of ours.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import secrets
import shutil
from collections.abc import Iterator
from typing import BinaryIO


@contextlib.contextmanager
def replacing(path: pathlib.Path) -> Iterator[BinaryIO]:
    """A stream whose content stands at `path` after the block; a reader sees the old or the new.

    Where the block fails, `path` is as it was and nothing lies beside it.

    Raises:
        OSError: the folder is missing or cannot be written.
    """
    part = path.with_name(f".{path.name[:200]}-{secrets.token_hex(8)}")
    # Not mkstemp, whose files nobody else may read: these rights are what the umask leaves.
    handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
    try:
        with os.fdopen(handle, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            part.unlink()
        raise


def publish(part: pathlib.Path, path: pathlib.Path) -> None:
    """Gives a finished file of the same file system the name `path`, its bytes on the disk first.

    Raises:
        OSError: the name cannot be taken.
    """
    with part.open("rb+") as stream:  # Windows syncs only what may be written
        os.fsync(stream.fileno())
    part.replace(path)


def copy(source: pathlib.Path, target: pathlib.Path) -> None:
    """Makes `target` a copy of `source`, never a link: it must not depend on that file.

    Raises:
        OSError: one cannot be read, or the other not be written.
    """
    with source.open("rb") as stream, replacing(target) as sink:
        shutil.copyfileobj(stream, sink)
