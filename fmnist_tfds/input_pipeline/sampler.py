"""Which example comes when: epochs, permutations, blocks and windows. Knows nothing of pixels."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from fmnist_tfds.formats import tfrecord
from fmnist_tfds.input_pipeline import prepared, records

# Part of each iterator's checkpoint: raise it with any change of what follows what.
VERSION = 1
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
        seed2=tf.constant(0x46_4D_4E_49, tf.int64),
        seed_generator=tf.raw_ops.DummySeedGenerator(),
        rerandomize_each_iteration=True,
        output_types=[tf.int64],
        output_shapes=[[]],
    )
    seeds = tf.data.experimental.from_variant(variant, tf.TensorSpec([], tf.int64))
    return seeds if epochs is None else seeds.take(epochs)


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
        firsts: the number of its first example in the split, int32[blocks].
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


def _pieces(
    shards: Sequence[prepared.Shard], span: tuple[int, int]
) -> Iterator[tuple[int, int, int, int]]:
    """Pieces of at most a block: (shard, its first record, number of that in the split, count)."""
    before = 0
    for number, shard in enumerate(shards):
        low = min(max(span[0] - before, 0), shard.examples)
        high = min(max(span[1] - before, 0), shard.examples)
        for first in range(low, high, BLOCK_EXAMPLES):
            yield number, first, before + first, min(BLOCK_EXAMPLES, high - first)
        before += shard.examples


def block_counts(shards: Sequence[prepared.Shard], span: tuple[int, int]) -> npt.NDArray[np.int32]:
    """How many examples each block of a slice of a split holds; the full ones first."""
    counts = [count for *_, count in _pieces(shards, span)]
    short = [count for count in counts if count < BLOCK_EXAMPLES]
    return np.array([BLOCK_EXAMPLES] * (len(counts) - len(short)) + short, np.int32)


def blocks(
    shards: Sequence[prepared.Shard],
    layouts: Sequence[tfrecord.Layout | None],
    span: tuple[int, int],
) -> Blocks:
    """The blocks of the examples `span` of a split.

    Raises:
        RecordError: a shard's framing is broken.
    """
    full: list[tuple[str, int, int]] = []
    short: list[tuple[str, int, int]] = []
    starts = [
        np.arange(shard.examples) * layout.record_bytes if layout else records.offsets(shard)
        for shard, layout in zip(shards, layouts, strict=True)
    ]
    for number, first, place, count in _pieces(shards, span):
        kind = full if count == BLOCK_EXAMPLES else short
        kind.append((str(shards[number].path), int(starts[number][first]), place))
    paths, places, firsts = zip(*(full + short), strict=True)
    return Blocks(
        paths,
        np.array(places, np.int64),
        np.array(firsts, np.int32),
        block_counts(shards, span),
        len(full),
    )


def grouped(values: tf.Tensor, size: int) -> tf.data.Dataset:
    """Slices of `size` of the values dtype[n], the last one perhaps smaller."""
    whole, rest = divmod(int(values.shape[0]), size)
    if not whole:
        return tf.data.Dataset.from_tensors(values)
    # One split costs the start of an iterator less than two slices.
    head, tail = tf.split(values, [whole * size, rest]) if rest else (values, None)
    groups = tf.data.Dataset.from_tensor_slices(tf.reshape(head, [whole, size]))
    return groups if tail is None else groups.concatenate(tf.data.Dataset.from_tensors(tail))


def cuts(count: int, size: int) -> list[int]:
    """The sizes of the batches of an epoch of `count` examples; one, where all are alike."""
    whole, rest = divmod(count, size)
    return [size] * whole + [rest] if rest else [size]


def rebatched(batches: tf.data.Dataset, sizes: Sequence[int]) -> tf.data.Dataset:
    """The same examples in batches of these sizes, over and over.

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
