"""fit_on_device trains as fit does on make_train's batches, in one call an epoch."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from fmnist_tfds import errors, input_pipeline
from fmnist_tfds.input_pipeline import augment as augmentation
from fmnist_tfds.input_pipeline import order
from fmnist_tfds.input_pipeline.on_device import fit, loops

from . import conftest, fit_on_backend

REPO = pathlib.Path(__file__).resolve().parents[2]


def _images(count, seed=0):
    return conftest.make_images(count, seed), conftest.make_labels(count)


def _model(*layers, loss=None, shape=(28, 28, 1), rate=0.01):
    keras.utils.set_random_seed(5)
    model = keras.Sequential([keras.Input(shape), keras.layers.Flatten(), *layers])
    model.add(keras.layers.Dense(10))
    loss = loss or keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(rate, 0.9), loss, metrics=["accuracy"])
    return model


@pytest.mark.parametrize("augment", [None, "flip_crop", ("altflip", "cutout"), "erase"])
@pytest.mark.parametrize("normalize", ["unit", "standard"])
def test_batches_are_those_of_make_train_bit_for_bit(augment, normalize):
    images, labels = _images(301)
    statistics = float(images.mean()), float(images.std())
    wanted = [
        *input_pipeline.numpy_batches(
            (images, labels),
            50,
            seed=9,
            augment=augment,
            normalize=normalize,
            statistics=statistics,
            epochs=2,
        )
    ]
    how = augmentation.recipe("float32", normalize, augment, lambda: statistics, seed=9)
    data = loops.Data(loops.Table(images, labels.astype(np.int64)), 50, how)
    found = []
    for epoch in range(2):
        seed = order.epoch_seed(9, epoch)
        numbers = order.permuted(np.arange(301, dtype=np.int32), seed)
        drawn = fit.drawn(how, numbers, order.key(epoch, seed))
        (rows, more), (last, last_more) = data.cut(numbers, drawn)
        for part in [*zip(rows, more, strict=True), (last, last_more)]:
            found.append(data.batch(data.table, data.labels, *part))
    assert len(found) == len(wanted) == 14
    for (x, y), (u, v) in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(x), u)
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(y), v)


@pytest.mark.versions
@pytest.mark.parametrize("rate", [0, 0.5])
def test_weights_and_history_are_those_of_fit(tiny, rate):
    # What a layer draws is fit's as well: XLA would draw something else.
    dropped = [keras.layers.Dropout(rate, seed=1) for _ in range(2 if rate else 0)]
    data_dir = conftest.shard_path(tiny).parent.parent.parent
    where = {"data_dir": data_dir, "name": "tiny_clothes", "verify": False}
    where["normalize"] = "standard"
    # What the next two change would be noticed: not one of them has its default.
    how = {"augment": ("altflip", "crop", "cutout"), "crop_pixels": 5, "cutout_pixels": 3}
    how |= {"split": "train[:90%]", "seed": 3, **where}
    ours, theirs = _model(*dropped[:1]), _model(*dropped[1:])
    history = input_pipeline.fit_on_device(
        ours, 64, epochs=3, validation_split="train[90%:]", **how
    )
    train = input_pipeline.make_train(64, epochs=None, **how)
    valid = input_pipeline.make_eval(64, split="train[90%:]", **where)
    steps = -(-900 // 64)
    wanted = theirs.fit(
        train, epochs=3, steps_per_epoch=steps, shuffle=False, validation_data=valid, verbose=0
    )
    for a, b in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    assert set(history.history) == set(wanted.history)
    for name, values in wanted.history.items():
        np.testing.assert_allclose(history.history[name], values, rtol=2e-3, atol=1e-4)


@pytest.mark.parametrize("normalize", ["unit", "standard"])
def test_arrays_train_as_the_prepared_data_set_that_holds_them(tiny, normalize):
    # "standard" is by these very pixels, not by Fashion-MNIST's.
    arrays = conftest.make_images(1000), conftest.make_labels(1000)
    ours, theirs = _model(), _model()
    how = {"epochs": 2, "normalize": normalize, "augment": "flip"}
    input_pipeline.fit_on_device(ours, 64, data=arrays, **how)
    input_pipeline.fit_on_device(theirs, 64, builder=tiny, verify=False, **how)
    for a, b in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def _asked_for_whole_epochs(monkeypatch):
    asked, made = [], loops.TensorFlowLoop

    def watched(*given, whole):
        asked.append(whole)
        return made(*given, whole=whole)

    monkeypatch.setattr(loops, "TensorFlowLoop", watched)
    return asked


@pytest.mark.parametrize("compiles", [False, True])
def test_on_a_gpu_xla_compiles_the_epoch_where_it_compiles_the_model(compiles, monkeypatch):
    asked = _asked_for_whole_epochs(monkeypatch)
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind=None: [kind])
    model = _model(keras.layers.Dropout(0.5))  # not fast on a CPU: no matter here
    model.jit_compile = compiles
    history = input_pipeline.fit_on_device(model, 20, epochs=2, data=_images(50))
    assert asked == [compiles]
    assert np.isfinite(history.history["loss"]).all()


class Dense(keras.layers.Dense):
    """A user's own, with the name of Keras's: it is not known to be fast."""


@pytest.mark.parametrize(
    ("layer", "built", "whole"),
    [
        (keras.layers.BatchNormalization(), True, True),
        (keras.layers.BatchNormalization(), False, False),
        (keras.layers.Dropout(0.5), True, False),
        (keras.layers.Conv1D(2, 1), True, False),
        (Dense(10), True, False),
    ],
)
def test_xla_compiles_the_epoch_of_known_layers_alone(layer, built, whole, monkeypatch):
    monkeypatch.setattr(tf.test, "is_built_with_xla", lambda: built)
    asked = _asked_for_whole_epochs(monkeypatch)
    keras.utils.set_random_seed(5)
    model = keras.Sequential([keras.Input((28, 28, 1)), keras.layers.Reshape((28, 28)), layer])
    model.add(keras.layers.Flatten())
    model.add(keras.layers.Dense(10))
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    history = input_pipeline.fit_on_device(model, 20, epochs=2, data=_images(50))
    assert asked == [whole]
    assert np.isfinite(history.history["loss"]).all()


def test_all_kinds_of_variables_are_updated():
    layers = keras.layers
    rate = keras.optimizers.schedules.ExponentialDecay(0.1, 1, 0.5)
    model = _model(
        layers.Dense(16, "relu"), layers.BatchNormalization(), layers.Dropout(0.5), rate=rate
    )
    before = [v.numpy() for v in model.variables]
    input_pipeline.fit_on_device(model, 32, epochs=2, data=_images(100))
    changed = {
        v.path.rpartition("/")[2]: not np.array_equal(v.numpy(), old)
        for v, old in zip(model.variables, before, strict=True)
    }
    assert {"kernel", "moving_mean", "moving_variance", "seed_generator_state"} <= set(changed)
    assert all(changed.values())
    assert int(model.optimizer.iterations) == 8


def test_callbacks_run_between_epochs_and_may_stop():
    seen, ended = [], []

    class Watch(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            seen.append((epoch, sorted(logs)))
            self.model.stop_training = epoch == 1

        def on_train_end(self, logs=None):
            ended.append(logs)

    history = input_pipeline.fit_on_device(
        _model(),
        20,
        epochs=5,
        data=_images(40),
        validation_data=_images(30, 1),
        callbacks=[Watch()],
    )
    assert seen == [(e, ["accuracy", "loss", "val_accuracy", "val_loss"]) for e in (0, 1)]
    assert history.epoch == [0, 1]
    assert ended == [{name: values[-1] for name, values in history.history.items()}]
    again = input_pipeline.fit_on_device(history.model, 20, epochs=2, data=_images(40))
    assert again.epoch == [0, 1], "a training that was stopped stops no other"


def test_memory_that_is_used_up_is_told_by_the_batch_size_and_nothing_else_is():
    def failing(said, kind=RuntimeError):
        def fail(*_):
            raise kind(said)

        return {"data": _images(40), "callbacks": [keras.callbacks.LambdaCallback(fail)]}

    with pytest.raises(errors.FmnistError, match="ran out of memory at batch_size=20") as caught:
        input_pipeline.fit_on_device(_model(), 20, **failing("RESOURCE_EXHAUSTED: 80 GiB"))
    assert "smaller batch_size" in caught.value.hint
    with pytest.raises(errors.FmnistError, match="ran out of memory at batch_size=20"):
        input_pipeline.fit_on_device(_model(), 20, **failing("", MemoryError))
    with pytest.raises(RuntimeError, match="INTERNAL: a bug"):
        input_pipeline.fit_on_device(_model(), 20, **failing("INTERNAL: a bug"))


def test_mixed_precision_trains_on_the_right_images():
    """bfloat16 holds whole numbers only to 256: indices must never be cast to it."""
    x = np.zeros((2000, 28, 28), np.uint8)
    y = np.arange(2000) % 10
    for i, label in enumerate(y):
        x[i, 2 * label : 2 * label + 2] = 255
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        history = input_pipeline.fit_on_device(_model(), 32, epochs=8, data=(x, y))
    finally:
        keras.config.set_dtype_policy("float32")
    assert history.history["accuracy"][-1] > 0.95


def test_one_hot_labels_go_with_their_loss():
    model = _model(loss=keras.losses.CategoricalCrossentropy(from_logits=True))
    input_pipeline.fit_on_device(model, 20, data=_images(40), labels="one-hot")
    with pytest.raises(errors.ArgumentError, match="wants one-hot, got 'int64'"):
        input_pipeline.fit_on_device(model, 20, data=_images(40))
    with pytest.raises(errors.ArgumentError, match="wants numbers, got 'one-hot'"):
        input_pipeline.fit_on_device(_model(), 20, data=_images(40), labels="one-hot")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"batch_size": 0}, "batch_size: expected 1 to 40"),
        ({"batch_size": 41}, "batch_size: expected 1 to 40"),
        ({"epochs": 0}, "epochs: expected at least 1"),
        ({"epochs": 1.5}, "epochs: expected a whole number"),
        ({"augment": "flop"}, "augment: expected one of flip"),
        ({"augment": "altflip"}, "altflip needs more than one epoch"),
        ({"labels": "float"}, "labels: expected int64"),
        ({"validation_split": "test"}, "validation_split goes with data_dir"),
        ({"data": (np.zeros((4, 8, 8), np.uint8), np.zeros(4, int))}, "images uint8"),
        ({"data": (np.zeros((4, 28, 28)), np.zeros(4, int))}, "images uint8"),
        ({"data": (np.zeros((4, 28, 28), np.uint8), np.zeros(3, int))}, "4 whole numbers"),
    ],
)
def test_wrong_argument_is_named(arguments, said):
    given = {"batch_size": 20, "data": _images(40), **arguments}
    with pytest.raises(errors.ArgumentError, match=said):
        input_pipeline.fit_on_device(_model(), **given)


def test_model_that_cannot_be_trained_so_is_named(monkeypatch):
    bare = keras.Sequential([keras.Input((28, 28, 1)), keras.layers.Flatten()])
    with pytest.raises(errors.ArgumentError, match="expected a compiled Keras model"):
        input_pipeline.fit_on_device(bare, 20, data=_images(40))
    with pytest.raises(errors.ArgumentError, match=r"one input of shape \(None, 28, 28, 1\)"):
        input_pipeline.fit_on_device(_model(shape=(32, 32, 1)), 20, data=_images(40))
    monkeypatch.setattr(keras.backend, "backend", lambda: "torch")
    with pytest.raises(errors.ArgumentError, match="this is torch") as caught:
        input_pipeline.fit_on_device(_model(), 20, data=_images(40))
    assert "make_train" in caught.value.hint


def test_split_that_is_empty_or_unknown_is_named(tiny):
    with pytest.raises(errors.ArgumentError, match="has no examples"):
        input_pipeline.fit_on_device(_model(), 20, builder=tiny, split="train[:0]", verify=False)


def _on_jax():
    done = subprocess.run(
        [sys.executable, fit_on_backend.__file__],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        cwd=REPO,
        env={**os.environ, "KERAS_BACKEND": "jax", "PYTHONPATH": str(REPO)},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


_NOTHING_OF_TENSORFLOW = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("tensorflow", "tensorflow_datasets", "tensorflow_metadata"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent())
import importlib.util
found = importlib.util.find_spec
def find_spec(name, package=None):
    return None if name.startswith("tensorflow") else found(name, package)
importlib.util.find_spec = find_spec
import keras, numpy as np
import fmnist_tfds
from fmnist_tfds.input_pipeline import Preprocess, fit_on_device, numpy_batches
(x, y), test = fmnist_tfds.load_data(manual_dir=sys.argv[1], cache_dir=sys.argv[2], offline=True)
model = keras.Sequential([keras.Input((28, 28, 1)), keras.layers.Flatten(), keras.layers.Dense(10)])
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
model.compile("adam", loss, metrics=["accuracy"])
history = fit_on_device(model, 512, data=(x, y), validation_data=test, augment="flip_crop")
assert history.history["val_accuracy"][0] > 0.4, history.history
images, labels = next(iter(numpy_batches((x, y), 64, dtype="uint8")))
assert Preprocess("standard")(images).shape == (64, 28, 28, 1)
assert not any(name.startswith("tensorflow") for name in sys.modules), "TensorFlow came in"
"""


@pytest.mark.needs_jax
def test_it_trains_where_neither_tensorflow_nor_tfds_is_installed(real_data, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", _NOTHING_OF_TENSORFLOW, str(real_data), str(tmp_path / "cache")],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        cwd=REPO,
        env={**os.environ, "KERAS_BACKEND": "jax", "PYTHONPATH": str(REPO)},
    )
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.needs_jax
def test_jax_gives_the_weights_that_tensorflow_gives_scanned_or_stepped():
    tensorflow = fit_on_backend.run()
    for jax, scans in zip(_on_jax(), (True, False), strict=True):
        np.testing.assert_allclose(jax["weights"], tensorflow["weights"], rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(jax["loss"], tensorflow["loss"], rtol=1e-3)
        assert jax["scans"] is scans


def test_the_next_order_is_made_before_the_epoch_is_waited_for(monkeypatch):
    # Made after it, the device would wait for the host between epochs.
    made, at_the_end = [], []
    permuted = order.permuted

    def watched(numbers, seed):
        made.append(seed)
        return permuted(numbers, seed)

    monkeypatch.setattr(order, "permuted", watched)
    seen = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: at_the_end.append(len(made))
    )
    input_pipeline.fit_on_device(_model(), 32, epochs=3, data=_images(64), callbacks=[seen])
    assert at_the_end == [2, 3, 3]
