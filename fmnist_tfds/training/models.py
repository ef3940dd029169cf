"""The models: pixels of 0 to 255 in, logits out."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from fmnist_tfds import catalog
from fmnist_tfds.training import config as training_config

IMAGE_SHAPE = (catalog.IMAGE_SIZE, catalog.IMAGE_SIZE, 1)


def build_model(
    config: training_config.TrainingConfig,
    *,
    statistics: tuple[float, float],
    for_training: bool = True,
) -> Any:
    """The Keras model: pixels of 0 to 255 [B, 28, 28, 1], uint8 or float, to logits [B, 10].

    Args:
        config: which model.
        statistics: what is subtracted from the pixels, and what they are then divided by.
        for_training: False: Keras's own layers alone, for a model that is saved. The weights are
            the same, in the same order.
    """
    import keras

    mean, deviation = statistics
    layers = keras.layers
    convolutions = {
        "small_cnn": lambda: _plain_cnn(width=32),
        "wide_cnn": lambda: _plain_cnn(width=96),
        "fast_cnn": lambda: _fast_cnn(fused=for_training),
    }
    return keras.Sequential(
        [
            keras.Input(IMAGE_SHAPE),
            # Keras's own layer: the saved model loads where this package is not installed.
            layers.Rescaling(1 / deviation, -mean / deviation, dtype="float32"),
            *convolutions[config.model](),
            # float32: a softmax over half-precision logits loses accuracy.
            layers.Dense(catalog.NUM_CLASSES, dtype="float32"),
        ]
    )


def compile_model(
    model: Any, config: training_config.TrainingConfig, *, steps: int, jit: bool
) -> None:
    """Adam, on a schedule of so many steps; `jit` is what jit_compile = "auto" means."""
    import keras

    schedule = _schedule(config, steps)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    if config.label_smoothing:
        loss = keras.losses.CategoricalCrossentropy(
            from_logits=True, label_smoothing=config.label_smoothing
        )
    model.compile(
        optimizer=keras.optimizers.Adam(schedule),
        loss=loss,
        metrics=["accuracy"],
        jit_compile=jit if config.jit_compile == "auto" else config.jit_compile == "on",
    )


def _schedule(config: training_config.TrainingConfig, steps: int) -> Any:
    """The learning rate by step: up in the warm-up, then down to 0, by a cosine or straight."""
    import keras

    ops, rising = keras.ops, round(config.warmup * steps)

    class Schedule(keras.optimizers.schedules.LearningRateSchedule):
        def __call__(self, step: Any) -> Any:
            step = ops.cast(step, "float32")
            done = ops.clip((step - rising) / max(steps - rising, 1), 0.0, 1.0)
            left = 1.0 - done
            if config.schedule == "cosine":
                left = 0.5 * (1.0 + ops.cos(np.pi * done))
            return config.learning_rate * ops.where(step < rising, step / max(rising, 1), left)

        def get_config(self) -> dict[str, Any]:
            return {"schedule": config.schedule, "steps": steps, "warmup_steps": rising}

    return Schedule()


def _plain_cnn(width: int) -> list[Any]:
    from keras import layers

    return [
        layers.Conv2D(width, 3, padding="same", activation="relu"),
        layers.MaxPooling2D(),
        layers.Conv2D(2 * width, 3, padding="same", activation="relu"),
        layers.MaxPooling2D(),
        layers.Flatten(),
        layers.Dropout(0.3),
        layers.Dense(4 * width, activation="relu"),
    ]


def _fast_cnn(*, fused: bool) -> list[Any]:
    """For CPUs: half the first channels, and batch normalisation, which a few epochs need.

    What is normalised and rectified was pooled before: a quarter of the work, the same numbers.
    """
    import keras

    layers = keras.layers
    normalization = layers.BatchNormalization
    if fused and keras.backend.backend() == "tensorflow":
        normalization = _fused_batch_normalization()
    found = []
    for channels in (16, 64):
        found += [
            layers.Conv2D(channels, 3, padding="same", use_bias=False),
            layers.MaxPooling2D(),
            normalization(momentum=0.8, epsilon=1e-5),
            layers.ReLU(),
        ]
    return [*found, layers.Flatten(), layers.Dropout(0.15), layers.Dense(128, activation="relu")]


@functools.cache
def _fused_batch_normalization() -> Any:
    """Keras's layer by TensorFlow's fused op: Keras's eight take 4 times as long on CPUs."""
    import keras
    import tensorflow as tf

    class FusedBatchNormalization(keras.layers.BatchNormalization):
        def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
            if not training:
                return super().call(inputs, training=training, mask=mask)
            outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
                x=inputs,
                scale=keras.ops.cast(self.gamma, "float32"),
                offset=keras.ops.cast(self.beta, "float32"),
                mean=[],
                variance=[],
                epsilon=self.epsilon,
                is_training=True,
            )
            for moving, now in ((self.moving_mean, mean), (self.moving_variance, variance)):
                moving.assign(moving * self.momentum + now * (1 - self.momentum))
            return outputs

    return FusedBatchNormalization
