"""When a running attempt will end, from what it received lately. Pure: the clock is handed in."""

from __future__ import annotations

import collections
import math
import threading
from typing import Protocol

# Rates are those of the last seconds, so that a mirror that slows down is noticed soon.
WINDOW_S = 3.0


class Watched(Protocol):
    """What is measured: `transport.watching.Watch`."""

    received: int
    size: int
    resumed_at: int
    is_copied: bool


class Pace:
    """How fast one attempt receives.

    Args:
        watch: the attempt's.
        now: moment of the job's clock, seconds.
    """

    def __init__(self, watch: Watched, now: float) -> None:
        self._watch = watch
        self._seen = collections.deque([(now, watch.received)])
        self.since_s = now

    def look(self, now: float) -> None:
        """Records how much has arrived by `now`."""
        if not self._watch.received:
            # The rate counts from the first byte; until then the time-outs apply.
            self._seen[0] = (now, 0)
            self.since_s = now
            return
        self._seen.append((now, self._watch.received))
        while len(self._seen) > 2 and self._seen[1][0] <= now - WINDOW_S:
            self._seen.popleft()

    def seconds(self) -> float:
        """For how long it has received."""
        return self._seen[-1][0] - self.since_s

    def rate(self) -> float:
        """Bytes per second over the last WINDOW_S seconds."""
        (start, before), (end, after) = self._seen[0], self._seen[-1]
        return (after - before) / (end - start) if end > start else 0.0

    def left_s(self) -> float:
        """Seconds until it has the whole file, at that rate."""
        if self._watch.is_copied:
            return 0.0
        left = max(0, self._watch.size - self._watch.resumed_at - self._watch.received)
        rate = self.rate()
        return left / rate if rate else math.inf


class Line:
    """How fast all attempts of a job receive together; shared by its threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._came: collections.deque[tuple[float, int]] = collections.deque()
        self._received: dict[int, int] = {}

    def look(self, watch: Watched, now: float) -> None:
        """Records what one attempt received."""
        with self._lock:
            fresh = watch.received - self._received.get(id(watch), 0)
            self._received[id(watch)] = watch.received
            if fresh:
                self._came.append((now, fresh))
            while self._came and self._came[0][0] < now - WINDOW_S:
                self._came.popleft()

    def rate(self, now: float) -> float:
        """Bytes per second over the last WINDOW_S seconds."""
        with self._lock:
            return sum(count for moment, count in self._came if moment >= now - WINDOW_S) / WINDOW_S
