"""What the training runs on, and in which precision."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from fmnist_tfds.training import config as training_config


def has_gpu() -> bool:
    """Whether Keras's present backend computes on a GPU."""
    import keras

    if keras.backend.backend() == "jax":
        import jax

        return bool(jax.default_backend() == "gpu")
    if keras.backend.backend() == "torch":
        import torch

        return bool(torch.cuda.is_available())
    import tensorflow as tf

    return bool(tf.config.list_physical_devices("GPU"))


def precision(config: training_config.TrainingConfig, *, gpu: bool) -> str:
    """Name of the Keras dtype policy that `config.precision` means here."""
    if config.precision != "auto":
        return config.precision
    return "mixed_bfloat16" if gpu else "float32"


@contextlib.contextmanager
def dtype_policy(policy: str) -> Iterator[None]:
    """Layers made in the block have the policy; whoever called us keeps their own."""
    import keras

    before = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.mixed_precision.set_dtype_policy(before)
