"""Mirrors that failed lately are tried last, for a while, and never left out."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import pathlib
import threading

import family
import jobs
import pytest

from fmnist_tfds import artifacts, obtain
from fmnist_tfds.config import settings
from fmnist_tfds.download.policy import mirror_health

FILES = jobs.DATASET.files
NOW = 1_000_000.0
MIRROR = settings.Mirror("http://a.example/")


class _Switch:
    """A mirror that serves, or shows the login page of a hotel, as `is_good` says."""

    def __init__(self, stack):
        self.is_good = True
        self._mirror = stack.enter_context(family.Mirror(jobs.BODIES, self._answer))
        self.url = self._mirror.url

    def _answer(self, handler, name, body):
        if self.is_good:
            family.ranged(handler, name, body)
        else:
            family.send(handler, 200, b"<html><title>Guest Wi-Fi login</title></html>")

    def asked(self):
        """How many requests since the last call."""
        seen = self._mirror.seen[:]
        del self._mirror.seen[:]
        return len(seen)


@pytest.fixture
def three():
    with contextlib.ExitStack() as stack:
        yield [_Switch(stack) for _ in range(3)]


def _asked(tmp_path, switches, file, *, wall):
    """How often each was asked by a job that fetches `file` at that time."""
    effective = jobs.options(tmp_path, *(switch.url for switch in switches))
    jobs.run(effective, files=[file], wall=wall)
    return [switch.asked() for switch in switches]


@pytest.mark.parametrize(("later_s", "asked"), [(890.0, [0, 1]), (910.0, [1, 0])])
def test_a_mirror_that_failed_is_tried_last_for_a_quarter_of_an_hour(
    tmp_path, three, later_s, asked
):
    first, second, _ = three
    first.is_good = False
    assert _asked(tmp_path, [first, second], FILES[0], wall=NOW) == [1, 1]
    first.is_good = True
    assert _asked(tmp_path, [first, second], FILES[1], wall=NOW + later_s) == asked


def test_a_mirror_that_failed_is_not_left_out(tmp_path, three):
    first, second, _ = three
    first.is_good = False
    _asked(tmp_path, [first, second], FILES[0], wall=NOW)
    first.is_good, second.is_good = True, False
    assert _asked(tmp_path, [first, second], FILES[1], wall=NOW + 1) == [1, 1]
    assert jobs.is_here(jobs.run(jobs.options(tmp_path, first.url), files=[FILES[1]]), FILES[1])


def test_a_mirror_that_serves_again_is_first_again_and_the_others_stay_remembered(tmp_path, three):
    first, second, third = three
    first.is_good = False
    _asked(tmp_path, [first, second], FILES[0], wall=NOW)
    first.is_good, second.is_good = True, False
    _asked(tmp_path, [first, second], FILES[1], wall=NOW + 1)
    # Only the second is remembered now.
    assert _asked(tmp_path, [first, second, third], FILES[2], wall=NOW + 2) == [1, 0, 0]
    first.is_good = False
    assert _asked(tmp_path, [first, second, third], FILES[3], wall=NOW + 3) == [1, 0, 1]


def test_where_nobody_was_heard_no_mirror_is_blamed(tmp_path):
    effective = jobs.options(tmp_path, "http://a.example/", "http://b.example/")
    assert set(jobs.causes(jobs.run(effective))) == {"dns-failure"}
    assert not list(tmp_path.rglob("mirrors.json"))


def test_what_is_remembered_holds_no_signature(tmp_path):
    def portal(handler, name, body):
        family.send(handler, 200, b"<html>log in</html>")

    with family.Mirror(jobs.BODIES, portal) as mirror:
        jobs.run(jobs.options(tmp_path, f"{mirror.url}?sig=hunter2"), wall=NOW)
    (memory,) = tmp_path.rglob("mirrors.json")
    assert list(json.loads(memory.read_text())) == [f"{mirror.url}?***"]


def test_within_a_job_too_a_mirror_that_cannot_be_reached_is_asked_last(tmp_path, closed_port):
    asked = []

    def second_time(handler, name, body):
        asked.append(name)
        if len(asked) == 1:
            family.send(handler, 500)
        else:
            family.send(handler, 200, body)

    dead = f"http://127.0.0.1:{closed_port}/"
    with family.Mirror(jobs.BODIES, second_time) as mirror:
        result = jobs.run(jobs.options(tmp_path, dead, mirror.url))
    assert jobs.is_here(result)
    assert jobs.causes(result) == ["connect-refused", "server-error"]


@pytest.mark.parametrize("algorithm", ["md5", "sha1", "sha256"])
def test_an_impostor_is_named_and_the_next_mirror_serves(tmp_path, algorithm):
    other = b"\0\0\x08\x01\0\0\0\x02\5\6"
    digest = hashlib.new(algorithm, other, usedforsecurity=False).hexdigest()
    impostor = artifacts.Impostor("impostor:other", "Other", frozenset({(algorithm, digest)}))
    dataset = family.with_impostor(jobs.DATASET, impostor)

    def serve(handler, name, body):
        family.send(handler, 200, other)

    with family.Mirror(jobs.BODIES, serve) as wrong, family.Mirror(jobs.BODIES) as right:
        effective = jobs.options(tmp_path, wrong.url, right.url)
        outcome = obtain.obtain(effective, dataset=dataset)
        again = dataclasses.replace(effective, mirrors=effective.mirrors[:1])
        again = dataclasses.replace(again, cache_dir=tmp_path / "other")
        failed = obtain.obtain(again, dataset=dataset)
    assert outcome.error is None
    assert "impostor" in str(failed.error)
    assert "this is Other, not Small" in str(failed.error)
    # Served under every name, it is not asked for again by the next job.
    memory = json.loads(next((tmp_path / "cache").rglob("mirrors.json")).read_text())
    assert [entry["cause"] for entry in memory.values()] == ["impostor"]


def test_a_mirror_that_served_is_not_put_last_for_one_failure():
    health = mirror_health.Health([MIRROR], pathlib.Path("none"), NOW)
    health.served(MIRROR)
    health.failed(MIRROR, "connect-refused")
    assert not health.is_out(MIRROR)


def test_of_two_times_that_a_mirror_asked_to_wait_the_later_one_holds():
    health = mirror_health.Health([MIRROR], pathlib.Path("none"), NOW)
    health.wait_until(MIRROR, 70.0)
    health.wait_until(MIRROR, 30.0)
    assert health.not_before(MIRROR) == 70.0


def test_what_another_job_fetched_while_this_one_waited_is_not_fetched_again(tmp_path):
    asked, go = threading.Event(), threading.Event()

    def held(handler, name, body):
        asked.set()
        go.wait(jobs.LONGEST_S)
        family.ranged(handler, name, body)

    class Waiting(jobs.Clock):
        def sleep(self, seconds):
            super().sleep(seconds)
            go.set()
            first.join(jobs.LONGEST_S)

    with family.Mirror(jobs.BODIES, held) as mirror:
        effective = jobs.options(tmp_path, mirror.url)
        first = threading.Thread(target=jobs.run, args=(effective,))
        first.start()
        assert asked.wait(jobs.LONGEST_S)
        result = jobs.run(effective, clock=Waiting())
    assert result.files[jobs.BIG.name].source == "cache"
    assert len(mirror.seen) == 1
