"""numbered_clothes, numbered_few: images that hold their own number; odd counts on purpose."""

from __future__ import annotations

import io
from typing import ClassVar

import numpy as np
import tensorflow_datasets as tfds

from fmnist_tfds import catalog
from fmnist_tfds.formats import png

TRAIN, TEST = 20_011, 1_003
# For processes that train.
FEW_TRAIN, FEW_TEST = 2_003, 203


class Builder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Example i: its first three pixels are the base-256 digits of i."""

    VERSION = tfds.core.Version("1.0.0")
    name = "numbered_clothes"
    counts: ClassVar = {"train": TRAIN, "test": TEST}

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
        return {split: self._generate_examples(count) for split, count in self.counts.items()}

    def _generate_examples(self, count):
        images = np.zeros((count, 28, 28), np.uint8)
        for digit in range(3):
            images[:, 0, digit] = np.arange(count) >> (8 * digit) & 255
        for index, encoded in enumerate(png.encode_batch(images)):
            yield index, {"image": io.BytesIO(encoded), "label": index % 10}


class FewBuilder(Builder, skip_registration=True):
    """A tenth of it."""

    name = "numbered_few"
    counts: ClassVar = {"train": FEW_TRAIN, "test": FEW_TEST}


def numbers(images):
    """The number in each image of uint8[B, 28, 28, 1]: int64[B]."""
    digits = np.asarray(images)[:, 0, :3, 0].astype(np.int64)
    return digits @ np.array([1, 256, 65536])
