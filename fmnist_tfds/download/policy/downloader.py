"""Downloads several files at once: each in rounds over its mirrors, until a deadline."""

from __future__ import annotations

import collections
import pathlib
import random
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any, Literal

from fmnist_tfds import artifacts, errors
from fmnist_tfds.config import loader, settings, urls
from fmnist_tfds.download import progress, results
from fmnist_tfds.download.cache import store as stores
from fmnist_tfds.download.diagnosis import causes
from fmnist_tfds.download.policy import attempt, hedging, mirror_health, projection, retry, segments
from fmnist_tfds.download.transport import credentials, limits

_GRACE_S = 2.0
_TURN_S = 120.0


def fetch_all(
    options: settings.Settings,
    files: Iterable[artifacts.Artifact],
    store: stores.Store,
    *,
    report: progress.Progress | None = None,
    deadline_s: float | None = None,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
    wall: Callable[[], float] = time.time,
    rand: Callable[[], float] = random.random,
) -> results.Result:
    """Fetches `files` into `store`; sources that fail are in the result, never raised.

    Args:
        options: mirrors, network, offline (then only local mirrors are used).
        files: what to fetch.
        store: where to; files that it holds already are not fetched.
        report: receives progress.
        deadline_s: moment of `clock` when the job must end; None: options.network.deadline_s
            from now.
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
    return results.Result(
        {f.name: job.by_file.get(f.name) or job.overdue(f) for f in wanted}, error=job.error
    )


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
        self.line = projection.Line()
        rate = options.network.limit_rate_bytes_per_s
        self.limiter = limits.Limiter(rate) if rate else None
        self.secrets = credentials.Secrets(loader.resolve_secret)
        self.stopped = threading.Event()
        self._noted: set[tuple[settings.Mirror, str]] = set()
        self._noted_lock = threading.Lock()
        self.by_file: dict[str, results.FileResult] = {}
        self.error: errors.FmnistError | None = None
        self._attempts: dict[str, list[results.Attempt]] = collections.defaultdict(list)
        self._running: dict[str, list[attempt.RunningAttempt]] = collections.defaultdict(list)

    def run(self, file: artifacts.Artifact) -> None:
        """Obtains one file; its result is in `by_file` afterwards."""
        try:
            self.by_file[file.name] = self._one(file)
        except errors.FmnistError as error:
            self.error = self.error or error
            self.stopped.set()
            self.by_file[file.name] = results.FileResult(
                None, attempts=tuple(self._attempts[file.name])
            )

    def overdue(self, file: artifacts.Artifact) -> results.FileResult:
        """The result for a file whose thread did not return: the file system hangs."""
        late = causes.named("deadline")
        unheard = [
            results.failed(urls.mask_url(mirror.url_for(file)), late)
            for mirror in self.health.mirrors
        ]
        return results.FileResult(None, attempts=tuple(self._attempts[file.name] or unheard))

    def _one(self, file: artifacts.Artifact) -> results.FileResult:
        if path := self.store.lookup(file):
            return results.FileResult(path, source="cache")
        self.store.prepare()
        wait_s = min(_TURN_S, max(0.0, self.deadline_s - self.clock()) / 2)
        with self.store.turn(file, wait_s=wait_s, clock=self.clock, sleep=self.sleep):
            if path := self.store.lookup(file):
                return results.FileResult(path, source="cache")
            path = self._rounds(file)
        attempts = tuple(self._attempts[file.name])
        source = next((a.url for a in attempts if a.outcome == "ok"), None)
        if path is not None and source is not None:
            self.report.done(file.name, source)
        return results.FileResult(path, source=source, attempts=attempts)

    def _rounds(self, file: artifacts.Artifact) -> pathlib.Path | None:
        retries = retry.Retries(self.options.network)
        while todo := self._candidates(retries):
            round_start = self.clock()
            outcome = self._hedged_round(file).run(todo)
            for helper in outcome.helpers:
                assert helper.attempt is not None
                self._attempts[file.name].append(helper.attempt)
                if helper.attempt.outcome == "failed" and helper.attempt.cause:
                    self.health.failed(helper.mirror, helper.attempt.cause)
            for one in outcome.ended:
                assert one.attempt is not None
                self._attempts[file.name].append(one.attempt)
                if one.error is not None:
                    raise one.error
                if one.attempt.outcome == "failed":
                    is_transient = _is_transient(one.attempt.cause)
                    retries.failed(one.mirror, part_bytes=one.reached, is_transient=is_transient)
                    self._learn(one)
            if outcome.winner is not None:
                for mirror in dict.fromkeys(outcome.winner.distrusted):
                    self.health.failed(mirror, "checksum-mismatch")
                    why = causes.named("checksum-mismatch", "a piece of the file was wrong")
                    url = urls.mask_url(mirror.url_for(file))
                    self._attempts[file.name].append(results.failed(url, why))
                self.health.served(outcome.winner.mirror)
                return outcome.winner.path
            retries.end_round()
            todo = self._candidates(retries)
            if not todo or not self._may_go_on(round_start):
                break
            delay_s = self._delay_s(todo, retries)
            if self.clock() + delay_s >= self.deadline_s:
                break  # no time is left for another round
            self.sleep(delay_s)
        return None

    def _candidates(self, retries: retry.Retries) -> list[settings.Mirror]:
        """The mirrors of the next round: the healthy first, then those that are out."""
        now = self.clock()
        able = [
            mirror
            for mirror in self.health.mirrors
            if retries.may_ask(mirror) and self.health.not_before(mirror) < self.deadline_s
        ]
        ready = [m for m in able if self.health.not_before(m) <= now] or able
        return sorted(ready, key=self.health.is_out)

    def _may_go_on(self, round_start: float) -> bool:
        now = self.clock()
        if self.stopped.is_set():
            return False
        return retry.is_alive_or_early(
            has_responded=self.health.is_alive,
            elapsed_s=now - self.started_s,
            next_round_s=now - round_start + self.options.network.backoff_s,
        )

    def _delay_s(self, todo: list[settings.Mirror], retries: retry.Retries) -> float:
        """Seconds until the next round: the back-off, and what every mirror's Retry-After asks."""
        earliest = min(self.health.not_before(m) for m in todo) - self.clock()
        return max(0.0, retries.delay_s(self.rand), earliest)

    def _hedged_round(self, file: artifacts.Artifact) -> hedging.HedgedRound:
        def start(mirror: settings.Mirror, finished: threading.Event) -> attempt.RunningAttempt:
            one = attempt.RunningAttempt(
                file,
                mirror,
                self.options,
                self.store,
                self.secrets,
                finished=finished,
                failures=lambda: self._failures(file),
                clock=self.clock,
                limiter=self.limiter,
            )
            self._running[file.name].append(one)
            return one

        def help_out(
            mirror: settings.Mirror,
            shared: segments.Segments,
            span: tuple[int, int],
            finished: threading.Event,
        ) -> segments.Helper:
            return segments.Helper(
                file,
                mirror,
                self.options,
                self.store,
                self.secrets,
                segments=shared,
                span=span,
                finished=finished,
                clock=self.clock,
                limiter=self.limiter,
            )

        return hedging.HedgedRound(
            file.name,
            self.options.network,
            self.health,
            start,
            help_out,
            size_bytes=file.size_bytes,
            line=self.line,
            started_s=self.started_s,
            deadline_s=self.deadline_s,
            clock=self.clock,
            report=self.report,
            stopped=self.stopped,
        )

    def _failures(self, file: artifacts.Artifact) -> list[dict[str, Any]]:
        """What failed so far, also in the round that is running: for the winner's receipt."""
        attempts = [one.attempt for one in list(self._running[file.name])]
        return [a.as_json() for a in attempts if a is not None and a.outcome == "failed"]

    def _learn(self, one: attempt.RunningAttempt) -> None:
        assert one.attempt is not None
        cause = one.attempt.cause
        assert cause, "a failed attempt has a cause"
        self.health.failed(one.mirror, cause)
        wait_s = retry.retry_after_s(one.retry_after, self.wall())
        if wait_s is not None:
            self.health.wait_until(one.mirror, self.clock() + wait_s)
        with self._noted_lock:
            is_new = (one.mirror, cause) not in self._noted
            self._noted.add((one.mirror, cause))
        if is_new:  # else four files and three rounds would repeat it twelve times
            why = one.attempt.evidence or causes.CAUSES[cause].meaning
            self.report.note(f"{one.attempt.url}: {cause}: {why}")


def _is_transient(cause: causes.CauseName | Literal[""]) -> bool:
    return cause != "" and causes.CAUSES[cause].is_transient
