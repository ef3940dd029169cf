"""Time: attempts, pauses, deadline, hedging and speed, by a clock that the test sets."""

from __future__ import annotations

import contextlib
import socket
import threading

import family
import jobs
import pytest

from fmnist_tfds import settings


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
    assert len(mirror.seen) == 1


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


def _held(clock, seen, *, count, seconds, over):
    """Sends `count` bytes, lets `seconds` pass, and sends the rest when the job is over."""

    def answer(handler, name, body):
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body[:1])
        seen.wait_for(1)
        handler.wfile.write(body[1:count])
        seen.wait_for(count)
        clock.now += seconds
        over.wait(3.0)
        with contextlib.suppress(OSError):
            handler.wfile.write(body[count:])
        handler.close_connection = True

    return answer


@pytest.mark.parametrize(
    ("count", "seconds", "cause"), [(100, 61.0, "stalled"), (100, 301.0, "deadline")]
)
def test_a_trickle_and_what_is_late_are_ended(tmp_path, count, seconds, cause):
    clock, seen, over = jobs.Clock(), jobs.Seen(), threading.Event()
    answer = _held(clock, seen, count=count, seconds=seconds, over=over)
    with family.Mirror(jobs.BODIES, answer) as mirror:
        read_timeout_s = 60.0 if cause == "stalled" else 1000.0
        effective = jobs.options(tmp_path, mirror.url, attempts=1, read_timeout_s=read_timeout_s)
        result = jobs.run(effective, clock=clock, report=seen)
        over.set()
    assert jobs.causes(result) == [cause]


def test_what_is_slow_but_fast_enough_may_finish(tmp_path):
    clock, seen, over = jobs.Clock(), jobs.Seen(), threading.Event()
    answer = _held(clock, seen, count=200_000, seconds=61.0, over=over)
    with family.Mirror(jobs.BODIES, answer) as mirror:
        threading.Timer(2 * jobs.MOMENT_S, over.set).start()
        result = jobs.run(jobs.options(tmp_path, mirror.url), clock=clock, report=seen)
    assert jobs.is_here(result)
    assert jobs.causes(result) == []


def test_a_server_that_never_answers_is_given_up_after_read_timeout_s(tmp_path):
    over = threading.Event()

    def silent(handler, name, body):
        over.wait(3.0)
        with contextlib.suppress(OSError):
            family.send(handler, 200, body)

    with family.Mirror(jobs.BODIES, silent) as mirror:
        effective = jobs.options(tmp_path, mirror.url, attempts=1, read_timeout_s=0.1)
        # The clock of the job stands still: only the socket's own limit can end this.
        result = jobs.run(effective)
        over.set()
    assert jobs.causes(result) == ["stalled"]


def test_a_server_that_does_not_accept_is_given_up_after_connect_timeout_s(tmp_path):
    with contextlib.ExitStack() as stack:
        full = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        url = f"http://127.0.0.1:{full.getsockname()[1]}/"
        release = threading.Timer(3.0, full.close)
        release.start()
        result = jobs.run(jobs.options(tmp_path, url, attempts=1, connect_timeout_s=0.1))
        release.cancel()
    assert jobs.causes(result) == ["connect-timeout"]


def test_the_second_mirror_is_asked_when_the_first_was_silent_for_hedge_after_s(tmp_path):
    clock, second_asked, over = jobs.Clock(), threading.Event(), threading.Event()
    before = []

    def silent(handler, name, body):
        before.append(second_asked.wait(jobs.MOMENT_S))
        clock.now += 3.0
        before.append(second_asked.wait(20.0))
        over.wait(jobs.LONGEST_S if before[1] else 0)
        with contextlib.suppress(OSError):
            family.send(handler, 200, body)

    def answer(handler, name, body):
        second_asked.set()
        family.send(handler, 200, body)

    with (
        family.Mirror(jobs.BODIES, silent) as first,
        family.Mirror(jobs.BODIES, answer) as second,
    ):
        effective = jobs.options(tmp_path, first.url, second.url, hedge_after_s=3.0)
        result = jobs.run(effective, clock=clock)
        over.set()
    assert before == [False, True]
    assert result.files[jobs.BIG.name].source.startswith(second.url)
    assert [a.outcome for a in result.files[jobs.BIG.name].attempts] == ["ok", "cancelled"]


def test_no_other_mirror_is_asked_while_the_first_one_delivers(tmp_path):
    clock, seen = jobs.Clock(), jobs.Seen()
    over = threading.Event()
    answer = _held(clock, seen, count=5000, seconds=4.0, over=over)
    with family.Mirror(jobs.BODIES, answer) as first, family.Mirror(jobs.BODIES) as second:
        threading.Timer(2 * jobs.MOMENT_S, over.set).start()
        effective = jobs.options(tmp_path, first.url, second.url, hedge_after_s=3.0)
        result = jobs.run(effective, clock=clock, report=seen)
    assert jobs.is_here(result)
    assert second.seen == []


def test_a_mirror_that_lost_the_race_is_hung_up_on(tmp_path):
    hung_up = threading.Event()

    def silent(handler, name, body):
        clock.now += 3.0
        handler.connection.settimeout(20.0)
        with contextlib.suppress(OSError):
            if handler.connection.recv(1) == b"":
                hung_up.set()
        handler.close_connection = True

    clock = jobs.Clock()
    with family.Mirror(jobs.BODIES, silent) as first, family.Mirror(jobs.BODIES) as second:
        effective = jobs.options(tmp_path, first.url, second.url, hedge_after_s=3.0)
        assert jobs.is_here(jobs.run(effective, clock=clock))
        assert hung_up.wait(20.0)


def test_a_note_says_once_what_every_file_and_round_met(tmp_path):
    seen = jobs.Seen()
    with family.Mirror(jobs.BODIES, _failing) as mirror:
        effective = jobs.options(tmp_path, mirror.url, backoff_s=0.0)
        jobs.run(effective, files=jobs.DATASET.files, report=seen)
    assert len(mirror.seen) == 12
    (note,) = seen.notes
    assert "server-error" in note
