"""augment.py on TensorFlow (in tf.data) and on Keras (inside the compiled step, on any backend)."""

from __future__ import annotations

import functools
import operator
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from fmnist_tfds import catalog, errors
from fmnist_tfds.input_pipeline import augment as augmentation
from fmnist_tfds.input_pipeline.on_device.keras_ops import KERAS

if TYPE_CHECKING:
    import tensorflow as tf

_SIZE = augmentation.SIZE


def host(images: tf.Tensor, draws: augmentation.Draws, how: augmentation.Recipe) -> tf.Tensor:
    """On TensorFlow: uint8[B, 28, 28, 1] to how.dtype[B, 28, 28, 1], for tf.data."""
    moved = augmentation.apply(images, draws, how, _tensorflow())
    return augmentation.finish(moved, how, _tensorflow(), how.dtype)


def host_draws(
    how: augmentation.Recipe, numbers: tf.Tensor, epochs: tf.Tensor
) -> augmentation.Draws:
    """The draws of examples by their numbers, int32[B], and epochs, int64[B]."""
    return augmentation.draw(how, numbers, epochs, _tensorflow())


@keras.saving.register_keras_serializable("fmnist_tfds")
class Preprocess(keras.layers.Layer):
    """Normalises, and in training augments, uint8 images inside the compiled step.

    Put it first in a model and feed `make_train(dtype="uint8")`: a quarter of float32's bytes
    crosses the bus. The result has the layer's compute dtype (mixed precision included). A layer
    does not know the epoch: "altflip" is for `make_train`.

    Args:
        normalize: "unit" (0 to 1) or "standard" (by `statistics`: mean 0, deviation 1).
        augment: None, or of "flip", "crop", "cutout", "erase" one, several joined by "_", or a
            tuple.
        seed: of the augmentation.
        statistics: mean and deviation of the training pixels, 0 to 255.
        crop_pixels: how far "crop" moves an image at most, in each direction.
        cutout_pixels: the side of the square that "cutout" blackens.
        **kwargs: what every Keras layer takes.
    """

    def __init__(
        self,
        normalize: str = "unit",
        augment: str | Sequence[str] | None = None,
        seed: int = 0,
        statistics: tuple[float, float] = catalog.FASHION_MNIST_STATISTICS,
        crop_pixels: int = 2,
        cutout_pixels: int = 8,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._arguments = {
            "normalize": normalize,
            "augment": augment,
            "seed": seed,
            "statistics": tuple(statistics),
            "crop_pixels": crop_pixels,
            "cutout_pixels": cutout_pixels,
        }
        self._how = augmentation.recipe(
            "float32",
            normalize,
            augment,
            lambda: statistics,
            crop_pixels=crop_pixels,
            cutout_pixels=cutout_pixels,
        )
        if "altflip" in self._how.augment:
            raise errors.ArgumentError(
                "augment: a layer does not know the epoch, which altflip needs",
                hint='draw it on the host: make_train(augment="altflip", dtype="uint8")',
            )
        self._generator = keras.random.SeedGenerator(seed)
        # Without this Keras would cast uint8 to the compute dtype on the way in.
        self.autocast = False

    def call(
        self, images: Any, training: bool | None = None, draws: augmentation.Draws | None = None
    ) -> Any:
        """uint8[B, 28, 28, 1] to compute_dtype[B, 28, 28, 1].

        Args:
            images: pixels of 0 to 255.
            training: whether to augment.
            draws: the random draws to use, int32[B] each; None: new ones.
        """
        if self._how.augment and (training or draws is not None):
            chosen = self.draw(keras.ops.shape(images)[0]) if draws is None else draws
            images = augmentation.apply(images, chosen, self._how, KERAS)
        return augmentation.finish(images, self._how, KERAS, self.compute_dtype)

    def draw(self, batch: Any) -> augmentation.Draws:
        """New random draws for a batch of that size."""
        return {
            name: keras.random.randint((batch,), low, high, "int32", self._generator)
            for name, (low, high) in augmentation.ranges(self._how).items()
        }

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The shape stays."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """What a saved model needs to make the layer again."""
        return {**super().get_config(), **self._arguments}


@functools.cache
def _tensorflow() -> Any:
    """The operations on TensorFlow, which only tf.data needs: `Preprocess` works without it."""
    import tensorflow as tf

    class Operations:
        """The operations on TensorFlow."""

        zero = np.uint8(0)
        constant = staticmethod(lambda array: tf.constant(array, tf.int32))
        where = staticmethod(tf.where)
        take = staticmethod(tf.gather)
        cast = staticmethod(tf.cast)
        minus = staticmethod(operator.sub)
        times = staticmethod(operator.mul)
        clip = staticmethod(lambda index: tf.clip_by_value(index, 0, _SIZE - 1))
        unsigned = staticmethod(lambda array: tf.cast(array, tf.uint64))
        signed = staticmethod(lambda array: tf.cast(array, tf.int32))
        shifted = staticmethod(
            lambda bits, by: tf.bitwise.right_shift(bits, tf.constant(by, bits.dtype))
        )

        @staticmethod
        def gather(images: tf.Tensor, index: tf.Tensor) -> tf.Tensor:
            flat = tf.reshape(images, [-1, _SIZE * _SIZE])
            moved = tf.gather(flat, tf.reshape(index, [-1, _SIZE * _SIZE]), batch_dims=1)
            return tf.reshape(moved, [-1, _SIZE, _SIZE, 1])

    return Operations
