"""Cast, normalise, augment: batches of images, on the host or inside the compiled step.

One definition: `apply` is written once over a few array operations and runs on TensorFlow's
(`host`, in tf.data) and on Keras's (`Preprocess`, on any backend). For given draws both give
exactly the same numbers: pixels move as uint8, and then meet one subtraction and one product.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from fmnist_tfds import errors

DTYPES = ("float32", "bfloat16", "float16", "uint8")
NORMALIZATIONS = ("unit", "standard")
AUGMENTATIONS = ("flip", "crop", "cutout")
CROP_PIXELS = 2
CUTOUT_PIXELS = 8
_SIZE = 28
# Mean and deviation of all 47,040,000 training pixels, 0 to 255.
FASHION_MNIST_STATISTICS = (72.94035223214286, 90.02118235130519)

Draws = dict[str, Any]


@dataclasses.dataclass(frozen=True, slots=True)
class Recipe:
    """What happens to a batch of images, checked.

    Attributes:
        dtype: of the result.
        mean: subtracted from pixels of 0 to 255.
        deviation: what the difference is divided by.
        augment: a subset of AUGMENTATIONS.
    """

    dtype: str
    mean: float
    deviation: float
    augment: frozenset[str]


def recipe(
    dtype: str,
    normalize: str,
    augment: str | None,
    statistics: Callable[[], tuple[float, float]] = lambda: FASHION_MNIST_STATISTICS,
) -> Recipe:
    """The checked recipe.

    Args:
        dtype: one of DTYPES; "uint8" leaves the pixels as they are.
        normalize: "unit" (0 to 1) or "standard" (the training split's mean 0 and deviation 1).
        augment: None, or words of AUGMENTATIONS joined by "_" ("flip_crop").
        statistics: gives mean and deviation of the training pixels for "standard".

    Raises:
        ArgumentError: an unknown dtype, normalization or augmentation.
    """
    words = frozenset(augment.split("_")) if augment else frozenset[str]()
    _one_of("dtype", dtype, DTYPES)
    _one_of("normalize", normalize, NORMALIZATIONS)
    for word in words:
        _one_of("augment", word, AUGMENTATIONS)
    if normalize == "unit":
        return Recipe(dtype, 0.0, 255.0, words)
    if dtype == "uint8":
        raise errors.ArgumentError(
            'normalize="standard" needs a floating dtype, got "uint8"',
            hint='normalise on the device: Preprocess(normalize="standard")',
        )
    return Recipe(dtype, *statistics(), words)


def host(images: tf.Tensor, draws: Draws, how: Recipe) -> tf.Tensor:
    """On TensorFlow: uint8[B, 28, 28, 1] to how.dtype[B, 28, 28, 1], for tf.data."""
    return _finish(apply(images, draws, how, _TF), how, _TF, how.dtype)


def host_batch(images: tf.Tensor, seed: tf.Tensor | None, how: Recipe) -> tf.Tensor:
    """`host` with the draws of an int64[2] seed; None where nothing is drawn."""
    draws = {} if seed is None else host_draws(how, tf.shape(images)[0], seed)
    return host(images, draws, how)


def host_draws(how: Recipe, batch: Any, seed: Any) -> Draws:
    """The random draws of one batch from an int64[2] seed, the same on every machine."""
    draws: Draws = {}
    for number, (name, low, high) in enumerate(_ranges(how)):
        draws[name] = tf.random.stateless_uniform(
            [batch], tf.stack([seed[0], seed[1] * 8 + number]), low, high, tf.int32, "philox"
        )
    return draws


def apply(images: Any, draws: Draws, how: Recipe, ops: Any) -> Any:
    """Flip, crop and cutout of uint8[B, 28, 28, 1] as `draws` (int32[B] each) say."""
    rows, columns = ops.constant(np.arange(_SIZE)[:, None]), ops.constant(np.arange(_SIZE)[None])
    if how.augment & {"flip", "crop"}:
        from_row, from_column = rows, columns
        if "flip" in how.augment:
            flip = draws["flip"][:, None, None]
            from_column = flip * (_SIZE - 1) + (1 - 2 * flip) * columns
        if "crop" in how.augment:
            from_row = from_row + draws["down"][:, None, None]
            from_column = from_column + draws["right"][:, None, None]
        inside = (from_row >= 0) & (from_row < _SIZE) & (from_column >= 0) & (from_column < _SIZE)
        index = ops.clip(from_row) * _SIZE + ops.clip(from_column)
        images = ops.where(inside[..., None], ops.gather(images, index), ops.zero)
    if "cutout" in how.augment:
        top, left = draws["top"][:, None, None], draws["left"][:, None, None]
        hole = (rows >= top) & (rows < top + CUTOUT_PIXELS)
        hole = hole & (columns >= left) & (columns < left + CUTOUT_PIXELS)
        images = ops.where(hole[..., None], ops.zero, images)
    return images


@keras.saving.register_keras_serializable("fmnist_tfds")
class Preprocess(keras.layers.Layer):
    """Normalises, and in training augments, uint8 images inside the compiled step.

    Put it first in a model and feed `make_train(dtype="uint8")`: a quarter of float32's bytes
    crosses the bus. The result has the layer's compute dtype (mixed precision included).
    """

    def __init__(
        self,
        normalize: str = "unit",
        augment: str | None = None,
        seed: int = 0,
        statistics: tuple[float, float] = FASHION_MNIST_STATISTICS,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self._arguments = {
            "normalize": normalize,
            "augment": augment,
            "seed": seed,
            "statistics": tuple(statistics),
        }
        self._how = recipe("float32", normalize, augment, lambda: statistics)
        self._generator = keras.random.SeedGenerator(seed)
        # Without this Keras would cast uint8 to the compute dtype on the way in.
        self.autocast = False

    def call(self, images: Any, training: bool | None = None, draws: Draws | None = None) -> Any:
        """uint8[B, 28, 28, 1] to compute_dtype[B, 28, 28, 1].

        Args:
            images: pixels of 0 to 255.
            training: whether to augment.
            draws: the random draws to use, int32[B] each; None: new ones.
        """
        if self._how.augment and (training or draws is not None):
            chosen = self.draw(keras.ops.shape(images)[0]) if draws is None else draws
            images = apply(images, chosen, self._how, _KERAS)
        return _finish(images, self._how, _KERAS, self.compute_dtype)

    def draw(self, batch: Any) -> Draws:
        """New random draws for a batch of that size."""
        return {
            name: keras.random.randint((batch,), low, high, "int32", self._generator)
            for name, low, high in _ranges(self._how)
        }

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The shape stays."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """What a saved model needs to make the layer again."""
        return {**super().get_config(), **self._arguments}


def _one_of(name: str, value: str, valid: tuple[str, ...]) -> None:
    if value not in valid:
        raise errors.ArgumentError(f"{name}: expected one of {', '.join(valid)}; got {value!r}")


def _ranges(how: Recipe) -> list[tuple[str, int, int]]:
    """Name, lowest and one past the highest value of each draw, in a fixed order."""
    found = []
    if "flip" in how.augment:
        found.append(("flip", 0, 2))
    if "crop" in how.augment:
        found += [(name, -CROP_PIXELS, CROP_PIXELS + 1) for name in ("down", "right")]
    if "cutout" in how.augment:
        low, high = 1 - CUTOUT_PIXELS, _SIZE
        found += [(name, low, high) for name in ("top", "left")]
    return found


def _finish(images: Any, how: Recipe, ops: Any, dtype: str) -> Any:
    if how.dtype == "uint8":
        return images
    floats = ops.cast(images, "float32")
    if how.mean:
        floats = floats - np.float32(how.mean)
    # Compilers turn a division by a constant into this product, and not all of them do.
    return ops.cast(floats * np.float32(1 / how.deviation), dtype)


class _TF:
    """The operations of `apply` on TensorFlow."""

    zero = np.uint8(0)
    constant = staticmethod(lambda array: tf.constant(array, tf.int32))
    where = staticmethod(tf.where)
    cast = staticmethod(tf.cast)
    clip = staticmethod(lambda index: tf.clip_by_value(index, 0, _SIZE - 1))

    @staticmethod
    def gather(images: tf.Tensor, index: tf.Tensor) -> tf.Tensor:
        flat = tf.reshape(images, [-1, _SIZE * _SIZE])
        moved = tf.gather(flat, tf.reshape(index, [-1, _SIZE * _SIZE]), batch_dims=1)
        return tf.reshape(moved, [-1, _SIZE, _SIZE, 1])


class _KERAS:
    """The operations of `apply` on Keras's backend."""

    zero = np.uint8(0)
    constant = staticmethod(lambda array: keras.ops.convert_to_tensor(array, "int32"))
    where = staticmethod(lambda *args: keras.ops.cast(keras.ops.where(*args), "uint8"))
    cast = staticmethod(keras.ops.cast)
    clip = staticmethod(lambda index: keras.ops.clip(index, 0, _SIZE - 1))

    @staticmethod
    def gather(images: Any, index: Any) -> Any:
        flat = keras.ops.reshape(images, (-1, _SIZE * _SIZE))
        places = keras.ops.reshape(index, (-1, _SIZE * _SIZE))
        moved = keras.ops.take_along_axis(flat, places, axis=1)
        return keras.ops.reshape(moved, (-1, _SIZE, _SIZE, 1))
