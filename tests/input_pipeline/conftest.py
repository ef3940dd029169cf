"""Prepared data sets for the input pipeline: small, local, every example telling its own number."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import io
import pathlib
import shutil
import tempfile
from typing import ClassVar

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from fmnist_tfds import catalog
from fmnist_tfds.formats import idx, png

SIZES = {"train": 1000, "test": 301}


def make_images(count, seed=0):
    """uint8[count, 28, 28] noise, of which compressed PNGs differ in length, and no pixel is black.

    But for 14,10 to 14,12, which hold the example's number.
    """
    images = np.random.default_rng(seed).integers(0, 256, (count, 28, 28), np.uint8)
    images &= np.array([0xFF, 0xF0, 0xC0], np.uint8)[np.arange(count) % 3][:, None, None]
    images |= 1
    for place in range(3):
        images[:, 14, 10 + place] = np.arange(count) >> (8 * place) & 255
    return images


def make_labels(count):
    return (np.arange(count) * 7 % 10).astype(np.uint8)


def numbers(images):
    """The example numbers in uint8[n, 28, 28, 1]."""
    places = np.asarray(images)[:, 14, 10:13, 0].astype(np.int64)
    return places @ np.array([1, 256, 65536])


def read_numbers(batches):
    """The example numbers of a whole iteration, checked against the labels."""
    found = [(numbers(images), np.asarray(labels)) for images, labels in batches]
    order = np.concatenate([n for n, _ in found])
    np.testing.assert_array_equal(
        np.concatenate([y for _, y in found]), make_labels(1 << 16)[order]
    )
    return order


class _Clothes(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    VERSION = tfds.core.Version("1.0.0")
    name = "tiny_clothes"
    sizes: ClassVar = SIZES
    stored = True

    def _info(self):
        features = {
            "image": tfds.features.Image(shape=(28, 28, 1), encoding_format="png"),
            "label": tfds.features.ClassLabel(names=list(catalog.FASHION_MNIST.class_names)),
        }
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(features),
            supervised_keys=("image", "label"),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager):
        return {split: self._generate_examples(size) for split, size in self.sizes.items()}

    def _generate_examples(self, size):
        images = make_images(size)
        shown = map(io.BytesIO, png.encode_batch(images)) if self.stored else images[..., None]
        for index, (image, label) in enumerate(zip(shown, make_labels(size), strict=True)):
            yield index, {"image": image, "label": int(label)}


class _CompressedClothes(_Clothes, skip_registration=True):
    name = "tiny_compressed"
    stored = False


class _ManyClothes(_Clothes, skip_registration=True):
    name = "tiny_many"
    sizes: ClassVar = {"train": 40_000, "test": 10}


_KINDS = {"stored": _Clothes, "compressed": _CompressedClothes, "many": _ManyClothes}


def prepare(folder, kind="stored", num_shards=1, file_format="tfrecord"):
    """A prepared builder below `folder`; each kind is written once and then copied."""
    made = _made(kind, num_shards, file_format)
    shutil.copytree(made.name, folder, dirs_exist_ok=True)
    return _KINDS[kind](data_dir=str(folder), file_format=file_format)


@functools.cache
def _made(kind, num_shards, file_format):
    folder = tempfile.TemporaryDirectory()
    builder = _KINDS[kind](data_dir=folder.name, file_format=file_format)
    config = tfds.download.DownloadConfig(num_shards=num_shards)
    builder.download_and_prepare(download_config=config)
    return folder


def shard_path(builder, split="train", index=0):
    return pathlib.Path(str(builder.info.splits[split].filepaths[index]))


def flip(builder, offset, bit=0x20, index=0):
    """Damages a byte of a shard of the training split; the file's name."""
    path = shard_path(builder, index=index)
    data = bytearray(path.read_bytes())
    data[offset] ^= bit
    path.write_bytes(bytes(data))
    return path.name


def make_catalog():
    """A catalog entry that holds the true digests of tiny_clothes."""
    files = []
    for file in catalog.FASHION_MNIST.files:
        size = SIZES[file.split]
        array = make_images(size) if file.kind == "images" else make_labels(size)
        payload = idx.encode(array)
        files.append(
            dataclasses.replace(
                file,
                shape=array.shape,
                payload_bytes=len(payload),
                payload_sha256=hashlib.sha256(payload).hexdigest(),
            )
        )
    return dataclasses.replace(catalog.FASHION_MNIST, name="tiny", files=tuple(files))


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """tiny_clothes as the builder writes it: one shard of stored PNGs."""
    return prepare(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def many(tmp_path_factory):
    """40,000 examples, two windows of the stream."""
    return prepare(tmp_path_factory.mktemp("many"), "many")


@pytest.fixture
def fresh(tmp_path):
    """tiny_clothes in a folder of its own, to be damaged."""
    return prepare(tmp_path)


@pytest.fixture
def known(monkeypatch):
    """The catalog knows tiny_clothes."""
    monkeypatch.setitem(catalog.DATASETS, "tiny_clothes", make_catalog())


@pytest.fixture
def global_seed():
    """Sets TensorFlow's global seed, and puts it back to none."""
    yield tf.random.set_seed
    tf.random.set_seed(None)
