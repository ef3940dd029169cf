"""A Fashion-MNIST that always arrives, is provably the right bytes, and feeds the accelerator.

Importing this package registers its data sets, `fmnist_resilient` and `fmnist_synthetic`, with
TensorFlow Datasets, and the layer `Preprocess` with Keras, before or after those are imported; it
imports neither TensorFlow, TFDS nor Keras.
The other public names are imported on first use:

    obtain_files        the four verified files, from the cache, a folder or the mirrors
    load_data           drop-in for keras.datasets.fashion_mnist.load_data
    CLASS_NAMES         the ten class names, index = label
    PIXEL_MEAN, PIXEL_STD   of the training images, in [0, 1]
    resilient           the same mirrors, proxies and causes under any TFDS data set
    input_pipeline      make_train, make_eval (tf.data); fit_on_device, numpy_batches (without it)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from fmnist_tfds import processes as _processes

_processes.end_quietly_while_importing()

from fmnist_tfds import catalog as _catalog  # noqa: E402
from fmnist_tfds import registries as _registries  # noqa: E402
from fmnist_tfds import version  # noqa: E402

if TYPE_CHECKING:
    CLASS_NAMES: tuple[str, ...]
    PIXEL_MEAN: float
    PIXEL_STD: float
    from fmnist_tfds import input_pipeline as input_pipeline
    from fmnist_tfds.any_dataset.switch import resilient as resilient
    from fmnist_tfds.keras_data import load_data as load_data
    from fmnist_tfds.obtain import obtain_files as obtain_files

__version__ = version.VERSION
__all__ = [
    "CLASS_NAMES",
    "PIXEL_MEAN",
    "PIXEL_STD",
    "__version__",
    "input_pipeline",
    "load_data",
    "obtain_files",
    "resilient",
]

_LAZY = {"obtain_files": "obtain", "load_data": "keras_data", "resilient": "any_dataset.switch"}


_registries.announce()


def __getattr__(name: str) -> Any:
    if name in ("CLASS_NAMES", "PIXEL_MEAN", "PIXEL_STD"):
        return _constant(name)
    if name == "input_pipeline":
        return importlib.import_module("fmnist_tfds.input_pipeline")
    if name in _LAZY:
        return getattr(importlib.import_module(f"fmnist_tfds.{_LAZY[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _constant(name: str) -> Any:
    if name == "CLASS_NAMES":
        return _catalog.FASHION_MNIST.class_names
    mean, deviation = _catalog.FASHION_MNIST_STATISTICS
    return (mean if name == "PIXEL_MEAN" else deviation) / 255


def __dir__() -> list[str]:
    return sorted(__all__)
