"""numbered_clothes: a data set whose images hold their own number; odd counts on purpose."""

from __future__ import annotations

import io

import numpy as np
import tensorflow_datasets as tfds

from fmnist_tfds import catalog
from fmnist_tfds.formats import png

TRAIN, TEST = 20_011, 1_003


class Builder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Example i: its first three pixels are the base-256 digits of i."""

    VERSION = tfds.core.Version("1.0.0")
    name = "numbered_clothes"

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
        return {"train": self._generate_examples(TRAIN), "test": self._generate_examples(TEST)}

    def _generate_examples(self, count):
        images = np.zeros((count, 28, 28), np.uint8)
        for digit in range(3):
            images[:, 0, digit] = np.arange(count) >> (8 * digit) & 255
        for index, encoded in enumerate(png.encode_batch(images)):
            yield index, {"image": io.BytesIO(encoded), "label": index % 10}


def numbers(images):
    """The number in each image of uint8[B, 28, 28, 1]: int64[B]."""
    digits = np.asarray(images)[:, 0, :3, 0].astype(np.int64)
    return digits @ np.array([1, 256, 65536])
