"""TFDS's own harness, unmodified, over a small data set of the family."""

from __future__ import annotations

import pathlib
import tempfile
from typing import ClassVar
from unittest import mock

import pytest
import small_dataset as small
import tensorflow_datasets as tfds

import fmnist_tfds  # noqa: F401  registers
from fmnist_tfds.datasets.fmnist_resilient import fmnist_resilient_dataset_builder as resilient

pytestmark = [
    pytest.mark.versions,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]


class ResilientTest(tfds.testing.DatasetBuilderTestCase):
    DATASET_CLASS = resilient.Builder
    SPLITS = small.COUNTS
    DL_DOWNLOAD_RESULT: ClassVar[dict[str, str]] = {
        f.name: f.name for f in resilient.Builder.DATASET.files
    }

    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.EXAMPLE_DIR = folder.name
        dataset = small.write(pathlib.Path(folder.name))
        patch = mock.patch.object(resilient.Builder, "DATASET", dataset)
        cls.addClassCleanup(patch.stop)
        patch.start()
        super().setUpClass()

    def _make_builder(self, config=None):
        return self.dataset_class(
            data_dir=self.tmp_dir, config=config, mirrors=["off", self.EXAMPLE_DIR]
        )
