"""What training costs beside the model: a step's wait for its batch, and an epoch by `fit`."""

from __future__ import annotations

import functools
import statistics
import time
from collections.abc import Callable
from typing import Any

_FIT_BATCH = 128


def step(data_dir: str, steps: int = 60, turns: int = 15) -> dict[str, Any]:
    """The share of a small CNN's training step that is lost to input, at batch 128 on the CPU.

    The step takes its batch from an iterator, as Keras's `fit` does it; beside it stands a data set
    that repeats one batch: what TensorFlow's iterator costs by itself.

    Args:
        data_dir: of the prepared data set.
        steps: of a turn.
        turns: in each of which every rival takes its steps.

    Returns:
        For each dtype the median share lost, its quartiles, the same of one repeated batch, and the
        seconds of a step.
    """
    import tensorflow as tf

    from fmnist_tfds import input_pipeline

    make = functools.partial(input_pipeline.make_train, 128, data_dir=data_dir, epochs=None)
    result: dict[str, Any] = {}
    for dtype in ("float32", "uint8"):
        train = _training_step(normalize=dtype == "uint8")
        fed = iter(make(drop_remainder=True, dtype=dtype))
        constant = next(fed)
        repeated = iter(tf.data.Dataset.from_tensors(constant).repeat())
        on_constant = tf.function(functools.partial(train, *constant))
        on_fed = tf.function(functools.partial(_train_on, train, fed))
        on_repeated = tf.function(functools.partial(_train_on, train, repeated))

        def seconds(step: Callable[[], Any]) -> float:
            started = time.perf_counter()
            for _ in range(steps):
                step()
            return time.perf_counter() - started

        calls = (on_constant, on_fed, on_repeated)
        for call in calls:
            seconds(call)
        rows = [tuple(seconds(call) for call in calls) for _ in range(turns)]
        lost = [1 - still / ours for still, ours, _ in rows]
        result[f"lost {dtype}"] = statistics.median(lost)
        result[f"lost {dtype}, quartiles"] = statistics.quantiles(lost, n=4)[::2]
        result[f"lost {dtype}, repeated"] = statistics.median(1 - s / r for s, _, r in rows)
        result[f"step_seconds {dtype}"] = statistics.median(row[0] for row in rows) / steps
    return result


def _train_on(train: Callable[..., None], batches: Any) -> None:
    train(*next(batches))


def _training_step(*, normalize: bool) -> Callable[..., None]:
    """One step of a small CNN; with `normalize` on uint8, which it scales itself."""
    import keras
    import tensorflow as tf

    from fmnist_tfds.input_pipeline import preprocess

    layers = keras.layers
    front = [preprocess.Preprocess()] if normalize else []
    model = keras.Sequential(
        [
            keras.Input((28, 28, 1), dtype="uint8" if normalize else "float32"),
            *front,
            layers.Conv2D(16, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(32, 3, activation="relu"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(10),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    optimizer = keras.optimizers.SGD(0.01)
    optimizer.build(model.trainable_variables)

    def train(images: Any, labels: Any) -> None:
        with tf.GradientTape() as tape:
            value = loss(labels, model(images, training=True))
        optimizer.apply(tape.gradient(value, model.trainable_variables), model.trainable_variables)

    return train


def fit(data_dir: str, turns: int = 5) -> dict[str, float]:
    """Images/s of a tiny model's epochs at batch 128: a step's own work is next to nothing.

    `fit_on_device` in turns with Keras's `fit` on the same batches of `make_train`, and on float32
    arrays, which it shuffles itself. Each rival trains three epochs a turn; the first, which may
    compile, is not counted. The backend is that of KERAS_BACKEND.

    Args:
        data_dir: of the prepared data set.
        turns: of each rival, after one that is not counted.

    Returns:
        The median rate of each rival.
    """
    import keras
    import numpy as np

    from fmnist_tfds import input_pipeline

    images, labels = next(iter(input_pipeline.make_train(60_000, data_dir=data_dir)))
    arrays = np.array(images), np.array(labels)
    batches = input_pipeline.make_train(_FIT_BATCH, data_dir=data_dir)
    run: dict[str, Any] = {"epochs": 3, "verbose": 0}
    rivals: dict[str, Callable[[Any, Any], Any]] = {
        "fit_on_device": lambda model, clock: input_pipeline.fit_on_device(
            model, _FIT_BATCH, data_dir=data_dir, callbacks=[clock], **run
        ),
        "fit, make_train": lambda model, clock: model.fit(
            batches, shuffle=False, callbacks=[clock], **run
        ),
        "fit, arrays": lambda model, clock: model.fit(
            *arrays, batch_size=_FIT_BATCH, callbacks=[clock], **run
        ),
    }

    models = {name: _tiny_model() for name in rivals}
    taken: dict[str, list[float]] = {name: [] for name in rivals}
    for turn in range(turns + 1):
        for name, train in rivals.items():
            started: list[float] = []
            ended: list[float] = []
            clock = keras.callbacks.LambdaCallback(
                on_epoch_begin=lambda *_, to=started: to.append(time.perf_counter()),
                on_epoch_end=lambda *_, to=ended: to.append(time.perf_counter()),
            )
            train(models[name], clock)
            if turn:
                taken[name] += [e - s for s, e in zip(started, ended, strict=True)][1:]
    return {name: len(arrays[1]) / statistics.median(found) for name, found in taken.items()}


def _tiny_model() -> Any:
    """An image's mean, and a linear layer: pixels are read once, and nothing more is done.

    Not AveragePooling2D: XLA's CPU takes 190 µs for 128 images, twice what a step has besides.
    """
    import keras

    layers = keras.layers
    mean = [keras.Input((28, 28, 1)), layers.GlobalAveragePooling2D()]
    model = keras.Sequential([*mean, layers.Dense(10)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.01), loss, metrics=["accuracy"])
    return model
