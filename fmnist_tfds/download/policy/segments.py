"""One large file from two mirrors at once: a helper fetches the end, the attempt the beginning.

The attempt requests the whole file from its beginning, as without a helper. The helper fetches the
second half of what is missing, by Range; when that has arrived, the attempt has to fetch only up to
there (the boundary), and the helper may take the next half. If the attempt reaches the boundary
before the helper is done, it waits for the piece, or drops it where less than half of it has
arrived. The digest of the whole file decides: no mirror need be trusted.
"""

from __future__ import annotations

import contextlib
import pathlib
import shutil
import threading
from collections.abc import Callable

from fmnist_tfds import artifacts, errors
from fmnist_tfds.config import settings
from fmnist_tfds.download import results
from fmnist_tfds.download.cache import store as stores
from fmnist_tfds.download.diagnosis import causes
from fmnist_tfds.download.policy import running
from fmnist_tfds.download.transport import (
    credentials,
    library_logs,
    limits,
    request,
    transfer,
    watching,
)

# A smaller piece is not worth another request.
LEAST_BYTES = 2 << 20


class Segments:
    """The pieces of one file and the boundary; shared by the attempt and its helper.

    Args:
        size_bytes: of the whole file.
    """

    def __init__(self, size_bytes: int) -> None:
        self._lock = threading.Condition()
        self._helping: watching.Watch | None = None
        self._stop = size_bytes
        self._size = size_bytes
        self._pending: int | None = None
        self._pieces: list[tuple[pathlib.Path, settings.Mirror]] = []

    def take(self, written: int) -> tuple[int, int] | None:
        """The second half of what is left, [start, stop) in bytes; None where that is too little.

        Args:
            written: how much of the beginning is here.
        """
        with self._lock:
            if self._pending is not None or self._stop - written < 2 * LEAST_BYTES:
                return None
            self._pending = written + (self._stop - written) // 2
            return self._pending, self._stop

    def by(self, helping: watching.Watch) -> None:
        """Says which attempt fetches the piece that was taken."""
        with self._lock:
            self._helping = helping

    def came(self, start: int, piece: pathlib.Path, mirror: settings.Mirror) -> bool:
        """The piece from `start` on arrived; False if it is no longer needed."""
        with self._lock:
            if self._pending != start:
                return False
            self._pending, self._stop = None, start
            self._pieces.insert(0, (piece, mirror))
            self._lock.notify_all()
            return True

    def gave_up(self, start: int) -> None:
        """The piece from `start` on will not arrive."""
        with self._lock:
            if self._pending == start:
                self._pending = None
                self._lock.notify_all()

    def is_reached(self, written: int) -> bool:
        """True if `written` bytes reach the boundary, or a piece that is worth waiting for."""
        with self._lock:
            if self._pending is not None and written >= self._pending:
                if self._is_half_done():
                    return True
                self._pending = None
            return written >= self._stop < self._size

    def _is_half_done(self) -> bool:
        helping = self._helping
        return helping is not None and helping.received * 2 >= helping.size

    def wait(self, check: Callable[[], None]) -> None:
        """Waits for the piece that is being fetched, if one is.

        Args:
            check: called now and then; what it raises ends the waiting.
        """
        with self._lock:
            while self._pending is not None:
                check()
                self._lock.wait(0.1)

    def join(self, part: pathlib.Path) -> tuple[int, list[settings.Mirror]]:
        """Appends the pieces to the beginning; the offset where they begin, and who sent them.

        Raises:
            OSError: the folder cannot be written.
        """
        with self._lock:
            senders = [mirror for _, mirror in self._pieces]
            with part.open("r+b") as whole:
                whole.seek(self._stop)
                whole.truncate()
                for piece, _ in self._pieces:
                    with piece.open("rb") as stream:
                        shutil.copyfileobj(stream, whole, 1 << 20)
            boundary = self._stop
        self.drop()
        return boundary, senders

    def drop(self) -> None:
        """Removes the pieces; from now on the file comes from one mirror."""
        with self._lock:
            for piece, _ in self._pieces:
                with contextlib.suppress(OSError):
                    piece.unlink()
            self._pieces.clear()
            self._pending, self._stop = None, self._size
            self._lock.notify_all()


class Helper(running.Running):
    """An attempt at one piece of a file.

    Args:
        file: of which file.
        mirror: where from.
        options: time-outs, proxies, trust.
        into: the cache, for the piece.
        secrets: resolves and masks what the request needs.
        segments: gets the piece.
        span: [start, stop) in bytes.
        finished: set when it is over.
        clock: monotonic seconds.
        limiter: holds all attempts of the job to a rate, or None.
    """

    def __init__(
        self,
        file: artifacts.Artifact,
        mirror: settings.Mirror,
        options: settings.Settings,
        into: stores.Store,
        secrets: credentials.Secrets,
        *,
        segments: Segments,
        span: tuple[int, int],
        finished: threading.Event,
        clock: Callable[[], float],
        limiter: limits.Limiter | None = None,
    ) -> None:
        super().__init__(file, mirror, secrets, finished=finished, clock=clock, limiter=limiter)
        self.watch.size = span[1] - span[0]
        segments.by(self.watch)
        self._segments, self._span = segments, span
        self._asked = request.Request(
            file, mirror, options, into.piece_path(file, span[0]), into.dataset, secrets
        )
        self._start("piece")

    @property
    def start(self) -> int:
        """Where its piece begins, in bytes."""
        return self._span[0]

    def call_off(self, why: causes.Explanation | None) -> results.Attempt:
        """Cancels it; `why` is None where it is no longer needed."""
        self._segments.gave_up(self._span[0])
        return super().call_off(why)

    def _run(self) -> None:
        attempt = self._result("cancelled")
        is_kept = False
        try:
            with library_logs.hushed(self._secrets.mask):
                reply = transfer.run(self._asked, self.watch, span=self._span)
            if reply.problem is not None:
                attempt = self._result("failed", reply.problem, reply.status)
            else:
                is_kept = self._segments.came(self._span[0], self._asked.part, self.mirror)
                attempt = self._result("part" if is_kept else "cancelled", None, reply.status)
        except watching.Cancelled:
            pass
        except errors.FmnistError as error:
            # The attempt at the beginning fails in the same way and reports it for both.
            attempt = self._result("failed", causes.named("server-error", error.message))
        finally:
            self._segments.gave_up(self._span[0])
            if not is_kept:
                with contextlib.suppress(OSError):
                    self._asked.part.unlink()
            self._end(attempt)
