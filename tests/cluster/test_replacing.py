"""A process that replaces a prepared data set may be killed at any moment: nothing is lost."""

from __future__ import annotations

import errno
import pathlib

import children
import overwrite_and_die as replacing
import pytest
from etils import epath

from fmnist_tfds import errors, version_folder
from fmnist_tfds.input_pipeline.shards import prepared

NAME = "fmnist_synthetic"
NEW = ("before the old one is deleted",)


def shards_in(data_dir):
    """How many shards the data set has that a reader finds now: 1 is the old, 2 the new one."""
    builder = prepared.find_builder(NAME, data_dir, None)
    assert not version_folder.fault(builder.data_path, NAME)
    return builder.info.splits["train"].num_shards


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """For each moment a data_dir of one shard a split, where a process that was to make it two was
    killed at that moment."""
    folder = tmp_path_factory.mktemp("killed")
    for moment in replacing.kill_at:
        replacing.prepare(folder / moment, 1)
    processes = children.Children(folder)
    codes = processes.start(children.HERE / "overwrite_and_die.py", folder).result()
    assert codes == dict.fromkeys(replacing.kill_at, -9)
    processes.end()
    return {moment: folder / moment for moment in replacing.kill_at}


@pytest.mark.parametrize("moment", [m for m in replacing.kill_at if m != "between the renames"])
def test_killed_overwrite_leaves_the_old_or_the_new_data_set(killed, moment):
    data_dir = killed[moment]
    assert shards_in(data_dir) == (2 if moment in NEW else 1)
    builder = replacing.prepare(
        data_dir, 3, download_mode=replacing.tfds.download.GenerateMode.REUSE_CACHE_IF_EXISTS
    )
    assert shards_in(data_dir) == 3
    assert [path.name for path in builder.data_path.parent.iterdir()] == [str(builder.version)]


def test_overwrite_killed_between_its_renames_is_named_and_the_next_build_restores_the_data(
    killed, monkeypatch
):
    data_dir = killed["between the renames"]
    with pytest.raises(errors.NotPreparedError, match="a process was killed while replacing it"):
        shards_in(data_dir)

    def obtain_nothing(self, download_dir, config):
        raise errors.ObtainError("no source")

    monkeypatch.setattr(replacing.Builder, "_obtained", obtain_nothing)
    builder = replacing.prepare(data_dir, 3)
    assert builder.info.splits["train"].num_shards == 1
    assert shards_in(data_dir) == 1
    assert [path.name for path in builder.data_path.parent.iterdir()] == [str(builder.version)]


def test_folder_that_may_not_be_replaced_names_the_right_that_is_missing(tmp_path, monkeypatch):
    """Somebody else's data set, with --overwrite."""
    final, new = (epath.Path(tmp_path / name) for name in ("1.0.0", "incomplete.X_1.0.0"))
    for folder in (final, new):
        folder.mkdir()

    def refused(self, target):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(type(final), "rename", refused)
    with pytest.raises(errors.StoreError) as caught:
        version_folder.swap(new, final, keep=False)
    owner = pathlib.Path(final).owner()
    assert f"it belongs to {owner}, {tmp_path} to {owner}: replacing it needs the right" in (
        caught.value.hint
    )
    assert final.exists()
