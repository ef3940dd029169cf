"""TFRecords to batches on the accelerator. Never imports the builders or download.

What a name needs is imported when it is first used: `numpy_batches` works without TensorFlow.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fmnist_tfds.input_pipeline.arrays import numpy_batches
    from fmnist_tfds.input_pipeline.on_device.fit import fit_on_device
    from fmnist_tfds.input_pipeline.pipeline import make_eval, make_train, pixel_statistics
    from fmnist_tfds.input_pipeline.preprocess import Preprocess

_HOMES = {
    "Preprocess": "preprocess",
    "fit_on_device": "on_device.fit",
    "make_eval": "pipeline",
    "make_train": "pipeline",
    "numpy_batches": "arrays",
    "pixel_statistics": "pipeline",
}
__all__ = [
    "Preprocess",
    "fit_on_device",
    "make_eval",
    "make_train",
    "numpy_batches",
    "pixel_statistics",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = found
    return found
