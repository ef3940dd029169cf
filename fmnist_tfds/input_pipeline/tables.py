"""Splits whose examples are looked up by number: copied into memory, or mapped from the file."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from fmnist_tfds.input_pipeline import in_memory, parsed, records, sampler


class Table(Protocol):
    """One worker's share of a split that can be looked up."""

    def shuffled(self, seed: tf.Tensor) -> tf.Tensor:
        """The numbers of its examples in the order of one epoch: int32[examples]."""

    def in_order(self) -> npt.NDArray[np.int32]:
        """The same in the order of the split."""

    def look_up(self, numbers: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Those examples: (uint8[n, 28, 28, 1], int64[n])."""


class InMemory:
    """`source="resident"`: images and labels in memory; a uniform permutation of all of them."""

    def __init__(self, held: in_memory.Loading, index: int, count: int) -> None:
        self._images, self._labels = (in_memory.shared(a) for a in (held.images, held.labels))
        # Copied in: the first tf.range of a process takes 3 to 5 ms.
        self._numbers = tf.constant(np.arange(len(held.labels), dtype=np.int32))
        self._index, self._count = index, count

    def shuffled(self, seed: tf.Tensor) -> tf.Tensor:
        """Positions index, index + count, … of one global permutation, whatever `count`."""
        whole = sampler.permuted(self._numbers, seed)
        return whole[self._index :: self._count] if self._count > 1 else whole

    def in_order(self) -> npt.NDArray[np.int32]:
        """Every `count`-th example from `index` on."""
        return np.arange(self._index, len(self._numbers), self._count, dtype=np.int32)

    def look_up(self, numbers: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Those examples: (uint8[n, 28, 28, 1], int64[n])."""
        return tf.gather(self._images, numbers), tf.gather(self._labels, numbers)


class Mapped:
    """`source="stream"`: the shard itself, mapped; windows of blocks, each permuted whole.

    The pages belong to the file: the kernel drops them where memory is short, and reads them again.
    """

    def __init__(
        self, stored: records.Stored, blocks: sampler.Blocks, index: int, count: int
    ) -> None:
        self._rows, self._layout = in_memory.shared(stored.rows), stored.layout
        self._blocks = blocks
        self._index, self._count = index, count
        counts = self._blocks.counts[index::count]
        place = np.repeat(np.arange(len(counts), dtype=np.int32), counts)
        before = np.cumsum(counts, dtype=np.int32) - counts
        # Tensors, not constants of the graph: those are copied at the start of each iterator.
        self._place = tf.constant(place)
        self._within = tf.constant(np.arange(len(place), dtype=np.int32) - before[place])
        self._firsts = tf.constant(self._blocks.firsts)

    def shuffled(self, seed: tf.Tensor) -> tf.Tensor:
        """The numbers of its examples in the order of one epoch: int32[examples]."""
        blocks = tf.gather(self._firsts, self._blocks.mixed(self._index, self._count, seed))
        examples = tf.gather(blocks, self._place) + self._within
        windows = tf.split(examples, self._blocks.windows_of(self._index, self._count))
        parts = [sampler.permuted(part, seed, number) for number, part in enumerate(windows, 1)]
        return tf.concat(parts, 0)

    def in_order(self) -> npt.NDArray[np.int32]:
        """The examples of every `count`-th block from `index` on."""
        mine = self._blocks.firsts[self._index :: self._count]
        return mine[self._place.numpy()] + self._within.numpy()

    def look_up(self, numbers: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Those examples: (uint8[n, 28, 28, 1], int64[n])."""
        return records.cut(tf.gather(self._rows, numbers), self._layout)


def mapped(source: parsed.Parsed, index: int, count: int) -> Mapped | None:
    """The table of a split that is one shard of constant layout; None for any other."""
    match source.scan.stored:
        case [records.Stored() as stored]:
            return Mapped(stored, source.blocks, index, count)
    return None
