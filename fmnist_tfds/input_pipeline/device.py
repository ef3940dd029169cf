"""All prepared images on the accelerator as uint8: only their numbers cross the bus.

A number travels as a ticket, uint8[8]: the row of the table, little-endian, and the table's crc32.
Keras casts a model's inputs to the compute dtype, integers too, and bfloat16 holds integers exactly
only to 256: bytes pass under every policy.
"""

from __future__ import annotations

import zlib
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from fmnist_tfds import errors
from fmnist_tfds.input_pipeline import pipeline, preprocess


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
    made = pipeline.make_indices(batch_size, seed=seed, **arguments)
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
    rows = np.arange(made.first, made.first + made.examples, dtype="<i4")
    numbers = rows.view(np.uint8).reshape(-1, 4)
    marks = np.broadcast_to(mark(images), numbers.shape)
    tickets = tf.constant(np.concatenate([numbers, marks], axis=1))
    return made.finish(tickets), front
