"""The claim: one owner, the dead and the silent set aside, every wait bounded."""

from __future__ import annotations

import errno
import json
import logging
import os
import resource
import subprocess
import sys
import threading

import pytest

from fmnist_tfds.datasets import preparation_lease


class FakeTime:
    """A clock that only sleeping moves on; may do something at each sleep."""

    def __init__(self, at_sleep=lambda: None):
        self.now_s = 0.0
        self.at_sleep = at_sleep

    def clock(self):
        return self.now_s

    def sleep(self, seconds):
        assert seconds >= 0
        self.now_s += max(seconds, 1e-3)
        self.at_sleep()


def make(path, time):
    return preparation_lease.Claim(path, clock=time.clock, sleep=time.sleep)


@pytest.fixture
def path(tmp_path):
    return tmp_path / ".1.0.0.preparing"


@pytest.fixture
def owned(path):
    """A claim held by this process, which beats only where a test says so."""
    owner = preparation_lease.Claim(path)
    assert owner.acquire(lambda: False) == "held"
    owner._stop.set()
    owner._heart.join()
    yield owner
    owner.release()


def test_claim_is_held_by_one_and_gone_after_release(path):
    first = preparation_lease.Claim(path)
    assert first.acquire(lambda: False) == "held"
    assert json.loads(path.read_bytes())["pid"] == os.getpid()
    first.release()
    assert not path.exists()
    first.release()


def test_claim_returns_done_when_the_owner_has_finished(path, owned):
    time = FakeTime()
    assert make(path, time).acquire(lambda: time.now_s > 20, silent_s=1e9) == "done"
    assert path.exists()


def test_claim_wait_is_bounded_and_says_so(path, owned, caplog):
    time = FakeTime()
    with caplog.at_level(logging.WARNING):
        assert make(path, time).acquire(lambda: False, wait_s=90.0, silent_s=1e9) == "beside"
    assert time.now_s == pytest.approx(90.0, abs=0.01), "not a look longer"
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 3
    assert f"process {os.getpid()}" in lines[0]
    assert "of at most 90 s" in lines[0]
    assert "working beside it" in lines[-1]
    assert path.exists()


def test_claim_of_a_living_owner_is_never_taken(path, owned):
    time = FakeTime(at_sleep=owned._beat)
    assert make(path, time).acquire(lambda: False, wait_s=300.0, silent_s=30.0) == "beside"
    assert path.exists()


def test_claim_is_kept_fresh_while_it_is_held(path, monkeypatch):
    beaten = threading.Semaphore(0)

    def beat_and_tell(self):
        beat(self)
        beaten.release()

    beat = preparation_lease.Claim._beat
    monkeypatch.setattr(preparation_lease.Claim, "_beat", beat_and_tell)
    monkeypatch.setattr(preparation_lease, "BEAT_S", 0.001)
    owner = preparation_lease.Claim(path)
    assert owner.acquire(lambda: False) == "held"
    for _ in range(3):
        assert beaten.acquire(timeout=60)
    owner.release()
    assert owner._beats >= 3
    assert not path.exists()


def test_claim_is_flushed_at_every_beat_where_other_nodes_see_it(path, monkeypatch):
    flushed = []

    def flush(descriptor):
        if os.path.samestat(os.fstat(descriptor), path.stat()):
            flushed.append(json.loads(path.read_bytes()))
        fsync(descriptor)

    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", flush)
    owner = preparation_lease.Claim(path)
    assert owner.acquire(lambda: False) == "held"
    assert len(flushed) == 1, "the first beat: a waiter on another node sees an owner at once"
    for folder in ("incomplete.1", "incomplete.2"):
        owner.note(path.with_name(folder))
        assert flushed[-1]["folder"].endswith(folder)
    assert [entry["beat"] for entry in flushed[:3]] == [1, 2, 3], "each beat differs"
    owner.release()


def test_claim_of_a_silent_owner_that_may_live_gives_no_folder_away(path, owned):
    owned.note(path.with_name("incomplete.of-the-living"))
    time = FakeTime()
    heir = make(path, time)
    assert heir.acquire(lambda: False, silent_s=30.0) == "held"
    assert heir.orphans == []
    heir.release()


def test_claim_of_an_owner_that_may_not_be_asked_is_not_dead(path, owned, monkeypatch):
    def refuse(pid, signal_number):
        raise PermissionError  # what the kernel says of another user's process

    monkeypatch.setattr(os, "kill", refuse)
    time = FakeTime()
    assert make(path, time).acquire(lambda: False, wait_s=20.0, silent_s=1e9) == "beside"
    assert path.exists()


def test_claim_that_another_waiter_took_over_first_stays_with_it(path, owned, monkeypatch):
    # Between this waiter's look and its rename, a faster one makes a claim of its own.
    faster = preparation_lease.Claim(path)
    rename = os.rename

    def rename_late(source, target, *arguments, **named):
        if not faster.is_held:
            path.unlink()
            assert faster.acquire(lambda: False) == "held"
        return rename(source, target, *arguments, **named)

    time = FakeTime(at_sleep=lambda: faster.note(path.with_name("incomplete.1")))
    monkeypatch.setattr(os, "rename", rename_late)
    slower = make(path, time)
    assert slower.acquire(lambda: False, wait_s=60.0, silent_s=30.0) == "beside"
    monkeypatch.undo()
    assert not slower.is_held
    assert list(path.parent.iterdir()) == [path]
    faster.release()
    assert not path.exists()


def test_claim_of_an_owner_that_stood_still_with_its_waiter_is_not_taken(path, owned):
    # As on a laptop that sleeps for an hour, twice.
    asleep = iter([False, True, False, True])

    def at_sleep():
        if next(asleep, False):
            time.now_s += 3600.0
        else:
            owned._beat()

    time = FakeTime(at_sleep)
    waiter = make(path, time)
    assert waiter.acquire(lambda: time.now_s > 7260.0, wait_s=1e5, silent_s=30.0) == "done"
    owned.release()
    assert not path.exists()


def test_claim_of_a_silent_owner_is_taken_over(path, owned):
    # As from a node that lost its power: the file stays, and nobody rewrites it.
    time = FakeTime()
    other = make(path, time)
    assert other.acquire(lambda: False, silent_s=30.0) == "held"
    assert 30.0 <= time.now_s < 34.0
    owned.release()
    assert path.exists(), "the former owner removed its successor's claim"
    other.release()
    assert not path.exists()


def test_claim_of_a_dead_process_is_taken_over_at_once_with_its_folder(path):
    text = (
        "import os, sys, pathlib\n"
        "from fmnist_tfds.datasets import preparation_lease as claim\n"
        "owner = claim.Claim(pathlib.Path(sys.argv[1]))\n"
        "owner.acquire(lambda: False)\n"
        "owner.note(pathlib.Path('incomplete.ABC_1.0.0'))\n"
        "os._exit(9)\n"
    )
    done = subprocess.run([sys.executable, "-c", text, str(path)], timeout=600)
    assert done.returncode == 9
    assert path.exists()
    time = FakeTime()
    heir = make(path, time)
    assert heir.acquire(lambda: False) == "held"
    assert time.now_s < 1.0
    assert [orphan.name for orphan in heir.orphans] == ["incomplete.ABC_1.0.0"]
    heir.release()


@pytest.mark.parametrize("content", [b"", b"{", b"5", b"[]", b'"pid"'])
def test_claim_that_describes_nobody_counts_as_silent_not_as_dead(path, content):
    path.write_bytes(content)
    time = FakeTime()
    heir = make(path, time)
    assert heir.acquire(lambda: False, silent_s=30.0) == "held"
    assert time.now_s >= 30.0
    assert heir.orphans == []
    heir.release()


def test_claim_that_cannot_be_written_is_not_left_behind(path, tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))  # what a full disk does
    try:
        assert preparation_lease.Claim(path).acquire(lambda: False) == "beside"
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == []


def test_claim_that_can_no_longer_be_written_is_a_warning_and_held_on(path, monkeypatch, caplog):
    monkeypatch.setattr(preparation_lease, "BEAT_S", 0.001)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with caplog.at_level(logging.WARNING):
        owner = preparation_lease.Claim(path)
        assert owner.acquire(lambda: False) == "held"
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
        try:
            owner._heart.join(60)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not owner._heart.is_alive()
    assert [record.getMessage() for record in caplog.records] == [
        f"{path}: cannot be kept alive: [Errno {errno.EFBIG}] {os.strerror(errno.EFBIG)}"
    ]
    assert owner.is_held
    owner.release()
    assert not path.exists()


def test_claim_in_a_missing_folder_raises(tmp_path):
    with pytest.raises(OSError, match="No such file"):
        preparation_lease.Claim(tmp_path / "absent" / "x").acquire(lambda: False)


def test_claim_of_another_kernel_is_never_dead_by_process_number(path):
    path.write_text(json.dumps({"host": "n7", "pid": 2**22 + 5, "kernel": "other", "beat": 1}))
    time = FakeTime()
    assert make(path, time).acquire(lambda: False, wait_s=20.0) == "beside"


@pytest.mark.parametrize("code", [errno.EINVAL, errno.ESTALE, errno.EIO, errno.ENOLCK])
def test_file_system_that_refuses_claims_ends_no_work(tmp_path, monkeypatch, code):
    def refuse(*arguments):
        raise OSError(code, "refused")

    claim = preparation_lease.Claim(tmp_path / "claim")
    monkeypatch.setattr(os, "open", refuse)
    assert claim.acquire(lambda: False) == "beside"
    claim.release()


def test_folder_that_cannot_be_written_is_told_by_its_error(tmp_path, monkeypatch):
    def refuse(*arguments):
        raise PermissionError(errno.EACCES, "refused")

    claim = preparation_lease.Claim(tmp_path / "claim")
    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(PermissionError):
        claim.acquire(lambda: False)


def test_file_system_without_fsync_holds_a_claim_all_the_same(tmp_path, monkeypatch):
    def refuse(*arguments):
        raise OSError(errno.EINVAL, "refused")

    monkeypatch.setattr(os, "fsync", refuse)
    claim = preparation_lease.Claim(tmp_path / "claim")
    assert claim.acquire(lambda: False) == "held"
    claim.note(tmp_path / "folder")
    assert b"folder" in (tmp_path / "claim").read_bytes()
    claim.release()
    assert not (tmp_path / "claim").exists()


def test_claim_needs_no_call_that_windows_lacks(tmp_path, monkeypatch):
    for name in ("pwrite", "pread"):
        monkeypatch.delattr(os, name, raising=False)
    claim = preparation_lease.Claim(tmp_path / "claim")
    assert claim.acquire(lambda: False) == "held"
    claim.note(tmp_path / "folder")
    claim.release()
