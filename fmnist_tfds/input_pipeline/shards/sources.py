"""Where a split's examples come from: looked up by number, or read record by record.

Looked up: copied into memory, or mapped from the files. Record by record: other encodings, files of
several layouts, the tf.data service.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from fmnist_tfds import errors
from fmnist_tfds.formats import tfrecord
from fmnist_tfds.input_pipeline import sampler, share
from fmnist_tfds.input_pipeline.shards import in_memory, proof, records

# Blocks that are read and decoded at once.
_READS = 2


def opened(mine: share.Share, source: str, *, verify: bool) -> InMemory | Mapped | Parsed:
    """Where that worker's examples come from; loading and the proof begin.

    Raises:
        ArgumentError: the file format cannot be streamed.
        RecordError: a shard is damaged.
    """
    if source == "resident":
        return InMemory(mine, verify=verify)
    parsed = Parsed(mine, verify=verify)
    stored = [shard for shard in parsed.scan.stored if shard is not None]
    is_uniform = all(stored[0].layout.agrees(shard.layout) for shard in stored)
    if len(stored) == len(parsed.scan.stored) and is_uniform:
        return Mapped(stored, parsed)
    return parsed


class Parsed:
    """Records read one by one, checked, as blocks in any order."""

    def __init__(self, mine: share.Share, *, verify: bool) -> None:
        for split in mine.chosen.splits:
            if split.file_format != "tfrecord":
                raise errors.ArgumentError(
                    f'source="stream" and a service read TFRecords; this data set is '
                    f"{split.file_format}",
                    hint='use source="resident" without a service',
                )
        self.scan = proof.Scan(mine.chosen.splits, verify=verify)
        self._layouts = [stored.layout if stored else None for stored in self.scan.stored]
        self.blocks = sampler.blocks(mine.chosen, self._layouts)
        self.order = sampler.Windows(self.blocks, mine.index, mine.count)
        self._index, self._count = mine.index, mine.count

    def settle(self) -> None:
        """Waits for the proof.

        Raises:
            RecordError: a shard is damaged.
            ContentError: the bytes are not those of the catalog.
        """
        self.scan.settle()

    def epoch(
        self, seed: tf.Tensor, epoch: tf.Tensor | None = None, *, drawn: bool
    ) -> tf.data.Dataset:
        """One epoch by windows: (images uint8[n, 28, 28, 1], labels int64[n]).

        With `drawn` there follow the numbers int32[n] and keys int64[n] that draws depend on,
        which takes the epoch's number.
        """
        mixed = self.blocks.mixed(self._index, self._count, seed)
        sizes = self.blocks.windows_of(self._index, self._count)
        blocks = self._read(tf.data.Dataset.from_tensor_slices(mixed))
        windows = sampler.rebatched(blocks, sizes).enumerate(1)
        windows = windows.map(plain(lambda number, pair: _permuted(pair[0], pair[1], seed, number)))
        if not drawn:
            return windows
        order = self.order.shuffled(seed)
        keyed = tf.data.Dataset.from_tensors((order, sampler.keys(order, epoch, seed)))
        both = tf.data.Dataset.zip(windows, sampler.rebatched(keyed, sizes))
        return both.map(plain(lambda examples, keys: (*examples, *keys)))

    def in_order(self) -> tf.data.Dataset:
        """The examples of every `count`-th block from `index` on: (images, labels) by blocks."""
        numbers = np.arange(self._index, len(self.blocks.paths), self._count, dtype=np.int32)
        return self._read(tf.data.Dataset.from_tensor_slices(numbers))

    def shared_out(self, seed: int) -> tf.data.Dataset:
        """As `shuffled`, for a service that gives each of its workers some of the blocks."""
        every = sampler.permuted(tf.range(len(self.blocks.paths)), tf.constant(seed, tf.int64))
        mine = every[self._index :: self._count]
        numbers = tf.data.Dataset.range(len(mine)).map(plain(lambda place: mine[place]))
        # Windows are what a failing worker loses, and a buffer of all blocks would be, too.
        examples = int(self.blocks.counts[self._index :: self._count].sum())
        window = min(sampler.LEAST_WINDOW_EXAMPLES, examples)
        numbers = numbers.shuffle(-(-window // sampler.BLOCK_EXAMPLES), seed=seed)
        return self._read(numbers).rebatch(window).map(plain(_permuted_anyhow))

    def _read(self, numbers: tf.data.Dataset) -> tf.data.Dataset:
        """The images and labels of blocks, in the order of their numbers."""
        paths, starts = tf.constant(self.blocks.paths), tf.constant(self.blocks.starts)
        counts, layout = tf.constant(self.blocks.counts, tf.int64), self._layouts[0]
        decode: Any = records.decode_any
        if layout is not None and all(layout.agrees(other) for other in self._layouts):
            decode = functools.partial(records.decode_stored, layout=layout)

        def read(number: tf.Tensor) -> tf.data.Dataset:
            found = records.record_dataset(paths[number], starts[number]).take(counts[number])
            return found.batch(sampler.BLOCK_EXAMPLES)

        blocks = numbers.interleave(
            plain(read),
            cycle_length=4,
            block_length=1,
            num_parallel_calls=_READS,
            deterministic=True,
        )
        return blocks.map(plain(decode), num_parallel_calls=_READS)


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

    def settle(self) -> None:
        """Waits for what runs beside the tracing: the copy into memory, and the proof."""

    def shuffled(self, seed: tf.Tensor) -> tf.Tensor:
        """The numbers of its examples in the order of one epoch: int32[examples]."""

    def in_order(self) -> npt.NDArray[np.int32]:
        """The same in the order of the split."""

    def look_up(self, numbers: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Those examples: (uint8[n, 28, 28, 1], int64[n])."""


class InMemory:
    """`source="resident"`: images and labels in memory; a uniform permutation of all of them."""

    def __init__(self, mine: share.Share, *, verify: bool) -> None:
        chosen = mine.chosen
        self._loading = in_memory.Loading(chosen.splits, mine.builder, verify=verify)
        held = self._loading
        self._images, self._labels = (in_memory.shared(a) for a in (held.images, held.labels))
        # Copied in: the first tf.range of a process takes 3 to 5 ms.
        self._numbers = tf.constant(chosen.numbers)
        self._index, self._count = mine.index, mine.count

    @property
    def labels(self) -> tf.Tensor:
        """Of all splits, filled once `settle` has returned: int64[n]."""
        return self._labels

    def settle(self) -> None:
        """Waits until all is in memory, and proved if that was wanted.

        Raises:
            RecordError: a shard is damaged.
            ContentError: the bytes are not those of the catalog.
        """
        self._loading.settle()

    def shuffled(self, seed: tf.Tensor) -> tf.Tensor:
        """Positions index, index + count, … of one global permutation, whatever `count`."""
        whole = sampler.permuted(self._numbers, seed)
        return whole[self._index :: self._count] if self._count > 1 else whole

    def in_order(self) -> npt.NDArray[np.int32]:
        """Every `count`-th example from `index` on."""
        return self._numbers.numpy()[self._index :: self._count]

    def look_up(self, numbers: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Those examples: (uint8[n, 28, 28, 1], int64[n])."""
        return tf.gather(self._images, numbers), tf.gather(self._labels, numbers)


class Mapped:
    """`source="stream"`: the shards themselves, mapped; windows of blocks, each permuted whole.

    The pages belong to the files: the kernel drops them where memory is short, and reads them
    again.
    """

    def __init__(self, stored: Sequence[records.Stored], parsed: Parsed) -> None:
        self._rows = [in_memory.shared(shard.rows) for shard in stored]
        self._layout: tfrecord.Layout = stored[0].layout
        counts = [shard.shard.examples for shard in stored]
        self._shards = tf.constant(np.repeat(np.arange(len(stored), dtype=np.int32), counts))
        self._firsts = tf.constant(np.cumsum([0, *counts[:-1]], dtype=np.int32))
        self._parsed = parsed

    def settle(self) -> None:
        """Waits for the proof.

        Raises:
            RecordError: a shard is damaged.
            ContentError: the bytes are not those of the catalog.
        """
        self._parsed.settle()

    def shuffled(self, seed: tf.Tensor) -> tf.Tensor:
        """The numbers of its examples in the order of one epoch: int32[examples]."""
        return self._parsed.order.shuffled(seed)

    def in_order(self) -> npt.NDArray[np.int32]:
        """The examples of every `count`-th block from `index` on."""
        return self._parsed.order.in_order()

    def look_up(self, numbers: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Those examples: (uint8[n, 28, 28, 1], int64[n])."""
        return records.cut(self._gathered(numbers), self._layout)

    def _gathered(self, numbers: tf.Tensor) -> tf.Tensor:
        """The records of several files: uint8[n, record_bytes]."""
        if len(self._rows) == 1:
            return tf.gather(self._rows[0], numbers)
        shards = tf.gather(self._shards, numbers)
        within = numbers - tf.gather(self._firsts, shards)
        places = tf.dynamic_partition(tf.range(tf.size(numbers)), shards, len(self._rows))
        parts = tf.dynamic_partition(within, shards, len(self._rows))
        found = [tf.gather(rows, part) for rows, part in zip(self._rows, parts, strict=True)]
        return tf.raw_ops.ParallelDynamicStitch(indices=places, data=found)
