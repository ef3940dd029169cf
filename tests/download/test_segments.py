"""One large file from two mirrors: the end taken over, every byte once, liars found out."""

from __future__ import annotations

import contextlib
import hashlib
import json
import random
import threading
import types

import family
import pytest

from fmnist_tfds import artifacts
from fmnist_tfds.config import settings
from fmnist_tfds.download.cache import store as stores
from fmnist_tfds.download.policy import downloader, hedging, segments, splitting

BODY = random.Random(5).randbytes(600_000)
FILE = artifacts.Artifact(
    name="big.bin", size_bytes=len(BODY), sha256=hashlib.sha256(BODY).hexdigest()
)
SET = artifacts.ArtifactSet(name="any", title="any", files=(FILE,))
LONGEST_S = 60.0


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    """The same rules for a small file and in less time; no hedging for the whole file."""
    monkeypatch.setattr(segments, "LEAST_BYTES", 20_000)
    monkeypatch.setattr(splitting, "SOON_S", 0.2)
    monkeypatch.setattr(splitting, "HOPELESS_S", 3600.0)
    monkeypatch.setattr(hedging, "_SOON_S", 3600.0)


class Paced:
    """A mirror that sends `first` bytes, then waits for `go`, a little at a time until then."""

    def __init__(self, *, first=30_000, body=BODY, ranges=True, pause_s=0.01):
        self.first, self.body, self.ranges, self.pause_s = first, body, ranges, pause_s
        self.go = threading.Event()
        self.spans = []
        self.sent = 0

    def __call__(self, handler, name, body):
        start, stop = 0, len(self.body)
        asked = handler.headers.get("Range", "")
        if asked and self.ranges:
            first, _, last = asked.removeprefix("bytes=").partition("-")
            start, stop = int(first), int(last) + 1 if last else stop
        self.spans.append((start, stop))
        handler.send_response(206 if asked and self.ranges else 200)
        if asked and self.ranges:
            where = f"bytes {start}-{stop - 1}/{len(self.body)}"
            handler.send_header("Content-Range", where)
        handler.send_header("Content-Length", str(stop - start))
        handler.end_headers()
        handler.close_connection = True
        try:
            for at in range(start, stop, 2000):
                if at - start >= self.first:
                    self.go.wait(self.pause_s)
                piece = self.body[at : min(at + 2000, stop)]
                handler.wfile.write(piece)
                self.sent += len(piece)
        except OSError:
            return


def _fetch(tmp_path, *mirrors, hedge_after_s=0.4):
    network = settings.Network(
        connect_timeout_s=30.0,
        read_timeout_s=30.0,
        min_speed_bytes_per_s=10,
        backoff_s=0.02,
        hedge_after_s=hedge_after_s,
        deadline_s=LONGEST_S,
    )
    options = settings.Settings(
        tuple(settings.Mirror(mirror.url) for mirror in mirrors), tmp_path / "cache", network
    )
    store = stores.Store(options.cache_dir / SET.cache_folder, SET)
    result = downloader.fetch_all(options, SET.files, store)
    return result.files[FILE.name], store


@pytest.fixture
def mirrors():
    with contextlib.ExitStack() as stack:
        yield lambda *answers: [
            stack.enter_context(family.Mirror({FILE.name: BODY}, answer)) for answer in answers
        ]


def _outcomes(found):
    return [(a.outcome, a.cause) for a in found.attempts]


def test_second_mirror_sends_the_end_while_the_first_sends_the_beginning(tmp_path, mirrors):
    slow, fast = Paced(), Paced(first=1 << 30)
    found, store = _fetch(tmp_path, *mirrors(slow, fast))
    assert found.path.read_bytes() == BODY
    assert found.source.startswith("http://127.0.0.1")
    assert ("part", "") in _outcomes(found)
    # From the end of the file downwards, every byte once.
    starts = [start for start, _ in fast.spans]
    assert starts == sorted(starts, reverse=True)
    assert fast.spans[0][1] == len(BODY)
    assert starts[:-1] == [stop for _, stop in fast.spans[1:]]
    taken = sum(a.bytes for a in found.attempts)
    assert taken <= len(BODY) + segments.LEAST_BYTES
    record = store.record(FILE)
    assert record["pieces_from"]
    assert not list((tmp_path / "cache").rglob("*.pie*"))


def test_mirror_without_ranges_helps_nobody_and_harms_nobody(tmp_path, mirrors):
    slow, other = Paced(first=400_000), Paced(first=1 << 30, ranges=False)
    first, second = mirrors(slow, other)
    found, _ = _fetch(tmp_path, first, second)
    assert found.path.read_bytes() == BODY
    assert ("part", "") not in _outcomes(found)
    # Once that is known, it is not asked for another piece.
    assert sum("Range" in headers for _, headers in second.seen) <= 1


def test_piece_of_another_version_of_the_file_is_not_taken(tmp_path, mirrors):
    slow, newer = Paced(first=300_000), Paced(first=1 << 30, body=BODY + bytes(1000))
    found, _ = _fetch(tmp_path, *mirrors(slow, newer))
    assert found.path.read_bytes() == BODY
    assert ("part", "") not in _outcomes(found)


def test_helper_that_takes_longer_than_it_saves_is_called_off(tmp_path, mirrors):
    slow, slower = Paced(pause_s=0.1), Paced(first=2000, pause_s=0.5)

    def until_called_off(handler, name, body):
        slower(handler, name, body)
        slow.go.set()

    found, _ = _fetch(tmp_path, *mirrors(slow, until_called_off), hedge_after_s=2.0)
    assert found.path.read_bytes() == BODY
    assert _outcomes(found) == [("failed", "slow"), ("ok", "")]


def test_file_that_would_take_for_ever_is_not_split(tmp_path, mirrors, monkeypatch):
    monkeypatch.setattr(splitting, "HOPELESS_S", splitting.SOON_S)
    slow, other = Paced(first=300_000, pause_s=0.02), Paced(first=1 << 30)
    found, _ = _fetch(tmp_path, *mirrors(slow, other), hedge_after_s=2.0)
    assert found.path.read_bytes() == BODY
    # Another mirror is asked for the whole file then, where hedging is not switched off as here.
    assert other.spans == []


def test_folder_helps_nobody_and_mirror_that_cannot_help_is_remembered(
    tmp_path, mirrors, closed_port
):
    share = tmp_path / "share"
    share.mkdir()
    (slow,) = mirrors(Paced(first=300_000, pause_s=0.02))
    dead = f"http://127.0.0.1:{closed_port}/"
    urls = [slow.url, f"{share.as_uri()}/", dead]
    found, store = _fetch(tmp_path, *map(settings.Mirror, urls), hedge_after_s=2.0)
    assert found.path.read_bytes() == BODY
    assert {a.url for a in found.attempts if a.cause} == {f"{dead}{FILE.name}"}
    assert list(json.loads(store.mirror_memory().read_text())) == [dead]


def test_wrong_piece_costs_its_sender_the_trust_and_not_the_download(tmp_path, mirrors):
    liar = Paced(first=1 << 30, body=BODY[::-1])
    honest, lying = mirrors(Paced(first=300_000), liar)
    found, store = _fetch(tmp_path, honest, lying)
    assert found.path.read_bytes() == BODY
    assert found.source == f"{honest.url}{FILE.name}"
    blamed = [a for a in found.attempts if a.cause == "checksum-mismatch"]
    assert [a.url for a in blamed] == [f"{lying.url}{FILE.name}"]
    assert "pieces_from" not in store.record(FILE)
    assert list(json.loads(store.mirror_memory().read_text())) == [lying.url]
    assert not list((tmp_path / "cache").rglob("*.p*t"))


def test_liar_at_the_beginning_is_found_out_too(tmp_path, mirrors):
    wrong = bytes(len(BODY))
    lying, honest = mirrors(Paced(first=300_000, body=wrong), Paced(first=1 << 30))
    found, _ = _fetch(tmp_path, lying, honest)
    assert found.path.read_bytes() == BODY
    assert found.source == f"{honest.url}{FILE.name}"


def test_helper_that_breaks_off_leaves_the_file_to_the_first(tmp_path, mirrors):
    def breaks(handler, name, body):
        handler.send_response(206)
        asked = handler.headers.get("Range", "bytes=0-").removeprefix("bytes=")
        start, _, last = asked.partition("-")
        stop = int(last) + 1 if last else len(BODY)
        handler.send_header("Content-Range", f"bytes {start}-{stop - 1}/{len(BODY)}")
        handler.send_header("Content-Length", str(stop - int(start)))
        handler.end_headers()
        handler.wfile.write(BODY[int(start) : int(start) + 1000])
        handler.close_connection = True

    found, _ = _fetch(tmp_path, *mirrors(Paced(first=400_000), breaks))
    assert found.path.read_bytes() == BODY
    assert not list((tmp_path / "cache").rglob("*.piece"))


def test_small_rest_is_not_split():
    shared = segments.Segments(100_000)
    assert shared.take(70_000) is None
    assert shared.take(20_000) == (60_000, 100_000)
    assert shared.take(20_000) is None  # one helper at a time


def test_piece_that_is_overtaken_before_its_half_is_dropped(tmp_path):
    shared = segments.Segments(100_000)
    start, _ = shared.take(0)
    assert not shared.is_reached(start - 1)
    assert not shared.is_reached(start)
    assert not shared.came(start, tmp_path / "piece", settings.Mirror("https://m/"))
    assert not shared.is_reached(99_999)


@pytest.mark.parametrize(("received", "is_worth_it"), [(24_999, False), (25_000, True)])
def test_piece_that_is_overtaken_after_its_half_is_waited_for(received, is_worth_it):
    shared = segments.Segments(100_000)
    start, _ = shared.take(0)
    shared.by(types.SimpleNamespace(received=received, size=50_000))
    assert shared.is_reached(start) is is_worth_it


def test_pieces_are_joined_in_their_order(tmp_path):
    body = bytes(range(100)) * 1000
    shared = segments.Segments(len(body))
    part = tmp_path / "part"
    written = 0
    while span := shared.take(written):
        start, stop = span
        piece = tmp_path / str(start)
        piece.write_bytes(body[start:stop])
        assert shared.came(start, piece, settings.Mirror("https://m/"))
        written += 1000
        boundary = start
    part.write_bytes(body[: boundary + 7])  # a little more than needed
    assert shared.is_reached(boundary + 7)
    joined, senders = shared.join(part)
    assert joined == boundary
    assert part.read_bytes() == body
    assert len(senders) > 1
    assert [path.name for path in tmp_path.iterdir()] == ["part"]
