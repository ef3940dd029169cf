"""Time to accuracy on an accelerator by `fit_on_device`, without TensorFlow and TFDS."""

from __future__ import annotations

import dataclasses
import statistics
import time
from typing import Any

import keras
import numpy as np

from fmnist_tfds.input_pipeline import augment as augmentation
from fmnist_tfds.input_pipeline.on_device import fit
from fmnist_tfds.training import config as training_config
from fmnist_tfds.training import hardware, models

CONFIG = dataclasses.replace(training_config.FAST_CNN, epochs=8, label_smoothing=0.1)


def measure(train: fit.Arrays, test: fit.Arrays, seconds: float) -> dict[str, Any]:
    """Trains with seed 1, 2, … until `seconds` are used up, once at least.

    Args:
        train: images uint8[n, 28, 28] and labels[n].
        test: the same; looked at once a run, at its end.
        seconds: how long, in seconds.

    Returns:
        "runs"; "accuracy_mean" and "accuracy_deviation" (0 of one run), in 0 to 1; medians in
        seconds: "cold_s" of the whole training, compiling included, and "warm_s", as long as all
        epochs would have taken like the median one.
    """
    started = time.perf_counter()
    mean, deviation = float(train[0].mean()), float(train[0].std())
    how = augmentation.recipe("float32", CONFIG.normalize, None, lambda: (mean, deviation))
    pixels = augmentation.finish(test[0][..., None], how, augmentation.NUMPY, "float32")
    accuracies, cold, warm = list[float](), list[float](), list[float]()
    while not accuracies or time.perf_counter() - started + max(cold) < seconds:
        accuracy, whole, epoch = _run(train, (pixels, test[1]), seed=len(accuracies) + 1)
        accuracies.append(accuracy)
        cold.append(whole)
        warm.append(CONFIG.epochs * epoch)
    return {
        "runs": len(accuracies),
        "accuracy_mean": statistics.mean(accuracies),
        "accuracy_deviation": statistics.stdev(accuracies) if len(accuracies) > 1 else 0.0,
        "cold_s": statistics.median(cold),
        "warm_s": statistics.median(warm),
    }


class _Clock(keras.callbacks.Callback):
    """Seconds of each epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float] = []
        self._began = 0.0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:  # noqa: ARG002 Keras calls so
        self._began = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:  # noqa: ARG002 Keras calls so
        self.seconds.append(time.perf_counter() - self._began)


def _run(train: fit.Arrays, test: fit.Arrays, seed: int) -> tuple[float, float, float]:
    """The accuracy on `test`, whose images are as the model takes them, and seconds: of the whole
    training, and of its median epoch."""
    keras.utils.set_random_seed(seed)
    gpu, clock = hardware.has_gpu(), _Clock()
    with hardware.dtype_policy(hardware.precision(CONFIG, gpu=gpu)):
        # Pixels arrive normalised; the model's own Rescaling has nothing left to do.
        model = models.build_model(CONFIG, statistics=(0.0, 1.0))
    batch_size = min(CONFIG.batch_size, len(train[1]))
    steps = -(-len(train[1]) // batch_size)
    models.compile_model(model, CONFIG, steps=CONFIG.epochs * steps, jit=gpu)
    started = time.perf_counter()
    fit.fit_on_device(
        model,
        batch_size,
        epochs=CONFIG.epochs,
        data=train,
        augment=CONFIG.augment,
        normalize=CONFIG.normalize,
        labels="one-hot",
        seed=seed,
        callbacks=[clock],
    )
    whole = time.perf_counter() - started
    found = np.asarray(model.predict(test[0], batch_size=1000, verbose=0)).argmax(axis=-1)
    return float(np.mean(found == test[1])), whole, statistics.median(clock.seconds)
