"""One dataset folder makes a data set: `tiny_tiles` touches no other file of the package."""

from __future__ import annotations

import dataclasses
import logging
import pathlib

import numpy as np
import pytest
import tensorflow_datasets as tfds
from tiny_tiles import tiles

import fmnist_tfds
from fmnist_tfds import catalog, errors, input_pipeline
from fmnist_tfds.config import loader
from fmnist_tfds.doctor import report
from fmnist_tfds.exchange import bundle, plant, serve
from fmnist_tfds.exchange.adopt import adopt
from fmnist_tfds.training import config as training_config
from fmnist_tfds.training import train

FOLDER = pathlib.Path(tiles.__file__).parent


@pytest.fixture
def files(tmp_path):
    """The folder with the four .gz."""
    return tiles.write(tmp_path / "files")


@pytest.fixture
def data_dir(files, tmp_path):
    """A data_dir where tiny_tiles is prepared."""
    builder = tfds.builder("tiny_tiles", data_dir=tmp_path / "tfds", mirrors=["off", str(files)])
    builder.download_and_prepare()
    return tmp_path / "tfds"


def batches(dataset):
    found = [(np.asarray(images), np.asarray(labels)) for images, labels in dataset]
    return tuple(np.concatenate(part) for part in zip(*found, strict=True))


def wrong_copy(files: pathlib.Path) -> None:
    """One pixel of the first image is another, and every checksum on the way is right."""
    file = tiles.ENTRY.part("train", "images")
    images = tiles.arrays("train")[0].copy()
    images[0, 0, 0] ^= 1
    (files / file.name).write_bytes(tiles.gz(images))


def test_the_folder_is_small_and_nothing_in_the_package_knows_it():
    code = (FOLDER / "tiny_tiles_dataset_builder.py").read_text(encoding="utf-8")
    assert len(code.splitlines()) <= 40
    package = pathlib.Path(fmnist_tfds.__file__).parent
    for path in [*package.rglob("*.py"), *package.rglob("*.toml")]:
        assert "tiny_tiles" not in path.read_text(encoding="utf-8"), path


@pytest.mark.parametrize("kind", ["http", "folder"])
def test_files_are_fetched_from_a_mirror_and_proved(kind, files, tmp_path, loopback):
    mirror = loopback(files).url if kind == "http" else str(files)
    found = fmnist_tfds.obtain_files(
        dataset=tiles.ENTRY, mirrors=[mirror], cache_dir=tmp_path / "cache"
    )
    assert set(found) == {file.name for file in tiles.ENTRY.files}
    for name, path in found.items():
        assert path.read_bytes() == (files / name).read_bytes()
    (images, labels), _ = fmnist_tfds.load_data(
        dataset=tiles.ENTRY, cache_dir=tmp_path / "cache", offline=True
    )
    np.testing.assert_array_equal(images, tiles.arrays("train")[0])
    np.testing.assert_array_equal(labels, tiles.arrays("train")[1])


def test_built_from_http_and_loaded_with_the_facts_of_its_entry(files, tmp_path, loopback):
    dataset, info = tfds.load(
        "tiny_tiles",
        split="train",
        data_dir=tmp_path / "tfds",
        with_info=True,
        builder_kwargs={"mirrors": [loopback(files).url]},
    )
    images = np.stack([example["image"][..., 0] for example in tfds.as_numpy(dataset)])
    np.testing.assert_array_equal(images, tiles.arrays("train")[0])
    assert info.splits["test"].num_examples == tiles.COUNTS["test"]
    assert info.homepage == "https://tiles.invalid/"
    assert info.citation == "@misc{tiles, title = {Tiny Tiles}, author = {Nobody}}"
    assert info.redistribution_info.license == "CC0-1.0"
    assert info.description.startswith("Sixty training tiles")
    assert info.features["label"].names[9] == "quarry"


def test_default_in_the_mirror_list_means_its_own_mirrors(files, tmp_path, loopback):
    mirror = loopback(files)
    rules = tmp_path / "rewrites.toml"
    rules.write_text(
        f'[[rewrites]]\nfrom = "https://tiles.invalid/files/"\nto = ["{mirror.url}"]\n'
    )
    builder = tfds.builder(
        "tiny_tiles", data_dir=tmp_path / "tfds", mirrors="default", config_file=str(rules)
    )
    builder.download_and_prepare()
    assert len(mirror.requests) == 4


def test_batches_are_its_examples_proved_and_normalised_by_its_statistics(data_dir, caplog):
    caplog.set_level(logging.WARNING)
    images, labels = tiles.arrays("train")
    read, classes = batches(
        input_pipeline.make_train(16, name="tiny_tiles", data_dir=data_dir, dtype="uint8")
    )
    assert sorted(image.tobytes() for image in read) == sorted(i.tobytes() for i in images)
    assert sorted(classes) == sorted(labels)
    read, classes = batches(
        input_pipeline.make_eval(16, name="tiny_tiles", data_dir=data_dir, dtype="uint8")
    )
    np.testing.assert_array_equal(read[..., 0], tiles.arrays("test")[0])
    np.testing.assert_array_equal(classes, tiles.arrays("test")[1])
    mean, deviation = input_pipeline.pixel_statistics(name="tiny_tiles", data_dir=data_dir)
    assert (mean, deviation) == pytest.approx((images.mean(), images.std()), rel=1e-9)
    read, _ = batches(
        input_pipeline.make_train(
            16, name="tiny_tiles", data_dir=data_dir, normalize="standard", dtype="float32"
        )
    )
    assert (read.mean(), read.std()) == pytest.approx((0, 1), abs=1e-4)
    assert "not in the catalog" not in caplog.text


def test_wrong_bytes_are_refused_wherever_they_stand(files, data_dir, tmp_path, monkeypatch):
    wrong_copy(files)
    builder = tfds.builder("tiny_tiles", data_dir=tmp_path / "new", mirrors=["off", str(files)])
    with pytest.raises(errors.ObtainError) as caught:
        builder.download_and_prepare(download_dir=tmp_path / "no cache yet")
    assert "tiles-train-images.gz" in str(caught.value)
    assert not list((tmp_path / "new").rglob("*.tfrecord*"))
    # Intact shards of other images: what is prepared is not what this entry says.
    parts = [
        dataclasses.replace(file, payload_sha256="0" * 64) if file.split == "train" else file
        for file in tiles.ENTRY.files
    ]
    monkeypatch.setitem(
        catalog.DATASETS, "tiny_tiles", dataclasses.replace(tiles.ENTRY, files=tuple(parts))
    )
    with pytest.raises(errors.ContentError, match="prepared tiny_tiles train split is not the"):
        batches(input_pipeline.make_train(16, name="tiny_tiles", data_dir=data_dir))


def test_every_part_of_the_package_calls_it_by_its_own_title(files, data_dir, tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    said = []
    found = {file.name: files / file.name for file in tiles.ENTRY.files}
    packed = bundle.export(found, tmp_path / "tiles.pyz", dataset=tiles.ENTRY)
    bundle.import_(packed, tmp_path / "imported", dataset=tiles.ENTRY)
    said.append(packed.read_bytes()[:60_000].decode("latin-1"))
    server = serve.serve(found, dataset=tiles.ENTRY)
    said += [text for pair in server._http.usage for text in pair] + [server._http.title]
    server.close()
    with pytest.raises(errors.ArgumentError, match="none is known to read Tiny Tiles") as refused:
        plant.plant("keras", found, tmp_path, dataset=tiles.ENTRY)
    said.append(str(refused.value))
    settings = loader.load(mirrors=str(files), dataset=tiles.ENTRY)
    seen = report.examine(settings, dataset=tiles.ENTRY)
    said.append(repr(seen))
    wrong_copy(files)
    with pytest.raises(errors.FmnistError) as failed:
        fmnist_tfds.obtain_files(dataset=tiles.ENTRY, mirrors=str(files), cache_dir=tmp_path / "c")
    said.append(str(failed.value))
    with pytest.raises(errors.FmnistError) as unknown:
        adopt.adopt(files, tmp_path / "adopted", dataset=tiles.ENTRY)
    said.append(str(unknown.value))
    config = training_config.TrainingConfig(
        dataset="tiny_tiles", data_dir=str(data_dir), batch_size=20, eval_batch_size=20, epochs=1
    )
    metrics = train.train_and_evaluate(config, tmp_path / "work").metrics
    assert metrics["data"] == "tiny-tiles"
    assert metrics["input"]["class_names"] == list(tiles.ENTRY.class_names)
    assert metrics["input"]["normalization"]["mean"] == pytest.approx(
        tiles.arrays("train")[0].mean()
    )
    said += [str(metrics), caplog.text]
    said += [path.read_text() for path in data_dir.rglob("*.json")]
    text = "\n".join(said)
    assert "Tiny Tiles" in text
    for word in ("synthetic", "stand-in", "fashion", "zalando"):
        assert word not in text.lower(), text[max(0, text.lower().find(word) - 200) :][:400]
