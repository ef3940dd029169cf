"""Which folder is taken where a data_dir is another level, a copy, or holds several versions."""

from __future__ import annotations

import json
import shutil

import pytest

from fmnist_tfds import errors, input_pipeline
from fmnist_tfds.input_pipeline.shards import prepared

from . import conftest


def _read(data_dir):
    batches = input_pipeline.make_eval(
        50, name="tiny_clothes", data_dir=data_dir, dtype="uint8", verify=False
    )
    return conftest.read_numbers(batches).tolist()


def _copy_as_versions(tiny, data_dir, *versions):
    for version in versions:
        folder = data_dir / "tiny_clothes" / version
        shutil.copytree(conftest.shard_path(tiny).parent, folder)
        path = folder / "dataset_info.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "version": version}))


def test_copied_version_folder_is_taken_under_any_name(tiny, tmp_path):
    shutil.copytree(conftest.shard_path(tiny).parent, tmp_path / "my copy")
    assert _read(tmp_path / "my copy") == list(range(301))


def test_folder_one_level_too_deep_is_named_with_the_right_one(tiny):
    folder = conftest.shard_path(tiny).parent.parent
    with pytest.raises(errors.NotPreparedError) as caught:
        _read(folder)
    assert f"data_dir is one level too deep: it is {folder.parent}" in caught.value.message


def test_tilde_is_the_home_folder(tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    _copy_as_versions(tiny, tmp_path / "data", "1.0.0")
    assert _read("~/data") == list(range(301))


@pytest.mark.parametrize("remains", ["3.0.0", "2.0.0"])
def test_highest_version_that_can_be_read_is_taken(tiny, tmp_path, remains):
    _copy_as_versions(tiny, tmp_path, "1.0.0", "2.0.0", "3.0.0")
    (tmp_path / "tiny_clothes" / remains / "features.json").unlink()
    found = prepared.find_builder("tiny_clothes", tmp_path, None)
    assert found.data_path.name == {"3.0.0": "2.0.0", "2.0.0": "3.0.0"}[remains]
    assert _read(tmp_path) == list(range(301))


def test_version_of_the_code_is_taken_before_a_higher_one(tiny, tmp_path, monkeypatch):
    """As tfds.load does: what another version of the package prepared is not mistaken for ours."""
    import tensorflow_datasets as tfds

    _copy_as_versions(tiny, tmp_path, "1.0.0", "2.0.0")
    registry = tfds.core.registered._DATASET_REGISTRY
    found = input_pipeline.make_eval(50, name="tiny_clothes", data_dir=tmp_path, verify=False)
    assert found is not None
    assert str(prepared.find_builder("tiny_clothes", tmp_path, None).version) == "2.0.0"
    monkeypatch.setitem(registry, "tiny_clothes", conftest._Clothes)
    assert str(prepared.find_builder("tiny_clothes", tmp_path, None).version) == "1.0.0"
