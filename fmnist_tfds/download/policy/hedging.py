"""One round over the mirrors of one file: started in order, hedged; the first to deliver wins."""

from __future__ import annotations

import collections
import dataclasses
import threading
from collections.abc import Callable, Sequence

from fmnist_tfds.config import settings
from fmnist_tfds.download import progress
from fmnist_tfds.download.diagnosis import causes
from fmnist_tfds.download.policy import attempt, mirror_health

_POLL_S = 0.05
# No mirror responded by then: ask all of them at once, so that a dead network is known soon.
_ALL_AT_ONCE_S = 4.0


@dataclasses.dataclass(slots=True)
class RoundResult:
    """The attempt that delivered the file, or None; and all that ended."""

    winner: attempt.RunningAttempt | None = None
    ended: list[attempt.RunningAttempt] = dataclasses.field(default_factory=list)


class HedgedRound:
    """Starts the attempts of one round and watches them.

    Args:
        file: name of the file.
        network: when to hedge, and which attempt is too slow.
        state: health of the mirrors.
        start: starts one attempt; its event is set when the attempt is over.
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
        *,
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
        self._started_s = started_s
        self._deadline_s = deadline_s
        self._clock = clock
        self._report = report
        self._stopped = stopped
        self._finished = threading.Event()
        self._running: list[attempt.RunningAttempt] = []
        self._speed: dict[attempt.RunningAttempt, tuple[float, int]] = {}

    def run(self, mirrors: Sequence[settings.Mirror]) -> RoundResult:
        """Tries `mirrors`; returns when one has delivered or none is left."""
        waiting = collections.deque(mirrors)
        outcome = RoundResult()
        last_start = self._clock()
        while waiting or self._running:
            now = self._clock()
            if waiting and self._is_next_due(now, last_start):
                every = not self._health.is_alive and now - self._started_s > _ALL_AT_ONCE_S
                for _ in range(len(waiting) if every else 1):
                    self._running.append(self._start(waiting.popleft(), self._finished))
                last_start = now
            self._finished.wait(_POLL_S)
            self._finished.clear()
            self._collect(outcome)
            if outcome.winner or any(one.error for one in outcome.ended):
                break
            self._guard(outcome)
            if self._stopped.is_set() or self._clock() >= self._deadline_s:
                self._end_all(outcome, causes.named("deadline"))
                return outcome
        self._end_all(outcome, None)
        return outcome

    def _is_next_due(self, now: float, last_start: float) -> bool:
        if all(self._health.is_out(one.mirror) for one in self._running):
            return True
        if any(one.watch.received for one in self._running):
            return False
        silent = not self._health.is_alive and now - self._started_s > _ALL_AT_ONCE_S
        return silent or now - last_start >= self._network.hedge_after_s

    def _collect(self, outcome: RoundResult) -> None:
        for one in list(self._running):
            if one.watch.is_connected:
                self._health.heard()
            if one.watch.received:
                total = max(one.watch.size, one.watch.received)
                self._report.update(self._file, one.url, one.watch.received, total)
            if one.attempt is not None:
                self._running.remove(one)
                outcome.ended.append(one)
                if one.attempt.outcome == "ok" and outcome.winner is None:
                    outcome.winner = one

    def _guard(self, outcome: RoundResult) -> None:
        for one in list(self._running):
            if why := self._hopeless(one):
                one.attempt = one.call_off(why)
                self._running.remove(one)
                outcome.ended.append(one)
                if one.attempt.outcome == "ok":
                    outcome.winner = one

    def _hopeless(self, one: attempt.RunningAttempt) -> causes.Explanation | None:
        """Why a running attempt should be given up, if it should: `timeout` of requests is per
        system call, so slow name servers, dripping headers and trickles pass it."""
        now, network, watch = self._clock(), self._network, one.watch
        if watch.is_copied:
            return None  # it identifies and publishes the body
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
        for one in self._running:
            one.attempt = one.call_off(why)
            outcome.ended.append(one)
            if one.attempt.outcome == "ok" and outcome.winner is None:
                outcome.winner = one
        self._running.clear()
