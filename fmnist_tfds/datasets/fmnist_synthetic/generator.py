"""The synthetic stand-in, image by image from integer arithmetic: NOT Fashion-MNIST. Imports numpy.

The same bytes on every platform and numpy version; the digests are pinned in `catalog`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fmnist_tfds import catalog
from fmnist_tfds.datasets.fmnist_synthetic import raster, silhouettes

_SEEDS: dict[catalog.Split, int] = {"train": 0x5EED_0001, "test": 0x5EED_0002}
_COUNTS: dict[catalog.Split, int] = {
    "train": catalog.TRAIN_EXAMPLES,
    "test": catalog.TEST_EXAMPLES,
}
# 500 canvases of uint16 are 784 kB: they stay in the second-level cache.
_CHUNK_IMAGES = 500


def generate(split: catalog.Split) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """The images and labels of one split.

    Returns:
        images uint8[n, 28, 28], 0..255, and labels uint8[n], 0..9, in shuffled order, every class
        equally often; n is 60,000 ("train") or 10,000 ("test").
    """
    count = _COUNTS[split]
    # The upper half of a key is the split, so that the streams of the splits cannot meet.
    keys = raster.mix(np.arange(count, dtype=np.uint64) + np.uint64(_SEEDS[split] << 32))
    labels = (np.argsort(keys, kind="stable") % catalog.NUM_CLASSES).astype(np.uint8)
    images = np.empty((count, raster.SIZE, raster.SIZE), np.uint8)
    for label, draw in enumerate(silhouettes.DRAW):
        members = np.flatnonzero(labels == label)
        for start in range(0, len(members), _CHUNK_IMAGES):
            chunk = members[start : start + _CHUNK_IMAGES]
            images[chunk] = draw(raster.Draws(keys[chunk]))
    return images, labels
