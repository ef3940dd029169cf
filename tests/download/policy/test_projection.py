"""Projected ends: from what came lately, from the first byte on, and over all attempts of a job."""

from __future__ import annotations

import dataclasses
import math

from fmnist_tfds.download.policy import projection


@dataclasses.dataclass
class Watch:
    received: int = 0
    size: int = 0
    resumed_at: int = 0
    is_copied: bool = False


def _pace(watch, rates, *, step_s=0.5):
    pace, now = projection.Pace(watch, 0.0), 0.0
    for rate in rates:
        now += step_s
        watch.received += int(rate * step_s)
        pace.look(now)
    return pace


def test_rate_is_that_of_the_last_seconds():
    watch = Watch(size=100_000)
    pace = _pace(watch, [1000] * 10)
    assert pace.rate() == 1000
    assert pace.left_s() == 95
    assert _pace(watch, [0] * 1 + [100] * 10).rate() == 100


def test_mirror_that_slows_down_is_seen_within_the_window():
    pace = _pace(Watch(size=10_000_000), [1_000_000] * 8 + [1000] * 7)
    assert pace.rate() == 1000


def test_time_counts_from_the_first_byte():
    pace = _pace(Watch(size=10_000), [0] * 20 + [1000] * 2)
    assert pace.seconds() == 1.0
    assert pace.rate() == 1000


def test_what_a_part_holds_already_is_not_left():
    watch = Watch(size=10_000, resumed_at=5000)
    assert _pace(watch, [1000] * 4).left_s() == 3.0


def test_silence_has_no_end_and_a_copied_body_is_at_its_end():
    assert _pace(Watch(size=10_000), [0] * 4).left_s() == math.inf
    assert _pace(Watch(size=10_000, is_copied=True), [1000] * 4).left_s() == 0


def test_line_adds_up_the_attempts_of_the_job():
    line, first, second = projection.Line(), Watch(), Watch()
    now = 0.0
    for _ in range(12):
        now += 0.5
        first.received += 500
        second.received += 1000
        line.look(first, now)
        line.look(second, now)
    assert abs(line.rate(now) - 3000) <= 500
    assert line.rate(now + 10) == 0
