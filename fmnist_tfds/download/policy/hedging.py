"""One round over the mirrors of one file: started in order, hedged; the first to deliver wins.

Hedging: while one mirror is slow or silent, the next is asked as well.
"""

from __future__ import annotations

import collections
import dataclasses
import math
import threading
from collections.abc import Callable, Sequence

from fmnist_tfds.config import settings
from fmnist_tfds.download import progress, results
from fmnist_tfds.download.diagnosis import causes
from fmnist_tfds.download.policy import attempt, mirror_health, projection, segments, splitting

_POLL_S = 0.05
# If no mirror responded within this, ask all at once: a dead network is then known soon.
_ALL_AT_ONCE_S = 4.0
# If the rest of a file needs longer than this, another mirror is asked as well.
_SOON_S = 10.0
# If it needs longer than this, that is decided after half the usual time, and two are asked.
_HOPELESS_S = 60.0
# At most so many mirrors send the same file at one time.
_MOST_SENDING = 3
# Two mirrors that together are hardly faster than the first was alone share one slow line: the
# second is cancelled, and no other is started for that reason for _LINE_PAUSE_S.
_LINE_GAIN = 1.25
_LINE_LOOK_S = projection.WINDOW_S + 0.5
_LINE_PAUSE_S = 20.0


@dataclasses.dataclass(slots=True)
class RoundResult:
    """The attempt that delivered the file, or None; helpers that sent pieces; all that ended."""

    winner: attempt.RunningAttempt | None = None
    helpers: list[segments.Helper] = dataclasses.field(default_factory=list)
    ended: list[attempt.RunningAttempt] = dataclasses.field(default_factory=list)


class HedgedRound:
    """Starts the attempts of one round and watches them.

    Args:
        file: name of the file.
        network: when to hedge, and which attempt is too slow.
        state: health of the mirrors.
        start: starts one attempt; its event is set when the attempt is over.
        start_helper: starts an attempt at a piece of the file.
        size_bytes: of the whole file, 0 where it is not pinned.
        line: how fast all attempts of the job receive.
        started_s: moment of `clock` when the job began.
        deadline_s: moment of `clock` when the job must end.
        clock: monotonic seconds.
        report: receives progress.
        stopped: set when another file ended the job.
    """

    def __init__(
        self,
        file: str,
        network: settings.Network,
        state: mirror_health.Health,
        start: Callable[[settings.Mirror, threading.Event], attempt.RunningAttempt],
        start_helper: splitting.Start,
        *,
        size_bytes: int,
        line: projection.Line,
        started_s: float,
        deadline_s: float,
        clock: Callable[[], float],
        report: progress.Progress,
        stopped: threading.Event,
    ) -> None:
        self._file = file
        self._network = network
        self._health = state
        self._start = start
        self._line = line
        self._started_s = started_s
        self._deadline_s = deadline_s
        self._clock = clock
        self._report = report
        self._stopped = stopped
        self._finished = threading.Event()
        self._splitter = splitting.Splitter(
            start_helper, size_bytes, self._finished, network.hedge_after_s / 2, clock
        )
        self._running: list[attempt.RunningAttempt] = []
        self._speed: dict[attempt.RunningAttempt, tuple[float, int]] = {}
        self._paces: dict[attempt.RunningAttempt, projection.Pace] = {}
        self._hedged: dict[attempt.RunningAttempt, float] = {}
        self._no_hedge_before = 0.0
        self._waiting: collections.deque[settings.Mirror] = collections.deque()

    def run(self, mirrors: Sequence[settings.Mirror]) -> RoundResult:
        """Tries `mirrors`; returns when one has delivered or none is left."""
        waiting = self._waiting = collections.deque(mirrors)
        outcome = RoundResult()
        last_start = self._clock()
        while waiting or self._running:
            now = self._clock()
            self._look(now)
            if waiting and self._is_next_due(now, last_start):
                for _ in range(min(len(waiting), self._how_many(now))):
                    self._begin(waiting.popleft())
                last_start = now
            self._finished.wait(_POLL_S)
            self._finished.clear()
            self._collect(outcome)
            if outcome.winner or any(one.error for one in outcome.ended):
                break
            now = self._clock()
            if self._stopped.is_set() or now >= self._deadline_s:
                self._end_all(outcome, causes.named("deadline"))
                return outcome
            self._guard(outcome, now)
            self._split(outcome)
            self._make_room(outcome)
        self._end_all(outcome, None)
        return outcome

    def _begin(self, mirror: settings.Mirror) -> None:
        one = self._start(mirror, self._finished)
        if self._sending():
            self._hedged[one] = self._line.rate(self._clock())
        self._running.append(one)

    def _split(self, outcome: RoundResult) -> None:
        """Starts or ends a helper: another mirror that sends the end of the file."""
        only = self._running[0] if len(self._running) == 1 else None
        pace = self._paces.get(only) if only is not None else None
        if helper := self._splitter.look(pace, self._waiting):
            outcome.helpers.append(helper)
        is_free = not self._splitter.is_helping
        if is_free and only is not None and pace is not None and only.watch.received:
            self._splitter.begin(only, pace, self._waiting)

    def _look(self, now: float) -> None:
        for one in self._running:
            self._paces.setdefault(one, projection.Pace(one.watch, now)).look(now)
            self._line.look(one.watch, now)

    def _sending(self) -> list[attempt.RunningAttempt]:
        """The attempts that receive bytes, the one that will be done first in front."""
        sending = [one for one in self._running if one in self._paces and one.watch.received]
        return sorted(sending, key=lambda one: self._paces[one].left_s())

    def _is_next_due(self, now: float, last_start: float) -> bool:
        if all(self._health.is_out(one.mirror) for one in self._running):
            return True
        if self._splitter.is_helping:
            return False
        silence_s = now - last_start
        if sending := self._sending():
            if len(sending) >= _MOST_SENDING:
                return False  # `_make_room` comes first
            is_paused = now < self._no_hedge_before or not self._is_far_off(sending[0], now)
            return not is_paused and all(self._is_known(one) for one in self._running)
        silent = not self._health.is_alive and now - self._started_s > _ALL_AT_ONCE_S
        return silent or silence_s >= self._network.hedge_after_s

    def _how_many(self, now: float) -> int:
        """How many mirrors to ask now: all, where none has responded; two, where time is lost."""
        if not self._health.is_alive and now - self._started_s > _ALL_AT_ONCE_S:
            return len(self._waiting)
        sending = self._sending()
        is_hopeless = bool(sending) and self._paces[sending[0]].left_s() > _HOPELESS_S
        return max(1, min(2, _MOST_SENDING - len(sending))) if is_hopeless else 1

    def _is_known(self, one: attempt.RunningAttempt) -> bool:
        """True if it has received for long enough to know its rate, or was silent for that long."""
        pace, least_s = self._paces.get(one), self._network.hedge_after_s
        if pace is None or not one.watch.received:
            return self._clock() - one.watch.started >= least_s
        return pace.seconds() >= (least_s / 2 if pace.left_s() > _HOPELESS_S else least_s)

    def _is_far_off(self, one: attempt.RunningAttempt, now: float) -> bool:
        """True if it will not be done soon, or not before the deadline."""
        limit = self._network.limit_rate_bytes_per_s
        if limit and self._line.rate(now) > limit / 2:
            return False  # the user's own limit is what makes it slow
        left_s = self._paces[one].left_s()
        return self._is_known(one) and (now + left_s > self._deadline_s or left_s > _SOON_S)

    def _make_room(self, outcome: RoundResult) -> None:
        """Cancels an attempt that only takes bandwidth from others, or the slowest of too many."""
        now = self._clock()
        sending = self._sending()
        for one in sending[1:]:
            before, pace = self._hedged.get(one, 0.0), self._paces[one]
            if not before or pace.seconds() < _LINE_LOOK_S:
                continue
            together = self._line.rate(now)
            took = before - (together - pace.rate())
            if together < _LINE_GAIN * before and took > pace.rate() / 2:
                self._no_hedge_before = now + _LINE_PAUSE_S
                self._waiting.appendleft(one.mirror)
                self._end(one, None, outcome)
                return
            self._hedged[one] = 0.0
        is_full = len(sending) >= _MOST_SENDING and self._waiting
        if is_full and self._is_far_off(sending[0], now) and now >= self._no_hedge_before:
            last = sending[-1]
            if self._is_known(last):
                self._end(last, self._slow(last), outcome)

    def _slow(self, one: attempt.RunningAttempt) -> causes.Explanation:
        pace = self._paces[one]
        left_s = pace.left_s()
        rest = f"the rest would take {left_s:,.0f} s" if left_s < math.inf else "and then none"
        is_stalled = pace.rate() < self._network.min_speed_bytes_per_s
        cause: causes.CauseName = "stalled" if is_stalled else "slow"
        return causes.named(cause, f"{pace.rate():,.0f} bytes/s; {rest}")

    def _end(
        self, one: attempt.RunningAttempt, why: causes.Explanation | None, outcome: RoundResult
    ) -> None:
        one.attempt = one.call_off(why)
        self._over(one, one.attempt, outcome)

    def _over(
        self, one: attempt.RunningAttempt, ended: results.Attempt, outcome: RoundResult
    ) -> None:
        self._running.remove(one)
        outcome.ended.append(one)
        if ended.outcome == "ok" and outcome.winner is None:
            outcome.winner = one

    def _collect(self, outcome: RoundResult) -> None:
        for one in list(self._running):
            if one.watch.is_connected:
                self._health.heard()
            if one.watch.received:
                total = max(one.watch.size, one.watch.received)
                self._report.update(self._file, one.url, one.watch.received, total)
            if one.attempt is not None:
                self._over(one, one.attempt, outcome)

    def _guard(self, outcome: RoundResult, now: float) -> None:
        for one in list(self._running):
            if why := self._hopeless(one, now):
                self._end(one, why, outcome)

    def _hopeless(self, one: attempt.RunningAttempt, now: float) -> causes.Explanation | None:
        """Why a running attempt should be given up, if it should: `timeout` of requests is per
        system call, so slow name servers, dripping headers and trickles pass it."""
        network, watch = self._network, one.watch
        if watch.is_copied:
            return None  # it is identifying and publishing the body
        if not watch.is_connected and not watch.received:
            limit = network.connect_timeout_s + 0.5
            if now - watch.started > limit:
                return causes.named(
                    "connect-timeout", f"no connection within {network.connect_timeout_s:g} s"
                )
            return None
        since, count = self._speed.setdefault(one, (now, watch.received))
        window = network.read_timeout_s
        if now - since < window:
            return None
        rate = (watch.received - count) / (now - since)
        if rate < network.min_speed_bytes_per_s or not watch.received:
            return causes.named("stalled", f"{rate:,.0f} bytes/s during {now - since:.0f} s")
        self._speed[one] = (now, watch.received)
        return None

    def _end_all(self, outcome: RoundResult, why: causes.Explanation | None) -> None:
        if helper := self._splitter.end():
            outcome.helpers.append(helper)
        for one in list(self._running):
            self._end(one, why or self._slower_than(outcome.winner, one), outcome)

    def _slower_than(
        self, winner: attempt.RunningAttempt | None, one: attempt.RunningAttempt
    ) -> causes.Explanation | None:
        """Why a cancelled attempt counts as failed: "slow", where the winner was started because
        of it and it would still need long; None where it only lost the race."""
        if winner is None or winner not in self._hedged or one not in self._paces:
            return None
        is_far = one.watch.received and self._paces[one].left_s() > _SOON_S
        return self._slow(one) if is_far else None
