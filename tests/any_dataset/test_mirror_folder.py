"""A mirror folder: made from any mirrors, read by every route, complete, and honest about gaps."""

from __future__ import annotations

import errno
import json
import pathlib

import pytest
from made_up import made_up_dataset_builder as made_up

import fmnist_tfds
from fmnist_tfds import errors
from fmnist_tfds.any_dataset import mirror_folder, plan


@pytest.fixture
def wanted():
    return plan.artifact_set("made_up", made_up.Builder.url_infos)


@pytest.fixture
def origin(tmp_path):
    return made_up.write_mirror(tmp_path / "origin")


def test_folder_has_every_file_by_digest_and_by_name_and_a_manifest(tmp_path, wanted, origin):
    out = tmp_path / "out"
    created = mirror_folder.create(plan.make(mirrors=str(origin)), [wanted], out)
    assert (created.files, created.failed) == (4, ())
    assert created.size_bytes == sum(len(body) for body in made_up.BODIES.values())
    for artifact in wanted.files:
        body = made_up.BODIES[artifact.url]
        assert (out / "by-hash" / "sha256" / artifact.sha256).read_bytes() == body
        assert (out / "made_up" / artifact.name).read_bytes() == body
    manifest = json.loads((out / "manifest.json").read_text())
    assert {entry["url"] for entry in manifest["datasets"]["made_up"]} == made_up.BODIES.keys()
    assert mirror_folder.read(out) == (wanted,)


def test_folder_is_a_mirror_for_who_has_nothing_else(tmp_path, wanted, origin, monkeypatch):
    out = tmp_path / "out"
    mirror_folder.create(plan.make(mirrors=str(origin)), [wanted], out)
    monkeypatch.setenv("FMNIST_TFDS_CACHE_DIR", str(tmp_path / "another cache"))
    with fmnist_tfds.resilient(mirrors=out.as_uri()):
        builder = made_up.Builder(data_dir=tmp_path / "data", file_format="array_record")
        builder.download_and_prepare()
    assert len(made_up.numbers(builder, "train")) == made_up.COUNT


def test_second_data_set_is_added_and_a_damaged_copy_is_made_anew(tmp_path, wanted, origin):
    out = tmp_path / "out"
    by = plan.make(mirrors=str(origin))
    mirror_folder.create(by, [wanted], out)
    broken = out / "by-hash" / "sha256" / wanted.files[0].sha256
    broken.unlink()
    right = made_up.BODIES[wanted.files[0].url]
    broken.write_bytes(right[::-1])
    other = plan.artifact_set("other", dict(list(made_up.Builder.url_infos.items())[:1]))
    mirror_folder.create(by, [wanted, other], out)
    assert [held.name for held in mirror_folder.read(out)] == ["made_up", "other"]
    assert broken.read_bytes() == right


def test_what_is_missing_is_said_and_the_rest_is_there(tmp_path, wanted, origin):
    gone = wanted.files[0]
    (origin / "by-hash" / "sha256" / gone.sha256).unlink()
    created = mirror_folder.create(plan.make(mirrors=str(origin)), [wanted], tmp_path / "out")
    assert created.files == 3
    (error,) = created.failed
    assert gone.name in str(error)
    (held,) = mirror_folder.read(tmp_path / "out")
    assert gone not in held.files
    assert created.size_bytes == sum(file.size_bytes for file in held.files)


def test_what_a_folder_holds_is_neither_asked_for_again_nor_lost(tmp_path, wanted, origin):
    out, cache = tmp_path / "out", tmp_path / "cache"
    mirror_folder.create(plan.make(mirrors=str(origin)), [wanted], out)
    damaged = out / "by-hash" / "sha256" / wanted.files[0].sha256
    damaged.unlink()
    damaged.write_bytes(b"damaged")
    created = mirror_folder.create(plan.make(mirrors="off", cache_dir=cache), [wanted], out)
    assert created.files == 3
    assert wanted.files[0].name in str(created.failed[0])
    assert wanted.files[1].name not in str(created.failed[0])
    (held,) = mirror_folder.read(out)
    assert held.files == wanted.files[1:]


def test_folder_shares_no_file_with_the_cache_that_it_came_from(tmp_path, wanted, origin):
    cache, out = tmp_path / "cache", tmp_path / "out"
    mirror_folder.create(plan.make(mirrors=str(origin), cache_dir=cache), [wanted], out)
    cached = {path.stat().st_ino for path in cache.rglob("*") if path.is_file()}
    served = {path.stat().st_ino for path in out.rglob("*") if path.is_file()}
    assert cached
    assert not cached & served


def test_disk_without_hard_links_has_every_file_twice(tmp_path, wanted, origin, monkeypatch):
    def refuse(self, target):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(pathlib.Path, "hardlink_to", refuse)
    out = tmp_path / "out"
    created = mirror_folder.create(plan.make(mirrors=str(origin)), [wanted], out)
    assert (created.files, created.failed) == (4, ())
    for artifact in wanted.files:
        assert (out / "made_up" / artifact.name).read_bytes() == made_up.BODIES[artifact.url]


def test_copies_take_the_place_of_links_and_never_write_through_them(tmp_path, wanted, origin):
    out, mine = tmp_path / "out", tmp_path / "mine"
    out.mkdir()
    mine.write_text("mine")
    name = wanted.files[0].name
    (out / name).symlink_to(mine)
    result = mirror_folder.obtain_all(plan.make(mirrors=str(origin)), wanted)
    kept = mirror_folder.copied(result, out)
    assert mine.read_text() == "mine"
    assert kept.files[name].path == out / name
    assert (out / name).read_bytes() == made_up.BODIES[wanted.files[0].url]


def test_folder_that_cannot_be_written_is_one_error(tmp_path, wanted, origin):
    (tmp_path / "out").write_text("a file")
    with pytest.raises(errors.StoreError, match="cannot be written"):
        mirror_folder.create(plan.make(mirrors=str(origin)), [wanted], tmp_path / "out")


@pytest.mark.parametrize("text", [None, "", "[]", '{"datasets": 3}', '{"datasets": {"a": [1]}}'])
def test_folder_without_a_manifest_is_no_mirror_folder(tmp_path, text):
    if text is not None:
        (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(errors.ConfigError, match="no mirror folder"):
        mirror_folder.read(tmp_path)
