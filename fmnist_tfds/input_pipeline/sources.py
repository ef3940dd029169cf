"""Where a split's examples come from: looked up by number, or read record by record.

Looked up: copied into memory, or mapped from the file. Record by record: several shards, other
encodings, the tf.data service.
"""

from __future__ import annotations

import functools
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from fmnist_tfds import errors
from fmnist_tfds.input_pipeline import in_memory, prepared, records, sampler

# Two calls in the making keep two cores busy; three and four were no faster (BENCHMARKS.md).
PARALLEL = 2


class Parsed:
    """The TFRecords of a split, checked, as blocks that are read in any order."""

    def __init__(
        self, split: prepared.Split, span: tuple[int, int] | None = None, *, verify: bool
    ) -> None:
        if split.file_format != "tfrecord":
            raise errors.ArgumentError(
                f'source="stream" and a service read TFRecords; this data set is '
                f"{split.file_format}",
                hint='use source="resident" without a service',
            )
        self.split = split
        self.scan = in_memory.Scan(split, verify=verify)
        self.layouts = [stored.layout if stored else None for stored in self.scan.stored]
        self.blocks = sampler.blocks(split.shards, self.layouts, span or (0, split.examples))

    def shuffled(self, index: int, count: int, seed: tf.Tensor) -> tf.data.Dataset:
        """One epoch of a worker by windows: (images uint8[n, 28, 28, 1], labels int64[n])."""
        numbers = tf.data.Dataset.from_tensor_slices(self.blocks.mixed(index, count, seed))
        windows = sampler.rebatched(self._read(numbers), self.blocks.windows_of(index, count))
        return windows.enumerate(1).map(
            plain(lambda number, pair: _permuted(pair[0], pair[1], seed, number))
        )

    def in_order(self, index: int, count: int) -> tf.data.Dataset:
        """The examples of every `count`-th block from `index` on: (images, labels) by blocks."""
        numbers = np.arange(index, len(self.blocks.paths), count, dtype=np.int32)
        return self._read(tf.data.Dataset.from_tensor_slices(numbers))

    def shared_out(self, index: int, count: int, seed: int) -> tf.data.Dataset:
        """As `shuffled`, for a service that gives each of its workers some of the blocks."""
        every = sampler.permuted(tf.range(len(self.blocks.paths)), tf.constant(seed, tf.int64))
        mine = every[index::count]
        numbers = tf.data.Dataset.range(len(mine)).map(plain(lambda place: mine[place]))
        # Windows are what a failing worker loses, and a buffer of all blocks would be, too.
        window = min(sampler.LEAST_WINDOW_EXAMPLES, int(self.blocks.counts[index::count].sum()))
        numbers = numbers.shuffle(-(-window // sampler.BLOCK_EXAMPLES), seed=seed)
        return self._read(numbers).rebatch(window).map(plain(_permuted_anyhow))

    def _read(self, numbers: tf.data.Dataset) -> tf.data.Dataset:
        """The images and labels of blocks, in the order of their numbers."""
        paths, starts = tf.constant(self.blocks.paths), tf.constant(self.blocks.starts)
        counts, layout = tf.constant(self.blocks.counts, tf.int64), self.layouts[0]
        decode: Any = records.decode_any
        if layout is not None and all(layout.agrees(other) for other in self.layouts):
            decode = functools.partial(records.decode_stored, layout=layout)

        def read(number: tf.Tensor) -> tf.data.Dataset:
            found = records.record_dataset(paths[number], starts[number]).take(counts[number])
            return found.batch(sampler.BLOCK_EXAMPLES)

        blocks = numbers.interleave(
            plain(read),
            cycle_length=4,
            block_length=1,
            num_parallel_calls=PARALLEL,
            deterministic=True,
        )
        return blocks.map(plain(decode), num_parallel_calls=PARALLEL)


def plain(function: Any) -> Any:
    """The function as it is: AutoGraph would parse its source, 0.1 s and more at the start."""
    return tf.autograph.experimental.do_not_convert(function)


def _permuted(
    images: tf.Tensor, labels: tf.Tensor, seed: tf.Tensor, number: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    index = sampler.permuted(tf.range(tf.shape(labels)[0]), seed, number)
    return tf.gather(images, index), tf.gather(labels, index)


def _permuted_anyhow(images: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    # The op without seeds: under keras.utils.set_random_seed, tf.random.shuffle would begin each
    # epoch's job with the same state, and so give every epoch the same order.
    index = tf.raw_ops.RandomShuffle(value=tf.range(tf.shape(labels)[0]), seed=0, seed2=0)
    return tf.gather(images, index), tf.gather(labels, index)


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

    def __init__(
        self, held: in_memory.Loading, index: int, count: int, span: tuple[int, int]
    ) -> None:
        self._images, self._labels = (in_memory.shared(a) for a in (held.images, held.labels))
        # Copied in: the first tf.range of a process takes 3 to 5 ms.
        self._numbers = tf.constant(np.arange(*span, dtype=np.int32))
        self._index, self._count, self._span = index, count, span

    def shuffled(self, seed: tf.Tensor) -> tf.Tensor:
        """Positions index, index + count, … of one global permutation, whatever `count`."""
        whole = sampler.permuted(self._numbers, seed)
        return whole[self._index :: self._count] if self._count > 1 else whole

    def in_order(self) -> npt.NDArray[np.int32]:
        """Every `count`-th example from `index` on."""
        return np.arange(self._span[0] + self._index, self._span[1], self._count, dtype=np.int32)

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


def mapped(source: Parsed, index: int, count: int) -> Mapped | None:
    """The table of a split that is one shard of constant layout; None for any other."""
    match source.scan.stored:
        case [records.Stored() as stored]:
            return Mapped(stored, source.blocks, index, count)
    return None
