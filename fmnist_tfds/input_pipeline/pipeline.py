"""make_train and make_eval: prepared shards to batches, as straight lines of tf.data.

Batch before map: tf.data costs 5 to 20 µs an element, whatever its size.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from fmnist_tfds.input_pipeline import checkpoints, in_memory, plan, preprocess, sources

_DATASET = "fmnist_resilient"


def make_train(
    batch_size: int,
    *,
    data_dir: str | os.PathLike[str] | None = None,
    builder: Any = None,
    name: str = _DATASET,
    split: Any = "train",
    seed: int = 0,
    dtype: str = "float32",
    normalize: str = "unit",
    augment: str | None = None,
    epochs: int | None = 1,
    drop_remainder: bool = False,
    shard: plan.Shard | None = None,
    source: Literal["resident", "stream"] = "resident",
    service: str | None = None,
    verify: bool = True,
    device: str | None = None,
) -> tf.data.Dataset:
    """Shuffled batches: (images dtype[B, 28, 28, 1], labels int64[B]).

    Each iteration of the data set is the next epoch (or the next `epochs` epochs), in an order of
    its own, the same on every run and machine for the same seed. Its iterator can be saved and
    restored with tf.train.Checkpoint in the middle of an epoch; a data set made with arguments
    that change the batches refuses it (ConfigError; InvalidArgumentError of TensorFlow where you
    made the iterator's data set from this one, as by `map`).

    Args:
        batch_size: examples per batch and worker.
        data_dir: TFDS's data_dir; None: TFDS's default.
        builder: a prepared TFDS builder to read instead of `name` in `data_dir`.
        name: the data set's name.
        split: "train", "test", a slice ("train[:90%]", "train[55000:]"), or one of those that
            `tfds.even_splits` gives; it is proved with the split that it is cut from.
        seed: of the order and the augmentation.
        dtype: "float32", "bfloat16", "float16" or "uint8" (pixels 0 to 255).
        normalize: "unit" (0 to 1) or "standard" (the training split's mean 0, deviation 1).
        augment: None, or "flip", "crop", "cutout" joined by "_".
        epochs: epochs per iteration; None: without end.
        drop_remainder: leave out the last, smaller batch of each epoch. Over several workers all
            then take the same number of steps; otherwise these may differ by one ("resident") or
            by a block of 120 examples ("stream").
        shard: (index, count) of this data-parallel worker.
        source: "resident", a uniform permutation of the whole split, of which worker i of n takes
            positions i, i + n, …; or "stream", bounded memory: windows of at least 8,192 examples
            made of blocks from all over the split, each window permuted whole.
        service: "grpc://host:port" of a tf.data service whose workers see the same files: each
            example once while no worker fails; no promise of order, cardinality or checkpoint.
        verify: prove pixels and labels by the catalog's digests, once per process (by the records'
            checksums where the catalog does not hold the data set). False: only the framing and
            the PNG headers of stored records are checked.
        device: prefetch batches to that device, such as "/gpu:0"; the cardinality is then unknown
            and the iterator cannot be saved.

    Raises:
        ArgumentError: an argument is wrong.
        NotPreparedError: `data_dir` holds no prepared data.
        RecordError: a shard is damaged.
        ContentError: the data is not the genuine one.
    """
    plan.check_epochs(epochs)
    plan.whole("seed", seed)
    dealt = "stream" if service and source == "resident" else source
    made = plan.Plan(
        batch_size, data_dir, builder, name, split, shard, dealt, verify, drop_remainder
    )
    how = preprocess.recipe(dtype, normalize, augment, made.statistics)
    if service is not None:
        return made.offloaded(service, how, seed, epochs)
    batches = made.shuffled(how, seed, epochs)
    made.settle()
    owner = made.owner("make_train", how, seed=seed, epochs=epochs)
    return _finished(batches, made.cardinality(epochs), owner, device)


def make_eval(
    batch_size: int,
    *,
    data_dir: str | os.PathLike[str] | None = None,
    builder: Any = None,
    name: str = _DATASET,
    split: Any = "test",
    dtype: str = "float32",
    normalize: str = "unit",
    shard: plan.Shard | None = None,
    source: Literal["resident", "stream"] = "resident",
    verify: bool = True,
    device: str | None = None,
) -> tf.data.Dataset:
    """Batches in order, every example once: (images dtype[B, 28, 28, 1], labels int64[B]).

    Over several workers each example goes to exactly one of them; the last batch may be smaller.
    Arguments and errors are those of `make_train`.
    """
    made = plan.Plan(batch_size, data_dir, builder, name, split, shard, source, verify, False)
    how = preprocess.recipe(dtype, normalize, None, made.statistics)
    batches = made.ordered(how)
    made.settle()
    return _finished(batches, made.cardinality(1), made.owner("make_eval", how), device)


@dataclasses.dataclass(frozen=True, slots=True)
class Indexed:
    """A split by numbers, for images that lie on a device.

    Attributes:
        images: uint8[n, 28, 28, 1] of each prepared split.
        first: where the split's images begin in all of them.
        examples: how many the split has.
        statistics: mean and deviation of the training pixels.
        finish: a tensor of one row per example -> batches of (its rows, label int64[B]).
    """

    images: list[npt.NDArray[np.uint8]]
    first: int
    examples: int
    statistics: tuple[float, float]
    finish: Callable[[tf.Tensor], tf.data.Dataset]


def make_indices(
    batch_size: int,
    *,
    data_dir: str | os.PathLike[str] | None = None,
    builder: Any = None,
    name: str = _DATASET,
    split: Any = "train",
    seed: int = 0,
    epochs: int | None = 1,
    drop_remainder: bool = False,
    shard: plan.Shard | None = None,
    verify: bool = True,
) -> Indexed:
    """For device.py: what `Indexed` holds. Arguments and errors are those of `make_train`."""
    plan.check_epochs(epochs)
    plan.whole("seed", seed)
    made = plan.Plan(
        batch_size, data_dir, builder, name, split, shard, "resident", verify, drop_remainder
    )
    labels = in_memory.shared(made.loading.labels)
    owner = made.owner("make_device_train", None, seed=seed, epochs=epochs)

    def finish(tickets: tf.Tensor) -> tf.data.Dataset:
        pairs = sources.plain(lambda i: (tf.gather(tickets, i), tf.gather(labels, i)))
        batches = made.index_batches(seed, epochs).map(pairs)
        return _finished(batches, made.cardinality(epochs), owner, None)

    made.settle()
    images, first = made.images_of_all_splits()
    return Indexed(images, first, made.examples, made.statistics(), finish)


def pixel_statistics(
    *,
    data_dir: str | os.PathLike[str] | None = None,
    builder: Any = None,
    name: str = _DATASET,
) -> tuple[float, float]:
    """Mean and deviation of all training pixels (0 to 255), as "standard" takes them.

    For a model that normalises by itself: `Preprocess(statistics=…)`, or Keras's own `Rescaling`.
    Arguments and errors are those of `make_train`.
    """
    return plan.Plan(
        1, data_dir, builder, name, "train", None, "resident", False, False
    ).statistics()


def _finished(
    batches: tf.data.Dataset, steps: int, owner: dict[str, Any], device: str | None
) -> tf.data.Dataset:
    options = tf.data.Options()
    options.deterministic = True
    # Autotuning has nothing to tune here, and now and then holds up the end of an iterator for
    # 35 ms, as long as an epoch (BENCHMARKS.md). No rewrite applies either.
    options.autotune.enabled = False
    options.experimental_optimization.apply_default_optimizations = False
    # The order and the shards are made here: tf.distribute must not shard once more.
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    ready = checkpoints.Batches(batches, owner, steps, options)
    if not device:
        return ready
    # On the host the parallel map is ahead of the consumer already.
    return ready.plain.apply(tf.data.experimental.prefetch_to_device(device))
