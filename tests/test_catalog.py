"""The entries of the catalog agree with themselves, and a wrong one is refused by name."""

from __future__ import annotations

import math
import pathlib
import re
import typing

import pytest

import fmnist_tfds
from fmnist_tfds import catalog, errors
from fmnist_tfds.datasets.fmnist_resilient import fmnist_resilient_dataset_builder as resilient

FOLDERS = pathlib.Path(fmnist_tfds.__file__).parent / "datasets"
WHOLE = (FOLDERS / "fmnist_resilient" / "catalog.toml").read_text(encoding="utf-8")
OURS = [path.parent.name for path in sorted(FOLDERS.glob("*/*_dataset_builder.py"))]


def test_every_dataset_folder_has_its_entry():
    assert set(OURS) <= set(catalog.DATASETS)
    assert catalog.DATASETS["fmnist_resilient"] is resilient.Builder.DATASET


@pytest.mark.parametrize("name", OURS)
def test_entry_agrees_with_itself(name):
    entry = catalog.DATASETS[name]
    assert len(entry.files) == 4
    for file in entry.files:
        rank = len(file.shape)
        assert file.payload_bytes == 4 + 4 * rank + math.prod(file.shape)
        assert rank == (3 if file.kind == "images" else 1)
        assert entry.part(file.split, file.kind) is file
        assert re.fullmatch("[0-9a-f]{64}", file.payload_sha256)
        for digest, length in ((file.sha256, 64), (file.sha1, 40), (file.md5, 32)):
            assert not digest or re.fullmatch(f"[0-9a-f]{{{length}}}", digest)
        assert bool(file.sha256) == bool(file.size_bytes)
    assert len(set(entry.class_names)) == catalog.NUM_CLASSES
    assert entry.is_generated == (not entry.mirrors)
    assert entry.homepage.startswith("https://")
    assert entry.license
    assert entry.citation.lstrip().startswith("@")
    assert {each.form for each in entry.tool_folders} <= set(typing.get_args(catalog.Form))
    assert all(f.usage and f.form != "other" for f in entry.plantable().values())
    for impostor in entry.impostors:
        assert impostor.digests
        assert {kind for kind, _ in impostor.digests} <= {"md5", "sha1", "sha256"}
    hash(entry)  # a value


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('title = "Fashion-MNIST"', 'titel = "Fashion-MNIST"', "titel"),
        ("payload_bytes = 60_008\n", "", "payload_bytes"),
        ('kind = "labels"', 'kind = "pixels"', "expected images and labels of train and test"),
        ('tool = "keras"', "tool = keras", "Invalid value"),
        ("[[files]]", "[[fils]]", "files"),
        ('digests = [\n    "md5', 'digest = [\n    "md5', "digest"),
        ("moved = [\n    [", "moved = [\n    [3], [", "unpack"),
    ],
)
def test_wrong_entry_is_one_message_that_names_the_file(tmp_path, old, new, said):
    path = tmp_path / "catalog.toml"
    assert old in WHOLE
    path.write_text(WHOLE.replace(old, new), encoding="utf-8")
    with pytest.raises(errors.ConfigError) as caught:
        catalog.read(path)
    assert caught.value.message.startswith(f"{path}: not an entry of the catalog: ")
    assert said in caught.value.message
    path.write_text(WHOLE, encoding="utf-8")
    assert catalog.read(path) == catalog.FASHION_MNIST
