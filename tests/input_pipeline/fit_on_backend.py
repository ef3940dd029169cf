"""Trains with fit_on_device on the backend that KERAS_BACKEND names; prints what came out."""

import json
import sys

import keras
import numpy as np

from fmnist_tfds.input_pipeline import fit_on_device
from fmnist_tfds.input_pipeline.on_device import loops

rng = np.random.default_rng(3)
images = rng.integers(0, 256, (210, 28, 28), np.uint8)
labels = (np.arange(210) * 7 % 10).astype(np.uint8)
keras.utils.set_random_seed(1)
model = keras.Sequential([keras.Input((28, 28, 1)), keras.layers.Flatten(), keras.layers.Dense(10)])
weights = [rng.normal(0, 0.02, w.shape) for w in model.get_weights()]
model.set_weights(weights)
model.compile(
    keras.optimizers.SGD(0.01), keras.losses.SparseCategoricalCrossentropy(from_logits=True)
)
scans = []
if keras.backend.backend() == "jax":
    made = loops.JaxLoop

    def watched(*arguments, scans_=scans, **options):
        options["scans"] = options["scans"] and sys.argv[1] != "stepped"
        scans_.append(options["scans"])
        return made(*arguments, **options)

    loops.JaxLoop = watched
history = fit_on_device(
    model,
    32,
    epochs=2,
    data=(images, labels),
    augment="flip_crop",
    validation_data=(images, labels),
)
print(
    json.dumps(
        {
            "weights": model.get_weights()[0].reshape(-1)[:500].tolist(),
            "loss": history.history["loss"] + history.history["val_loss"],
            "scans": all(scans),
        }
    )
)
