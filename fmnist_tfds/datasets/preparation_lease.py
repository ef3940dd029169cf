"""One preparer at a time for a whole cluster, by a file that works where file locks do not.

A claim is a file created exclusively, whose owner rewrites it every few seconds. Waiters compare
what they read with what they read before, on their own clock: no lock, no clock in common, no
daemon. A claim whose owner is dead, or has been silent, is set aside. Claims save work; correctness
rests on publishing by rename alone. Never imports TensorFlow or TFDS.

Source: open(2), O_EXCL: exclusive creation holds on NFS since version 3, on Lustre and GPFS.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import pathlib
import random
import socket
import threading
import time
from collections.abc import Callable
from typing import Any, Literal

from fmnist_tfds import processes

_log = logging.getLogger(__name__)

WAIT_S = 900.0
SILENT_S = 30.0
BEAT_S = 3.0
_NOTICE_S = (5.0, 60.0)
# 1,000 waiters that look every 3 s cost the metadata server about 1,000 operations a second.
_POLL_S = (0.1, 3.0)
# The folder itself: whoever writes the data says it better.
_UNWRITABLE = (
    *(errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC),
    getattr(errno, "EDQUOT", -1),
)
_BYTES = 1024

Verdict = Literal["held", "done", "beside"]


class Claim:
    """The right to do one piece of work, kept in a file.

    Attributes:
        orphans: folders that dead owners had noted as theirs.
    """

    def __init__(
        self,
        path: pathlib.Path,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._path, self._clock, self._sleep = path, clock, sleep
        self._descriptor: int | None = None
        self._folder = ""
        self._beats = 0
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._heart: threading.Thread | None = None
        self.orphans: list[pathlib.Path] = []

    def acquire(
        self,
        is_done: Callable[[], bool],
        *,
        wait_s: float = WAIT_S,
        silent_s: float = SILENT_S,
    ) -> Verdict:
        """Waits for the claim, for the work to be done by its owner, or for at most `wait_s`.

        Args:
            is_done: whether the work is done.
            wait_s: seconds to wait at most.
            silent_s: seconds without a heartbeat after which an owner counts as gone.

        Returns:
            "held", "done", or "beside": the time is up, and the work may be done beside the owner.

        Raises:
            OSError: the folder cannot be written. Whatever else a file system refuses (exclusive
                creation, a stale handle) ends the waiting, never the work: claims only save work.
        """
        try:
            return self._wait(is_done, wait_s, silent_s)
        except OSError as error:
            if error.errno in _UNWRITABLE:
                raise
            _log.warning("%s: no claim is possible here, working without: %s", self._path, error)
            return "beside"

    def _wait(self, is_done: Callable[[], bool], wait_s: float, silent_s: float) -> Verdict:
        started_s = looked_s = self._clock()
        seen, silence_s, poll_s, notices = b"", 0.0, _POLL_S[0], 0
        while True:
            if self._create():
                return "held"
            if is_done():
                return "done"
            content = self._read()
            now_s = self._clock()
            # A long time between two looks (a machine that was suspended, a server that hung) says
            # nothing about the owner: it may have stood still as well.
            silence_s += min(now_s - looked_s, _POLL_S[1])
            if content != seen:
                seen, silence_s = content, 0.0
            looked_s = now_s
            if _is_dead(content) or silence_s >= silent_s:
                if not self._set_aside(content):
                    return "beside"
                seen, silence_s = b"", 0.0
                continue
            waited_s = now_s - started_s
            if waited_s >= wait_s:
                _log.warning(
                    "%s has not finished after %.0f s; working beside it.",
                    _described(content),
                    waited_s,
                )
                return "beside"
            if waited_s >= _NOTICE_S[0] + notices * _NOTICE_S[1]:
                notices += 1
                _log.warning(
                    "%s is at work on this (%s); waiting for it: %.0f s of at most %.0f s.",
                    _described(content),
                    self._path,
                    waited_s,
                    wait_s,
                )
            self._sleep(min(poll_s * random.uniform(0.7, 1.0), wait_s - waited_s))  # noqa: S311
            poll_s = min(poll_s * 1.3, _POLL_S[1])

    @property
    def is_held(self) -> bool:
        """Whether this object holds it."""
        return self._descriptor is not None

    @property
    def now_s(self) -> float:
        """What time it is on the file system, in seconds since 1970."""
        return os.fstat(self._descriptor).st_mtime if self._descriptor is not None else time.time()

    def note(self, folder: pathlib.Path) -> None:
        """Writes down an unfinished folder that is worthless without its owner."""
        self._folder = str(folder)
        try:
            self._beat()
        except OSError as error:
            _log.warning("%s: cannot be kept alive: %s", self._path, error)

    def release(self) -> None:
        """Gives the claim up; nothing happens where it is not held."""
        self._stop.set()
        if self._heart is not None:
            self._heart.join()
        if self._descriptor is None:
            return
        descriptor, self._descriptor = self._descriptor, None
        try:
            # Another's, where this one was set aside as silent.
            is_ours = os.path.samestat(self._path.stat(), os.fstat(descriptor))
            os.close(descriptor)  # before: Windows removes no open file
            if is_ours:
                self._path.unlink()
        except FileNotFoundError:
            pass
        except OSError as error:
            _log.warning("%s: cannot be removed: %s", self._path, error)

    def _create(self) -> bool:
        try:
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        except FileExistsError:
            return False
        try:
            self._beat()
        except OSError:
            self.release()
            raise
        self._heart = threading.Thread(target=self._keep_beating, daemon=True, name="claim")
        self._heart.start()
        return True

    def _keep_beating(self) -> None:
        while not self._stop.wait(BEAT_S):
            try:
                self._beat()
            except OSError as error:
                _log.warning("%s: cannot be kept alive: %s", self._path, error)
                return

    def _beat(self) -> None:
        if self._descriptor is None:
            return
        with self._lock:
            self._beats += 1
            text = json.dumps(
                {
                    "host": socket.gethostname(),
                    "pid": os.getpid(),
                    "kernel": _kernel(),
                    "beat": self._beats,
                    "folder": self._folder,
                }
            )
            os.lseek(self._descriptor, 0, os.SEEK_SET)  # os.pwrite is not everywhere
            os.write(self._descriptor, text.encode().ljust(_BYTES))
            # NFS clients see it when they open the file again, once it is on the server.
            with contextlib.suppress(OSError):  # not every file system can
                os.fsync(self._descriptor)

    def _read(self) -> bytes:
        try:
            return self._path.read_bytes()
        except FileNotFoundError:
            return b""

    def _set_aside(self, content: bytes) -> bool:
        """Takes a dead claim out of the way; False where that is not allowed."""
        aside = self._path.with_name(f"{self._path.name}.{os.getpid()}-{time.monotonic_ns()}")
        try:
            self._path.rename(aside)
            if aside.read_bytes() != content:
                # Another waiter was faster, and this is its living claim.
                with contextlib.suppress(FileExistsError):
                    self._path.hardlink_to(aside)
                aside.unlink()
                return True
            aside.unlink()
        except FileNotFoundError:
            return True
        except OSError as error:
            _log.warning("%s: a dead claim that cannot be removed: %s", self._path, error)
            return False
        _log.warning("%s is gone or silent; taking over.", _described(content))
        folder = _parsed(content).get("folder")
        if folder and _is_dead(content):
            self.orphans.append(pathlib.Path(folder))
        return True


def _parsed(content: bytes) -> dict[str, Any]:
    try:
        found = json.loads(content)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _described(content: bytes) -> str:
    found = _parsed(content)
    return f"process {found.get('pid', '?')} on {found.get('host', '?')}"


def _is_dead(content: bytes) -> bool:
    """Whether the owner ran on this very kernel and is no more; False where that is unknown."""
    found = _parsed(content)
    pid = found.get("pid")
    if not isinstance(pid, int) or not found.get("kernel") or found["kernel"] != _kernel():
        return False
    return not processes.is_alive(pid)


def _kernel() -> str:
    """Which kernel and process namespace this is: host names are not unique, these are."""
    try:
        boot = pathlib.Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {pathlib.Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""
