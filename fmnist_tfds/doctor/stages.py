"""The stages of one examination: how each ended and how long it took. Opens nothing."""

from __future__ import annotations

from collections.abc import Callable

from fmnist_tfds.doctor import findings
from fmnist_tfds.download.diagnosis import causes


class Failed(Exception):  # noqa: N818 (the end of one examination, with its reason)
    """A stage did not succeed."""

    def __init__(self, stage: str, why: causes.Explanation) -> None:
        super().__init__(why.evidence)
        self.stage = stage
        self.why = why


class Stages:
    """What is known of each of `findings.STAGES` so far.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._seen: dict[str, findings.Stage] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._seen

    def in_order(self) -> tuple[findings.Stage, ...]:
        """All stages in their order, those not reached included."""
        return tuple(
            self._seen.get(name, findings.Stage(name, "not reached")) for name in findings.STAGES
        )

    def skip(self, *names: str) -> None:
        """The way to this source has no such stages."""
        for name in names:
            self._seen[name] = findings.Stage(name, "skipped")

    def is_skipped(self, name: str) -> bool:
        """True if this source has no such stage."""
        return name in self._seen and self._seen[name].outcome == "skipped"

    def passed(self, name: str, detail: str, *, since_s: float, until_s: float = 0.0) -> None:
        """It succeeded.

        Args:
            name: which one.
            detail: what was seen.
            since_s: moment of the clock when it began.
            until_s: moment when it ended; 0 for now.
        """
        ms = ((until_s or self._clock()) - since_s) * 1000
        self._seen[name] = findings.Stage(name, "ok", ms, detail)

    def part_of_the_request(self, name: str) -> None:
        """It succeeded within the request and was not measured alone."""
        self._seen[name] = findings.Stage(name, "ok", None, "part of the request")

    def failed(self, name: str, detail: str, ms: float | None = None) -> None:
        """It failed; what was measured before stays, unless `ms` is given."""
        if ms is None and name in self._seen:
            ms = self._seen[name].ms
        self._seen[name] = findings.Stage(name, "failed", ms, detail)
