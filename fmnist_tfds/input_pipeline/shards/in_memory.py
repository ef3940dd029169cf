"""Whole splits in memory, read once per process.

The pixels and labels are copied out of the memory-mapped shards by one thread and hashed by another
while the pipeline is built.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import logging
import mmap
import sys
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from fmnist_tfds.formats import tfrecord
from fmnist_tfds.input_pipeline.shards import prepared, proof, records

_log = logging.getLogger(__name__)
# Of formats that TFDS reads for us: so many are read and decoded at once.
_EXAMPLES = 4096


@dataclasses.dataclass(frozen=True, slots=True)
class Resident:
    """A split in memory.

    Attributes:
        images: uint8[n, 28, 28, 1].
        labels: int64[n].
    """

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]


_loaded: dict[tuple[prepared.Split, ...], Resident] = {}


class Loading:
    """Whole splits on their way into memory, one after another.

    Attributes:
        images: uint8[n, 28, 28, 1], filled once `settle` has returned.
        labels: int64[n], likewise.
    """

    def __init__(self, splits: tuple[prepared.Split, ...], builder: Any, *, verify: bool) -> None:
        examples = sum(split.examples for split in splits)
        self._splits, held = splits, _loaded.get(splits)
        self.images = held.images if held else _fresh(examples * 784, np.uint8)
        self.images = self.images.reshape(-1, 28, 28, 1)
        self.labels = held.labels if held else _fresh(examples, np.int64)
        self._parts, before = [], 0
        for split in splits:
            part = slice(before, before + split.examples)
            where = Resident(self.images[part], self.labels[part])
            self._parts.append(_Part(split, where, proof.Proof(split, wanted=verify)))
            self._parts[-1].begin(builder, is_filled=held is not None)
            before += split.examples

    def settle(self) -> Resident:
        """Waits until the splits are in memory, and proved if that was wanted.

        Raises:
            RecordError: a shard is damaged.
            ContentError: the bytes are not those of the catalog.
        """
        for part in self._parts:
            part.settle()
        return _loaded.setdefault(self._splits, Resident(self.images, self.labels))


class _Part:
    """One split on its way to its place."""

    def __init__(self, split: prepared.Split, where: Resident, digests: proof.Proof) -> None:
        self._split, self._where, self._proof = split, where, digests
        # Here before any thread runs: `_fill` adds to it, perhaps before its own future is in it.
        self._work: list[concurrent.futures.Future[None]] = []

    def begin(self, builder: Any, *, is_filled: bool) -> None:
        """Copies and hashes in the background."""
        split, where = self._split, self._where
        if not is_filled and split.file_format == "tfrecord":
            stored = records.open_all(split.shards)
            self._work.append(proof.in_background(self._fill, stored))
            return
        if not is_filled:
            _log.info("%s: %s: reading by way of TFDS", split.dataset, split.file_format)
            _fill_from_builder(split, builder, where.images, where.labels)
        hashed = proof.in_background(self._proof.update, where.images, where.labels)
        self._work.append(hashed)

    def settle(self) -> None:
        """Waits for both."""
        while self._work:
            # One of them adds the others.
            self._work[0].result()
            del self._work[0]
        self._proof.settle()

    def _fill(self, stored: list[records.Stored | None]) -> None:
        hashing = concurrent.futures.ThreadPoolExecutor(1, "fmnist-tfds-proof")
        for start, images, labels in records.pieces(self._split.shards, stored):
            part = slice(start, start + len(labels))
            self._where.images[part], self._where.labels[part] = images, labels
            there = self._where.images[part], self._where.labels[part]
            self._work.append(hashing.submit(self._proof.update, *there))
        hashing.shutdown(wait=False)


def load(split: prepared.Split, builder: Any, *, verify: bool) -> Resident:
    """The split in memory, read once per process.

    Args:
        split: which one.
        builder: its TFDS builder, asked only for file formats that records.py does not read.
        verify: prove the pixels and labels by the catalog's payload digests.

    Raises:
        RecordError: a shard is damaged.
        ContentError: the bytes are not those of the catalog.
    """
    return Loading((split,), builder, verify=verify).settle()


def shared(array: npt.NDArray[Any]) -> tf.Tensor:
    """A tensor that shares the array's memory, which must begin at a multiple of 64 bytes."""
    # tf.constant would copy: 47 MB of fresh pages, 50 to 100 ms. Not variables: an iterator
    # that reads those cannot be saved.
    return tf.experimental.dlpack.from_dlpack(array.__dlpack__())


def _fresh(count: int, dtype: Any) -> npt.NDArray[Any]:
    """An empty dtype[count] that begins a page."""
    size = count * np.dtype(dtype).itemsize
    populate = getattr(mmap, "MAP_POPULATE", 0)
    if sys.platform != "win32" and populate:
        # 16 ms for 47 MB; touched page by page it is 30 to 70, and so are numpy's huge pages on a
        # virtual machine that gives free ones back to its host.
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | populate
        return np.frombuffer(mmap.mmap(-1, size, flags=flags), dtype)
    return np.frombuffer(mmap.mmap(-1, size), dtype)


def _fill_from_builder(
    split: prepared.Split,
    builder: Any,
    images: npt.NDArray[np.uint8],
    labels: npt.NDArray[np.int64],
) -> None:
    """Reads array_record (and whatever else TFDS offers random access to) by thousands."""
    raw = builder.as_data_source(split=split.split).data_source
    # For PNGs of others. Traced once; TFDS itself would decode example by example: 18 s for 60,000.
    decode = tf.function(
        records.decode_any, input_signature=[tf.TensorSpec([None], tf.string)], autograph=False
    )
    for start in range(0, split.examples, _EXAMPLES):
        part = slice(start, min(start + _EXAMPLES, split.examples))
        found = raw.__getitems__(range(part.start, part.stop))
        held = tfrecord.stored_examples(found)
        if held is None:
            held = tuple(array.numpy() for array in decode(tf.constant(found)))
        images[part], labels[part] = held
