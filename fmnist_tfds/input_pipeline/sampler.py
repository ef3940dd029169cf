"""Which example comes when: epochs, permutations, blocks and windows. Knows nothing of pixels."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from fmnist_tfds.formats import tfrecord
from fmnist_tfds.input_pipeline import order
from fmnist_tfds.input_pipeline.shards import prepared, records

# Part of each iterator's checkpoint: raise it with any change of what follows what.
VERSION = 2
# 120 divides 60,000; a block of stored PNGs is 112 KB, one read.
BLOCK_EXAMPLES = 120
# What is promised at least.
LEAST_WINDOW_EXAMPLES = 8192
# Each window costs the start of an iterator 1 ms, and a parsed one 40 MB while it is made.
_WINDOW_EXAMPLES = 2 * LEAST_WINDOW_EXAMPLES
_PHILOX = 1


def epoch_seeds(seed: int, epochs: int | None) -> tf.data.Dataset:
    """One int64 per epoch; every iteration over it goes on with new ones, reproducibly.

    tf.data.Dataset.random would mix in tf.random.set_seed's global seed: the op itself does not.
    """
    variant = tf.raw_ops.RandomDatasetV2(
        seed=tf.constant(seed, tf.int64),
        seed2=tf.constant(order.STREAM, tf.int64),
        seed_generator=tf.raw_ops.DummySeedGenerator(),
        rerandomize_each_iteration=True,
        output_types=[tf.int64],
        output_shapes=[[]],
    )
    seeds = tf.data.experimental.from_variant(variant, tf.TensorSpec([], tf.int64))
    return seeds if epochs is None else seeds.take(epochs)


def epochs(
    seed: int, count: int | None, first: int = 0, *, numbered: bool = False
) -> tf.data.Dataset:
    """The seed of each epoch of an iteration from epoch `first` on, int64; its number, int64.

    Without `numbered`, which costs the start of each iterator 2 ms, the seed alone.
    """
    seeds = epoch_seeds(seed, count)
    if first:
        seeds = seeds.skip(first)
    return tf.data.Dataset.zip(seeds, tf.data.Dataset.counter(first)) if numbered else seeds


def keys(numbers: tf.Tensor, epoch: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """What the draws of each of the examples depend on beside its number: int64[n]."""
    return tf.fill(tf.shape(numbers), epoch * (1 << 32) + seed)


def keys_anyhow(values: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """A number and a key for each of the values, others at each call, whatever the global seed."""
    # The op without seeds, as in sources.py.
    low, high = tf.constant(0, tf.int64), tf.constant(tf.int64.max, tf.int64)
    shape = tf.constant([], tf.int32)
    key = tf.raw_ops.RandomUniformInt(shape=shape, minval=low, maxval=high, seed=0, seed2=0)
    return tf.range(tf.size(values)), tf.fill(tf.shape(values), key)


def permuted(values: tf.Tensor, seed: tf.Tensor, number: int | tf.Tensor = 0) -> tf.Tensor:
    """A uniform permutation of the values from two int64, the same on every machine."""
    # 0.6 ms for 60,000; tf.argsort of random keys takes 6 ms. The op alone: the public
    # stateless_shuffle is 54 ops, which cost 6 ms more at the start of each iterator.
    if isinstance(number, int):
        counter = tf.constant([0, number], tf.uint64)
    else:
        counter = tf.bitcast(tf.stack([tf.constant(0, tf.int64), number]), tf.uint64)
    key = tf.bitcast(tf.reshape(seed, [1]), tf.uint64)
    return tf.raw_ops.StatelessShuffle(value=values, key=key, counter=counter, alg=_PHILOX)


@dataclasses.dataclass(frozen=True, slots=True)
class Blocks:
    """A split cut into blocks of neighbouring records; the full ones first.

    Attributes:
        paths: the file of each block.
        starts: its first byte, int64[blocks].
        firsts: the number of its first example, int32[blocks].
        counts: its examples, int32[blocks].
        full: how many blocks hold BLOCK_EXAMPLES; the rest are the short ends of files.
    """

    paths: tuple[str, ...]
    starts: npt.NDArray[np.int64]
    firsts: npt.NDArray[np.int32]
    counts: npt.NDArray[np.int32]
    full: int

    def windows_of(self, index: int, count: int) -> list[int]:
        """How many examples each window of that worker holds, the same in every epoch."""
        ends = np.cumsum(self.counts[index::count])
        # Windows end where blocks end, so one may be a block short of its share.
        windows = max(1, int(ends[-1]) // (_WINDOW_EXAMPLES + BLOCK_EXAMPLES))
        shares = ends[-1] * np.arange(1, windows + 1) // windows
        return np.diff(ends[np.searchsorted(ends, shares)], prepend=0).tolist()

    def mixed(self, index: int, count: int, seed: tf.Tensor) -> tf.Tensor:
        """The numbers of that worker's blocks in one epoch's order, int32."""
        # The short ends of files keep their places, so that a worker's share is known beforehand.
        whole = permuted(tf.constant(np.arange(self.full, dtype=np.int32)), seed)
        if self.full < len(self.paths):
            short = np.arange(self.full, len(self.paths), dtype=np.int32)
            whole = tf.concat([whole, short], 0)
        return whole[index::count] if count > 1 else whole


def _pieces(chosen: prepared.Selection) -> Iterator[tuple[int, int, int, int]]:
    """Pieces of at most a block: (shard, its first record, that one's number, count)."""
    for start, stop in chosen.spans:
        before = 0
        for number, shard in enumerate(chosen.shards):
            low = min(max(start - before, 0), shard.examples)
            high = min(max(stop - before, 0), shard.examples)
            for first in range(low, high, BLOCK_EXAMPLES):
                yield number, first, before + first, min(BLOCK_EXAMPLES, high - first)
            before += shard.examples


def block_counts(chosen: prepared.Selection) -> npt.NDArray[np.int32]:
    """How many examples each block holds; the full ones first."""
    counts = [count for *_, count in _pieces(chosen)]
    short = [count for count in counts if count < BLOCK_EXAMPLES]
    return np.array([BLOCK_EXAMPLES] * (len(counts) - len(short)) + short, np.int32)


def blocks(chosen: prepared.Selection, layouts: Sequence[tfrecord.Layout | None]) -> Blocks:
    """The blocks of the chosen examples.

    Raises:
        RecordError: a shard's framing is broken.
    """
    full: list[tuple[str, int, int]] = []
    short: list[tuple[str, int, int]] = []
    shards = chosen.shards
    starts = [
        np.arange(shard.examples) * layout.record_bytes if layout else records.offsets(shard)
        for shard, layout in zip(shards, layouts, strict=True)
    ]
    for number, first, place, count in _pieces(chosen):
        kind = full if count == BLOCK_EXAMPLES else short
        kind.append((str(shards[number].path), int(starts[number][first]), place))
    paths, places, firsts = zip(*(full + short), strict=True)
    return Blocks(
        paths,
        np.array(places, np.int64),
        np.array(firsts, np.int32),
        block_counts(chosen),
        len(full),
    )


class Windows:
    """The order of one worker's blocks by windows, each permuted whole."""

    def __init__(self, whole: Blocks, index: int, count: int) -> None:
        self._whole, self._index, self._count = whole, index, count
        counts = whole.counts[index::count]
        place = np.repeat(np.arange(len(counts), dtype=np.int32), counts)
        before = np.cumsum(counts, dtype=np.int32) - counts
        # Tensors, not constants of the graph: those are copied at the start of each iterator.
        self._place = tf.constant(place)
        self._within = tf.constant(np.arange(len(place), dtype=np.int32) - before[place])
        self._firsts = tf.constant(whole.firsts)

    def shuffled(self, seed: tf.Tensor) -> tf.Tensor:
        """The numbers of its examples in the order of one epoch: int32[examples]."""
        mixed = self._whole.mixed(self._index, self._count, seed)
        blocks = tf.gather(self._firsts, mixed)
        examples = tf.gather(blocks, self._place) + self._within
        windows = tf.split(examples, self._whole.windows_of(self._index, self._count))
        parts = [permuted(part, seed, number) for number, part in enumerate(windows, 1)]
        return tf.concat(parts, 0)

    def in_order(self) -> npt.NDArray[np.int32]:
        """The examples of every `count`-th block from `index` on."""
        mine = self._whole.firsts[self._index :: self._count]
        return mine[self._place.numpy()] + self._within.numpy()


def grouped(values: tf.Tensor, size: int) -> tf.data.Dataset:
    """Slices of `size` of the values dtype[n], the last one perhaps smaller."""
    whole, rest = divmod(int(values.shape[0]), size)
    if not whole:
        return tf.data.Dataset.from_tensors(values)
    # One split costs the start of an iterator less than two slices.
    head, tail = tf.split(values, [whole * size, rest]) if rest else (values, None)
    groups = tf.data.Dataset.from_tensor_slices(tf.reshape(head, [whole, size]))
    return groups if tail is None else groups.concatenate(tf.data.Dataset.from_tensors(tail))


def cuts(count: int, size: int, first: int = 0) -> list[int]:
    """The sizes of the batches of epochs of `count` examples, from example `first` of one on.

    They repeat, epoch by epoch; one, where all are alike.
    """
    if count % size == 0 and first % size == 0:
        return [size]
    bounds = np.unique([*range(0, count, size), count, first])
    sizes = np.diff(bounds).tolist()
    begun = int(np.searchsorted(bounds, first)) % len(sizes)
    return sizes[begun:] + sizes[:begun]


def rebatched(batches: tf.data.Dataset, sizes: Sequence[int]) -> tf.data.Dataset:
    """The same examples in batches of these sizes, over and over (all of [n] alike).

    tf.data's own `rebatch` knows one size only, and would carry the rest of an epoch over to the
    next; the op beneath it takes several. A slice of a larger batch that begins at a multiple of 64
    bytes (float32 and labels of 8 and more) is not copied.
    """
    static = sizes[0] if len(set(sizes)) == 1 else None
    spec = tf.nest.map_structure(
        lambda part: tf.TensorSpec([static, *part.shape[1:]], part.dtype), batches.element_spec
    )
    flat = tf.nest.flatten(spec)
    variant = tf.raw_ops.RebatchDatasetV2(
        input_dataset=tf.data.experimental.to_variant(batches),
        batch_sizes=tf.constant(sizes, tf.int64),
        drop_remainder=False,
        output_types=[part.dtype for part in flat],
        output_shapes=[part.shape for part in flat],
    )
    return tf.data.experimental.from_variant(variant, spec)
