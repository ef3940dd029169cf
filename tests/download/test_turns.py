"""Two downloads of one file: the second waits for the first, bounded, and never depends on it."""

from __future__ import annotations

import contextlib
import threading

import family
import filelock
import jobs
import pytest

from fmnist_tfds import errors
from fmnist_tfds.download.cache import store as stores

OTHER = jobs.DATASET.files[1]


def _store(tmp_path):
    return stores.Store(tmp_path / "cache" / jobs.DATASET.name, jobs.DATASET)


class Growing(jobs.Clock):
    """A clock whose every wait of `step_s` adds to a part, until `until_s` have gone by."""

    def __init__(self, part, *, until_s):
        super().__init__()
        self._part, self._end = part, self.now + until_s

    def sleep(self, seconds):
        super().sleep(max(seconds, 5.0))
        if self.now < self._end:
            with self._part.open("ab") as stream:
                stream.write(b"more")


@contextlib.contextmanager
def _downloading(tmp_path):
    """Another process at work on the file; its part."""
    store = _store(tmp_path)
    part = store.part_path(jobs.BIG)
    part.write_bytes(jobs.BODY[:10])
    with store.turn(jobs.BIG, wait_s=1.0):
        yield part


def _waited_s(tmp_path, clock, wait_s=120.0):
    start = clock.now
    with _store(tmp_path).turn(jobs.BIG, wait_s=wait_s, clock=clock, sleep=clock.sleep):
        return clock.now - start


def test_nobody_at_work_is_not_waited_for(tmp_path):
    _store(tmp_path).prepare()
    assert _waited_s(tmp_path, jobs.Clock()) == 0


@pytest.mark.parametrize(
    ("until_s", "waited_s"), [(0.0, 20.0), (50.0, 65.0), (1e4, 120.0)], ids=str
)
def test_another_download_is_waited_for_while_it_grows_and_for_two_minutes_at_most(
    tmp_path, until_s, waited_s
):
    with _downloading(tmp_path) as part:
        clock = Growing(part, until_s=until_s)
        assert _waited_s(tmp_path, clock) == waited_s


def test_a_wait_leaves_half_of_the_time_for_a_download_of_ones_own(tmp_path):
    with _downloading(tmp_path) as part, family.Mirror(jobs.BODIES) as mirror:
        clock = Growing(part, until_s=1e4)
        start = clock.now
        effective = jobs.options(tmp_path, mirror.url, deadline_s=60.0)
        assert jobs.is_here(jobs.run(effective, clock=clock))
    assert clock.now - start == 30.0


@pytest.mark.parametrize("error", [OSError(37, "No locks available"), NotImplementedError()])
def test_a_file_system_without_locks_serves(tmp_path, monkeypatch, error):
    def refuse(self, *args, **kwargs):
        raise error

    monkeypatch.setattr(filelock.FileLock, "acquire", refuse)
    with family.Mirror(jobs.BODIES) as mirror:
        assert jobs.is_here(jobs.run(jobs.options(tmp_path, mirror.url)))


@pytest.mark.parametrize("body", [jobs.BODY[:-1] + b"?", jobs.BODIES[OTHER.name]])
def test_what_is_not_the_file_is_never_published(tmp_path, body):
    store = _store(tmp_path)
    part = store.part_path(jobs.BIG)
    part.write_bytes(body)
    with pytest.raises(errors.ContentError, match=jobs.BIG.name):
        store.publish(part, jobs.BIG, {"source": "a mirror"})
    assert not store.path(jobs.BIG).exists()
    assert store.receipt()["files"] == {}


def test_a_download_leaves_the_file_its_receipt_and_what_the_next_job_needs(tmp_path):
    with family.Mirror(jobs.BODIES) as mirror:
        assert jobs.is_here(jobs.run(jobs.options(tmp_path, mirror.url)))
    left = {path.name for path in (tmp_path / "cache").rglob("*") if path.is_file()}
    bookkeeping = {f"{jobs.BIG.name}.json", f"{jobs.BIG.name}.lock", "mirrors.json"}
    assert left - bookkeeping == {jobs.BIG.name, "receipt.json"}


def test_a_cache_that_fails_for_one_file_ends_the_job_for_all(tmp_path, monkeypatch):
    asked, over = threading.Event(), threading.Event()
    part_path = stores.Store.part_path

    def full(self, file):
        if file == OTHER:
            return part_path(self, file)
        assert asked.wait(jobs.LONGEST_S)
        raise stores.unwritable(self.directory, OSError(28, "No space left on device"))

    def silent(handler, name, body):
        asked.set()
        over.wait(jobs.LONGEST_S)
        with contextlib.suppress(OSError):
            family.send(handler, 200, body)

    monkeypatch.setattr(stores.Store, "part_path", full)
    with family.Mirror(jobs.BODIES, silent) as mirror:
        result = jobs.run(jobs.options(tmp_path, mirror.url), files=[jobs.BIG, OTHER])
        over.set()
    assert "No space left on device" in str(result.error)
    # Not waited for: nobody could use it without the other one.
    assert result.files[OTHER.name].path is None
