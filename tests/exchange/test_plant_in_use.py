"""Planting into a folder in use: what is genuine stays, what is not is never lost unasked."""

from __future__ import annotations

import dataclasses
import gzip
import pathlib
import shutil

import containers as made
import pytest

from fmnist_tfds import errors
from fmnist_tfds.exchange import plant

# Source: the tools' own code, as in plant; where each looks, with which suffix.
LAYOUTS = {
    "keras": ("datasets/fashion-mnist", ".gz"),
    "torchvision": ("FashionMNIST/raw", ""),
    "tfds": ("downloads/manual", ".gz"),
    "paddle": ("fashion-mnist", ".gz"),
    "mindspore": (".", ""),
}
NAME = made.NAMES[3]


@pytest.fixture
def files(standin, tmp_path):
    folder = made.write_all(tmp_path / "store", standin.gz)
    return {name: folder / name for name in made.NAMES}


def place(tool, root, name=NAME):
    folder, suffix = LAYOUTS[tool]
    return root / folder / (name.removesuffix(".gz") + suffix)


@pytest.mark.parametrize("tool", plant.TOOLS)
def test_link_that_leads_nowhere_is_not_overwritten_unasked(tool, standin, files, tmp_path):
    at, nowhere = place(tool, tmp_path / "root"), tmp_path / "unmounted" / "file"
    at.parent.mkdir(parents=True)
    at.symlink_to(nowhere)
    with pytest.raises(errors.StoreError, match="nothing was written"):
        plant.plant(tool, files, tmp_path / "root", dataset=standin.dataset)
    assert at.readlink() == nowhere
    assert [p.name for p in at.parent.iterdir()] == [at.name]


@pytest.mark.parametrize("tool", plant.TOOLS)
def test_overwriting_replaces_a_link_and_never_writes_through_it(tool, standin, files, tmp_path):
    at, mine = place(tool, tmp_path / "root"), tmp_path / "mine"
    at.parent.mkdir(parents=True)
    mine.write_bytes(b"mine")
    at.symlink_to(mine)
    plant.plant(tool, files, tmp_path / "root", overwrite=True, dataset=standin.dataset)
    assert mine.read_bytes() == b"mine"
    assert not at.is_symlink()


@pytest.mark.parametrize("tool", plant.TOOLS)
def test_folder_in_the_place_of_a_file_is_one_error(tool, standin, files, tmp_path):
    place(tool, tmp_path / "root").mkdir(parents=True)
    with pytest.raises(errors.StoreError, match="is not the genuine file"):
        plant.plant(tool, files, tmp_path / "root", dataset=standin.dataset)


@pytest.mark.parametrize("tool", plant.TOOLS)
def test_genuine_files_that_stand_there_are_kept_untouched(tool, standin, files, tmp_path):
    root = tmp_path / "root"
    plant.plant(tool, files, root, dataset=standin.dataset)
    place(tool, root, made.NAMES[0]).unlink()
    before = {p: p.stat() for p in root.rglob("*") if p.is_file()}
    for overwrite in (False, True):
        planted = plant.plant(tool, files, root, overwrite=overwrite, dataset=standin.dataset)
        for path, status in before.items():
            assert (path.stat().st_ino, path.stat().st_mtime_ns) == (
                status.st_ino,
                status.st_mtime_ns,
            )
        assert set(planted.kept) >= set(before)
    assert planted.written == ()


@pytest.mark.parametrize("tool", plant.TOOLS)
def test_file_of_the_right_length_and_other_content_is_different(tool, standin, files, tmp_path):
    at = place(tool, tmp_path / "root")
    payload = bytearray(standin.payloads[NAME])
    payload[-1] ^= 1
    other = bytes(payload) if not at.suffix else gzip.compress(payload, mtime=0)
    made.write_all(at.parent, {at.name: other})
    with pytest.raises(errors.StoreError, match="is not the genuine file"):
        plant.plant(tool, files, tmp_path / "root", dataset=standin.dataset)
    assert at.read_bytes() == other


@pytest.mark.parametrize("cut", [1, 4, 8, -4])
def test_gz_without_its_checksum_or_with_more_behind_it_is_different(cut, standin, files, tmp_path):
    """Keras reads to the end of the file: it fails on either."""
    at = place("keras", tmp_path / "root")
    whole = standin.gz[NAME]
    made.write_all(at.parent, {at.name: whole[:-cut] if cut > 0 else whole + b"more"})
    with pytest.raises((EOFError, OSError)):
        gzip.decompress(at.read_bytes())
    with pytest.raises(errors.StoreError, match="is not the genuine file"):
        plant.plant("keras", files, tmp_path / "root", dataset=standin.dataset)


@pytest.mark.parametrize("tool", ["tfds", "paddle"])
def test_other_gz_of_the_genuine_data_is_not_kept_where_the_tool_checks_it(
    tool, standin, files, tmp_path
):
    at = place(tool, tmp_path / "root")
    made.write_all(at.parent, {at.name: gzip.compress(standin.payloads[NAME], 1, mtime=0)})
    with pytest.raises(errors.StoreError, match="is not the genuine file"):
        plant.plant(tool, files, tmp_path / "root", dataset=standin.dataset)
    planted = plant.plant(tool, files, tmp_path / "root", overwrite=True, dataset=standin.dataset)
    assert at in planted.written
    assert at.read_bytes() == standin.gz[NAME]


@pytest.mark.parametrize("tool", plant.TOOLS)
def test_well_formed_file_of_other_content_is_never_planted(tool, standin, files, tmp_path):
    payload = bytearray(standin.payloads[NAME])
    payload[-1] ^= 1
    files[NAME].write_bytes(gzip.compress(payload, mtime=0))
    with pytest.raises(errors.ContentError, match=f"not the genuine {NAME}"):
        plant.plant(tool, files, tmp_path / "root", dataset=standin.dataset)
    assert not (tmp_path / "root").exists()


@pytest.mark.parametrize("tool", plant.TOOLS)
def test_line_to_run_names_the_root_that_was_planted(tool, standin, files, tmp_path):
    root = tmp_path / "root"
    planted = plant.plant(tool, files, root, dataset=standin.dataset)
    assert str(root) in planted.usage
    assert {"keras": "KERAS_HOME=", "tfds": "data_dir="}.get(tool, tool) in planted.usage


def test_tfds_own_variable_names_the_root(standin, files, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "data"))
    planted = plant.plant("tfds", files, dataset=standin.dataset)
    assert planted.root == tmp_path / "data"
    assert len(planted.written) == 4


@pytest.mark.parametrize("root", ["~/keras", "keras"])
def test_root_may_be_below_home_or_relative_and_the_line_to_run_holds_anywhere(
    root, standin, files, tmp_path, monkeypatch
):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    planted = plant.plant("keras", files, pathlib.Path(root), dataset=standin.dataset)
    assert planted.root == tmp_path / "keras"
    assert f"KERAS_HOME={tmp_path / 'keras'} " in planted.usage
    assert place("keras", tmp_path / "keras").is_file()


def test_own_gz_is_planted_as_the_published_one_where_the_tool_checks_it(real_data, tmp_path):
    if shutil.which("gzip") is None:
        pytest.skip("needs GNU gzip")
    files = {name: real_data / name for name in made.NAMES}
    published = files[NAME].read_bytes()
    own = tmp_path / NAME
    own.write_bytes(gzip.compress(gzip.decompress(published), 1, mtime=0))
    plant.plant("paddle", files | {NAME: own}, tmp_path / "root")
    assert place("paddle", tmp_path / "root").read_bytes() == published


def test_what_cannot_be_read_or_written_is_one_error(standin, files, tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(errors.StoreError, match="gz: cannot be written") as caught:
        plant.plant("keras", files, tmp_path / "file", dataset=standin.dataset)
    assert "--root" in caught.value.hint
    files[NAME].unlink()
    with pytest.raises(errors.StoreError, match=f"{NAME}: cannot be read: No such file"):
        plant.plant("keras", files, tmp_path / "root", dataset=standin.dataset)
    assert not (tmp_path / "root").exists()


def test_data_set_that_no_tool_reads_is_not_planted(standin, files, tmp_path):
    dataset = dataclasses.replace(standin.dataset, tool_folders=())
    with pytest.raises(errors.ArgumentError, match="no tool: none is known to read the stand-in"):
        plant.plant("keras", files, tmp_path / "root", dataset=dataset)
