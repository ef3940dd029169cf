"""Progress and cancellation of a running attempt, for use from another thread."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

from fmnist_tfds.download.transport import limits


class Cancelled(Exception):  # noqa: N818 (not an error: another mirror was faster)
    """The attempt was cancelled from outside."""


class Watch:
    """The progress of a running attempt; `cancel` ends it from another thread."""

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, limiter: limits.Limiter | None = None
    ) -> None:
        self.clock = clock
        self._limiter = limiter
        self.started = clock()
        self.is_connected = False
        self.received = 0
        self.size = 0
        self.resumed_at = 0
        self.is_copied = False
        # Called after every chunk with the bytes written; True ends the copy: a helper fetches the
        # rest.
        self.enough: Callable[[int], bool] | None = None
        self._sockets: list[Any] = []
        self._cancelled = threading.Event()

    def connected(self, sock: Any) -> None:
        """A connection was opened."""
        self.is_connected = True
        # A duplicate: TLS takes the socket itself over, and shutting either down wakes both.
        self._sockets.append(sock.dup())
        self.check()

    def piece_bytes(self, most: int) -> int:
        """How many bytes of the body to read at once: `most`, or what the rate allows."""
        return most if self._limiter is None else min(most, self._limiter.piece_bytes)

    def arrived(self, count: int) -> None:
        """`count` bytes of the body arrived; raises Cancelled if the attempt was cancelled."""
        self.check()
        self.received += count
        if self._limiter is not None:
            self._cancelled.wait(self._limiter.take(count))

    def check(self) -> None:
        """Raises Cancelled if the attempt was cancelled."""
        if self._cancelled.is_set():
            raise Cancelled

    def close(self) -> None:
        """Closes the duplicated sockets; the attempt is over."""
        for sock in self._sockets:
            sock.close()

    def cancel(self) -> None:
        """Cancels the attempt, also while it waits for a socket."""
        self._cancelled.set()
        for sock in list(self._sockets):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
