"""augment.py's array operations on Keras's backend. Imports no TensorFlow of its own."""

from __future__ import annotations

import operator
from typing import Any

import keras
import numpy as np

from fmnist_tfds.input_pipeline.augment import SIZE as _SIZE


class KERAS:
    """The operations on Keras's backend."""

    zero = np.uint8(0)
    constant = staticmethod(lambda array: keras.ops.convert_to_tensor(array, "int32"))
    where = staticmethod(lambda *args: keras.ops.cast(keras.ops.where(*args), "uint8"))
    take = staticmethod(keras.ops.take)
    cast = staticmethod(keras.ops.cast)
    minus = staticmethod(operator.sub)
    times = staticmethod(operator.mul)
    clip = staticmethod(lambda index: keras.ops.clip(index, 0, _SIZE - 1))

    @staticmethod
    def gather(images: Any, index: Any) -> Any:
        """uint8[B, 28, 28, 1] at the places int[B, 28, 28] of each image."""
        flat = keras.ops.reshape(images, (-1, _SIZE * _SIZE))
        places = keras.ops.reshape(index, (-1, _SIZE * _SIZE))
        moved = keras.ops.take_along_axis(flat, places, axis=1)
        return keras.ops.reshape(moved, (-1, _SIZE, _SIZE, 1))
