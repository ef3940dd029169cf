"""Layers and fit on Keras's backend, for test_backends.py.

As a script: its argument is the DATA_DIR of a prepared tiny_clothes; prints one JSON line.
"""

import json
import sys

import keras
import numpy as np

from fmnist_tfds import input_pipeline
from fmnist_tfds.input_pipeline import augment as augmentation
from fmnist_tfds.input_pipeline import preprocess

AUGMENTS = (None, "flip", "crop", "cutout", "flip_crop_cutout_erase")
# Pixels move as uint8 before anything else happens to them: every augmentation, and every dtype.
COMBINATIONS = (
    *(("float32", "standard", augment) for augment in AUGMENTS),
    ("float32", "unit", AUGMENTS[-1]),
    *(
        (dtype, how, AUGMENTS[-1])
        for dtype in ("bfloat16", "float16")
        for how in ("unit", "standard")
    ),
)
NUMPY = keras.ops.convert_to_numpy


def layer_equals_host() -> int:
    """How many combinations were compared, each exactly equal."""
    images = np.random.default_rng(1).integers(0, 256, (64, 28, 28, 1), np.uint8)
    for dtype, normalize, augment in COMBINATIONS:
        how = augmentation.recipe(dtype, normalize, augment)
        draws = preprocess.host_draws(how, np.arange(64), np.full(64, 5))
        host = preprocess.host(images, draws, how).numpy()
        policy = dtype if dtype == "float32" else f"mixed_{dtype}"
        layer = preprocess.Preprocess(normalize, augment, dtype=policy)
        ours = layer(images, draws={name: d.numpy() for name, d in draws.items()})
        assert keras.backend.standardize_dtype(ours.dtype) == dtype, ours.dtype
        as_float = NUMPY(keras.ops.cast(ours, "float32"))
        np.testing.assert_array_equal(as_float, host.astype(np.float32))
    return len(COMBINATIONS)


def fit(front: list[keras.layers.Layer], batches: object) -> float:
    """The loss of two epochs of a compiled linear model."""
    layers = [*front, keras.layers.Flatten(), keras.layers.Dense(10, dtype="float32")]
    model = keras.Sequential(layers)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.01), loss)
    # make_train has shuffled already.
    history = model.fit(batches, epochs=2, verbose=0, shuffle=False)
    return float(history.history["loss"][-1])


def run(data_dir: str) -> dict[str, object]:
    """Checks everything; any difference is an AssertionError."""
    data = {"name": "tiny_clothes", "data_dir": data_dir, "verify": False}
    result: dict[str, object] = {"backend": keras.backend.backend()}
    result["compared"] = layer_equals_host()
    host = input_pipeline.make_train(50, dtype="float32", drop_remainder=True, **data)
    result["host"] = fit([keras.Input((28, 28, 1))], host)
    for policy in ("float32", "mixed_bfloat16"):
        keras.mixed_precision.set_dtype_policy(policy)
        pixels = input_pipeline.make_train(50, dtype="uint8", drop_remainder=True, **data)
        front = [
            keras.Input((28, 28, 1), dtype="uint8"),
            preprocess.Preprocess("standard", "flip_crop"),
        ]
        result[policy] = fit(front, pixels)
    keras.mixed_precision.set_dtype_policy("float32")
    return result


if __name__ == "__main__":
    print(json.dumps(run(sys.argv[1])))
