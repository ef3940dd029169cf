"""The data as `keras.datasets.fashion_mnist.load_data()` returns it, through our own ladder.

Never imports TensorFlow or Keras.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from fmnist_tfds import catalog, obtain
from fmnist_tfds.formats import identify, idx

_Arrays = tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]


def load_data(
    *, dataset: catalog.Catalog = catalog.FASHION_MNIST, **options: Any
) -> tuple[_Arrays, _Arrays]:
    """Fashion-MNIST as ((x_train, y_train), (x_test, y_test)).

    Images are uint8[60000, 28, 28] and uint8[10000, 28, 28] in 0..255, labels uint8[60000] and
    uint8[10000] in 0..9, in the original order. Unlike Keras's, the arrays may be written to.

    Args:
        dataset: which data set of the family.
        **options: as `obtain.obtain_files` takes them: mirrors, manual_dir, cache_dir, …

    Raises:
        ConfigError: an option is wrong.
        ObtainError: no source delivered the files.
        ContentError: a file is not genuine.
        StoreError: the cache cannot be read or written.
    """
    files = obtain.obtain_files(dataset=dataset, **options)

    def array(split: catalog.Split, kind: catalog.Kind) -> npt.NDArray[np.uint8]:
        file = dataset.part(split, kind)
        payload = identify.payload(files[file.name], file, dataset=dataset)
        # A copy is writable: PyTorch warns about tensors over arrays that are not.
        return idx.decode(payload, file.shape, name=file.name).copy()

    return (
        (array("train", "images"), array("train", "labels")),
        (array("test", "images"), array("test", "labels")),
    )
