"""A stand-in of a thousand examples, prepared, with the catalog entry that proves it."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import pathlib
import shutil
import tempfile

import numpy as np
import tensorflow_datasets as tfds

import fmnist_tfds  # noqa: F401  registers
from fmnist_tfds import catalog
from fmnist_tfds.datasets.fmnist_synthetic import generator
from fmnist_tfds.formats import idx
from fmnist_tfds.training import config as training_config

EXAMPLES = 1000


@functools.cache
def arrays(split: str) -> tuple[np.ndarray, np.ndarray]:
    """(images uint8[1000, 28, 28], labels uint8[1000]), as they were generated."""
    images, labels = generator.generate(split)
    return images[:EXAMPLES], labels[:EXAMPLES]


def prepare(folder: pathlib.Path) -> pathlib.Path:
    """Prepares `fmnist_synthetic` in `folder`, which is then its data_dir; a copy of the first."""
    shutil.copytree(_made().name, folder, dirs_exist_ok=True)
    return folder


@functools.cache
def _made() -> tempfile.TemporaryDirectory[str]:
    folder = tempfile.TemporaryDirectory()
    config = tfds.download.DownloadConfig(max_examples_per_split=EXAMPLES)
    builder = tfds.builder("fmnist_synthetic", data_dir=folder.name)
    builder.download_and_prepare(download_config=config)
    return folder


def settings(data_dir: pathlib.Path, **changes: object) -> training_config.TrainingConfig:
    """Of a short training on it; without the proof, which needs `known`."""
    values = {"batch_size": 100, "eval_batch_size": 200, "epochs": 1, "verify": False}
    return training_config.TrainingConfig(
        dataset="fmnist_synthetic", data_dir=str(data_dir), **{**values, **changes}
    )


def known(*, wrong: str = "") -> catalog.Catalog:
    """The entry with the digests of these examples; those of the split `wrong` are others."""
    files = []
    for file in catalog.FASHION_MNIST_SYNTHETIC.files:
        images, labels = arrays(file.split)
        array = images if file.kind == "images" else labels
        payload = idx.encode(array)
        digest = hashlib.sha256(b"other" if file.split == wrong else payload).hexdigest()
        files.append(
            dataclasses.replace(
                file, shape=array.shape, payload_bytes=len(payload), payload_sha256=digest
            )
        )
    return dataclasses.replace(catalog.FASHION_MNIST_SYNTHETIC, files=tuple(files))
