"""fetch: failover, resume, retries, redirects, secrets, locks; over scripted loopback mirrors."""

from __future__ import annotations

import dataclasses
import gc
import json
import os
import pathlib
import socket
import threading
import time

import family
import forked
import pytest

from fmnist_tfds import errors, obtain
from fmnist_tfds.config import loader, settings
from fmnist_tfds.download.cache import partial_files
from fmnist_tfds.download.cache import store as stores
from fmnist_tfds.download.policy import attempt, downloader, hedging, retry
from fmnist_tfds.download.transport import credentials, request, transfer, watching

DATASET, BODIES = family.make()
pytestmark = pytest.mark.versions
BIG = DATASET.files[0]
# Limits that a slow machine does not reach: only what the mirrors do decides.
NETWORK = settings.Network(
    connect_timeout_s=60.0,
    read_timeout_s=60.0,
    backoff_s=0.02,
    hedge_after_s=60.0,
    deadline_s=300.0,
)
LONGEST_S = 120


def _options(tmp_path, *mirrors, **network):
    return settings.Settings(
        mirrors=tuple(m if isinstance(m, settings.Mirror) else settings.Mirror(m) for m in mirrors),
        cache_dir=tmp_path / "cache",
        network=dataclasses.replace(NETWORK, **network),
    )


def _fetch(tmp_path, *mirrors, files=DATASET.files, **network):
    options = _options(tmp_path, *mirrors, **network)
    return downloader.fetch_all(options, files, stores.Store(options.cache_dir, DATASET))


def _causes(result, file=BIG):
    return [a.cause for a in result.files[file.name].attempts if a.outcome == "failed"]


def _is_here(result, file=BIG):
    path = result.files[file.name].path
    return path is not None and path.read_bytes() == BODIES[file.name]


def test_fetch_takes_each_file_once_from_the_first_mirror(tmp_path):
    with family.Mirror(BODIES) as first, family.Mirror(BODIES) as second:
        result = _fetch(tmp_path, first.url, second.url)
        again = _fetch(tmp_path, first.url)
    assert all(_is_here(result, f) for f in DATASET.files)
    assert sorted(first.names()) == sorted(BODIES)
    assert second.seen == []
    assert {r.source for r in again.files.values()} == {"cache"}
    headers = first.seen[0][1]
    assert headers["User-Agent"].startswith("fmnist_tfds/")
    assert headers["Accept-Encoding"] == "identity"


def test_fetch_goes_on_at_another_mirror_where_one_broke_off(tmp_path):
    half = len(BODIES[BIG.name]) // 2

    def cut(handler, name, body):
        family.send(handler, 200, body[:half], Content_Length=str(len(body)))
        handler.close_connection = True

    with family.Mirror(BODIES, cut) as first, family.Mirror(BODIES) as second:
        result = _fetch(tmp_path, first.url, second.url, files=[BIG])
    assert _is_here(result)
    assert _causes(result) == ["truncated"]
    assert second.seen[0][1]["Range"] == f"bytes={half}-"


def test_the_receipt_names_what_failed_before_the_mirror_that_delivered(tmp_path, closed_port):
    dead = f"http://127.0.0.1:{closed_port}/"
    with family.Mirror(BODIES) as mirror:
        result = _fetch(tmp_path, dead, mirror.url, files=[BIG])
    assert _causes(result) == ["connect-refused"]
    receipt = json.loads((tmp_path / "cache" / "receipt.json").read_text())
    failed = receipt["files"][BIG.name]["failed_attempts"]
    assert [(a["url"], a["cause"]) for a in failed] == [(dead + BIG.name, "connect-refused")]


def test_a_signature_in_a_mirrors_query_is_never_shown(tmp_path):
    def echo(handler, name, body):
        page = f"<!doctype html><title>Index of {handler.path}</title>".encode()
        family.send(handler, 200, page, Content_Length=str(len(page)))

    with family.Mirror(BODIES, echo) as mirror:
        result = _fetch(tmp_path, f"{mirror.url}?sig=hunter2-signature", files=[BIG])
    assert mirror.seen[0][0] == f"/{BIG.name}?sig=hunter2-signature"
    shown = json.dumps([a.as_json() for a in result.files[BIG.name].attempts])
    assert "Index of" in shown
    assert "hunter2" not in shown


def test_an_attempt_called_off_while_connecting_leaves_no_socket_open(tmp_path):
    secrets = credentials.Secrets(loader.resolve_secret)
    with family.Mirror(BODIES) as mirror:
        options = _options(tmp_path, mirror.url)
        part = tmp_path / "part"
        order = request.Request(BIG, options.mirrors[0], options, part, DATASET, secrets)
        watch = watching.Watch()
        watch.cancel()
        # A socket that nobody closed is a ResourceWarning, and warnings are errors.
        with pytest.raises(watching.Cancelled):
            transfer.run(order, watch)
        watch.close()
        gc.collect()
    assert mirror.seen == []


def _threads(start):
    return [thread for thread in threading.enumerate() if thread.name.startswith(start)]


class _HeldParts(partial_files.Parts):
    """Parts that are given back only when `go` is set."""

    def __init__(self, directory):
        super().__init__(directory)
        self.asked, self.go = threading.Event(), threading.Event()

    def release(self, part, *, keep):
        self.asked.set()
        self.go.wait(LONGEST_S)
        super().release(part, keep=keep)


def test_an_attempt_is_over_only_when_its_part_can_be_taken_over(tmp_path):
    def half(handler, name, body):
        family.send(handler, 200, body[:5000], Content_Length=str(len(body)))
        handler.close_connection = True

    with family.Mirror(BODIES, half) as mirror:
        options = _options(tmp_path, mirror.url)
        store = stores.Store(options.cache_dir, DATASET)
        held = store.parts = _HeldParts(tmp_path / "cache" / ".state")
        finished = threading.Event()
        one = attempt.RunningAttempt(
            BIG,
            options.mirrors[0],
            options,
            store,
            credentials.Secrets(loader.resolve_secret),
            finished=finished,
            failures=list,
            clock=time.monotonic,
        )
        assert held.asked.wait(LONGEST_S)
        assert one.attempt is None
        held.go.set()
        assert finished.wait(LONGEST_S)
    assert one.attempt.cause == "truncated"
    assert store.part_path(BIG).stat().st_size == 5000


def test_a_part_that_somebody_removes_is_an_error_of_the_cache(tmp_path):
    def tidied(handler, name, body):
        family.send(handler, 200, body[:5000], Content_Length=str(len(body)))
        while not any(part.stat().st_size for part in tmp_path.rglob("*.part")):
            time.sleep(0.01)
        for part in tmp_path.rglob("*.part"):
            part.unlink()
        handler.wfile.write(body[5000:])

    with family.Mirror(BODIES, tidied) as mirror:
        result = _fetch(tmp_path, mirror.url, files=[BIG])
    assert isinstance(result.error, errors.StoreError)
    assert result.files[BIG.name].path is None


def test_where_a_file_is_from_is_on_record_as_soon_as_it_is_here(tmp_path, monkeypatch):
    options = _options(tmp_path, "http://mirror.example/")
    seen = []
    sync = stores._sync

    def looking(path):
        sync(path)
        other = stores.Store(options.cache_dir, DATASET)
        if other.lookup(BIG):
            seen.append(other.record(BIG)["source"])

    monkeypatch.setattr(stores, "_sync", looking)
    store = stores.Store(options.cache_dir, DATASET)
    part = store.part_path(BIG)
    part.write_bytes(BODIES[BIG.name])
    store.publish(part, BIG, {"source": "a mirror"})
    assert seen == ["a mirror"]


def test_a_file_system_that_hangs_ends_at_the_deadline_and_says_so(tmp_path, monkeypatch):
    options = _options(tmp_path, "http://mirror.example/")
    store = stores.Store(options.cache_dir, DATASET)
    store.prepare()
    over = threading.Event()

    def hangs(self, file):
        over.wait(LONGEST_S)

    monkeypatch.setattr(stores.Store, "lookup", hangs)
    moments = iter([0.0])
    try:
        result = downloader.fetch_all(options, [BIG], store, clock=lambda: next(moments, 1e6))
    finally:
        over.set()
    (attempt,) = result.files[BIG.name].attempts
    assert (attempt.url, attempt.cause) == (f"http://mirror.example/{BIG.name}", "deadline")
    for thread in _threads("obtain-"):
        thread.join(LONGEST_S)


def test_a_dead_network_is_known_within_ten_seconds(tmp_path, monkeypatch):
    over = threading.Event()
    now = [0.0]

    def silent_resolver(*args, **kwargs):
        over.wait(LONGEST_S)
        raise socket.gaierror(socket.EAI_AGAIN, "no answer")

    def clock():
        """Time goes by as the job looks at the clock: no machine is too slow for it."""
        if threading.current_thread().name.startswith("obtain-"):
            now[0] += 0.01
        return now[0]

    monkeypatch.setattr(socket, "getaddrinfo", silent_resolver)
    monkeypatch.setattr(hedging, "_POLL_S", 0.001)
    mirrors = [settings.Mirror(f"http://{name}.example/") for name in "abcdefgh"]
    options = settings.Settings(tuple(mirrors), cache_dir=tmp_path / "cache")
    store = stores.Store(options.cache_dir, DATASET)
    result = downloader.fetch_all(options, [BIG], store, clock=clock)
    over.set()
    assert _causes(result) == ["connect-timeout"] * 8
    assert now[0] <= 10.0
    for thread in _threads("fetch-"):
        thread.join(LONGEST_S)


def test_an_attempt_that_made_progress_does_not_count(tmp_path):
    step = len(BODIES[BIG.name]) // 12

    def drip(handler, name, body):
        start = int(handler.headers.get("Range", "bytes=0-").removeprefix("bytes=").rstrip("-"))
        where = {"Content_Range": f"bytes {start}-{len(body) - 1}/{len(body)}"} if start else {}
        piece, length = body[start : start + step], str(len(body) - start)
        family.send(handler, 206 if start else 200, piece, Content_Length=length, **where)
        handler.close_connection = True

    with family.Mirror(BODIES, drip) as mirror:
        result = _fetch(tmp_path, mirror.url, files=[BIG], attempts=2)
    assert _is_here(result)
    assert len(mirror.seen) > 10


def test_a_mirror_that_ignores_ranges_still_completes_a_part(tmp_path):
    requests = []

    def cut_then_whole(handler, name, body):
        requests.append(name)
        if len(requests) == 1:
            family.send(handler, 200, body[:5000], Content_Length=str(len(body)))
            handler.close_connection = True
        else:
            family.send(handler, 200, body)

    with family.Mirror(BODIES, cut_then_whole) as mirror:
        assert _is_here(_fetch(tmp_path, mirror.url, files=[BIG]))


def test_a_part_that_was_poisoned_is_not_blamed_on_the_next_mirror(tmp_path):
    def poison(handler, name, body):
        wrong = b"\x1f\x8b" + bytes(4000)
        family.send(handler, 200, wrong, Content_Length=str(len(body)))
        handler.close_connection = True

    with family.Mirror(BODIES, poison) as first, family.Mirror(BODIES) as second:
        result = _fetch(tmp_path, first.url, second.url, files=[BIG], attempts=1)
    assert _is_here(result)
    assert _causes(result) == ["truncated"]


def test_what_is_no_file_is_named_and_never_published(tmp_path):
    def portal(handler, name, body):
        family.send(handler, 200, b"<html><title>Guest Wi-Fi login</title></html>")

    with family.Mirror(BODIES, portal) as mirror:
        result = _fetch(tmp_path, mirror.url)
    assert {tuple(_causes(result, f)) for f in DATASET.files} == {("captive-portal",)}
    assert not [p for p in tmp_path.rglob("*.gz") if p.is_file()]
    assert not list(tmp_path.rglob("*.part"))


def test_retry_after_is_waited_for_and_capped_by_the_deadline(tmp_path):
    asked = []

    def limited(handler, name, body):
        asked.append(name)
        if len(asked) == 1:
            family.send(handler, 429, b"", Retry_After="7")
        else:
            family.send(handler, 200, body)

    slept = []
    now = [100.0]

    def sleep(seconds):
        slept.append(seconds)
        now[0] += seconds

    for deadline_s, arrives in ((20.0, True), (5.0, False)):
        asked.clear()
        slept.clear()
        options = _options(tmp_path / str(deadline_s), "http://x", deadline_s=deadline_s)
        with family.Mirror(BODIES, limited) as mirror:
            options = dataclasses.replace(options, mirrors=(settings.Mirror(mirror.url),))
            store = stores.Store(options.cache_dir, DATASET)
            result = downloader.fetch_all(
                options, [BIG], store, clock=lambda: now[0], sleep=sleep, rand=lambda: 0.0
            )
        assert _is_here(result) is arrives
        assert [round(s) for s in slept] == ([7] if arrives else [])


def test_backoff_doubles_with_jitter_and_reads_both_forms_of_retry_after():
    assert [retry.delay_s(1.0, n, lambda: 0.0) for n in (1, 2, 3, 9)] == [0.5, 1.0, 2.0, 15.0]
    assert retry.delay_s(1.0, 1, lambda: 1.0) == 1.0
    assert retry.retry_after_s("12", 0.0) == 12.0
    assert retry.retry_after_s("Thu, 01 Jan 1970 00:01:00 GMT", 10.0) == 50.0
    assert retry.retry_after_s("Thu, 01 Jan 1970 00:01:00 GMT", 100.0) == 0.0
    assert retry.retry_after_s("soon", 0.0) is None


def test_secrets_never_follow_a_redirect_to_another_host_nor_appear_anywhere(
    tmp_path, monkeypatch, caplog
):
    monkeypatch.setenv("PLANTED", "s3cr3t-v4lue")
    monkeypatch.setenv("PLANTED_TOKEN", "t0ken-v4lue")
    with family.Mirror(BODIES) as other:

        def away(handler, name, body):
            family.send(handler, 302, b"", Location=other.url + name)

        with family.Mirror(BODIES, away) as home:
            mirror = settings.Mirror(
                home.url,
                headers=(("X-Key", "env:PLANTED"), ("X-Team", "vision")),
                auth=settings.Auth("bearer", token="env:PLANTED_TOKEN"),
            )
            options = _options(tmp_path, mirror, settings.Mirror(home.url + "s3cr3t-v4lue/"))
            outcome = obtain.obtain(options, dataset=DATASET)
            assert outcome.error is None
            assert home.seen[0][1]["X-Key"] == "s3cr3t-v4lue"
            assert home.seen[0][1]["Authorization"] == "Bearer t0ken-v4lue"
    for _, headers in other.seen:
        assert "X-Key" not in headers
        assert "Authorization" not in headers
        assert headers["X-Team"] == "vision"
    shown = json.dumps(outcome.as_json()) + json.dumps(outcome.receipt) + caplog.text
    shown += "".join(p.read_text() for p in tmp_path.rglob("*.json"))
    assert "v4lue" not in shown


@pytest.mark.parametrize("target", ["file:///etc/hostname", "ftp://127.0.0.1/x"])
def test_a_redirect_to_another_scheme_is_refused(tmp_path, target):
    with family.Mirror(
        BODIES, lambda handler, name, body: family.send(handler, 302, b"", Location=target)
    ) as mirror:
        result = _fetch(tmp_path, mirror.url, files=[BIG])
    assert _causes(result) == ["insecure-redirect"]


def test_a_redirect_loop_ends(tmp_path):
    with family.Mirror(
        BODIES, lambda handler, name, body: family.send(handler, 302, b"", Location=handler.path)
    ) as mirror:
        result = _fetch(tmp_path, mirror.url, files=[BIG])
    assert _causes(result) == ["redirect-loop"]


def test_a_dead_first_mirror_is_remembered_and_still_tried_last(tmp_path, closed_port):
    dead = f"http://127.0.0.1:{closed_port}/"
    with family.Mirror(BODIES) as good:
        first = _fetch(tmp_path, dead, good.url, files=[BIG])
        second = _fetch(tmp_path, dead, good.url, files=DATASET.files[1:])
    assert _causes(first) == ["connect-refused"]
    assert [_causes(second, f) for f in DATASET.files[1:]] == [[], [], []]
    third = _fetch(tmp_path / "x", dead, files=[BIG], attempts=1)
    assert _causes(third) == ["connect-refused"]


def test_folders_are_mirrors_too(tmp_path):
    folder = tmp_path / "share"
    folder.mkdir()
    for name, body in BODIES.items():
        (folder / name).write_bytes(body)
    assert _is_here(_fetch(tmp_path, folder.as_uri() + "/"))
    assert _causes(_fetch(tmp_path / "b", (tmp_path / "none").as_uri())) == ["not-found"]


def _worker(url, cache, ready):
    ready.set()
    options = settings.Settings((settings.Mirror(url),), pathlib.Path(cache), NETWORK)
    os._exit(0 if obtain.obtain(options, dataset=DATASET).error is None else 1)


def test_sixteen_processes_on_an_empty_cache_all_succeed_and_ask_about_once(tmp_path):
    spawn = forked.context()
    with family.Mirror(BODIES) as mirror:
        ready = spawn.Event()
        workers = [
            spawn.Process(target=_worker, args=(mirror.url, str(tmp_path / "cache"), ready))
            for _ in range(16)
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(LONGEST_S)
        assert [worker.exitcode for worker in workers] == [0] * 16
        assert len(mirror.seen) <= 8


def test_kill_at_any_moment_leaves_nothing_wrong(tmp_path):
    def slow(handler, name, body):
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        try:
            for start in range(0, len(body), 8192):
                handler.wfile.write(body[start : start + 8192])
                time.sleep(0.001)
        except OSError:
            handler.close_connection = True

    spawn = forked.context()
    cache = tmp_path / "cache"
    with family.Mirror(BODIES, slow) as mirror:
        for number in range(25):
            ready = spawn.Event()
            worker = spawn.Process(target=_worker, args=(mirror.url, str(cache), ready))
            worker.start()
            assert ready.wait(LONGEST_S)
            worker.join(0.004 * number)
            # Not os.kill: the worker may end of itself at this very moment.
            worker.kill()
            # Waited for, or its part would look like one that is still being written.
            worker.join(LONGEST_S)
            for path in cache.rglob("*.gz"):
                assert path.read_bytes() == BODIES[path.name]
        options = settings.Settings((settings.Mirror(mirror.url),), cache, NETWORK)
        outcome = obtain.obtain(options, dataset=DATASET)
    assert outcome.error is None
    assert not list(cache.rglob("*.part"))


def test_error_of_a_read_only_cache_is_a_store_error(tmp_path):
    (tmp_path / "cache").write_text("a file where the folder should be")
    with family.Mirror(BODIES) as mirror:
        outcome = obtain.obtain(_options(tmp_path, mirror.url), dataset=DATASET)
    assert isinstance(outcome.error, errors.StoreError)
    assert "cannot be written" in str(outcome.error)
