"""obtain: the order of the places, what each may deliver, and when it ends."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import json
import pathlib
import shutil
import socket
import sys
import time

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent / "download"))
import family
import jobs

import fmnist_tfds
from fmnist_tfds import errors

NAMES = list(jobs.BODIES)


@pytest.fixture
def connections(monkeypatch):
    """The addresses that this process connects to."""
    made = []
    connect = socket.socket.connect

    def noting(self, address):
        made.append(address)
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", noting)
    return made


@pytest.fixture
def share(tmp_path):
    """A folder that holds the four files."""
    return _folder(tmp_path / "share", jobs.BODIES)


def _folder(path, contents):
    path.mkdir(parents=True)
    for name, content in contents.items():
        (path / name).write_bytes(content)
    return path


def test_offline_with_a_folder_beside_a_network_mirror_opens_no_socket(
    tmp_path, share, connections
):
    (share / NAMES[3]).unlink()
    with family.Mirror(jobs.BODIES) as mirror:
        effective = jobs.options(tmp_path, mirror.url, share.as_uri() + "/", offline=True)
        outcome = jobs.obtained(effective)
    assert connections == []
    assert mirror.seen == []
    # What the folder has is taken; what it lacks is not asked for elsewhere.
    assert [name for name in NAMES if outcome.files[name].path is None] == [NAMES[3]]
    assert isinstance(outcome.error, errors.ObtainError)
    assert mirror.url not in str(outcome.error)


def test_offline_folders_of_the_mirror_list_serve(tmp_path, share, connections):
    outcome = jobs.obtained(jobs.options(tmp_path, share.as_uri() + "/", offline=True))
    assert outcome.error is None
    assert connections == []


def test_manual_dir_comes_before_the_mirrors_and_the_cache_before_manual_dir(tmp_path, share):
    with family.Mirror(jobs.BODIES) as mirror:
        effective = jobs.options(tmp_path, mirror.url, manual_dir=share)
        outcome = jobs.obtained(effective)
        assert mirror.seen == []
        assert {f.path.parent for f in outcome.files.values()} == {share}
        cached = jobs.obtained(jobs.options(tmp_path, mirror.url))
        again = jobs.obtained(effective)
    assert {f.source for f in again.files.values()} == {"cache"}
    assert [f.path for f in again.files.values()] == [f.path for f in cached.files.values()]


@pytest.mark.parametrize("offline", [False, True])
def test_a_file_of_the_right_size_in_manual_dir_is_not_taken_unproved(tmp_path, share, offline):
    wrong = jobs.BODY[:-9] + bytes(9)
    (share / NAMES[0]).write_bytes(wrong)
    with family.Mirror(jobs.BODIES) as mirror:
        effective = jobs.options(tmp_path, mirror.url, manual_dir=share, offline=offline)
        outcome = jobs.obtained(effective)
    file = outcome.files[NAMES[0]]
    assert file.attempts[0].cause == "checksum-mismatch"
    assert (file.path is None) is offline
    if not offline:
        assert file.path.read_bytes() == jobs.BODY
    assert (share / NAMES[0]).read_bytes() == wrong


def test_files_of_manual_dir_under_each_others_names_are_not_taken(tmp_path):
    images, labels = NAMES[0], NAMES[1]
    swapped = {images: jobs.BODIES[labels], labels: jobs.BODIES[images]}
    folder = _folder(tmp_path / "manual", jobs.BODIES | swapped)
    outcome = jobs.obtained(jobs.options(tmp_path, manual_dir=folder, offline=True))
    for name in (images, labels):
        path = outcome.files[name].path
        assert path is None or path.read_bytes() == jobs.BODIES[name]


def test_a_wrong_file_in_manual_dir_does_not_hide_the_right_one_below(tmp_path):
    folder = _folder(tmp_path / "manual", {NAMES[0]: b"<html>blocked</html>"})
    _folder(folder / "nested", jobs.BODIES)
    outcome = jobs.obtained(jobs.options(tmp_path, manual_dir=folder, offline=True))
    assert outcome.error is None
    assert {f.path.parent for f in outcome.files.values()} == {folder / "nested"}


def test_the_canonical_gz_is_preferred_to_its_payload(tmp_path):
    bare = {name.removesuffix(".gz"): gzip.decompress(b) for name, b in jobs.BODIES.items()}
    folder = _folder(tmp_path / "manual", bare)
    _folder(folder / "nested", jobs.BODIES)
    outcome = jobs.obtained(jobs.options(tmp_path, manual_dir=folder, offline=True))
    for file in jobs.DATASET.files:
        assert outcome.files[file.name].path == folder / "nested" / file.name
        assert outcome.files[file.name].sha256 == file.sha256


@pytest.mark.parametrize("is_writable", [True, False])
def test_the_digest_told_is_that_of_the_file_given(tmp_path, is_writable):
    if not is_writable:
        (tmp_path / "cache").write_text("no folder: the payload is used where it lies")
    bare = {name.removesuffix(".gz"): gzip.decompress(b) for name, b in jobs.BODIES.items()}
    folder, seen = _folder(tmp_path / "manual", bare), jobs.Seen()
    effective = jobs.options(tmp_path, manual_dir=folder, offline=True)
    outcome = jobs.obtained(effective, progress=seen)
    # It is said that these files stay where they lie, since that costs time at every start.
    assert any("cannot be written" in note for note in seen.notes) is not is_writable
    for file in jobs.DATASET.files:
        got = outcome.files[file.name]
        # The published .gz of this small data set cannot be made again.
        assert got.sha256 == hashlib.sha256(got.path.read_bytes()).hexdigest()
        assert got.sha256 != file.sha256
        assert outcome.receipt["files"][file.name]["gz_sha256"] is None


@pytest.fixture
def keras(tmp_path, monkeypatch):
    """Another tool's cache that holds the four files."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return _folder(tmp_path / "keras" / "datasets" / "fashion-mnist", jobs.BODIES)


def test_other_tools_caches_are_used_only_where_asked_for_and_before_the_network(tmp_path, keras):
    cache = {"cache_dir": tmp_path / "cache", "dataset": jobs.DATASET}
    with pytest.raises(errors.ObtainError):
        fmnist_tfds.obtain_files(mirrors="off", **cache)
    with family.Mirror(jobs.BODIES) as mirror:
        found = fmnist_tfds.obtain_files(mirrors=mirror.url, adopt_local=True, **cache)
        assert mirror.seen == []
        assert {path.parent for path in found.values()} == {keras}
        other = {**cache, "cache_dir": tmp_path / "another cache"}
        fmnist_tfds.obtain_files(mirrors=mirror.url, **other)
        assert sorted(mirror.names()) == sorted(NAMES)


class _Held(jobs.Seen):
    """A reader of notes that takes its time."""

    def note(self, text):
        super().note(text)
        time.sleep(0.5)


def test_the_deadline_runs_from_the_beginning_and_is_the_one_that_was_set(tmp_path):
    def later(handler, name, body):
        family.send(handler, 429, Retry_After="1")

    folder = tmp_path / "empty"
    folder.mkdir()
    seen = _Held()
    with family.Mirror(jobs.BODIES, later) as mirror:
        # One note takes 0.5 s at least: after a second of waiting, the 1.2 s are over.
        effective = jobs.options(tmp_path, mirror.url, manual_dir=folder, deadline_s=1.2)
        outcome = jobs.obtained(effective, progress=seen)
    assert seen.notes
    assert isinstance(outcome.error, errors.ObtainError)
    assert len(mirror.names()) == len(set(mirror.names()))


def test_obtain_files_passes_each_of_its_arguments_on(tmp_path, share):
    (tmp_path / "site.toml").write_text(f'[[mirrors]]\nname = "s"\nurl = "{share.as_uri()}/"\n')
    given = {"cache_dir": tmp_path / "cache", "dataset": jobs.DATASET}
    seen = jobs.Seen()
    found = fmnist_tfds.obtain_files(
        mirrors="s",
        config_file=tmp_path / "site.toml",
        out=tmp_path / "out",
        progress=seen,
        **given,
    )
    assert {path.parent for path in found.values()} == {tmp_path / "out"}
    assert seen.files == {name: f"{share.as_uri()}/{name}" for name in NAMES}
    receipt = json.loads((tmp_path / "out" / "receipt.json").read_text())
    assert set(receipt["files"]) == set(NAMES)
    with family.Mirror(jobs.BODIES) as mirror:
        with pytest.raises(errors.ObtainError):
            fmnist_tfds.obtain_files(
                mirrors=mirror.url, offline=True, cache_dir=tmp_path / "b", dataset=jobs.DATASET
            )
        assert mirror.seen == []
    with pytest.raises(errors.ConfigError, match="deadline_s"):
        fmnist_tfds.obtain_files(mirrors="off", deadline_s=-1, **given)


def test_remarks_on_the_settings_are_told(tmp_path, share):
    seen = jobs.Seen()
    effective = jobs.options(tmp_path, manual_dir=share)
    effective = dataclasses.replace(effective, notes=("using another address",))
    assert jobs.obtained(effective, progress=seen).error is None
    assert seen.notes == ["using another address"]


def test_three_of_four_files_are_an_error_and_not_a_result(tmp_path, share):
    (share / NAMES[2]).unlink()
    with pytest.raises(errors.ObtainError, match=NAMES[2]):
        fmnist_tfds.obtain_files(
            mirrors=str(share), cache_dir=tmp_path / "cache", dataset=jobs.DATASET
        )
    assert not (tmp_path / "cache" / "small" / NAMES[2]).exists()


def test_a_file_of_manual_dir_that_cannot_be_read_is_named_and_no_crash(tmp_path, share):
    if not pathlib.Path("/proc/self/mem").exists():
        pytest.skip("needs /proc: a file that root cannot read either")
    (share / NAMES[0]).unlink()
    (share / NAMES[0]).symlink_to("/proc/self/mem")
    outcome = jobs.obtained(jobs.options(tmp_path, manual_dir=share, offline=True))
    assert outcome.files[NAMES[0]].attempts[0].cause == "forbidden"
    assert "cannot be read: " in str(outcome.error)
    assert [name for name in NAMES if outcome.files[name].path is None] == [NAMES[0]]


def test_what_of_manual_dir_does_not_fit_into_the_cache_is_used_where_it_lies_and_leaves_nothing(
    tmp_path, share, monkeypatch
):
    def full(source, target, *args, **kwargs):
        target.write_bytes(source.read_bytes()[:1000])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", full)
    outcome = jobs.obtained(jobs.options(tmp_path, manual_dir=share))
    assert {f.path.parent for f in outcome.files.values()} == {share}
    assert not list(tmp_path.rglob("*.part"))


def test_what_lies_in_out_already_is_replaced_and_never_taken_for_the_file(tmp_path, share):
    out = _folder(tmp_path / "out", {NAMES[0]: b"what stood here before"})
    outcome = jobs.obtained(jobs.options(tmp_path, manual_dir=share), out=out)
    assert outcome.error is None
    assert outcome.files[NAMES[0]].path == out / NAMES[0]
    assert (out / NAMES[0]).read_bytes() == jobs.BODY


def test_the_users_copy_is_whole_or_as_it_was(tmp_path, share, monkeypatch):
    out = _folder(tmp_path / "out", {NAMES[0]: b"what stood here before"})

    def full(source, target, *args):
        target.write(source.read(1000))
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfileobj", full)
    outcome = jobs.obtained(jobs.options(tmp_path, manual_dir=share), out=out)
    assert isinstance(outcome.error, errors.StoreError)
    assert "No space left" in str(outcome.error)
    assert (out / NAMES[0]).read_bytes() == b"what stood here before"
    assert [path.name for path in out.iterdir()] == [NAMES[0]]
