"""How a fetch tells that it is alive: a Protocol of three methods, a silent one, one that logs."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Protocol

_LOG = logging.getLogger(__name__)


class Progress(Protocol):
    """Receives reports; the methods may be called from several threads at once."""

    def update(self, file: str, source: str, received: int, total: int) -> None:
        """`received` of `total` bytes of `file` are here; `source` is a masked URL."""

    def note(self, text: str) -> None:
        """Something the user should see, one line."""

    def done(self, file: str, source: str) -> None:
        """`file` is here and verified."""


class Silent:
    """Says nothing."""

    def update(self, file: str, source: str, received: int, total: int) -> None:
        """Nothing."""

    def note(self, text: str) -> None:
        """Nothing."""

    def done(self, file: str, source: str) -> None:
        """Nothing."""


class Lines:
    """Plain lines to `logging`: at most one line per file and `interval_s` seconds."""

    def __init__(
        self, *, interval_s: float = 10.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._interval_s = interval_s
        self._clock = clock
        self._lock = threading.Lock()
        self._next: dict[str, float] = {}

    def update(self, file: str, source: str, received: int, total: int) -> None:
        """One line, unless the last one about this file is recent."""
        now = self._clock()
        with self._lock:
            if now < self._next.setdefault(file, now + self._interval_s):
                return
            self._next[file] = now + self._interval_s
        _LOG.info("%s: %s of %s bytes from %s", file, f"{received:,}", f"{total:,}", source)

    def note(self, text: str) -> None:
        """A warning."""
        _LOG.warning("%s", text)

    def done(self, file: str, source: str) -> None:
        """One line."""
        _LOG.info("%s: verified, from %s", file, source)
