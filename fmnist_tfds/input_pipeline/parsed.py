"""Splits that are read record by record: several shards, other encodings, the tf.data service."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import tensorflow as tf

from fmnist_tfds import errors
from fmnist_tfds.input_pipeline import in_memory, prepared, records, sampler

# Two calls in the making keep two cores busy; three and four were no faster (BENCHMARKS.md).
PARALLEL = 2


class Parsed:
    """The TFRecords of a split, checked, as blocks that are read in any order."""

    def __init__(self, split: prepared.Split, *, verify: bool) -> None:
        if split.file_format != "tfrecord":
            raise errors.ArgumentError(
                f'source="stream" and a service read TFRecords; this data set is '
                f"{split.file_format}",
                hint='use source="resident" without a service',
            )
        self.split = split
        self.scan = in_memory.Scan(split, verify=verify)
        self.layouts = [stored.layout if stored else None for stored in self.scan.stored]
        self.blocks = sampler.blocks(split.shards, self.layouts)

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
