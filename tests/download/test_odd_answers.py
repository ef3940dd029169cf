"""Odd answers are explained in the words of HTTP: no guess, and no name of a Python exception."""

from __future__ import annotations

import builtins
import concurrent.futures
import http.client
import re
import time

import family
import jobs
import pytest

from fmnist_tfds.config import loader
from fmnist_tfds.doctor import contents
from fmnist_tfds.download.policy import retry
from fmnist_tfds.download.transport import credentials, request

# Every word that may not reach a user.
_PYTHON = re.compile(
    "|".join(
        [name for name, kind in vars(builtins).items() if isinstance(kind, type) and "E" in name]
        + ["HTTPException", "MaxRetry", "ProtocolError", "Traceback", "urllib3", "object at 0x"]
    )
)


def _attempt(tmp_path, answer, **network):
    with family.Mirror(jobs.BODIES, answer) as mirror:
        result = jobs.run(jobs.options(tmp_path, mirror.url, attempts=1, **network))
    (attempt,) = result.files[jobs.BIG.name].attempts
    return attempt


def _raw(handler, text, body=b""):
    handler.wfile.write(text.replace("\n", "\r\n").encode("latin-1") + body)
    handler.close_connection = True


@pytest.mark.parametrize("status", [201, 204, 205, 226, 300, 304])
def test_status_without_the_file_is_the_servers_failure(tmp_path, status):
    attempt = _attempt(tmp_path, lambda handler, *_: _raw(handler, f"HTTP/1.1 {status} X\n\n"))
    assert attempt.cause == "server-error"
    assert f"{status} from 127.0.0.1: an answer without the file" in attempt.evidence


@pytest.mark.parametrize("count", [1, 3])
def test_early_hints_are_passed_over(tmp_path, count):
    hints = "HTTP/1.1 103 Early Hints\nLink: </style.css>; rel=preload\n\n" * count

    def answer(handler, name, body):
        _raw(handler, f"{hints}HTTP/1.1 200 OK\nContent-Length: {len(body)}\n\n", body)

    with family.Mirror(jobs.BODIES, answer) as mirror:
        assert jobs.is_here(jobs.run(jobs.options(tmp_path, mirror.url)))


def test_hints_without_end_are_no_hang(tmp_path):
    hints = "HTTP/1.1 103 Early Hints\n\n" * 50

    def answer(handler, name, body):
        _raw(handler, f"{hints}HTTP/1.1 200 OK\nContent-Length: {len(body)}\n\n", body)

    # Given up although the file would come: nobody sends so many and means well.
    assert _attempt(tmp_path, answer).cause == "server-error"


@pytest.mark.parametrize(
    ("answer", "cause", "said"),
    [
        ("302 Found\nLocation: http://[::1/x\n", "insecure-redirect", "invalid URL"),
        ("302 Found\nLocation: http://a.example:99999999/x\n", None, ""),
        ("200 OK\nContent-Length: " + "9" * 5000 + "\n", None, ""),
        ("206 Partial\nContent-Range: bytes 0-1/" + "9" * 5000 + "\n", None, ""),
        ("429 Slow\nRetry-After: " + "9" * 5000 + "\n", "rate-limited", ""),
        ("200 OK\n" + "X-A: b\n" * 150, "server-error", "more headers than are read"),
        ("200 OK\nX-A: " + "b" * 70_000 + "\n", "server-error", "a line that is too long"),
        ("200 OK\nDate: Fri, 31 Dec 99999 23:59:59 GMT\n", None, ""),
    ],
    ids=lambda value: value[:40] if value else "-",
)
def test_odd_header_is_explained_without_a_word_of_python(tmp_path, answer, cause, said):
    attempt = _attempt(tmp_path, lambda handler, *_: _raw(handler, f"HTTP/1.1 {answer}\n"))
    assert attempt.outcome == "failed"
    assert cause in (None, attempt.cause)
    assert said in attempt.evidence
    assert not _PYTHON.search(f"{attempt.evidence} {attempt.remedy}"), attempt.evidence


@pytest.mark.parametrize("coding", ["br", "zstd", "deflate", "compress"])
def test_compression_that_nobody_asked_for_is_named(tmp_path, coding):
    def answer(handler, name, body):
        family.send(handler, 200, bytes(reversed(body)), Content_Encoding=coding)

    attempt = _attempt(tmp_path, answer)
    assert attempt.cause == "wrong-content"
    assert f"compressed ({coding!r}), which was not asked for" in attempt.evidence


def test_gz_that_is_damaged_is_not_blamed_on_compression(tmp_path):
    def answer(handler, name, body):
        damaged = body[:1000] + bytes(100) + body[1100:]
        family.send(handler, 200, damaged, Content_Encoding="gzip")

    assert _attempt(tmp_path, answer).cause == "checksum-mismatch"


@pytest.mark.parametrize(
    "page",
    [
        b"<!DOCTYPE html><title>Log in</title>",
        b"<?xml version='1.0' encoding='UTF-8'?>\n<!-- a notice --><html></html>",
        b'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>NoSuchKey</Code></Error>',
    ],
)
def test_the_doctor_tells_a_document_by_the_first_bytes_of_a_file(tmp_path, page):
    with family.Mirror(jobs.BODIES, lambda handler, *_: family.send(handler, 200, page)) as mirror:
        options = jobs.options(tmp_path, mirror.url)
        secrets = credentials.Secrets(loader.resolve_secret)
        order = request.Request(
            jobs.BIG, options.mirrors[0], options, tmp_path / "part", jobs.DATASET, secrets
        )
        # A thread of its own, as an examination has: its connections are watched by thread.
        with concurrent.futures.ThreadPoolExecutor(1) as thread:
            found = thread.submit(contents.beginning, order).result()
    assert found.why is not None
    assert found.why.evidence == f"{jobs.BIG.name}: a web page came instead"


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="needs time.tzset")
def test_a_date_without_a_zone_is_in_utc(monkeypatch):
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        date = "Thu, 01 Jan 1970 00:01:00 -0000"
        assert contents.clock_skew_s(date, 100.0) == 40.0
        assert retry.retry_after_s(date, 0.0) == 60.0
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize("date", ["", "yesterday", "Fri, 31 Dec 99999 23:59:59 GMT"])
def test_date_beyond_the_calendar_is_no_date(date):
    assert contents.clock_skew_s(date, 0.0) is None or isinstance(
        contents.clock_skew_s(date, 0.0), float
    )
    assert retry.retry_after_s(date, 0.0) in (None, 0.0)


def test_switching_protocols_is_not_waited_upon(tmp_path):
    text = "HTTP/1.1 101 Switching Protocols\nUpgrade: x\n\n"
    attempt = _attempt(tmp_path, lambda handler, *_: _raw(handler, text))
    assert attempt.outcome == "failed"
    assert http.client.SWITCHING_PROTOCOLS == 101
