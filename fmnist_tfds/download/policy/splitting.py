"""When another mirror takes over the end of a file, and when it is called off. See `segments`."""

from __future__ import annotations

import collections
import threading
from collections.abc import Callable

from fmnist_tfds.config import settings
from fmnist_tfds.download.diagnosis import causes
from fmnist_tfds.download.policy import attempt, projection, segments

# A file is split if its mirror needs between SOON_S and HOPELESS_S for the rest. Below, splitting
# gains nothing; above, another mirror is asked for the whole file.
SOON_S = 4.0
HOPELESS_S = 60.0

Start = Callable[
    [settings.Mirror, segments.Segments, tuple[int, int], threading.Event], segments.Helper
]


class Splitter:
    """The one helper of a round, if it has one.

    Args:
        start: starts an attempt at a piece.
        size_bytes: of the whole file; 0 where it is not pinned, then nothing is split.
        finished: set when an attempt of the round is over.
        least_s: for how long an attempt must have received before its rate is known.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        start: Start,
        size_bytes: int,
        finished: threading.Event,
        least_s: float,
        clock: Callable[[], float],
    ) -> None:
        self._start, self._size, self._finished = start, size_bytes, finished
        self._least_s, self._clock = least_s, clock
        self._helper: segments.Helper | None = None
        self._pace: projection.Pace | None = None
        self._helped: attempt.RunningAttempt | None = None
        self._without_ranges: set[settings.Mirror] = set()

    @property
    def is_helping(self) -> bool:
        """True while a piece is under way."""
        return self._helper is not None

    def begin(
        self,
        one: attempt.RunningAttempt,
        pace: projection.Pace,
        waiting: collections.deque[settings.Mirror],
    ) -> None:
        """Lets the next mirror fetch the end of the file, where that saves time.

        Args:
            one: the only attempt that is running.
            pace: how fast it receives.
            waiting: the mirrors not asked yet; the helper is removed from it.
        """
        able = [
            mirror for mirror in waiting if mirror.is_http and mirror not in self._without_ranges
        ]
        is_known = pace.seconds() >= self._least_s
        if not able or not self._size or not is_known:
            return
        if not SOON_S < pace.left_s() <= HOPELESS_S:
            return
        shared = one.share(self._size)
        if span := shared.take(one.watch.resumed_at + one.watch.received):
            waiting.remove(able[0])
            self._helped = one
            self._helper = self._start(able[0], shared, span, self._finished)
            self._pace = projection.Pace(self._helper.watch, self._clock())

    def look(
        self, pace: projection.Pace | None, waiting: collections.deque[settings.Mirror]
    ) -> segments.Helper | None:
        """The helper, if it ended: its piece arrived, it failed, or it takes longer than it saves.

        Args:
            pace: that of the attempt that is helped, or None where that is over.
            waiting: gets the mirror back where it may help again, or be asked for the whole file.
        """
        helper, own = self._helper, self._pace
        if helper is None or own is None:
            return None
        own.look(self._clock())
        if helper.attempt is None:
            is_waited_for = self._helped is not None and self._helped.watch.is_copied
            if pace is not None and (is_waited_for or not self._is_a_burden(own, pace)):
                return None
            why = causes.named("slow", f"{own.rate():,.0f} bytes/s") if pace is not None else None
            helper.attempt = helper.call_off(why)
        elif helper.attempt.outcome == "part":
            waiting.appendleft(helper.mirror)
            if self._helped is not None:
                self._helped.watch.size = helper.start  # that is all it has to fetch now
        elif helper.attempt.outcome == "cancelled":
            self._without_ranges.add(helper.mirror)
            waiting.append(helper.mirror)
        self._helper = self._pace = None
        return helper

    def end(self) -> segments.Helper | None:
        """Cancels the helper, if there is one, and removes the pieces."""
        helper, self._helper = self._helper, None
        if helper is not None and helper.attempt is None:
            helper.attempt = helper.call_off(None)
        if self._helped is not None:
            self._helped.share(self._size).drop()
        return helper

    def _is_a_burden(self, own: projection.Pace, pace: projection.Pace) -> bool:
        """True if the attempt alone would be done before this piece."""
        waited_s = max(own.seconds(), self._clock() - own.since_s)
        return waited_s >= self._least_s and own.left_s() > pace.left_s()
