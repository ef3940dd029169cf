"""The stand-in is the same everywhere, balanced, and worth training on."""

from __future__ import annotations

import hashlib
import subprocess
import sys

import numpy as np
import pytest

from fmnist_tfds import catalog
from fmnist_tfds.datasets.fmnist_synthetic import generator
from fmnist_tfds.formats import idx

SPLITS = ("train", "test")


@pytest.fixture(scope="module")
def splits():
    return {split: generator.generate(split) for split in SPLITS}


@pytest.mark.parametrize("file", catalog.FASHION_MNIST_SYNTHETIC.files, ids=lambda f: f.name)
def test_generator_gives_the_pinned_payloads(splits, file):
    payload = idx.encode(splits[file.split][0 if file.kind == "images" else 1])
    assert len(payload) == file.payload_bytes
    assert hashlib.sha256(payload).hexdigest() == file.payload_sha256


@pytest.mark.parametrize("split", SPLITS)
def test_labels_are_balanced_and_shuffled(splits, split):
    images, labels = splits[split]
    assert images.dtype == labels.dtype == np.uint8
    assert images.shape == (len(labels), 28, 28)
    assert np.bincount(labels).tolist() == [len(labels) // 10] * 10
    equal_neighbours = int((labels[1:] == labels[:-1]).sum())
    assert len(labels) // 11 < equal_neighbours < len(labels) // 9


def test_images_all_differ_within_and_across_the_splits(splits):
    every = np.concatenate([splits[split][0] for split in SPLITS])
    assert len({image.tobytes() for image in every}) == 70_000


def test_every_image_shows_something_on_a_black_ground(splits):
    images, labels = splits["test"]
    drawn = (images > 0).mean(axis=(1, 2))
    assert drawn.min() > 0.01
    assert drawn.max() < 0.95
    for label in range(10):
        assert images[labels == label].max() > 200


def test_generator_is_deterministic_in_another_process_without_tensorflow():
    code = (
        "import hashlib, sys\n"
        "from fmnist_tfds.formats import idx\n"
        "from fmnist_tfds.datasets.fmnist_synthetic import generator\n"
        "assert 'tensorflow' not in sys.modules\n"
        "for array in generator.generate('test'):\n"
        "    print(hashlib.sha256(idx.encode(array)).hexdigest())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=600
    )
    assert done.stdout.split() == [
        catalog.FASHION_MNIST_SYNTHETIC.part("test", kind).payload_sha256
        for kind in ("images", "labels")
    ]


def test_splitmix_agrees_with_the_published_sequence():
    # First outputs of splitmix64 with seed 0, as in the reference implementation.
    expected = [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]
    assert generator.mix(np.arange(3, dtype=np.uint64)).tolist() == expected


def test_a_linear_model_learns_the_classes_but_not_perfectly(splits):
    def features(images):
        pooled = images.reshape(-1, 14, 2, 14, 2).mean(axis=(2, 4)).reshape(len(images), -1)
        return np.concatenate([pooled / 255, np.ones((len(images), 1))], axis=1)

    images, labels = splits["train"]
    x, y = features(images[:10_000]), np.eye(10)[labels[:10_000]]
    weights = np.linalg.solve(x.T @ x + np.eye(x.shape[1]), x.T @ y)
    images, labels = splits["test"]
    accuracy = ((features(images) @ weights).argmax(axis=1) == labels).mean()
    assert 0.55 < accuracy < 0.85


def test_the_stand_in_never_bears_the_name_or_the_bytes_of_the_real_data():
    synthetic, real = catalog.FASHION_MNIST_SYNTHETIC, catalog.FASHION_MNIST
    assert "NOT Fashion-MNIST" in synthetic.title
    assert synthetic.mirrors == ()
    ours, theirs = ({f.payload_sha256 for f in c.files} for c in (synthetic, real))
    assert not ours & theirs
    assert synthetic.is_generated
    assert not real.is_generated
