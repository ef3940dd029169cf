"""`fmnist_synthetic`: the embedded stand-in for offline trials and tests. NOT Fashion-MNIST."""

from __future__ import annotations

import contextlib
import dataclasses
from typing import Any, ClassVar

import tensorflow_datasets as tfds

from fmnist_tfds import catalog
from fmnist_tfds.datasets import ordered_builder
from fmnist_tfds.datasets.fmnist_synthetic import generator


class Builder(ordered_builder.OrderedBuilder):
    """DatasetBuilder for fmnist_synthetic: same features and counts, generated, no download."""

    DATASET = catalog.FASHION_MNIST_SYNTHETIC
    VERSION = tfds.core.Version("2.0.0")
    RELEASE_NOTES: ClassVar[dict[str, str]] = {
        "2.0.0": "Drawn anew: garments that a person recognises. The labels are the same.",
        "1.0.0": "Initial release.",
    }

    def _obtained(self, download_dir: Any, config: Any) -> contextlib.AbstractContextManager[Any]:
        """Generated here: nothing is looked for elsewhere, Google's bucket of TFDS included."""
        del download_dir
        return contextlib.nullcontext(dataclasses.replace(config, try_download_gcs=False))

    def _arrays(self, dl_manager: Any) -> dict[str, Any]:
        del dl_manager
        return {split: generator.generate(split) for split in ("train", "test")}
