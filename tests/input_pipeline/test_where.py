"""Which folder is taken where a data_dir is another level, a copy, or holds several versions."""

from __future__ import annotations

import json
import shutil

import pytest

from fmnist_tfds import errors, input_pipeline

from . import conftest


def _read(data_dir):
    batches = input_pipeline.make_eval(
        50, name="tiny_clothes", data_dir=data_dir, dtype="uint8", verify=False
    )
    return conftest.read_numbers(batches).tolist()


def test_copied_version_folder_is_taken_under_any_name(tiny, tmp_path):
    shutil.copytree(conftest.shard_path(tiny).parent, tmp_path / "my copy")
    assert _read(tmp_path / "my copy") == list(range(301))


def test_folder_one_level_too_deep_is_named_with_the_right_one(tiny):
    folder = conftest.shard_path(tiny).parent.parent
    with pytest.raises(errors.NotPreparedError) as caught:
        _read(folder)
    assert f"data_dir is one level too deep: it is {folder.parent}" in caught.value.message


def test_version_of_the_code_is_taken_before_a_higher_one(tiny, tmp_path, monkeypatch):
    """As tfds.load does: what another version of the package prepared is not mistaken for ours."""
    import tensorflow_datasets as tfds

    place = tmp_path / "tiny_clothes"
    for version in ("1.0.0", "2.0.0"):
        shutil.copytree(conftest.shard_path(tiny).parent, place / version)
        path = place / version / "dataset_info.json"
        info = json.loads(path.read_text())
        path.write_text(json.dumps({**info, "version": version}))
    registry = tfds.core.registered._DATASET_REGISTRY
    found = input_pipeline.make_eval(50, name="tiny_clothes", data_dir=tmp_path, verify=False)
    assert found is not None
    from fmnist_tfds.input_pipeline.shards import prepared

    assert str(prepared.find_builder("tiny_clothes", tmp_path, None).version) == "2.0.0"
    monkeypatch.setitem(registry, "tiny_clothes", conftest._Clothes)
    assert str(prepared.find_builder("tiny_clothes", tmp_path, None).version) == "1.0.0"
