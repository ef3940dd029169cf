"""Mirrors x retries x deadline: several files at once, each through a race of its mirrors."""

from __future__ import annotations

import collections
import dataclasses
import pathlib
import random
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from fmnist_tfds import catalog, errors
from fmnist_tfds.config import settings, urls
from fmnist_tfds.download import progress
from fmnist_tfds.download.cache import store as stores
from fmnist_tfds.download.diagnosis import responses
from fmnist_tfds.download.policy import attempt, hedging, mirror_health, retry
from fmnist_tfds.download.transport import credentials

Attempt = attempt.Attempt

# Without a sign of life from anybody no new round starts that could end later than this.
_DEAD_NETWORK_S = 9.0
_GRACE_S = 2.0
_TURN_S = 120.0


@dataclasses.dataclass(frozen=True, slots=True)
class FileResult:
    """What became of one file.

    Attributes:
        path: the verified file, or None.
        source: where it came from: a masked URL, "cache", or "".
        attempts: all that was tried, in the order it ended.
    """

    path: pathlib.Path | None
    source: str = ""
    attempts: tuple[Attempt, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Result:
    """What became of all files, by name, and the error that ended the job early, if one did."""

    files: Mapping[str, FileResult]
    error: errors.FmnistError | None = None


def fetch_all(
    options: settings.Settings,
    files: Iterable[catalog.SourceFile],
    store: stores.Store,
    *,
    report: progress.Progress | None = None,
    deadline_s: float | None = None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
    wall: Callable[[], float] = time.time,
    rand: Callable[[], float] = random.random,
) -> Result:
    """Fetches `files` into `store`; sources that fail are told in the result, never raised.

    Args:
        options: mirrors, network, offline (then only local mirrors are used).
        files: what to fetch.
        store: where to; files that it holds already are not fetched.
        report: who is told about progress.
        deadline_s: moment of `clock` by which all ends; None: options.network.deadline_s from now.
        clock: monotonic seconds.
        sleep: waits.
        wall: seconds since 1970.
        rand: uniform numbers in [0, 1) for the jitter.
    """
    wanted = tuple(files)
    job = _Job(
        options, store, report or progress.Silent(), clock, sleep, wall, rand, deadline_s=deadline_s
    )
    threads = [
        threading.Thread(target=job.run, args=(file,), name=f"obtain-{file.name}", daemon=True)
        for file in wanted
    ]
    for thread in threads:
        thread.start()
    try:
        for thread in threads:
            # A file system that hangs cannot be interrupted: the thread is left behind.
            while thread.is_alive() and clock() < job.deadline_s + _GRACE_S:
                thread.join(0.1)
    finally:
        job.stopped.set()
    job.health.remember(wall())
    return Result({f.name: job.results.get(f.name) or job.overdue(f) for f in wanted}, job.error)


class _Job:
    """What the threads of one call share."""

    def __init__(
        self,
        options: settings.Settings,
        store: stores.Store,
        report: progress.Progress,
        clock: Callable[[], float],
        sleep: Callable[[float], None],
        wall: Callable[[], float],
        rand: Callable[[], float],
        *,
        deadline_s: float | None,
    ) -> None:
        self.options = options
        self.store = store
        self.report = report
        self.clock, self.sleep, self.wall, self.rand = clock, sleep, wall, rand
        self.started_s = clock()
        self.deadline_s = (
            self.started_s + options.network.deadline_s if deadline_s is None else deadline_s
        )
        mirrors = [m for m in options.mirrors if m.is_local or not options.offline]
        self.health = mirror_health.Health(mirrors, store.mirror_memory(), wall())
        self.secrets = credentials.Secrets()
        self.stopped = threading.Event()
        self._noted: set[tuple[settings.Mirror, str]] = set()
        self._noted_lock = threading.Lock()
        self.results: dict[str, FileResult] = {}
        self.error: errors.FmnistError | None = None
        self._attempts: dict[str, list[Attempt]] = collections.defaultdict(list)
        self._laps: dict[str, list[attempt.Lap]] = collections.defaultdict(list)

    def run(self, file: catalog.SourceFile) -> None:
        """Obtains one file; its result lies in `results` afterwards."""
        try:
            self.results[file.name] = self._one(file)
        except errors.FmnistError as error:
            self.error = self.error or error
            self.stopped.set()
            self.results[file.name] = FileResult(None, attempts=tuple(self._attempts[file.name]))

    def overdue(self, file: catalog.SourceFile) -> FileResult:
        """The result of a file whose thread had not come back when time was long up."""
        late = responses.named("deadline")
        shown = [urls.mask_url(m.url_for(file.name)) for m in self.health.mirrors]
        unheard = [Attempt(url, "failed", late.cause, evidence=late.evidence) for url in shown]
        return FileResult(None, attempts=tuple(self._attempts[file.name] or unheard))

    def _one(self, file: catalog.SourceFile) -> FileResult:
        if path := self.store.lookup(file):
            return FileResult(path, "cache")
        self.store.prepare()
        wait_s = min(_TURN_S, max(0.0, self.deadline_s - self.clock()) / 2)
        with self.store.turn(file, wait_s=wait_s, clock=self.clock, sleep=self.sleep):
            if path := self.store.lookup(file):
                return FileResult(path, "cache")
            path = self._rounds(file)
        attempts = tuple(self._attempts[file.name])
        source = next((a.url for a in attempts if a.outcome == "ok"), "")
        if path is not None:
            self.report.done(file.name, source)
        return FileResult(path, source, attempts)

    def _rounds(self, file: catalog.SourceFile) -> pathlib.Path | None:
        counted: collections.Counter[settings.Mirror] = collections.Counter()
        hopeless: set[settings.Mirror] = set()
        tried: set[settings.Mirror] = set()
        best = waits = 0
        while todo := self._candidates(counted, hopeless, tried):
            round_start = self.clock()
            outcome = self._race(file).run(todo)
            progressed = False
            for one in outcome.ended:
                assert one.attempt is not None
                self._attempts[file.name].append(one.attempt)
                if one.error is not None:
                    raise one.error
                tried.add(one.mirror)
                if one.attempt.outcome == "failed":
                    grew = one.reached > best
                    best, progressed = max(best, one.reached), progressed or grew
                    counted[one.mirror] += 0 if grew else 1
                    self._learn(one, hopeless)
            if outcome.winner is not None:
                self.health.served(outcome.winner.mirror)
                return outcome.winner.path
            waits = 1 if progressed else waits + 1
            todo = self._candidates(counted, hopeless, tried)
            if not todo or not self._may_go_on(round_start):
                break
            delay_s = self._delay_s(todo, waits, progressed=progressed)
            if self.clock() + delay_s >= self.deadline_s:
                break  # no time is left for another round: do not wait for nothing
            self.sleep(delay_s)
        return None

    def _candidates(
        self,
        counted: Mapping[settings.Mirror, int],
        hopeless: set[settings.Mirror],
        tried: set[settings.Mirror],
    ) -> list[settings.Mirror]:
        """Whom to ask in the next round: the healthy, then those that are out but may yet help."""
        now = self.clock()
        able = [
            mirror
            for mirror in self.health.mirrors
            if mirror not in hopeless
            and counted[mirror] < self.options.network.attempts
            and self.health.not_before(mirror) < self.deadline_s
        ]
        ready = [m for m in able if self.health.not_before(m) <= now] or able
        return sorted(ready, key=self.health.is_out)

    def _may_go_on(self, round_start: float) -> bool:
        now = self.clock()
        if self.stopped.is_set():
            return False
        next_end = now - self.started_s + (now - round_start) + self.options.network.backoff_s
        return self.health.is_alive or next_end < _DEAD_NETWORK_S

    def _delay_s(self, todo: list[settings.Mirror], waits: int, *, progressed: bool) -> float:
        """How long to wait before the next round."""
        delay = retry.delay_s(self.options.network.backoff_s, waits, self.rand)
        if progressed:
            # The line works, it only breaks: go on at once, but not in a tight loop.
            delay *= 0.1
        return max(0.0, delay, min(self.health.not_before(m) for m in todo) - self.clock())

    def _race(self, file: catalog.SourceFile) -> hedging.Race:
        def start(mirror: settings.Mirror, finished: threading.Event) -> attempt.Lap:
            one = attempt.Lap(
                file,
                mirror,
                self.options,
                self.store,
                self.secrets,
                finished=finished,
                failures=lambda: self._failures(file),
                clock=self.clock,
            )
            self._laps[file.name].append(one)
            return one

        return hedging.Race(
            file.name,
            self.options.network,
            self.health,
            start,
            started_s=self.started_s,
            deadline_s=self.deadline_s,
            clock=self.clock,
            report=self.report,
            stopped=self.stopped,
        )

    def _failures(self, file: catalog.SourceFile) -> list[dict[str, Any]]:
        """What failed so far, in the race that is being run as well: for the winner's receipt."""
        attempts = [one.attempt for one in list(self._laps[file.name])]
        return [a.as_json() for a in attempts if a is not None and a.outcome == "failed"]

    def _learn(self, one: attempt.Lap, hopeless: set[settings.Mirror]) -> None:
        assert one.attempt is not None
        cause = one.attempt.cause
        self.health.failed(one.mirror, cause)
        if cause not in mirror_health.TRANSIENT:
            hopeless.add(one.mirror)
        wait_s = retry.retry_after_s(one.retry_after, self.wall())
        if wait_s is not None:
            self.health.wait_until(one.mirror, self.clock() + wait_s)
        with self._noted_lock:
            is_new = (one.mirror, cause) not in self._noted
            self._noted.add((one.mirror, cause))
        if is_new:  # four files and three rounds would say it twelve times
            why = one.attempt.evidence or responses.CAUSES.get(cause, "")
            self.report.note(f"{one.attempt.url}: {cause}: {why}")
