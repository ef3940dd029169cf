"""The data as `keras.datasets.fashion_mnist.load_data()` returns it, through our own ladder.

Never imports TensorFlow or Keras.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from fmnist_tfds import catalog, obtain
from fmnist_tfds.config import settings as settings_
from fmnist_tfds.download import progress as progress_
from fmnist_tfds.formats import identify, idx

_Arrays = tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]


def load_data(
    *,
    mirrors: str | Iterable[str | settings_.Mirror] | None = None,
    manual_dir: str | os.PathLike[str] | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    config_file: str | os.PathLike[str] | None = None,
    deadline_s: float | None = None,
    offline: bool | None = None,
    adopt_local: bool = False,
    out: str | os.PathLike[str] | None = None,
    settings: settings_.Settings | None = None,
    dataset: catalog.Catalog = catalog.FASHION_MNIST,
    progress: progress_.Progress | None = None,
) -> tuple[_Arrays, _Arrays]:
    """Fashion-MNIST as ((x_train, y_train), (x_test, y_test)).

    Images are uint8[60000, 28, 28] and uint8[10000, 28, 28] in 0..255, labels uint8[60000] and
    uint8[10000] in 0..9, in the original order. Unlike Keras's, the arrays may be written to.

    Args:
        mirrors: the mirror list, as text or entries; "off" for no network.
        manual_dir: folder, archive or file that holds the data; tried before the network.
        cache_dir: where verified files are kept.
        config_file: TOML file.
        deadline_s: seconds for the whole job.
        offline: open no socket.
        adopt_local: look in other tools' caches on this disk before asking the network.
        out: folder that gets a copy of the four files.
        settings: all of the above at once, instead.
        dataset: which data set of the family.
        progress: receives progress; default: a bar where stderr is a terminal, else the log.

    Raises:
        ConfigError: an option is wrong.
        ObtainError: no source delivered the files.
        ContentError: a file is not genuine.
        StoreError: the cache cannot be read or written.
    """
    with contextlib.nullcontext(progress) if progress else progress_.shown() as report:
        files = obtain.obtain_files(
            mirrors=mirrors,
            manual_dir=manual_dir,
            cache_dir=cache_dir,
            config_file=config_file,
            deadline_s=deadline_s,
            offline=offline,
            adopt_local=adopt_local,
            out=out,
            settings=settings,
            dataset=dataset,
            progress=report,
        )

    def array(split: catalog.Split, kind: catalog.Kind) -> npt.NDArray[np.uint8]:
        file = dataset.part(split, kind)
        payload = identify.payload(files[file.name], file, dataset=dataset)
        # A copy is writable: PyTorch warns about tensors over arrays that are not.
        return idx.decode(payload, file.shape, name=file.name).copy()

    return (
        (array("train", "images"), array("train", "labels")),
        (array("test", "images"), array("test", "labels")),
    )
