"""The tiles and their four files, from arithmetic: the same bytes with every zlib."""

from __future__ import annotations

import pathlib
import struct
import zlib

import numpy as np

from fmnist_tfds.formats import idx
from tiny_tiles import tiny_tiles_dataset_builder

COUNTS = {"train": 60, "test": 20}
ENTRY = tiny_tiles_dataset_builder.Builder.DATASET


def arrays(split: str) -> tuple[np.ndarray, np.ndarray]:
    """(images uint8[n, 28, 28], labels uint8[n])."""
    count = COUNTS[split]
    first = 1 if split == "train" else 1001
    numbers = np.arange(first, first + count, dtype=np.uint32)[:, None, None]
    pixels = np.arange(28 * 28, dtype=np.uint32).reshape(28, 28)
    return (pixels * numbers % 249).astype(np.uint8), (np.arange(count) % 10).astype(np.uint8)


def write(folder: pathlib.Path) -> pathlib.Path:
    """Writes the four .gz files."""
    folder.mkdir(parents=True)
    for file in ENTRY.files:
        (folder / file.name).write_bytes(gz(arrays(file.split)[0 if file.kind == "images" else 1]))
    return folder


def gz(array: np.ndarray) -> bytes:
    """The array as IDX in a gzip member that does not compress it (RFC 1951, 3.2.4)."""
    payload = idx.encode(array)
    header = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"
    block = struct.pack("<BHH", 1, len(payload), len(payload) ^ 0xFFFF) + payload
    return header + block + struct.pack("<II", zlib.crc32(payload), len(payload))
