"""What make_train and make_eval promise of the data: proved, normalised by itself, augmented."""

from __future__ import annotations

import dataclasses
import io
from typing import ClassVar

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from fmnist_tfds import catalog, errors, input_pipeline
from fmnist_tfds.formats import png
from fmnist_tfds.input_pipeline import service

from . import conftest

SOURCES = ["resident", "stream"]


class _Altered(conftest._Clothes, skip_registration=True):
    """tiny_clothes, every record intact, but for one label or one pixel of the training split."""

    name = "tiny_clothes"
    altered: ClassVar = ("label", 700)

    def _generate_examples(self, size):
        what, number = self.altered
        for index, example in super()._generate_examples(size):
            if index == number and size == conftest.SIZES["train"]:
                if what == "label":
                    example["label"] = (example["label"] + 1) % 10
                else:
                    image = conftest.make_images(size)[index]
                    image[3, 4] ^= 1
                    example["image"] = (
                        io.BytesIO(png.encode(image)) if self.stored else image[..., None]
                    )
            yield index, example


def _altered(folder, what, *, compressed=False, num_shards=1, file_format="tfrecord"):
    values = {"name": "tiny_clothes", "altered": (what, 700), "stored": not compressed}
    kind = type("_One", (_Altered,), values, skip_registration=True)
    builder = kind(data_dir=str(folder), file_format=file_format)
    builder.download_and_prepare(
        download_config=tfds.download.DownloadConfig(num_shards=num_shards)
    )
    return builder


@pytest.mark.parametrize("what", ["label", "pixel"])
@pytest.mark.parametrize(
    ("how", "sources"),
    [
        ({}, SOURCES),
        ({"num_shards": 3}, SOURCES),
        ({"compressed": True, "num_shards": 2}, SOURCES),
        ({"file_format": "array_record"}, ["resident"]),
        ({"file_format": "array_record", "compressed": True}, ["resident"]),
    ],
    ids=str,
)
def test_labels_and_pixels_are_proved_whatever_the_file(tmp_path, known, what, how, sources):
    builder = _altered(tmp_path, what, **how)
    for source in sources:
        with pytest.raises(errors.ContentError, match="not the genuine one"):
            input_pipeline.make_train(64, builder=builder, source=source)
        # The other split is as it should be.
        input_pipeline.make_eval(64, builder=builder, source=source)


@pytest.mark.parametrize("kind", ["stored", "compressed"])
@pytest.mark.parametrize("source", SOURCES)
def test_data_that_is_genuine_passes_in_every_encoding(tmp_path, known, monkeypatch, source, kind):
    entry = catalog.DATASETS["tiny_clothes"]
    monkeypatch.setitem(catalog.DATASETS, "tiny_compressed", entry)
    input_pipeline.make_train(64, builder=conftest.prepare(tmp_path, kind), source=source)


def test_evaluation_data_is_proved_as_training_data_is(tmp_path, known):
    builder = _altered(tmp_path, "label")
    with pytest.raises(errors.ContentError):
        input_pipeline.make_eval(64, builder=builder, split="train")
    read_as_it_is = input_pipeline.make_eval(64, builder=builder, split="train", verify=False)
    assert read_as_it_is.cardinality() == -(-1000 // 64)


def _linear_model():
    model = keras.Sequential([keras.layers.Flatten(), keras.layers.Dense(10)])
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


def test_device_resident_data_is_proved_too(tmp_path, known):
    builder = _altered(tmp_path, "label")
    with pytest.raises(errors.ContentError):
        input_pipeline.fit_on_device(_linear_model(), 64, builder=builder)
    read_as_it_is = input_pipeline.fit_on_device(_linear_model(), 64, builder=builder, verify=False)
    assert read_as_it_is.epoch == [0]


@pytest.mark.parametrize("wrong", ["train", "test"])
def test_device_resident_validation_is_proved_as_well(tiny, known, monkeypatch, wrong):
    entry = catalog.DATASETS["tiny_clothes"]
    files = tuple(
        dataclasses.replace(file, payload_sha256="0" * 64) if file.split == wrong else file
        for file in entry.files
    )
    other = dataclasses.replace(entry, files=files)
    monkeypatch.setitem(catalog.DATASETS, "tiny_clothes", other)
    with pytest.raises(errors.ContentError, match=f"{wrong} split is not the genuine one"):
        input_pipeline.fit_on_device(
            _linear_model(), 64, builder=tiny, split="train", validation_split="test"
        )


def test_data_that_a_service_is_to_read_is_proved_first(tmp_path, known, monkeypatch):
    monkeypatch.setattr(service, "distribute", lambda batches, address: batches)
    builder = _altered(tmp_path, "label")
    where = {"builder": builder, "service": "grpc://127.0.0.1:1"}
    with pytest.raises(errors.ContentError, match="not the genuine one"):
        input_pipeline.make_train(64, **where)
    assert input_pipeline.make_train(64, verify=False, **where)


def test_each_function_reads_its_own_split_unless_told_otherwise(tiny):
    train = input_pipeline.make_train(50, builder=tiny, verify=False, dtype="uint8")
    test = input_pipeline.make_eval(50, builder=tiny, verify=False, dtype="uint8")
    assert len(conftest.read_numbers(train)) == conftest.SIZES["train"]
    assert len(conftest.read_numbers(test)) == conftest.SIZES["test"]


def _pixels(batches):
    return np.concatenate([np.asarray(images, np.float64) for images, _ in batches])


@pytest.mark.parametrize("source", SOURCES)
def test_standard_is_the_mean_and_deviation_of_that_data_set(tiny, source):
    pixels = _pixels(
        input_pipeline.make_train(
            100, builder=tiny, verify=False, normalize="standard", source=source
        )
    )
    assert abs(pixels.mean()) < 1e-4
    assert abs(pixels.std() - 1) < 1e-4


def test_test_images_are_normalised_by_the_training_split(tiny):
    images = conftest.make_images(conftest.SIZES["train"]).astype(np.float64)
    test = conftest.make_images(conftest.SIZES["test"]).astype(np.float64)[..., None]
    batches = input_pipeline.make_eval(100, builder=tiny, verify=False, normalize="standard")
    np.testing.assert_allclose(_pixels(batches), (test - images.mean()) / images.std(), atol=1e-5)


def test_statistics_are_those_of_the_training_pixels(tiny):
    images = conftest.make_images(conftest.SIZES["train"]).astype(np.float64)
    mean, deviation = input_pipeline.pixel_statistics(builder=tiny)
    assert (mean, deviation) == pytest.approx((images.mean(), images.std()))


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize(
    ("dtype", "step"), [("float32", 1e-6), ("float16", 1e-3), ("bfloat16", 1e-2)]
)
def test_unit_is_the_pixel_over_255_in_every_dtype(tiny, source, dtype, step):
    batches = input_pipeline.make_eval(100, builder=tiny, verify=False, dtype=dtype, source=source)
    expected = conftest.make_images(conftest.SIZES["test"])[..., None] / 255
    found = np.concatenate([tf.cast(images, tf.float64).numpy() for images, _ in batches])
    assert found.min() >= 0
    assert found.max() <= 1
    np.testing.assert_allclose(found, expected, atol=step)


@pytest.mark.parametrize("source", SOURCES)
def test_flip_mirrors_about_half_of_the_images_and_leaves_the_rest(tiny, source):
    plain, flipped = (
        np.concatenate(
            [
                images.numpy()
                for images, _ in input_pipeline.make_train(
                    100, builder=tiny, verify=False, dtype="uint8", augment=augment, source=source
                )
            ]
        )
        for augment in (None, "flip")
    )
    same = (plain == flipped).all(axis=(1, 2, 3))
    mirrored = (plain[:, :, ::-1] == flipped).all(axis=(1, 2, 3))
    assert (same | mirrored).all()
    assert 400 < mirrored.sum() < 600


def test_make_eval_never_augments_and_never_shuffles(tiny):
    batches = input_pipeline.make_eval(7, builder=tiny, verify=False, dtype="uint8")
    images = np.concatenate([images.numpy() for images, _ in batches])
    np.testing.assert_array_equal(images[..., 0], conftest.make_images(conftest.SIZES["test"]))


@pytest.mark.parametrize("source", SOURCES)
def test_drop_remainder_leaves_out_the_smaller_batch_alone(tiny, source):
    batches = input_pipeline.make_train(
        64, builder=tiny, verify=False, dtype="uint8", source=source, drop_remainder=True
    )
    assert [len(labels) for _, labels in batches] == [64] * (1000 // 64)
    assert batches.cardinality().numpy() == 1000 // 64


def test_saved_model_remembers_mean_deviation_and_seed(tmp_path):
    layer = input_pipeline.Preprocess("standard", "flip", seed=5, statistics=(10.0, 20.0))
    model = keras.Sequential([keras.Input((28, 28, 1), dtype="uint8"), layer])
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    images = conftest.make_images(8)[..., None]
    found = keras.ops.convert_to_numpy(loaded(images))
    np.testing.assert_allclose(found, (images.astype(np.float64) - 10) / 20, atol=1e-5)
    assert loaded.layers[0].get_config()["seed"] == 5


def test_another_seed_is_another_augmentation_of_the_same_images(tiny):
    def drawn(seed):
        batches = input_pipeline.make_train(
            100, builder=tiny, verify=False, dtype="uint8", augment="cutout", seed=seed
        )
        images = np.concatenate([images.numpy() for images, _ in batches])
        labels = np.concatenate([labels.numpy() for _, labels in batches])
        return images, labels

    (first, _), (again, _), (other, _) = drawn(1), drawn(1), drawn(2)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
