"""Trains with fit_on_device on Keras's backend; as a script, scanned and stepped, as JSON."""

import json

import keras
import numpy as np

from fmnist_tfds.input_pipeline import fit_on_device
from fmnist_tfds.input_pipeline.on_device import loops


def run(*, scans: bool = True) -> dict[str, object]:
    """Weights and losses after two epochs, and whether each epoch was one scan.

    Args:
        scans: on JAX, whether an epoch may be one.
    """
    rng = np.random.default_rng(3)
    images = rng.integers(0, 256, (210, 28, 28), np.uint8)
    labels = (np.arange(210) * 7 % 10).astype(np.uint8)
    keras.utils.set_random_seed(1)
    layers = [keras.Input((28, 28, 1)), keras.layers.Flatten(), keras.layers.Dense(10)]
    model = keras.Sequential(layers)
    model.set_weights([rng.normal(0, 0.02, w.shape) for w in model.get_weights()])
    model.compile(
        keras.optimizers.SGD(0.01), keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    scanned, made = [], loops.JaxLoop

    def watched(*arguments, **options):
        options["scans"] = options["scans"] and scans
        scanned.append(options["scans"])
        return made(*arguments, **options)

    loops.JaxLoop = watched
    try:
        history = fit_on_device(
            model,
            32,
            epochs=2,
            data=(images, labels),
            augment="flip_crop",
            validation_data=(images, labels),
        )
    finally:
        loops.JaxLoop = made
    return {
        "weights": model.get_weights()[0].reshape(-1)[:500].tolist(),
        "loss": history.history["loss"] + history.history["val_loss"],
        "scans": all(scanned),
    }


if __name__ == "__main__":
    print(json.dumps([run(), run(scans=False)]))
