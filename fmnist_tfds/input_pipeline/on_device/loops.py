"""The compiled loops over an epoch: `lax.scan` on JAX, `tf.while_loop` on TensorFlow.

The table, the labels, an epoch's order and its draws are arguments of the compiled function; the
model's variables are its state. Each step is Keras's own `train_step` or `test_step`, so losses,
metrics, loss scaling, seed generators and a user's overridden steps are those of `fit`.

Source: keras/src/backend/{jax,tensorflow}/trainer.py.
"""

from __future__ import annotations

from typing import Any, Protocol

import keras
import numpy as np
import numpy.typing as npt

from fmnist_tfds.input_pipeline import augment as augmentation
from fmnist_tfds.input_pipeline.on_device.keras_ops import KERAS

# Draws of an epoch: their names, and int32[examples, draws].
Drawn = npt.NDArray[np.int32]
_SHAPE = (-1, 28, 28, 1)
# What XLA's CPU runs at least as fast as TensorFlow does, step upon step (docs/performance.md): no
# convolutions, which it compiles badly inside a loop, and nothing that draws random numbers: it
# draws others, at 0.5 µs each.
_FAST_WITH_XLA = {
    "Sequential", "Functional", "InputLayer", "Dense", "Flatten", "Reshape", "Permute",
    "Activation", "ReLU", "LeakyReLU", "Softmax", "Rescaling", "Normalization",
    "BatchNormalization", "LayerNormalization", "AveragePooling2D", "MaxPooling2D",
    "GlobalAveragePooling2D", "GlobalMaxPooling2D", "Add", "Concatenate", "Multiply",
}  # fmt: skip


class Loop(Protocol):
    """Runs epochs of one data set."""

    def epoch(self, numbers: npt.NDArray[np.int32], drawn: Drawn, *, trains: bool) -> None:
        """One epoch over the examples of these numbers, in batches; metrics go on.

        Args:
            numbers: the order, int32[examples].
            drawn: int32[examples, draws], no columns where nothing is augmented.
            trains: whether to train, or to evaluate.
        """


class Table:
    """Images as rows, uint8[n, 784], and labels, [n] or [n, classes], on the device."""

    def __init__(self, images: npt.NDArray[np.uint8], labels: npt.NDArray[Any]) -> None:
        self.images = keras.ops.convert_to_tensor(images.reshape(len(images), -1))
        self.labels = keras.ops.convert_to_tensor(labels)


class Data:
    """A table, and how a batch of it is made."""

    def __init__(self, table: Table, batch_size: int, how: augmentation.Recipe) -> None:
        self.table, self.labels = table.images, table.labels
        self.batch_size, self.how = batch_size, how
        self.names = draw_names(how)

    def batch(self, table: Any, labels: Any, rows: Any, drawn: Any) -> tuple[Any, Any]:
        """(images float32[B, 28, 28, 1], labels[B]) of rows int32[B]."""
        rows = keras.ops.clip(rows, 0, table.shape[0] - 1)
        # Rows until here: XLA melts a look-up of whole images into what reads them, pooling for
        # one, and then takes four times as long (CPU).
        images = keras.ops.take(table, rows, axis=0)
        if self.names:
            draws = {name: drawn[:, i] for i, name in enumerate(self.names)}
            images = augmentation.apply(keras.ops.reshape(images, _SHAPE), draws, self.how, KERAS)
        pixels = augmentation.finish(images, self.how, KERAS, "float32")
        return keras.ops.reshape(pixels, _SHAPE), keras.ops.take(labels, rows, axis=0)

    def cut(self, numbers: Any, drawn: Any) -> tuple[tuple[Any, Any], tuple[Any, Any]]:
        """The whole batches, [steps, B] and [steps, B, draws], and what is left."""
        steps = len(numbers) // self.batch_size
        used = steps * self.batch_size
        whole = numbers[:used].reshape(steps, self.batch_size)
        drawn_whole = drawn[:used].reshape(steps, self.batch_size, drawn.shape[1])
        return (whole, drawn_whole), (numbers[used:], drawn[used:])


def draw_names(how: augmentation.Recipe) -> tuple[str, ...]:
    """The draws that an augmentation takes, in a fixed order."""
    names = [*augmentation.ranges(how)]
    return tuple([*names, "flip"] if "altflip" in how.augment else names)


def state_of(model: Any) -> tuple[list[Any], list[Any], list[Any], list[Any]]:
    """The variables that JAX's training steps carry, in the order that Keras gives them."""
    return (
        model.trainable_variables,
        model.non_trainable_variables,
        model.optimizer.variables,
        model.metrics_variables,
    )


class JaxLoop:
    """One compiled scan an epoch; or a compiled step called from Python, where that is faster."""

    def __init__(self, model: Any, data: Data, *, scans: bool) -> None:
        import jax

        self._model, self._data, self._scans = model, data, scans

        def train(state: Any, table: Any, labels: Any, rows: Any, drawn: Any) -> Any:
            return model.train_step(state, data.batch(table, labels, rows, drawn))[1]

        def test(state: Any, table: Any, labels: Any, rows: Any, drawn: Any) -> Any:
            seen = (state[0], state[1], state[3])
            _, (_, fixed, metrics) = model.test_step(seen, data.batch(table, labels, rows, drawn))
            return [state[0], fixed, state[2], metrics]

        def scanned(step: Any) -> Any:
            def run(state: Any, table: Any, labels: Any, rows: Any, drawn: Any) -> Any:
                def one(carried: Any, batch: Any) -> Any:
                    return tuple(map(tuple, step(carried, table, labels, *batch))), None

                return jax.lax.scan(one, tuple(map(tuple, state)), (rows, drawn))[0]

            return run

        self._steps = {trains: jax.jit(s, donate_argnums=0) for trains, s in _both(train, test)}
        self._runs = {
            trains: jax.jit(scanned(s), donate_argnums=0) for trains, s in _both(train, test)
        }

    def epoch(self, numbers: npt.NDArray[np.int32], drawn: Drawn, *, trains: bool) -> None:
        """See `Loop`."""
        data, model = self._data, self._model
        variables = state_of(model)
        state: Any = tuple(tuple(v.value for v in group) for group in variables)
        (rows, more), (last, last_more) = data.cut(numbers, drawn)
        step = self._steps[trains]
        if self._scans and len(rows):
            state = self._runs[trains](state, data.table, data.labels, rows, more)
        else:
            for i in range(len(rows)):
                state = step(state, data.table, data.labels, rows[i], more[i])
        if len(last):
            state = step(state, data.table, data.labels, last, last_more)
        for group, values in zip(variables, state, strict=True):
            for variable, value in zip(group, values, strict=True):
                variable.assign(value)


class TensorFlowLoop:
    """One graph an epoch, with the steps as a loop inside; XLA compiles a step, or all of it."""

    def __init__(self, model: Any, data: Data, *, whole: bool) -> None:
        import tensorflow as tf

        self._data, self._tf = data, tf
        spec = tf.TensorSpec((None,), tf.int32), tf.TensorSpec((None, len(data.names)), tf.int32)

        def run(kind: Any) -> tuple[Any, Any]:
            def one(rows: Any, drawn: Any) -> None:
                kind(data.batch(data.table, data.labels, rows, drawn))

            step = tf.function(
                one,
                jit_compile=bool(model.jit_compile),
                input_signature=spec,  # one trace for all batch sizes
                autograph=False,
            )

            def epoch(rows: Any, drawn: Any) -> None:
                def next_step(i: Any) -> tuple[Any]:
                    step(rows[i], drawn[i])
                    return (i + 1,)

                steps = tf.shape(rows)[0]
                # One after another: a step reads what the one before it has written.
                tf.while_loop(
                    lambda i: i < steps, next_step, (tf.constant(0),), parallel_iterations=1
                )

            # XLA compiles for one shape: the last, smaller batch is a step by itself.
            every = tf.function(epoch, jit_compile=whole or None, autograph=False)
            return every, step

        self._runs = {trains: run(s) for trains, s in _both(model.train_step, model.test_step)}

    def epoch(self, numbers: npt.NDArray[np.int32], drawn: Drawn, *, trains: bool) -> None:
        """See `Loop`."""
        whole, last = self._data.cut(numbers, drawn)
        for run, (rows, more) in zip(self._runs[trains], (whole, last), strict=True):
            if rows.size:
                run(self._tf.constant(rows), self._tf.constant(more))


def _both(train: Any, test: Any) -> tuple[tuple[bool, Any], tuple[bool, Any]]:
    return (True, train), (False, test)


def opened(model: Any, table: Table, batch_size: int, how: augmentation.Recipe) -> Loop:
    """The loop of the present backend over this data: JAX or TensorFlow.

    Args:
        model: compiled and built.
        table: the data.
        batch_size: examples per step.
        how: what becomes of the pixels.
    """
    data, layers = Data(table, batch_size, how), [type(each) for each in model._flatten_layers()]
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        # TensorFlow for Windows, for one, is built without it.
        is_fast = tf.test.is_built_with_xla() and all(
            kind.__module__.startswith("keras.") and kind.__name__ in _FAST_WITH_XLA
            for kind in layers
        )
        has_gpu = bool(tf.config.list_logical_devices("GPU"))
        return TensorFlowLoop(model, data, whole=model.jit_compile if has_gpu else is_fast)
    import jax

    # XLA's CPU compiles convolutions inside a scan 15 times slower than alone.
    convolves = any("Conv" in kind.__name__ for kind in layers)
    return JaxLoop(model, data, scans=jax.default_backend() != "cpu" or not convolves)
