"""`import fmnist_tfds` brings nobody else's seconds, and TFDS finds the data sets all the same."""

from __future__ import annotations

import subprocess
import sys

import pytest

_BOTH = (
    "import tensorflow_datasets as t\n"
    "t.builder_cls('fmnist_resilient'), t.builder_cls('fmnist_synthetic')"
)


def _python(code: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr


def test_importing_the_package_imports_neither_tfds_tensorflow_keras_nor_numpy():
    heavy = "{'tensorflow_datasets', 'tensorflow', 'keras', 'numpy', 'requests'}"
    _python(f"import sys, fmnist_tfds; found = {heavy} & set(sys.modules); assert not found, found")


@pytest.mark.parametrize(
    "first",
    [
        "import fmnist_tfds",
        "import tensorflow_datasets, fmnist_tfds",
        # Whichever of the modules that need TFDS begins: the data sets need some of them.
        "import fmnist_tfds.version_folder",
        "import fmnist_tfds.datasets.replacing_builder",
        "import fmnist_tfds.datasets.fmnist_synthetic.fmnist_synthetic_dataset_builder",
        "import fmnist_tfds.any_dataset.seam",
        "import fmnist_tfds.everywhere",
    ],
)
def test_tfds_finds_the_data_sets_whatever_is_imported_first(first):
    # As users say it: TFDS is whole, and is the module that it is without this package.
    code = "assert 'registries' not in repr((t.__loader__, t.__spec__)), t.__spec__"
    _python("\n".join([first, _BOTH, code]))


def test_tfds_finds_the_data_sets_where_another_thread_imports_it_at_once():
    code = (
        "import concurrent.futures, importlib, fmnist_tfds\n"
        "def find(name):\n"
        "    return importlib.import_module('tensorflow_datasets').builder_cls(name).name\n"
        "names = ['fmnist_resilient', 'fmnist_synthetic'] * 4\n"
        "with concurrent.futures.ThreadPoolExecutor(8) as threads:\n"
        "    assert list(threads.map(find, names)) == names\n"
    )
    _python(code)
