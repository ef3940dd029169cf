"""`limit_rate_bytes_per_s`: all attempts of a job together receive no faster. No sockets here."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

# So much may come at once after a pause: shorter waits than its length cost more than they order.
_BURST_S = 0.25


class Limiter:
    """Shared by the threads of a job.

    Args:
        bytes_per_s: how fast all of them may receive; above 0.
        clock: monotonic seconds.
    """

    def __init__(self, bytes_per_s: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.bytes_per_s = bytes_per_s
        self._clock = clock
        self._lock = threading.Lock()
        self._free_s = clock() - _BURST_S

    def take(self, count: int) -> float:
        """Seconds to wait after `count` bytes came."""
        with self._lock:
            now = self._clock()
            self._free_s = max(self._free_s, now - _BURST_S) + count / self.bytes_per_s
            return max(0.0, self._free_s - now)
