"""Progress reports of a fetch: the Protocol, and three that do nothing, log, or draw a bar."""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol

_LOG = logging.getLogger(__name__)


class Progress(Protocol):
    """Receives reports; the methods may be called from several threads at once."""

    def update(self, file: str, source: str, received: int, total: int) -> None:
        """`received` of `total` bytes of `file` have arrived; `source` is a masked URL."""

    def note(self, text: str) -> None:
        """Something the user should see, one line."""

    def done(self, file: str, source: str) -> None:
        """`file` is in the cache, verified."""


class Silent:
    """Reports nothing."""

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


class _Bar(Lines):
    """One tqdm bar over the bytes of all files; gone from the terminal when it is closed."""

    def __init__(self, make: Callable[..., Any]) -> None:
        super().__init__()
        self._make = make
        self._bar: Any = None
        self._received: dict[str, int] = {}
        self._total = self._resumed = 0

    # ARG002: the signature is that of `Progress`.
    def update(self, file: str, source: str, received: int, total: int) -> None:  # noqa: ARG002
        """Moves the bar; bytes resumed from a part do not count as speed."""
        with self._lock:
            if self._bar is None:
                self._bar = self._make(
                    total=0,
                    desc="Fetching",
                    unit="B",
                    unit_scale=True,
                    leave=False,
                    dynamic_ncols=True,
                )
            if file not in self._received:
                self._received[file] = received
                self._total += total
                self._resumed += received
                # Set, not added to: what TFDS makes where its bars are off has no numbers.
                self._bar.total, self._bar.initial = self._total, self._resumed
                self._bar.n = sum(self._received.values())
            self._bar.update(received - self._received[file])
            self._received[file] = received

    def close(self) -> None:
        """Removes the bar."""
        if self._bar is not None:
            self._bar.close()


@contextlib.contextmanager
def shown(make: Callable[..., Any] | None = None) -> Iterator[Progress]:
    """A bar where stderr is a terminal, else lines in the log.

    Args:
        make: makes a bar as `tqdm.tqdm` does, the default.
    """
    if not sys.stderr.isatty():
        yield Lines()
        return
    if make is None:
        import tqdm

        make = tqdm.tqdm
    bar = _Bar(make)
    try:
        yield bar
    finally:
        bar.close()
