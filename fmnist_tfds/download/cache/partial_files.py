"""Part files: one writer each, resumed by the next run when their writer is gone.

A part's name holds the host and process that write it. A part is abandoned when that process is
dead, when this process released it, or when nothing was written to it for ten minutes.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import re
import secrets
import socket
import threading
import time

from fmnist_tfds import processes

_ABANDONED_S = 600.0
_STALE_S = 7 * 86_400.0
_SUFFIX = ".part"
_PIECE = ".piece"

_in_use: set[pathlib.Path] = set()
_in_use_lock = threading.Lock()


class Parts:
    """The part files of one store."""

    def __init__(self, directory: pathlib.Path) -> None:
        self._directory = directory
        self._host = re.sub(r"[^A-Za-z0-9-]", "-", socket.gethostname()) or "host"

    def claim(self, name: str) -> pathlib.Path:
        """A private path for a part of file `name`; the largest abandoned part is moved there.

        All other abandoned parts of that file are removed: at most one is ever left behind.
        """
        own = self._private(name, _SUFFIX)
        with _in_use_lock:
            _in_use.add(own)
        self.clean()
        for candidate in sorted(self._abandoned(name), key=size_of, reverse=True):
            with contextlib.suppress(OSError):  # another process was faster
                if own.exists():
                    candidate.unlink()
                else:
                    candidate.rename(own)
        return own

    def piece(self, name: str) -> pathlib.Path:
        """A private path for a piece out of the middle of file `name`: never a part to resume."""
        return self._private(name, _PIECE)

    def release(self, part: pathlib.Path, *, keep: bool) -> None:
        """Ends this process's use of `part`; without `keep` it is removed."""
        if not keep:
            with contextlib.suppress(OSError):
                part.unlink()
        with _in_use_lock:
            _in_use.discard(part)

    def drop(self, name: str) -> None:
        """Removes the abandoned parts of file `name`, which is now in the cache."""
        for part in self._abandoned(name):
            with contextlib.suppress(OSError):
                part.unlink()

    def clean(self) -> None:
        """Removes parts that were not written to for a week, and pieces without a writer."""
        now = time.time()
        for path in self._all(""):
            with contextlib.suppress(OSError):
                if now - path.stat().st_mtime > _STALE_S:
                    path.unlink()
        with contextlib.suppress(OSError):
            for piece in self._directory.glob(f"*{_PIECE}"):
                if _age(piece) > _ABANDONED_S:
                    piece.unlink(missing_ok=True)

    def activity(self, name: str) -> tuple[tuple[str, int], ...]:
        """A value that changes when any process's part of file `name` grows."""
        return tuple(sorted((part.name, size_of(part)) for part in self._all(name)))

    def _private(self, name: str, suffix: str) -> pathlib.Path:
        token = secrets.token_hex(4)
        return self._directory / f"{name}.{self._host}.{os.getpid()}.{token}{suffix}"

    def _all(self, name: str) -> list[pathlib.Path]:
        with contextlib.suppress(OSError):
            return [
                path
                for path in self._directory.iterdir()
                if path.name.endswith(_SUFFIX) and path.name.startswith(name)
            ]
        return []

    def _abandoned(self, name: str) -> list[pathlib.Path]:
        return [part for part in self._all(f"{name}.") if self._is_abandoned(part, name)]

    def _is_abandoned(self, part: pathlib.Path, name: str) -> bool:
        with _in_use_lock:
            if part in _in_use:
                return False
        host, _, rest = part.name.removeprefix(f"{name}.").partition(".")
        pid = rest.partition(".")[0]
        if host == self._host and pid.isdigit():
            is_running = int(pid) != os.getpid() and processes.is_alive(int(pid))
            return not is_running or _age(part) > _ABANDONED_S
        return _age(part) > _ABANDONED_S


def size_of(path: pathlib.Path) -> int:
    """The size of a file in bytes; 0 if there is none."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _age(path: pathlib.Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except OSError:
        return 0.0
