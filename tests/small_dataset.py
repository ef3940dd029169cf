"""A small data set of the family, for tests that must run without the real files."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import pathlib

import numpy as np

from fmnist_tfds import catalog
from fmnist_tfds.formats import idx

COUNTS = {"train": 60, "test": 20}


def arrays(split: str) -> tuple[np.ndarray, np.ndarray]:
    """(images uint8[n, 28, 28], labels uint8[n]): every image different."""
    count = COUNTS[split]
    start = 0 if split == "train" else 1000
    base = np.arange(28 * 28, dtype=np.uint32).reshape(28, 28)
    numbers = np.arange(start, start + count, dtype=np.uint32)[:, None, None]
    images = ((base * (numbers + 7) + numbers * 31) % 251).astype(np.uint8)
    return images, (np.arange(count) % 10).astype(np.uint8)


def write(folder: pathlib.Path) -> catalog.Catalog:
    """Writes the four .gz into `folder`; the catalog that proves them."""
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for file in catalog.FASHION_MNIST.files:
        images, labels = arrays(file.split)
        array = images if file.kind == "images" else labels
        payload = idx.encode(array)
        data = gzip.compress(payload, mtime=0)
        (folder / file.name).write_bytes(data)
        files.append(
            dataclasses.replace(
                file,
                shape=array.shape,
                size_bytes=len(data),
                sha256=hashlib.sha256(data).hexdigest(),
                payload_bytes=len(payload),
                payload_sha256=hashlib.sha256(payload).hexdigest(),
            )
        )
    return dataclasses.replace(catalog.FASHION_MNIST, name="small", files=tuple(files))
