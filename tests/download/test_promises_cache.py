"""The cache: published whole or not at all, proved, cleaned; and the receipt beside it."""

from __future__ import annotations

import datetime
import gzip
import json
import os
import pathlib
import stat
import time

import family
import jobs
import pytest
import receipt_schema

import fmnist_tfds
from fmnist_tfds import atomic_file


class _Disk:
    """What `os.fsync` was called for: each (inode, whether the final name stood already)."""

    def __init__(self, monkeypatch, final):
        self.synced = []
        fsync = os.fsync

        def noting(handle):
            self.synced.append((os.fstat(handle).st_ino, final.exists()))
            fsync(handle)

        monkeypatch.setattr(os, "fsync", noting)
        self.final = final

    def check(self):
        # The file that stands there is the one that was on the disk before it had its name: a
        # copy would be another.
        assert (self.final.stat().st_ino, False) in self.synced


@pytest.mark.parametrize("served", ["gz", "payload"])
def test_a_file_is_on_the_disk_before_it_gets_its_name_by_a_rename(tmp_path, monkeypatch, served):
    cache = tmp_path / "cache" / jobs.DATASET.name

    def serve(handler, name, body):
        family.send(handler, 200, body if served == "gz" else gzip.decompress(body))

    with family.Mirror(jobs.BODIES, serve) as mirror:
        effective = jobs.options(tmp_path, mirror.url)
        disk = _Disk(monkeypatch, cache / jobs.BIG.name)
        assert jobs.run(effective).files[jobs.BIG.name].path
    disk.check()
    # And the name itself, before anybody is told.
    assert (cache.stat().st_ino, True) in disk.synced


def test_a_copy_for_the_user_is_on_the_disk_before_it_gets_its_name(tmp_path, monkeypatch):
    final = tmp_path / "out" / jobs.BIG.name
    with family.Mirror(jobs.BODIES) as mirror:
        effective = jobs.options(tmp_path, mirror.url)
        assert jobs.obtained(effective).error is None
        disk = _Disk(monkeypatch, final)
        assert jobs.obtained(effective, out=tmp_path / "out").error is None
    disk.check()
    assert stat.S_IMODE(final.stat().st_mode) == 0o644


def test_the_receipt_is_on_the_disk_before_it_gets_its_name(tmp_path, monkeypatch):
    with family.Mirror(jobs.BODIES) as mirror:
        disk = _Disk(monkeypatch, tmp_path / "cache" / jobs.DATASET.name / "receipt.json")
        assert jobs.is_here(jobs.run(jobs.options(tmp_path, mirror.url)))
    disk.check()


def test_the_receipt_names_every_file_though_two_arrive_at_once(tmp_path, monkeypatch):
    first, second = jobs.DATASET.files[:2]
    fsync = os.fsync
    meanwhile = []

    def while_the_first_is_written_down(handle):
        name = pathlib.Path(f"/proc/self/fd/{handle}").readlink().name
        if "receipt.json" in name and not meanwhile:
            meanwhile.append(jobs.run(effective, files=[second]))
        fsync(handle)

    monkeypatch.setattr(os, "fsync", while_the_first_is_written_down)
    with family.Mirror(jobs.BODIES) as mirror:
        effective = jobs.options(tmp_path, mirror.url)
        assert jobs.is_here(jobs.run(effective, files=[first]), first)
    assert jobs.is_here(meanwhile[0], second)
    assert set(jobs.receipt(tmp_path)) == {first.name, second.name}


def test_every_document_is_on_the_disk_before_it_gets_its_name(tmp_path, monkeypatch):
    disk = _Disk(monkeypatch, tmp_path / "document")
    with atomic_file.replacing(disk.final) as stream:
        stream.write(b"all of it")
    disk.check()


def _left_behind(tmp_path, file, age_s):
    """Breaks off a download of `file`; the part that it leaves was last written `age_s` ago."""

    def cut(handler, name, body):
        jobs.cut(handler, body, len(body) // 2)

    with family.Mirror(jobs.BODIES, cut) as mirror:
        jobs.run(jobs.options(tmp_path, mirror.url, attempts=1), files=[file])
    (part,) = tmp_path.rglob(f"{file.name}*.part")
    moment = time.time() - age_s
    os.utime(part, (moment, moment))
    return part


def test_parts_that_nobody_wrote_for_a_week_are_removed_by_the_next_download(tmp_path):
    old = _left_behind(tmp_path, jobs.DATASET.files[2], 8 * 86_400)
    young = _left_behind(tmp_path, jobs.DATASET.files[3], 6 * 86_400)
    with family.Mirror(jobs.BODIES) as mirror:
        jobs.run(jobs.options(tmp_path, mirror.url))
        assert (old.exists(), young.exists()) == (False, True)
        jobs.run(jobs.options(tmp_path, mirror.url), files=jobs.DATASET.files)
    ranges = {path: headers.get("Range") for path, headers in mirror.seen}
    assert ranges[f"/{jobs.DATASET.files[2].name}"] is None
    assert ranges[f"/{jobs.DATASET.files[3].name}"]
    assert not list(tmp_path.rglob("*.part"))


def test_a_part_is_resumed_by_the_next_job(tmp_path):
    _left_behind(tmp_path, jobs.BIG, 3600)
    with family.Mirror(jobs.BODIES) as mirror:
        assert jobs.is_here(jobs.run(jobs.options(tmp_path, mirror.url)))
    assert mirror.seen[0][1]["Range"] == f"bytes={len(jobs.BODY) // 2}-"


def test_a_part_that_was_whole_when_its_writer_died_is_not_fetched_again(tmp_path):
    part = _left_behind(tmp_path, jobs.BIG, 60)
    part.write_bytes(jobs.BODY)
    with family.Mirror(jobs.BODIES) as mirror:
        assert jobs.is_here(jobs.run(jobs.options(tmp_path, mirror.url)))
    assert mirror.seen == []


@pytest.mark.parametrize("how", ["same size", "same time"])
def test_a_cached_file_that_changed_is_never_served(tmp_path, how):
    with family.Mirror(jobs.BODIES) as mirror:
        effective = jobs.options(tmp_path, mirror.url)
        path = jobs.run(effective).files[jobs.BIG.name].path
        moment = path.stat().st_mtime_ns
        damaged = jobs.BODY[:-1] + bytes([jobs.BODY[-1] ^ 1])
        path.write_bytes(damaged if how == "same size" else damaged + b"x")
        after = moment + 1_000_000_000 if how == "same size" else moment
        os.utime(path, ns=(after, after))
        result = jobs.run(effective)
    assert jobs.is_here(result)
    assert len(mirror.seen) == 2
    # The damaged one is kept once, as evidence.
    (aside,) = tmp_path.rglob("*.damaged")
    assert aside.read_bytes()[: len(damaged)] == damaged


def test_a_file_that_somebody_put_into_the_cache_is_proved_first(tmp_path):
    cache = tmp_path / "cache" / jobs.DATASET.name
    cache.mkdir(parents=True)
    (cache / jobs.BIG.name).write_bytes(jobs.BODY)
    (cache / jobs.DATASET.files[1].name).write_bytes(
        bytes(len(jobs.BODIES["train-labels-idx1-ubyte.gz"]))
    )
    with family.Mirror(jobs.BODIES) as mirror:
        result = jobs.run(jobs.options(tmp_path, mirror.url), files=jobs.DATASET.files[:2])
        assert mirror.names() == [jobs.DATASET.files[1].name]
        receipt = jobs.obtained(jobs.options(tmp_path, mirror.url)).receipt["files"]
    assert all(jobs.is_here(result, file) for file in jobs.DATASET.files[:2])
    assert receipt[jobs.BIG.name]["source"] == "found in the cache"
    assert receipt[jobs.BIG.name]["gz_sha256"] == jobs.BIG.sha256


def test_where_a_file_came_from_is_not_forgotten_when_it_is_hashed_again(tmp_path):
    with family.Mirror(jobs.BODIES) as mirror:
        effective = jobs.options(tmp_path, mirror.url)
        path = jobs.run(effective).files[jobs.BIG.name].path
        path.touch()
        outcome = jobs.obtained(effective)
    assert outcome.receipt["files"][jobs.BIG.name]["source"] == f"{mirror.url}{jobs.BIG.name}"


def test_a_file_from_the_cache_keeps_what_failed_when_it_was_fetched(tmp_path, closed_port):
    dead = f"http://127.0.0.1:{closed_port}/"
    with family.Mirror(jobs.BODIES) as mirror:
        effective = jobs.options(tmp_path, dead, mirror.url)
        assert jobs.is_here(jobs.run(effective))
        jobs.obtained(effective)
        outcome = jobs.obtained(effective, out=tmp_path / "out")
    on_disk = json.loads((tmp_path / "out" / "receipt.json").read_text())
    for receipt in (outcome.receipt, on_disk):
        receipt_schema.check(receipt)
        (failed,) = receipt["files"][jobs.BIG.name]["failed_attempts"]
        assert (failed["url"], failed["cause"]) == (dead + jobs.BIG.name, "connect-refused")


def test_the_receipt_says_when_whence_what_and_by_which_package(tmp_path):
    before = datetime.datetime.now(datetime.UTC).replace(microsecond=0)

    def signed(handler, name, body):
        family.send(handler, 200, jobs.BODIES[name.partition("?")[0]])

    with family.Mirror(jobs.BODIES, signed) as mirror:
        url = f"{mirror.url}?sig=hunter2"
        outcome = jobs.obtained(jobs.options(tmp_path, url))
    (path,) = tmp_path.rglob("receipt.json")
    on_disk = json.loads(path.read_text())
    assert on_disk == outcome.receipt
    receipt_schema.check(on_disk)
    assert on_disk["package"] == f"fmnist_tfds {fmnist_tfds.__version__}"
    assert on_disk["dataset"] == jobs.DATASET.name
    for file in jobs.DATASET.files:
        entry = on_disk["files"][file.name]
        assert entry["source"] == f"{mirror.url}{file.name}?***"
        assert before <= datetime.datetime.fromisoformat(entry["time"])
        assert entry["gz_sha256"] == entry["file_sha256"] == file.sha256
        assert entry["payload_sha256"] == file.payload_sha256
        assert entry["canonical_gz"] is True
    assert "hunter2" not in path.read_text()


def test_the_receipt_does_not_name_a_file_that_is_gone(tmp_path):
    first, second = jobs.DATASET.files[:2]
    with family.Mirror(jobs.BODIES) as mirror:
        effective = jobs.options(tmp_path, mirror.url)
        jobs.run(effective, files=[first]).files[first.name].path.unlink()
        assert jobs.is_here(jobs.run(effective, files=[second]), second)
    assert set(jobs.receipt(tmp_path)) == {second.name}


def test_evidence_of_a_page_with_a_long_title_is_cut(tmp_path):
    page = f"<!doctype html><title>{'long ' * 200}</title>".encode()
    with family.Mirror({}, lambda handler, *_: family.send(handler, 200, page)) as mirror:
        result = jobs.run(jobs.options(tmp_path, mirror.url, attempts=1))
    (attempt,) = result.files[jobs.BIG.name].attempts
    assert "long long" in attempt.evidence
    assert len(attempt.evidence) <= 301


def test_an_attempt_tells_status_bytes_and_evidence(tmp_path):
    def refuse(handler, name, body):
        family.send(handler, 403, b"<html>no</html>")

    with family.Mirror(jobs.BODIES, refuse) as first, family.Mirror(jobs.BODIES) as second:
        result = jobs.run(jobs.options(tmp_path, first.url, second.url))
    failed, ok = (attempt.as_json() for attempt in result.files[jobs.BIG.name].attempts)
    assert (failed["outcome"], failed["cause"], failed["http_status"]) == (
        "failed",
        "forbidden",
        403,
    )
    assert failed["evidence"] == "403 from 127.0.0.1"
    assert (ok["outcome"], ok["http_status"], ok["bytes"]) == ("ok", 200, len(jobs.BODY))


@pytest.mark.parametrize("kind", ["fifo", "folder", "device"])
@pytest.mark.parametrize("place", ["file", "state", "memory"])
def test_what_is_no_file_in_the_cache_neither_hangs_nor_fails_a_job(tmp_path, kind, place):
    folder = tmp_path / "cache" / jobs.DATASET.name
    state = folder / ".state"
    state.mkdir(parents=True)
    where = {
        "file": folder / jobs.BIG.name,
        "state": state / f"{jobs.BIG.name}.json",
        "memory": state / "mirrors.json",
    }[place]
    if kind == "fifo":
        os.mkfifo(where)
    elif kind == "folder":
        where.mkdir()
    else:
        where.symlink_to("/dev/zero")
    if place != "file":
        (folder / jobs.BIG.name).write_bytes(jobs.BODY)
    with family.Mirror(jobs.BODIES) as mirror:
        result = jobs.run(jobs.options(tmp_path, mirror.url))
    if (kind, place) != ("folder", "state"):
        assert jobs.is_here(result)
    assert result.error is None or "cannot be written" in str(result.error)
