"""Walls before a mirror: user agents that are refused, cookies to carry, a rate to keep."""

from __future__ import annotations

import dataclasses
import threading
import time

import family
import jobs
import pytest

from fmnist_tfds import version
from fmnist_tfds.config import settings
from fmnist_tfds.download.transport import limits, session


def _agents(mirror):
    return [headers.get("User-Agent") for _, headers in mirror.seen]


def test_user_agent_names_this_program_and_no_library(tmp_path):
    with family.Mirror(jobs.BODIES) as mirror:
        jobs.run(jobs.options(tmp_path, mirror.url))
    assert _agents(mirror) == [f"fmnist_tfds/{version.VERSION}"]
    assert "requests" not in session.USER_AGENT + session.COMPATIBLE_AGENT


def test_server_that_blocks_libraries_by_name_serves_us(tmp_path):
    def picky(handler, name, body):
        if "python-requests" in handler.headers["User-Agent"]:
            family.send(handler, 403)
        else:
            family.ranged(handler, name, body)

    with family.Mirror(jobs.BODIES, picky) as mirror:
        assert jobs.is_here(jobs.run(jobs.options(tmp_path, mirror.url)))


def test_user_agent_of_the_settings_and_of_the_mirror_are_sent(tmp_path):
    with family.Mirror(jobs.BODIES) as first, family.Mirror(jobs.BODIES) as second:
        jobs.run(jobs.options(tmp_path / "1", first.url, user_agent="general/1"))
        own = settings.Mirror(second.url, user_agent="own/1")
        jobs.run(jobs.options(tmp_path / "2", own, user_agent="general/1"))
    assert _agents(first) == ["general/1"]
    assert _agents(second) == ["own/1"]


@pytest.mark.parametrize("status", [403, 406])
def test_refusal_that_another_agent_lifts_is_named_with_the_line_that_mends_it(tmp_path, status):
    def browsers_only(handler, name, body):
        if handler.headers["User-Agent"].startswith("Mozilla/"):
            family.send(handler, 200, body)
        else:
            family.send(handler, status, b"no robots")

    with family.Mirror(jobs.BODIES, browsers_only) as mirror:
        result = jobs.run(jobs.options(tmp_path, mirror.url, attempts=1))
        assert jobs.causes(result) == ["user-agent-blocked"]
        (attempt,) = result.files[jobs.BIG.name].attempts
        assert session.COMPATIBLE_AGENT in attempt.remedy
        mended = settings.Mirror(mirror.url, user_agent=session.COMPATIBLE_AGENT)
        assert jobs.is_here(jobs.run(jobs.options(tmp_path, mended)))


def test_refusal_of_everybody_stays_what_it_is(tmp_path):
    with family.Mirror(jobs.BODIES, lambda h, *_: family.send(h, 403, b"no")) as mirror:
        result = jobs.run(jobs.options(tmp_path, mirror.url, attempts=1))
    assert jobs.causes(result) == ["forbidden"]


def test_wall_that_sets_a_cookie_and_redirects_to_itself_is_passed(tmp_path):
    def wall(handler, name, body):
        if "pass=1" in handler.headers.get("Cookie", ""):
            family.ranged(handler, name, body)
        else:
            family.send(handler, 302, Location=handler.path, Set_Cookie="pass=1; Path=/")

    with family.Mirror(jobs.BODIES, wall) as mirror:
        result = jobs.run(jobs.options(tmp_path, mirror.url))
    assert jobs.is_here(result)


def test_cookie_goes_to_no_other_host_and_into_no_other_attempt(tmp_path):
    def gives(handler, name, body):
        family.send(
            handler,
            302,
            Location=second.url.replace("127.0.0.1", "localhost") + name,
            Set_Cookie="secret=1; Path=/",
        )

    with family.Mirror(jobs.BODIES) as second, family.Mirror(jobs.BODIES, gives) as first:
        options = jobs.options(tmp_path, first.url)
        assert jobs.is_here(jobs.run(options))
        jobs.run(dataclasses.replace(options, cache_dir=tmp_path / "again"))
    for _, headers in second.seen + first.seen:
        assert "Cookie" not in headers


def test_limiter_spreads_bytes_over_time():
    now = [0.0]
    limiter = limits.Limiter(1000, clock=lambda: now[0])
    assert limiter.take(100) == 0.0  # after a pause a little may come at once
    for _ in range(2):
        waited = 0.0
        for _ in range(20):
            seconds = limiter.take(500)
            now[0] += seconds
            waited += seconds
        assert 9.5 <= waited <= 10.5
        now[0] += 3600.0  # a pause does not save up for later


def test_rate_holds_for_all_attempts_of_a_job_together(tmp_path, monkeypatch):
    taken, lock = [], threading.Lock()

    class Counted(limits.Limiter):
        def take(self, count):
            with lock:
                taken.append((id(self), count))
            return 0.0

    monkeypatch.setattr(limits, "Limiter", Counted)
    with family.Mirror(jobs.BODIES) as mirror:
        options = jobs.options(tmp_path, mirror.url, limit_rate_bytes_per_s=4000)
        result = jobs.run(options, files=jobs.DATASET.files)
    assert all(jobs.is_here(result, file) for file in jobs.DATASET.files)
    assert len({limiter for limiter, _ in taken}) == 1
    # In small pieces: a long pause after a large one would look like a mirror that stalls.
    assert max(count for _, count in taken) <= 1000
    assert sum(count for _, count in taken) == sum(map(len, jobs.BODIES.values()))


def test_job_waits_as_the_limiter_says_and_no_longer_than_it_lasts(tmp_path, monkeypatch):
    clock = jobs.Clock()

    class Strict(limits.Limiter):
        def take(self, count):
            clock.now += 301.0  # the deadline is over, the time to clear up is not
            return jobs.LONGEST_S

    def after_a_moment(handler, name, body):
        # The job has seen the connection by then: it is out of time all the same, not stalled.
        time.sleep(jobs.MOMENT_S)
        family.ranged(handler, name, body)

    monkeypatch.setattr(limits, "Limiter", Strict)
    with family.Mirror(jobs.BODIES, after_a_moment) as mirror:
        options = jobs.options(tmp_path, mirror.url, limit_rate_bytes_per_s=4000)
        result = jobs.run(options, clock=clock)
    (attempt,) = result.files[jobs.BIG.name].attempts
    assert attempt.cause == "deadline"
    assert attempt.bytes == 1000
    for thread in threading.enumerate():
        if thread.name.startswith("fetch-"):
            thread.join(jobs.LONGEST_S)


def test_nothing_is_limited_unless_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "Limiter", None)
    with family.Mirror(jobs.BODIES) as mirror:
        assert jobs.is_here(jobs.run(jobs.options(tmp_path, mirror.url)))


def test_message_of_the_house_stands_where_every_source_refused(tmp_path):
    def refused(status):
        return lambda handler, *_: family.send(handler, status, b"")

    with family.Mirror(jobs.BODIES, refused(403)) as one, family.Mirror({}, refused(404)) as two:
        options = jobs.options(tmp_path, one.url, attempts=1)
        options = dataclasses.replace(options, blocked_message="ask netops, form 17")
        assert jobs.obtained(options).error.hint.startswith("ask netops, form 17; ")
        # A mirror that lacks the file refuses nobody.
        mixed = dataclasses.replace(options, mirrors=(*options.mirrors, settings.Mirror(two.url)))
        assert "form 17" not in jobs.obtained(mixed).error.hint
