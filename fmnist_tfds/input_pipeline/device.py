"""The whole split on the accelerator as uint8: only indices cross the bus."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from fmnist_tfds.input_pipeline import pipeline, preprocess


class ResidentImages(keras.layers.Layer):
    """Looks up uint8[B, 28, 28, 1] images of a table on the device by int32[B] indices.

    The table is a non-trainable weight (47 MB for the training split): it moves to the device
    once, and is an argument of the compiled step, not a constant inside it.
    """

    def __init__(self, images: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.autocast = False
        self.table = self.add_weight(
            shape=images.shape, dtype="uint8", initializer="zeros", trainable=False, name="table"
        )
        self.table.assign(images)

    def call(self, index: Any) -> Any:
        """uint8[B, 28, 28, 1] at int32[B]."""
        return keras.ops.take(self.table, index, axis=0)


def make_device_train(
    batch_size: int,
    *,
    normalize: str = "unit",
    augment: str | None = None,
    seed: int = 0,
    **arguments: Any,
) -> tuple[tf.data.Dataset, keras.Sequential]:
    """Indices to feed, and the layers that turn them into images on the device.

    Args:
        batch_size: examples per batch and worker.
        normalize: as in `make_train`.
        augment: as in `make_train`; drawn on the device.
        seed: of the order and the augmentation.
        **arguments: data_dir, builder, name, split, epochs, drop_remainder, shard, verify of
            `make_train`.

    Returns:
        a data set of (index int32[B], label int64[B]) in the order of `make_train` with the same
        seed, and the front of a model: index to images of the compute dtype.

    Raises:
        ArgumentError, NotPreparedError, RecordError, ContentError: as `make_train`.
    """
    batches, images, statistics = pipeline.make_indices(batch_size, seed=seed, **arguments)
    front = keras.Sequential(
        [
            keras.Input((), dtype="int32"),
            ResidentImages(images),
            preprocess.Preprocess(normalize, augment, seed, statistics),
        ]
    )
    return batches, front
