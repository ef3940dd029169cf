"""A saved model takes raw pixels and loads: without this package, or after importing it."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import subprocess
import sys

import forked
import keras
import numpy as np
import pytest
import stand_in

from fmnist_tfds import input_pipeline, registries
from fmnist_tfds.training import train as training

PREPROCESS = "fmnist_tfds>Preprocess"
RECEIPT = '{"where": "it came from"}'


def _python(code: str, *arguments: object) -> str:
    """What it prints; on JAX where it is installed, which starts without TensorFlow."""
    backend = "jax" if importlib.util.find_spec("jax") else "tensorflow"
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        env={**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with a run of the small CNN, and one of the fast one in mixed precision."""
    folder = tmp_path_factory.mktemp("runs")
    data_dir = stand_in.prepare(folder / "tfds")
    (version,) = (data_dir / "fmnist_synthetic").iterdir()
    (version / "receipt.json").write_text(RECEIPT)
    for run, changes in {
        "unit": {"normalize": "unit"},
        "fast": {
            "normalize": "standard",
            "precision": "mixed_bfloat16",
            "model": "fast_cnn",
            "warmup": 0.2,
            "test_time_flips": True,
        },
    }.items():
        # Thirty steps are enough to learn something.
        changes |= {"split": "train[:600]", "validation_split": "", "batch_size": 20}
        training.train_and_evaluate(stand_in.settings(data_dir, **changes), folder / run)
    return folder


@pytest.fixture(scope="module")
def loaded(trained):
    """The saved models, by the name of their run."""
    return {
        path.parent.name: keras.models.load_model(path) for path in trained.glob("*/model.keras")
    }


def _accuracy(model, images):
    labels = stand_in.arrays("test")[1]
    parts = [model.predict_on_batch(images[start : start + 200]) for start in range(0, 1000, 200)]
    return float(np.mean(np.concatenate(parts).argmax(axis=-1) == labels))


@pytest.mark.parametrize("run", ["unit", "fast"])
def test_saved_model_has_the_accuracy_of_metrics_json_on_raw_pixels(trained, loaded, run):
    model = loaded[run]
    images = stand_in.arrays("test")[0][..., None]
    metrics = json.loads((trained / run / "metrics.json").read_text())
    assert metrics["test_accuracy"] > 0.3
    assert _accuracy(model, images) == pytest.approx(metrics["test_accuracy"], abs=1e-9)
    floats = images.astype(np.float32)
    assert _accuracy(model, floats) == pytest.approx(metrics["test_accuracy"], abs=1e-9)


def test_saved_model_loads_where_this_package_is_not_installed(trained, tmp_path):
    images, labels = stand_in.arrays("test")
    np.savez(tmp_path / "raw.npz", images=images, labels=labels)
    code = (
        "import json, sys\n"
        "sys.modules['fmnist_tfds'] = None\n"
        "import keras, numpy as np\n"
        "raw, found = np.load(sys.argv[1]), []\n"
        "for path in sys.argv[2:]:\n"
        "    model = keras.models.load_model(path)\n"
        "    predicted = np.asarray(model(raw['images'][..., None])).argmax(-1)\n"
        "    found.append(float((predicted == raw['labels']).mean()))\n"
        "print(json.dumps(found))\n"
    )
    runs = ("unit", "fast")
    paths = (trained / run / "model.keras" for run in runs)
    done = forked.run("-c", code, tmp_path / "raw.npz", *paths)
    assert done.returncode == 0, done.stderr[-4000:]
    found = json.loads(done.stdout)
    for run, accuracy in zip(runs, found, strict=True):
        metrics = json.loads((trained / run / "metrics.json").read_text())
        assert accuracy == pytest.approx(metrics["test_accuracy"], abs=1e-9)


def test_metrics_json_says_what_the_saved_model_takes(trained, loaded):
    train = stand_in.arrays("train")[0]
    for run, mean, deviation in (("unit", 0, 255), ("fast", train.mean(), train.std())):
        contract = json.loads((trained / run / "metrics.json").read_text())["input"]
        assert contract["shape"] == list(loaded[run].input_shape) == [None, 28, 28, 1]
        assert contract["range"] == [0, 255]
        assert "uint8" in contract["dtype"]
        assert contract["normalization"]["done_by"] == "the model"
        assert contract["normalization"]["mean"] == pytest.approx(mean)
        assert contract["normalization"]["deviation"] == pytest.approx(deviation)
        assert contract["class_names"][0] == "T-shirt/top"
        assert len(contract["class_names"]) == 10


@pytest.mark.parametrize(("run", "precision"), [("unit", "float32"), ("fast", "mixed_bfloat16")])
def test_metrics_json_says_how_it_was_trained_and_of_which_bytes(trained, loaded, run, precision):
    metrics = json.loads((trained / run / "metrics.json").read_text())
    assert metrics["receipt_sha256"] == hashlib.sha256(RECEIPT.encode()).hexdigest()
    assert metrics["precision"] == precision
    layers = loaded[run].layers
    assert {layer.compute_dtype for layer in layers} == {"float32"}, "as it is saved"
    assert metrics["parameters"] == loaded[run].count_params()


def test_accuracy_with_flips_is_of_each_image_and_its_mirror_image_together(trained, loaded):
    images, labels = stand_in.arrays("test")
    alone, mirrored = (
        loaded["fast"].predict(x[..., None], verbose=0) for x in (images, images[:, :, ::-1])
    )
    together = (alone + mirrored).argmax(axis=-1)
    metrics = json.loads((trained / "fast" / "metrics.json").read_text())
    assert metrics["test_accuracy_with_flips"] == np.mean(together == labels)
    assert (together != alone.argmax(axis=-1)).any()


def _with_preprocess(path, **arguments):
    """A saved model of that layer alone."""
    layer = input_pipeline.Preprocess(**arguments)
    model = keras.Sequential([keras.Input((28, 28, 1), dtype="uint8"), layer])
    model.save(path)
    return model


def test_model_with_preprocess_loads_after_importing_this_package_alone(tmp_path):
    model = _with_preprocess(tmp_path / "model.keras", normalize="standard", augment="flip")
    images = stand_in.arrays("test")[0][:8, ..., None]
    np.savez(tmp_path / "raw.npz", images=images, wanted=np.asarray(model(images)))
    code = (
        "import sys, fmnist_tfds\n"
        "assert not {'keras', 'tensorflow'} & set(sys.modules)\n"
        "import keras, numpy as np\n"
        "assert keras.backend.backend() == 'tensorflow' or 'tensorflow' not in sys.modules\n"
        "raw, model = np.load(sys.argv[2]), keras.models.load_model(sys.argv[1])\n"
        "np.testing.assert_array_equal(np.asarray(model(raw['images'])), raw['wanted'])\n"
    )
    _python(code, tmp_path / "model.keras", tmp_path / "raw.npz")


def test_preprocess_is_entered_where_keras_was_imported_first(tmp_path, monkeypatch):
    _with_preprocess(tmp_path / "model.keras")
    # As it is in a process that has imported Keras, and this package not yet.
    monkeypatch.delitem(keras.saving.get_custom_objects(), PREPROCESS)
    with pytest.raises(TypeError, match="Preprocess"):
        keras.models.load_model(tmp_path / "model.keras")
    registries.announce()
    keras.models.load_model(tmp_path / "model.keras")


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
def test_loaded_preprocess_is_the_one_that_was_saved(tmp_path, dtype):
    arguments = {
        "normalize": "standard",
        "augment": "flip_crop_cutout",
        "seed": 7,
        "statistics": (50.5, 20.25),
        "dtype": dtype,
    }
    saved = _with_preprocess(tmp_path / "model.keras", **arguments).layers[0]
    loaded = keras.models.load_model(tmp_path / "model.keras").layers[0]
    images = stand_in.arrays("train")[0][:50, ..., None]
    still = np.asarray(keras.ops.cast(loaded(images), "float32"))
    np.testing.assert_allclose(still, (images - 50.5) / 20.25, rtol=1e-2, atol=1e-2)
    again = input_pipeline.Preprocess.from_config(loaded.get_config())
    assert saved.compute_dtype == loaded.compute_dtype == again.compute_dtype
    drawn = [np.asarray(layer(images, training=True)) for layer in (saved, loaded, again)]
    assert not np.array_equal(drawn[0].astype(np.float32), still)
    np.testing.assert_array_equal(drawn[0], drawn[1])
    np.testing.assert_array_equal(drawn[0], drawn[2])
    other = input_pipeline.Preprocess(**{**arguments, "seed": 8})
    assert not np.array_equal(drawn[0], np.asarray(other(images, training=True)))
