"""Transfer and redirects: resumed where it broke off, bounded, raw bytes, safe places only."""

from __future__ import annotations

import contextlib
import gzip
import threading

import family
import jobs
import pytest

from fmnist_tfds.config import loader, settings
from fmnist_tfds.download.transport import credentials, request, transfer, watching
from fmnist_tfds.formats import identify


def _first_cut(then, count=5000):
    """A mirror that breaks off once; `then(handler, body)` answers what follows."""
    asked = []

    def answer(handler, name, body):
        asked.append(handler.headers.get("Range"))
        if len(asked) == 1:
            jobs.cut(handler, body, count)
        else:
            then(handler, body)

    return answer, asked


def test_a_range_that_was_not_asked_for_is_not_appended(tmp_path):
    def other_range(handler, body):
        if handler.headers.get("Range"):
            where = f"bytes 100-{len(body) - 1}/{len(body)}"
            family.send(handler, 206, body[100:], Content_Range=where)
        else:
            family.send(handler, 200, body)

    answer, asked = _first_cut(other_range)
    with family.Mirror(jobs.BODIES, answer) as mirror:
        result = jobs.run(jobs.options(tmp_path, mirror.url))
    assert jobs.is_here(result)
    # In the same attempt: the server is not to blame.
    assert jobs.causes(result) == ["truncated"]
    assert asked == [None, "bytes=5000-", None]
    # Nothing of that range was read.
    assert result.files[jobs.BIG.name].attempts[-1].bytes == len(jobs.BODY)


def test_a_part_that_the_server_refuses_to_continue_is_begun_again_at_once(tmp_path):
    def refuse_ranges(handler, body):
        if handler.headers.get("Range"):
            family.send(handler, 416)
        else:
            family.send(handler, 200, body)

    answer, asked = _first_cut(refuse_ranges)
    with family.Mirror(jobs.BODIES, answer) as mirror:
        result = jobs.run(jobs.options(tmp_path, mirror.url))
    assert jobs.is_here(result)
    assert jobs.causes(result) == ["truncated"]
    assert len(asked) == 3


def test_a_whole_body_in_answer_to_a_range_is_not_appended(tmp_path):
    answer, asked = _first_cut(lambda handler, body: family.send(handler, 200, body))
    with family.Mirror(jobs.BODIES, answer) as mirror:
        result = jobs.run(jobs.options(tmp_path, mirror.url))
    assert jobs.is_here(result)
    assert asked == [None, "bytes=5000-"]


@pytest.mark.parametrize("ranges", [True, False])
def test_what_a_part_holds_already_is_not_counted_as_received(tmp_path, ranges):
    def whole(handler, name, body):
        family.send(handler, 200, body)

    part = tmp_path / "part"
    part.write_bytes(jobs.BODY[:5000])
    with family.Mirror(jobs.BODIES, family.ranged if ranges else whole) as mirror:
        options = jobs.options(tmp_path, mirror.url)
        secrets = credentials.Secrets(loader.resolve_secret)
        order = request.Request(jobs.BIG, options.mirrors[0], options, part, jobs.DATASET, secrets)
        watch = watching.Watch()
        reply = transfer.run(order, watch)
        watch.close()
    assert reply.problem is None
    assert part.read_bytes() == jobs.BODY
    # What is left, and when it will be here, is computed from these.
    assert watch.resumed_at == (5000 if ranges else 0)
    assert watch.resumed_at + watch.received == watch.size == len(jobs.BODY)


def test_a_resumed_request_asks_for_no_validator(tmp_path):
    answer, _ = _first_cut(lambda handler, body: family.ranged(handler, jobs.BIG.name, body))
    with family.Mirror(jobs.BODIES, answer) as mirror:
        assert jobs.is_here(jobs.run(jobs.options(tmp_path, mirror.url)))
        assert "If-Range" not in mirror.seen[1][1]


def test_the_range_survives_a_redirect(tmp_path):
    def answer(handler, name, body):
        if handler.path.startswith("/moved/"):
            cut_once(handler, name, body)
        else:
            family.send(handler, 302, Location=f"/moved/{name}")

    cut_once, asked = _first_cut(lambda handler, body: family.ranged(handler, jobs.BIG.name, body))
    with family.Mirror(jobs.BODIES, answer) as mirror:
        assert jobs.is_here(jobs.run(jobs.options(tmp_path, mirror.url)))
    assert asked == [None, "bytes=5000-"]


def test_a_gz_served_as_content_encoding_is_kept_as_it_is(tmp_path):
    def encoded(handler, name, body):
        family.send(handler, 200, body, Content_Encoding="gzip")

    with family.Mirror(jobs.BODIES, encoded) as mirror:
        result = jobs.run(jobs.options(tmp_path, mirror.url))
    assert jobs.is_here(result)
    assert jobs.receipt(tmp_path)[jobs.BIG.name]["canonical_gz"] is True
    assert result.files[jobs.BIG.name].attempts[0].bytes == len(jobs.BODY)


def _limit():
    return identify.limit_bytes(jobs.DATASET, jobs.BIG)


def test_a_body_that_promises_too_much_is_not_read(tmp_path):
    def large(handler, name, body):
        family.send(handler, 200, bytes(10), Content_Length=str(_limit() + 1))
        handler.close_connection = True

    with family.Mirror(jobs.BODIES, large) as mirror:
        result = jobs.run(jobs.options(tmp_path, mirror.url))
    assert jobs.causes(result) == ["too-large"]
    assert result.files[jobs.BIG.name].attempts[0].bytes == 0
    assert len(mirror.seen) == 1


def test_a_body_without_end_is_stopped_and_not_kept(tmp_path):
    stopped = threading.Event()

    def endless(handler, name, body):
        handler.send_response(200)
        handler.end_headers()
        try:
            for _ in range(200):
                handler.wfile.write(b"\x1f\x8b" * 500_000)
        except OSError:
            stopped.set()
        handler.close_connection = True

    with family.Mirror(jobs.BODIES, endless) as mirror:
        result = jobs.run(jobs.options(tmp_path, mirror.url))
        assert stopped.wait(jobs.LONGEST_S)
    assert jobs.causes(result) == ["too-large"]
    assert not list(tmp_path.rglob("*.part"))


def test_the_file_is_taken_as_soon_as_it_is_whole_though_the_body_goes_on(tmp_path):
    over = threading.Event()

    def never_ending(handler, name, body):
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(body)
        handler.wfile.write(bytes(10))
        over.wait(jobs.LONGEST_S)
        with contextlib.suppress(OSError):
            handler.wfile.write(bytes(_limit()))
        handler.close_connection = True

    with family.Mirror(jobs.BODIES, never_ending) as mirror:
        result = jobs.run(jobs.options(tmp_path, mirror.url, attempts=1))
        over.set()
    assert jobs.is_here(result)


def test_the_file_is_taken_as_soon_as_it_is_whole_though_more_was_promised(tmp_path):
    over, was_over = threading.Event(), []

    def too_long(handler, name, body):
        family.send(handler, 200, body, Content_Length=str(len(body) + 1000))
        was_over.append(over.wait(jobs.LONGEST_S))
        handler.close_connection = True

    with family.Mirror(jobs.BODIES, too_long) as mirror:
        result = jobs.run(jobs.options(tmp_path, mirror.url, attempts=1))
        over.set()
    assert jobs.is_here(result)
    assert was_over in ([], [True])


def test_bytes_of_the_right_size_that_are_another_file_are_never_published(tmp_path):
    wrong = jobs.BODY[:-9] + bytes(9)

    def serve_wrong(handler, name, body):
        family.send(handler, 200, wrong)

    with family.Mirror(jobs.BODIES, serve_wrong) as mirror:
        result = jobs.run(jobs.options(tmp_path, mirror.url, attempts=1))
    assert jobs.causes(result) == ["checksum-mismatch"]
    assert not list(tmp_path.rglob("*-ubyte.gz"))
    assert not list(tmp_path.rglob("*.part"))


def test_another_file_of_the_four_is_not_taken_for_the_file(tmp_path):
    other = jobs.BODIES[jobs.DATASET.files[1].name]

    def mixed_up(handler, name, body):
        family.send(handler, 200, other)

    with family.Mirror(jobs.BODIES, mixed_up) as mirror:
        result = jobs.run(jobs.options(tmp_path, mirror.url, attempts=1))
    (attempt,) = result.files[jobs.BIG.name].attempts
    assert attempt.outcome == "failed"
    assert "where train images belong" in attempt.evidence


def test_a_payload_served_bare_is_proved_and_stored_as_gz(tmp_path):
    payload = gzip.decompress(jobs.BODY)

    def bare(handler, name, body):
        family.send(handler, 200, payload)

    with family.Mirror(jobs.BODIES, bare) as mirror:
        path = jobs.run(jobs.options(tmp_path, mirror.url)).files[jobs.BIG.name].path
    assert gzip.decompress(path.read_bytes()) == payload
    entry = jobs.receipt(tmp_path)[jobs.BIG.name]
    # The published bytes of this small data set cannot be made again: the receipt claims no such.
    assert (entry["canonical_gz"], entry["gz_sha256"]) == (False, None)
    assert entry["payload_sha256"] == jobs.BIG.payload_sha256
    assert "no GNU gzip" in entry["note"]


@pytest.mark.parametrize(
    ("status", "headers", "cause"),
    [
        (401, {}, "auth-required"),
        (403, {}, "forbidden"),
        (404, {}, "not-found"),
        (408, {}, "stalled"),
        (410, {}, "not-found"),
        (413, {}, "size-limited"),
        (429, {}, "rate-limited"),
        (451, {}, "geo-blocked"),
        (500, {}, "server-error"),
        (503, {}, "server-error"),
        (503, {"Retry_After": "5"}, "rate-limited"),
        (511, {}, "captive-portal"),
    ],
)
def test_a_status_has_its_cause(tmp_path, status, headers, cause):
    def answer(handler, name, body):
        family.send(handler, status, b"no", **headers)

    with family.Mirror(jobs.BODIES, answer) as mirror:
        result = jobs.run(jobs.options(tmp_path, mirror.url, attempts=1))
    assert jobs.causes(result) == [cause]
    assert result.files[jobs.BIG.name].attempts[0].http_status == status


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_every_kind_of_redirect_is_followed_relative_ones_too(tmp_path, status):
    def moved(handler, name, body):
        if handler.path.startswith("/there/"):
            family.send(handler, 200, body)
        else:
            family.send(handler, status, Location=f"there/{name}")

    with family.Mirror(jobs.BODIES, moved) as mirror:
        assert jobs.is_here(jobs.run(jobs.options(tmp_path, mirror.url)))


@pytest.mark.parametrize(("hops", "arrives"), [(10, True), (11, False)])
def test_ten_redirects_are_followed_and_no_more(tmp_path, hops, arrives):
    def moved(handler, name, body):
        number = int(handler.path.split("/")[1])
        if number:
            family.send(handler, 302, Location=f"/{number - 1}/{name}")
        else:
            family.send(handler, 200, body)

    with family.Mirror(jobs.BODIES, moved) as mirror:
        result = jobs.run(jobs.options(tmp_path, f"{mirror.url}{hops}/"))
    assert jobs.is_here(result) is arrives
    assert len(mirror.seen) == 11
    assert jobs.causes(result) == ([] if arrives else ["redirect-loop"])
    assert result.files[jobs.BIG.name].attempts[0].http_status == (200 if arrives else 302)


def test_the_proxy_is_chosen_anew_for_the_place_that_a_redirect_leads_to(tmp_path, closed_port):
    with family.Mirror(jobs.BODIES) as target:
        away = target.url.replace("127.0.0.1", "localhost")

        def moved(handler, name, body):
            family.send(handler, 302, Location=away + name)

        dead = {"http": f"http://127.0.0.1:{closed_port}"}
        environment = settings.Environment(proxies=dead, no_proxy="127.0.0.1")
        with family.Mirror(jobs.BODIES, moved) as mirror:
            effective = jobs.options(tmp_path, mirror.url, environment=environment, attempts=1)
            result = jobs.run(effective)
    assert jobs.causes(result) == ["connect-refused"]
    assert target.seen == []


def test_a_folder_that_may_not_be_read_is_forbidden(tmp_path, monkeypatch):
    share = tmp_path / "share"
    share.mkdir()
    (share / jobs.BIG.name).write_bytes(jobs.BODY)
    opened = type(share).open

    def refuse(path, *args, **kwargs):
        if path.parent == share:
            raise PermissionError(13, "Permission denied")
        return opened(path, *args, **kwargs)

    monkeypatch.setattr(type(share), "open", refuse)
    result = jobs.run(jobs.options(tmp_path, share.as_uri() + "/"))
    assert jobs.causes(result) == ["forbidden"]
