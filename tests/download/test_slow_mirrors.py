"""A slow mirror never blocks the others: hedging by projected end, as a user sees it.

The slow ones send a byte now and then and never end: only who is asked beside them can deliver.
"""

from __future__ import annotations

import contextlib
import hashlib
import random
import threading

import family
import pytest

from fmnist_tfds import artifacts
from fmnist_tfds.config import settings
from fmnist_tfds.download.cache import store as stores
from fmnist_tfds.download.policy import downloader, hedging, projection

BODY = random.Random(3).randbytes(400_000)
FILE = artifacts.Artifact(
    name="big.bin", size_bytes=len(BODY), sha256=hashlib.sha256(BODY).hexdigest()
)
SET = artifacts.ArtifactSet(name="any", title="any", files=(FILE,))


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    """The same rules in a tenth of the time."""
    monkeypatch.setattr(hedging, "_SOON_S", 1.0)
    monkeypatch.setattr(hedging, "_HOPELESS_S", 6.0)
    monkeypatch.setattr(hedging, "_LINE_LOOK_S", 0.4)
    monkeypatch.setattr(hedging, "_LINE_PAUSE_S", 2.0)
    monkeypatch.setattr(projection, "WINDOW_S", 0.3)


class Trickle:
    """Answers that bring a few bytes a second until the client goes away."""

    def __init__(self, *, first=0, pause_s=0.02, piece=64):
        self.first, self.pause_s, self.piece = first, pause_s, piece
        self.asked = 0

    def __call__(self, handler, name, body):
        self.asked += 1
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.close_connection = True
        stop = threading.Event()
        try:
            handler.wfile.write(body[: self.first])
            for start in range(self.first, len(body), self.piece):
                handler.wfile.write(body[start : start + self.piece])
                stop.wait(self.pause_s)
        except OSError:
            return


def _fetch(tmp_path, *mirrors, deadline_s=60.0):
    network = settings.Network(
        connect_timeout_s=30.0,
        read_timeout_s=30.0,
        min_speed_bytes_per_s=10,
        backoff_s=0.02,
        hedge_after_s=0.4,
        deadline_s=deadline_s,
    )
    options = settings.Settings(
        tuple(settings.Mirror(mirror.url) for mirror in mirrors), tmp_path / "cache", network
    )
    store = stores.Store(options.cache_dir / SET.cache_folder, SET)
    return downloader.fetch_all(options, SET.files, store).files[FILE.name]


def _mirrors(stack, *answers):
    return [stack.enter_context(family.Mirror({FILE.name: BODY}, answer)) for answer in answers]


@pytest.fixture
def started():
    with contextlib.ExitStack() as stack:
        yield lambda *answers: _mirrors(stack, *answers)


def test_second_mirror_delivers_where_the_first_trickles(tmp_path, started):
    slow, good = started(Trickle(), family.ranged)
    result = _fetch(tmp_path, slow, good)
    assert result.path.read_bytes() == BODY
    assert result.source == f"{good.url}{FILE.name}"
    by_mirror = {a.url: a for a in result.attempts}
    lost = by_mirror[f"{slow.url}{FILE.name}"]
    assert (lost.outcome, lost.cause) == ("failed", "slow")
    assert "bytes/s; the rest would take" in lost.evidence


def test_mirror_that_slows_down_half_way_is_overtaken(tmp_path, started):
    slows, good = started(Trickle(first=250_000), family.ranged)
    result = _fetch(tmp_path, slows, good)
    assert result.source == f"{good.url}{FILE.name}"


def test_good_mirror_is_reached_behind_three_that_trickle(tmp_path, started):
    answers = [Trickle() for _ in range(3)]
    *slow, good = started(*answers, family.ranged)
    result = _fetch(tmp_path, *slow, good)
    assert result.source == f"{good.url}{FILE.name}"
    assert all(answer.asked for answer in answers)


def test_good_first_mirror_is_alone(tmp_path, started):
    first, second = started(family.ranged, family.ranged)
    result = _fetch(tmp_path, first, second)
    assert result.source == f"{first.url}{FILE.name}"
    assert second.seen == []


def test_slow_mirror_is_asked_later_by_the_next_job(tmp_path, started):
    slow, good = started(Trickle(), family.ranged)
    _fetch(tmp_path, slow, good)
    cached = next((tmp_path / "cache").rglob(FILE.sha256))
    cached.unlink()
    before = len(slow.seen)
    result = _fetch(tmp_path, slow, good)
    assert result.source == f"{good.url}{FILE.name}"
    assert len(slow.seen) == before


def test_only_mirror_is_not_called_off_for_being_slow(tmp_path, started):
    (slow,) = started(Trickle())
    result = _fetch(tmp_path, slow, deadline_s=2.0)
    assert result.path is None
    assert [a.cause for a in result.attempts] == ["deadline"]


def test_parts_of_who_lost_are_gone_once_the_file_is_here(tmp_path, started):
    slow, good = started(Trickle(first=100_000), family.ranged)
    assert _fetch(tmp_path, slow, good).path is not None
    assert not list((tmp_path / "cache").rglob("*.part"))
