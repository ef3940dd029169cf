"""All prepared images on the accelerator as uint8: only their numbers cross the bus.

A number travels as a ticket, uint8[8]: the row of the table, little-endian, and the table's crc32.
Keras casts a model's inputs to the compute dtype, integers too, and bfloat16 holds integers exactly
only to 256: bytes pass under every policy.
"""

from __future__ import annotations

import dataclasses
import os
import zlib
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from fmnist_tfds import errors
from fmnist_tfds.input_pipeline import (
    checkpoints,
    order,
    pipeline,
    preprocess,
    sampler,
    share,
)
from fmnist_tfds.input_pipeline.shards import in_memory, prepared, sources


class ResidentImages(keras.layers.Layer):
    """Looks up and preprocesses images of a table on the device by their tickets uint8[B, 8].

    The table is a non-trainable weight (55 MB for both splits): it moves to the device once, and
    is an argument of the compiled step, not a constant inside it. Saved weights hold its crc32
    alone. A ticket of another table gives an image of NaN, so that the loss shows it: compiled
    steps cannot raise.
    """

    def __init__(
        self, images: npt.NDArray[np.uint8], how: preprocess.Preprocess, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        # Without this Keras would cast the tickets on the way in, harmlessly.
        self.autocast = False
        self.table = self.add_weight(
            shape=images.shape, dtype="uint8", initializer="zeros", trainable=False, name="table"
        )
        self.table.assign(images)
        self._how, self._mark = how, mark(images)

    def call(self, tickets: Any, training: bool | None = None) -> Any:
        """compute_dtype[B, 28, 28, 1] of uint8[B, 8]."""
        ops = keras.ops
        digits = ops.cast(tickets, "int32")
        row = ops.sum(digits[:, :4] * np.array([1, 1 << 8, 1 << 16, 1 << 24], np.int32), axis=1)
        ours = ops.all(ops.equal(digits[:, 4:], self._mark.astype(np.int32)), axis=1)
        ours = ours & (row >= 0) & (row < self.table.shape[0])
        images = ops.take(self.table, ops.where(ours, row, 0), axis=0)
        made = self._how(images, training=training)
        wrong = ops.full_like(made, float("nan"))
        return ops.where(ours[:, None, None, None], made, wrong)

    def save_own_variables(self, store: Any) -> None:
        """Saves which table it is, not the 55 MB."""
        store["mark"] = self._mark

    def load_own_variables(self, store: Any) -> None:
        """Checks that the weights belong to the same images.

        Raises:
            ArgumentError: they do not.
        """
        if not np.array_equal(store["mark"], self._mark):
            raise errors.ArgumentError(
                "these weights were saved with other images than the prepared ones here",
                hint="pass the data_dir and name of the data set that they were trained with",
            )


def mark(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """What tells one table from another: its crc32 as uint8[4]."""
    return np.array([zlib.crc32(np.ascontiguousarray(images).data)], "<u4").view(np.uint8)


def make_device_train(
    batch_size: int,
    *,
    normalize: str = "unit",
    augment: str | None = None,
    seed: int = 0,
    **arguments: Any,
) -> tuple[tf.data.Dataset, keras.Sequential]:
    """Tickets to feed, and the layers that turn them into images on the device.

    The layers hold the images of both splits, so that they give the right ones for the batches of
    either: evaluate with those of `make_device_train(split="test", …)`.

    Args:
        batch_size: examples per batch and worker.
        normalize: as in `make_train`.
        augment: as in `make_train`; drawn on the device.
        seed: of the order and the augmentation.
        **arguments: data_dir, builder, name, split, epochs, drop_remainder, shard, verify of
            `make_train`.

    Returns:
        a data set of (ticket uint8[B, 8], label int64[B]) in the order of `make_train` with the
        same seed, and the front of a model: tickets to images of the compute dtype, under every
        dtype policy. Tickets of another data set give images of NaN.

    Raises:
        ArgumentError, NotPreparedError, RecordError, ContentError: as `make_train`.
    """
    made = make_indices(batch_size, seed=seed, **arguments)
    images = np.concatenate(made.images)
    # int32: a cast to uint8 would let wrong numbers come round to right ones.
    front = keras.Sequential(
        [
            keras.Input((8,), dtype="int32"),
            ResidentImages(
                images, preprocess.Preprocess(normalize, augment, seed, made.statistics)
            ),
        ]
    )
    numbers = made.rows.astype("<i4").view(np.uint8).reshape(-1, 4)
    marks = np.broadcast_to(mark(images), numbers.shape)
    tickets = tf.constant(np.concatenate([numbers, marks], axis=1))
    return made.finish(tickets), front


@dataclasses.dataclass(frozen=True, slots=True)
class Indexed:
    """A split by numbers.

    Attributes:
        images: uint8[n, 28, 28, 1] of each prepared split.
        rows: where the chosen split's examples lie in all of them, int32[examples].
        statistics: mean and deviation of the training pixels.
        finish: a tensor of one row per example -> batches of (its rows, label int64[B]).
    """

    images: list[npt.NDArray[np.uint8]]
    rows: npt.NDArray[np.int32]
    statistics: tuple[float, float]
    finish: Callable[[tf.Tensor], tf.data.Dataset]


def make_indices(
    batch_size: int,
    *,
    data_dir: str | os.PathLike[str] | None = None,
    builder: Any = None,
    name: str = "fmnist_resilient",
    split: Any = "train",
    seed: int = 0,
    epochs: int | None = 1,
    drop_remainder: bool = False,
    shard: order.Shard | None = None,
    verify: bool = True,
) -> Indexed:
    """What `Indexed` holds. Arguments and errors are those of `make_train`."""
    order.check_epochs(epochs)
    order.check_seed(seed)
    builder = prepared.find_builder(name, data_dir, builder)
    mine = share.checked(
        batch_size, builder, split, shard, "resident", drop_remainder=drop_remainder
    )
    data = sources.InMemory(mine, verify=verify)
    owner = mine.owner("make_device_train", "resident", seed=seed, epochs=epochs)

    def ordered(epoch_seed: tf.Tensor) -> tf.Tensor:
        return data.shuffled(epoch_seed)[: mine.examples]

    def finish(tickets: tf.Tensor) -> tf.data.Dataset:
        pairs = sources.plain(lambda i: (tf.gather(tickets, i), tf.gather(data.labels, i)))
        orders = sampler.epochs(seed, epochs).map(sources.plain(ordered))
        batches = sampler.rebatched(orders, mine.cuts(mine.batch)).map(pairs)
        return checkpoints.finished(batches, mine.cardinality(epochs), owner, None)

    data.settle()
    names = [split for split in ("train", "test") if split in builder.info.splits]
    found = {}
    for each in names:
        whole = prepared.find_split(builder, each)
        found[each] = in_memory.load(whole, builder, verify=verify).images
    firsts = dict(zip(names, np.cumsum([0, *map(len, found.values())]), strict=False))
    rows = [np.arange(s.examples, dtype=np.int32) + firsts[s.split] for s in mine.chosen.splits]
    statistics = pipeline.pixel_statistics(builder=builder)
    return Indexed(list(found.values()), np.concatenate(rows), statistics, finish)
