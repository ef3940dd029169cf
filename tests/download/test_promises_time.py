"""Time: attempts, pauses and the deadline, by a clock that the test sets."""

from __future__ import annotations

import socket

import family
import jobs
import pytest

from fmnist_tfds.config import settings


def _failing(handler, name, body):
    family.send(handler, 500)


def test_defaults_are_those_of_the_documentation():
    assert settings.Network() == settings.Network(
        connect_timeout_s=5.0,
        read_timeout_s=20.0,
        min_speed_bytes_per_s=2000,
        attempts=3,
        backoff_s=1.0,
        hedge_after_s=3.0,
        deadline_s=600.0,
        trust="system",
        proxy=None,
        ca_bundle=None,
    )


def test_a_failing_server_is_asked_as_often_as_allowed_with_doubling_pauses(tmp_path):
    clock = jobs.Clock()
    with family.Mirror(jobs.BODIES, _failing) as mirror:
        effective = jobs.options(tmp_path, mirror.url, attempts=5, backoff_s=2.0)
        result = jobs.run(effective, clock=clock)
    assert jobs.causes(result) == ["server-error"] * 5
    assert len(mirror.seen) == 5
    assert clock.slept == [1.0, 2.0, 4.0, 8.0]


def test_progress_shortens_the_pause_to_a_tenth_and_begins_the_doubling_anew(tmp_path):
    asked = []

    def answer(handler, name, body):
        asked.append(handler.headers.get("Range"))
        if len(asked) == 3:
            jobs.cut(handler, body, 5000)
        else:
            family.send(handler, 500)

    clock = jobs.Clock()
    with family.Mirror(jobs.BODIES, answer) as mirror:
        jobs.run(jobs.options(tmp_path, mirror.url, attempts=5, backoff_s=1.0), clock=clock)
    assert clock.slept == [0.5, 1.0, pytest.approx(0.05), 1.0, 2.0]
    assert asked == [None, None, None, "bytes=5000-", "bytes=5000-", "bytes=5000-"]


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 451])
def test_a_refusal_is_not_asked_for_twice(tmp_path, status):
    def refuse(handler, name, body):
        family.send(handler, status)

    with family.Mirror(jobs.BODIES, refuse) as mirror:
        jobs.run(jobs.options(tmp_path, mirror.url))
    # Once more under another name where that may be the reason, never twice under the same.
    names = [headers["User-Agent"] for _, headers in mirror.seen]
    assert len(names) == (2 if status == 403 else 1) == len(set(names))


@pytest.mark.parametrize("kind", ["500", "503", "429", "reset", "truncated"])
def test_a_passing_failure_is_tried_again(tmp_path, kind):
    asked = []

    def once(handler, name, body):
        asked.append(name)
        if len(asked) > 1:
            family.ranged(handler, name, body)
        elif kind == "reset":
            handler.connection.shutdown(socket.SHUT_RDWR)
            handler.close_connection = True
        elif kind == "truncated":
            jobs.cut(handler, body, 0)
        else:
            family.send(handler, int(kind))

    with family.Mirror(jobs.BODIES, once) as mirror:
        assert jobs.is_here(jobs.run(jobs.options(tmp_path, mirror.url)))
    assert len(asked) == 2


def test_while_one_mirror_asked_to_wait_only_the_others_are_tried(tmp_path):
    def limited(handler, name, body):
        family.send(handler, 429, Retry_After="70")

    asked = []

    def second_time(handler, name, body):
        asked.append(name)
        if len(asked) == 1:
            family.send(handler, 500)
        else:
            family.send(handler, 200, body)

    clock = jobs.Clock()
    with (
        family.Mirror(jobs.BODIES, limited) as busy,
        family.Mirror(jobs.BODIES, second_time) as other,
    ):
        result = jobs.run(jobs.options(tmp_path, busy.url, other.url), clock=clock)
    assert jobs.is_here(result)
    assert len(busy.seen) == 1
    assert sum(clock.slept) < 70


def test_no_round_begins_that_could_only_begin_after_the_deadline(tmp_path):
    clock = jobs.Clock()
    with family.Mirror(jobs.BODIES, _failing) as mirror:
        effective = jobs.options(tmp_path, mirror.url, attempts=9, backoff_s=4.0, deadline_s=5.0)
        result = jobs.run(effective, clock=clock)
    # At 0 and 2; the next would be at 6: not waited for in vain.
    assert len(mirror.seen) == 2
    assert clock.slept == [2.0]
    assert jobs.causes(result) == ["server-error"] * 2


def test_no_round_begins_after_a_round_that_used_the_time_up(tmp_path):
    clock = jobs.Clock()

    def slow_failure(handler, name, body):
        clock.now += 400.0
        family.send(handler, 500)

    with family.Mirror(jobs.BODIES, slow_failure) as mirror:
        jobs.run(jobs.options(tmp_path, mirror.url, deadline_s=300.0), clock=clock)
    assert len(mirror.seen) == 1


def test_a_note_says_once_what_every_file_and_round_met(tmp_path):
    seen = jobs.Seen()
    with family.Mirror(jobs.BODIES, _failing) as mirror:
        effective = jobs.options(tmp_path, mirror.url, backoff_s=0.0)
        jobs.run(effective, files=jobs.DATASET.files, report=seen)
    assert len(mirror.seen) == 12
    (note,) = seen.notes
    assert "server-error" in note
