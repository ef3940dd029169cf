"""The table of truncated per-image digests that says where each image stood in the original.

All images of the family's data sets differ. The table only finds the order; the payload's SHA-256
proves the outcome.
"""

from __future__ import annotations

import hashlib
import importlib.resources

import numpy as np
import numpy.typing as npt

from fmnist_tfds import catalog

Bytes = npt.NDArray[np.uint8]
Positions = npt.NDArray[np.int64]
DIGEST_BYTES = 8


def digests(images: Bytes) -> npt.NDArray[np.uint64]:
    """The first 8 bytes of each image's SHA-256, as uint64[n]; images uint8[n, pixels]."""
    data = b"".join(hashlib.sha256(row).digest()[:DIGEST_BYTES] for row in images)
    return np.frombuffer(data, ">u8").astype(np.uint64)


class RowTable:
    """Where each image stands in the original: train rows first, then test rows."""

    def __init__(self, table: npt.NDArray[np.uint64]) -> None:
        self._order: Positions = np.argsort(table, kind="stable").astype(np.int64)
        self._sorted = table[self._order]
        self.size = len(table)

    @classmethod
    def of_images(cls, images: Bytes) -> RowTable:
        """The table of images uint8[n, pixels] that stand in the original order."""
        return cls(digests(images))

    @classmethod
    def from_bytes(cls, data: bytes) -> RowTable:
        """The table that `to_bytes` wrote."""
        return cls(np.frombuffer(data, ">u8").astype(np.uint64))

    def to_bytes(self) -> bytes:
        """8 bytes per row, big-endian, in the original order."""
        table = np.empty(self.size, np.uint64)
        table[self._order] = self._sorted
        return table.astype(">u8").tobytes()

    def positions(self, images: Bytes) -> Positions:
        """int64[n]: each image's row in the original, -1 where it is none of its images."""
        wanted = digests(images)
        slots = np.minimum(np.searchsorted(self._sorted, wanted), self.size - 1)
        return np.where(self._sorted[slots] == wanted, self._order[slots], -1)


def shipped(dataset: catalog.Catalog) -> RowTable | None:
    """The table that comes with the package for that data set, or None."""
    file = importlib.resources.files("fmnist_tfds.exchange.adopt") / f"{dataset.name}-rows.bin"
    return RowTable.from_bytes(file.read_bytes()) if file.is_file() else None
