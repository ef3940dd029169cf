"""`examine`: probes every source in parallel, repeats failed probes, returns the report.

Opens sockets only to the configured mirrors and proxies; writes to a temporary folder only. Does
not read the environment: the caller passes what is wrong there.
"""

from __future__ import annotations

import dataclasses
import datetime
import pathlib
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from typing import Literal, Protocol

from fmnist_tfds import artifacts, catalog, version
from fmnist_tfds.config import loader, settings
from fmnist_tfds.doctor import allowlist, findings, on_disk, probes, remedies, summary
from fmnist_tfds.download.diagnosis import causes
from fmnist_tfds.download.transport import credentials, watching

LONGEST_S = 60.0
_MOST_PROBES = 3
_PAUSE_S = 1.0
# After failed probes that took so long together, no third one is made.
_PATIENCE_S = 15.0
_READ_TIMEOUT_S = 10.0


def examine(
    options: settings.Settings,
    contradictions: Sequence[findings.Finding] = (),
    *,
    adopting: on_disk.Adopting | None = None,
    local: Sequence[pathlib.Path] = (),
    dataset: artifacts.ArtifactSet = catalog.FASHION_MNIST,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
    wall: Callable[[], float] = time.time,
) -> findings.Report:
    """The diagnosis of all sources, within the deadline or `LONGEST_S`, whichever is shorter.

    Args:
        options: mirrors, network, manual_dir, cache.
        contradictions: what `environment.check` found.
        adopting: looks for the data in other forms in a place; its error, or None if it is there.
        local: other tools' caches that may be used.
        dataset: whose files are looked for.
        clock: monotonic seconds.
        sleep: waits between repeated probes.
        wall: seconds since 1970.
    """
    start, started_at = clock(), wall()
    secrets = credentials.Secrets(loader.resolve_secret)
    remote = _remote(options, dataset, secrets, clock, sleep, wall)
    near = on_disk.at_hand(options, dataset, adopting, local)
    found = [
        findings.masked(s, lambda text: causes.shortened(secrets.mask(text)))
        for s in (*near, *remote)
    ]
    sources = summary.with_owners(found)
    judged = summary.judge(sources, dataset)
    date = datetime.datetime.fromtimestamp(started_at, datetime.UTC).isoformat(timespec="seconds")
    return findings.Report(
        ok=judged.ok,
        headline=judged.headline,
        verdict=judged.lines,
        sources=sources,
        settings=tuple(contradictions),
        remedies=remedies.suggest(sources, judged.ok, dataset),
        allowlist=allowlist.request(sources, dataset, host=socket.gethostname(), date=date),
        clock_skew_s=summary.skew_of(sources),
        seconds=round(clock() - start, 2),
        package=f"fmnist_tfds {version.VERSION}",
        date=date,
    )


def limit_s(options: settings.Settings) -> float:
    """How long an examination takes at most, in seconds."""
    return min(options.network.deadline_s, LONGEST_S)


def _remote(
    options: settings.Settings,
    dataset: artifacts.ArtifactSet,
    secrets: credentials.Secrets,
    clock: Callable[[], float],
    sleep: Callable[[float], None],
    wall: Callable[[], float],
) -> list[findings.Source]:
    network = options.network
    deadline = clock() + limit_s(options)
    quick = dataclasses.replace(
        network, read_timeout_s=min(network.read_timeout_s, _READ_TIMEOUT_S)
    )
    hurried = dataclasses.replace(options, network=quick)
    with tempfile.TemporaryDirectory(prefix="doctor-", ignore_cleanup_errors=True) as parent:
        looks = []
        for number, mirror in enumerate(options.mirrors):
            place = pathlib.Path(parent) / str(number)
            place.mkdir()

            def make(m: settings.Mirror = mirror, p: pathlib.Path = place) -> _Probe:
                if m.is_local:
                    return on_disk.Folder(m, dataset)
                mine = _served(m, dataset)
                return probes.Probe(m, hurried, mine, secrets, p, clock=clock, wall=wall)

            why = _unasked(options, mirror, dataset)
            looks.append(_Look(make, deadline, clock, sleep, unasked=why))
        for look in looks:
            look.start()
        for look in looks:
            look.wait()
        return [look.result() for look in looks]


def _served(mirror: settings.Mirror, dataset: artifacts.ArtifactSet) -> artifacts.ArtifactSet:
    """The files that `mirror` can name: one whose template lacks a value is not requested."""
    files = tuple(file for file in dataset.files if not mirror.lacks(file))
    return dataset if files == dataset.files else dataclasses.replace(dataset, files=files)


def _unasked(
    options: settings.Settings, mirror: settings.Mirror, dataset: artifacts.ArtifactSet
) -> causes.Explanation | None:
    """Why nothing is requested from `mirror`; None if it is examined."""
    if mirror.is_local:
        return None
    if options.offline:
        return causes.named("offline")
    if _served(mirror, dataset).files:
        return None
    lacking = ", ".join(dict.fromkeys(f"{{{mirror.lacks(file)}}}" for file in dataset.files))
    seen = f"it names files by {lacking}, which is known of no file of {dataset.title}"
    return causes.named("unsupported-scheme", seen, "use another mirror for this data set")


class _Probe(Protocol):
    def run(self) -> None: ...
    def cancel(self) -> None: ...
    def result(self) -> findings.Source: ...


class _Look:
    """One source, probed in a thread until it works, fails for good, or time is up."""

    def __init__(
        self,
        make: Callable[[], _Probe],
        deadline: float,
        clock: Callable[[], float],
        sleep: Callable[[float], None],
        *,
        unasked: causes.Explanation | None,
    ) -> None:
        self._make, self._deadline, self._clock, self._sleep = make, deadline, clock, sleep
        self._probe = make()
        self._unasked = unasked
        self._failures: list[str] = []
        self._result: findings.Source | None = None
        self._thread = threading.Thread(target=self._run, name="doctor", daemon=True)

    def start(self) -> None:
        if self._unasked is None:
            self._thread.start()

    def wait(self) -> None:
        while self._thread.is_alive() and self._clock() < self._deadline:
            self._thread.join(0.05)
        if self._thread.is_alive():
            self._probe.cancel()
            self._thread.join(0.5)

    def result(self) -> findings.Source:
        if self._result is not None:
            return self._result
        so_far = self._probe.result()
        if self._unasked is not None:
            return _because(so_far, self._unasked)
        passed = [s.name for s in so_far.stages if s.outcome == "ok"]
        reached = f"got as far as {passed[-1]}" if passed else "no response"
        why = causes.named("deadline", f"time is up: {reached}")
        return _because(so_far, why)

    def _run(self) -> None:
        start = self._clock()
        for number in range(1, _MOST_PROBES + 1):
            try:
                self._probe.run()
            except watching.Cancelled:
                return
            found = dataclasses.replace(self._probe.result(), probes=number)
            time_left = self._deadline - self._clock() - _PAUSE_S
            most = 2 if self._clock() - start > _PATIENCE_S else _MOST_PROBES
            if not _is_repeated(found.cause) or number >= most or time_left <= 0:
                self._result = dataclasses.replace(found, disturbances=tuple(self._failures))
                return
            self._failures.append(found.cause)
            self._sleep(_PAUSE_S)
            self._probe = self._make()


def _is_repeated(cause: causes.CauseName | Literal[""]) -> bool:
    # A server that rate-limits us gets no further requests.
    if not cause or cause == "rate-limited":
        return False
    return causes.CAUSES[cause].is_transient


def _because(source: findings.Source, why: causes.Explanation) -> findings.Source:
    return dataclasses.replace(source, cause=why.cause, evidence=why.evidence, remedy=why.remedy)
