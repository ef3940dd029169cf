"""Silence: the limits of a connection, and the second mirror that is asked meanwhile."""

from __future__ import annotations

import contextlib
import socket
import threading

import family
import jobs
import pytest


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
        over.wait(jobs.LONGEST_S)
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
        over.wait(jobs.LONGEST_S)
        with contextlib.suppress(OSError):
            family.send(handler, 200, body)

    with family.Mirror(jobs.BODIES, silent) as mirror:
        effective = jobs.options(tmp_path, mirror.url, attempts=1, read_timeout_s=0.1)
        # The clock of the job stands still: only the socket's own limit can end this.
        result = jobs.run(effective)
        over.set()
    assert jobs.causes(result) == ["stalled"]


def test_a_silent_server_is_given_up_even_where_no_speed_is_asked_for(tmp_path):
    clock, over = jobs.Clock(), threading.Event()

    def one_header_byte_at_a_time(handler, name, body):
        # Each byte is a sign of life for the socket; the job's own limit ends it.
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        for _ in range(200):
            if over.wait(0.05):
                return
            with contextlib.suppress(OSError):
                handler.wfile.write(b"x")
            clock.now += 61.0
        with contextlib.suppress(OSError):
            handler.wfile.write(b"\r\nContent-Length: %d\r\n\r\n" % len(body))
            handler.wfile.write(body)

    with family.Mirror(jobs.BODIES, one_header_byte_at_a_time) as mirror:
        effective = jobs.options(
            tmp_path, mirror.url, attempts=1, min_speed_bytes_per_s=0, deadline_s=1e9
        )
        result = jobs.run(effective, clock=clock)
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
        release = threading.Timer(10.0, full.close)
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


def test_no_other_mirror_is_asked_while_the_first_one_will_soon_be_done(tmp_path):
    clock, seen = jobs.Clock(), jobs.Seen()
    over = threading.Event()
    answer = _held(clock, seen, count=len(jobs.BODY) - 1000, seconds=2.0, over=over)
    with family.Mirror(jobs.BODIES, answer) as first, family.Mirror(jobs.BODIES) as second:
        threading.Timer(2 * jobs.MOMENT_S, over.set).start()
        effective = jobs.options(tmp_path, first.url, second.url, hedge_after_s=1.0)
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
