"""The retry rules, by values alone: no clock, no network."""

from __future__ import annotations

import pytest

from fmnist_tfds.config import settings
from fmnist_tfds.download.policy import retry

MIRROR = settings.Mirror("http://a.example/")
NETWORK = settings.Network(attempts=2, backoff_s=1.0)


def _retries() -> retry.Retries:
    return retry.Retries(NETWORK)


def test_retries_ask_a_mirror_as_often_as_attempts_says():
    retries = _retries()
    asked = []
    for _ in range(3):
        asked.append(retries.may_ask(MIRROR))
        retries.failed(MIRROR, part_bytes=0, is_transient=True)
    assert asked == [True, True, False]


def test_retries_give_a_mirror_up_after_a_lasting_cause():
    retries = _retries()
    retries.failed(MIRROR, part_bytes=0, is_transient=False)
    assert not retries.may_ask(MIRROR)
    assert retries.may_ask(settings.Mirror("http://b.example/"))


def test_retries_count_no_attempt_that_received_more_of_the_file():
    retries = _retries()
    for size in (10, 20, 30):
        retries.failed(MIRROR, part_bytes=size, is_transient=True)
    assert retries.may_ask(MIRROR)
    for _ in range(2):
        retries.failed(MIRROR, part_bytes=30, is_transient=True)
    assert not retries.may_ask(MIRROR)


def test_retries_wait_longer_each_round_and_hardly_after_progress():
    retries = _retries()
    waited = []
    for size in (0, 0, 5, 5, 5):
        retries.failed(MIRROR, part_bytes=size, is_transient=True)
        retries.end_round()
        waited.append(retries.delay_s(lambda: 1.0))
    assert waited == pytest.approx([1.0, 2.0, 0.1, 2.0, 4.0])


@pytest.mark.parametrize(
    ("has_responded", "elapsed_s", "starts"),
    [(False, 3.0, True), (False, 8.5, False), (True, 500.0, True)],
)
def test_retries_stop_early_only_where_no_mirror_has_responded(has_responded, elapsed_s, starts):
    assert starts is retry.is_alive_or_early(
        has_responded=has_responded, elapsed_s=elapsed_s, next_round_s=1.0
    )
