"""Rivals that take turns in one process, with their seconds; a first turn compiles."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import Any

_LEAST_TURNS = 3


@dataclasses.dataclass(frozen=True, slots=True)
class Bounds:
    """How long a case goes on: `turns`, fewer where `case_s` seconds are over, never under 3.

    `speedrun_s` are the seconds of the speedrun.
    """

    turns: int
    case_s: float
    speedrun_s: float


class Turns:
    """Seconds of each rival, turn by turn, and of its first, which compiles."""

    def __init__(self, images: dict[str, int], bounds: Bounds) -> None:
        self.images, self.bounds = images, bounds
        self.first_s: dict[str, float] = {}
        self.seconds: dict[str, list[float]] = {name: [] for name in images}
        self._until = 0.0

    def add(self, name: str, seconds: float) -> None:
        """Enters one turn of a rival."""
        if name in self.first_s:
            self.seconds[name].append(seconds)
            return
        self.first_s[name] = seconds
        self._until = time.monotonic() + self.bounds.case_s

    def timed(self, name: str, work: Callable[[], object]) -> None:
        """Takes the time of one turn."""
        started = time.perf_counter()
        work()
        self.add(name, time.perf_counter() - started)

    def are_enough(self) -> bool:
        """Whether the case may end."""
        done = min(map(len, self.seconds.values()))
        is_over = time.monotonic() > self._until and done >= _LEAST_TURNS
        return done >= self.bounds.turns or is_over

    def interleave(self, work: dict[str, Callable[[], object]]) -> None:
        """Lets the rivals take turns until these are enough."""
        while not self.are_enough():
            for name, turn in work.items():
                self.timed(name, turn)

    def result(self) -> dict[str, Any]:
        """Images of a turn, seconds of the first, seconds of the others: by rival."""
        return {"images": self.images, "first_s": self.first_s, "seconds": self.seconds}
