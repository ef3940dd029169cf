"""`limit_rate_bytes_per_s`: limits what all attempts of a job receive together. No sockets."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

# A burst of so many seconds' bytes is allowed after a pause: shorter waits would cost more time
# than they regulate.
_BURST_S = 0.25


class Limiter:
    """Shared by the threads of a job.

    Args:
        bytes_per_s: the limit for all of them together; above 0.
        clock: monotonic seconds.
    """

    def __init__(self, bytes_per_s: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.bytes_per_s = bytes_per_s
        self._clock = clock
        self._lock = threading.Lock()
        self._free_s = clock() - _BURST_S

    @property
    def piece_bytes(self) -> int:
        """How much to read at once: the pause after more would look like a mirror that stalls."""
        return max(1, int(self.bytes_per_s * _BURST_S))

    def take(self, count: int) -> float:
        """Seconds to wait after `count` bytes arrived."""
        with self._lock:
            now = self._clock()
            self._free_s = max(self._free_s, now - _BURST_S) + count / self.bytes_per_s
            return max(0.0, self._free_s - now)
