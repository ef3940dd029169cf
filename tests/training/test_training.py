"""Training: a smoke run on the stand-in, resuming, and clear refusals."""

from __future__ import annotations

import json
import logging
import pathlib

import forked
import numpy as np
import pytest
import stand_in
import tensorflow_datasets as tfds

import fmnist_tfds  # noqa: F401  registers
from fmnist_tfds import errors
from fmnist_tfds.datasets.fmnist_synthetic import generator
from fmnist_tfds.training import config as training_config
from fmnist_tfds.training import train, workdir

EXAMPLES = 1000
REPO = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tfds")
    tfds.builder("fmnist_synthetic", data_dir=folder).download_and_prepare(
        download_config=tfds.download.DownloadConfig(max_examples_per_split=EXAMPLES)
    )
    return folder


def _config(data_dir, **changes):
    values = {
        "dataset": "fmnist_synthetic",
        "data_dir": str(data_dir),
        "epochs": 1,
        "batch_size": 50,
        "verify": False,  # a part of the data cannot be proved
    }
    return training_config.TrainingConfig(**{**values, **changes})


@pytest.mark.versions
def test_training_evaluates_every_test_image_and_says_which_data(data_dir, tmp_path):
    found = train.train_and_evaluate(_config(data_dir, eval_batch_size=768), tmp_path)
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics == found.metrics
    assert metrics["data"] == "synthetic"
    assert metrics["receipt_sha256"] is None, "the stand-in was fetched from nowhere"
    assert metrics["test_accuracy_with_flips"] is None
    assert metrics["validation_examples"] == EXAMPLES // 10
    assert metrics["validation_accuracy"] == found.history[-1]["val_accuracy"]
    labels = generator.generate("test")[1][:EXAMPLES]
    assert found.confusion.sum(axis=1).tolist() == np.bincount(labels, minlength=10).tolist()
    assert metrics["test_examples"] == EXAMPLES
    assert metrics["test_accuracy"] > 0.5


def test_training_resumes_at_the_next_epoch_with_its_own_order(
    data_dir, tmp_path, monkeypatch, caplog
):
    import keras
    import tensorflow as tf

    from fmnist_tfds import input_pipeline

    seen = []

    def make_train(*args, **kwargs):
        def record(images, labels):
            tf.py_function(lambda found: seen.append(found.numpy().tolist()), [labels], [])
            return images, labels

        return make(*args, **kwargs).map(record)

    make = input_pipeline.make_train
    monkeypatch.setattr(input_pipeline, "make_train", make_train)
    config = _config(data_dir, epochs=2, split="train[:300]", validation_split="")
    straight = train.train_and_evaluate(config, tmp_path / "straight")
    steps = len(seen) // 2
    epochs = seen[:steps], seen[steps:]
    assert epochs[0] != epochs[1]

    class Interrupted(Exception):
        pass

    class Interrupt(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 1:
                raise Interrupted

    original = workdir.Recorder.callback
    try:
        workdir.Recorder.callback = lambda self, keras_: keras.callbacks.CallbackList(
            [original(self, keras_), Interrupt()]
        )
        with pytest.raises(Interrupted):
            train.train_and_evaluate(config, tmp_path / "broken")
    finally:
        workdir.Recorder.callback = original
    # As if it had been killed after the second epoch's entry, before its weights were saved.
    history = tmp_path / "broken" / "history.json"
    history.write_text(json.dumps(json.loads(history.read_text()) * 2))
    with caplog.at_level(logging.INFO, logger="fmnist_tfds"):
        resumed = train.train_and_evaluate(config, tmp_path / "broken")
    assert "going on after 1 of 2 epochs" in caplog.text
    assert [e["epoch"] for e in resumed.history] == [1, 2]
    assert seen[-steps:] == epochs[1]
    # Not equal: the draws of the dropout go on from another place.
    assert resumed.history[1]["loss"] == pytest.approx(straight.history[1]["loss"], rel=0.2)


def test_training_goes_on_from_the_checkpoint_before_one_that_a_kill_cut_short(tmp_path, caplog):
    data_dir = stand_in.prepare(tmp_path / "tfds")
    config = stand_in.settings(data_dir, epochs=2, split="train[:300]", validation_split="")
    run = tmp_path / "run"
    first = train.train_and_evaluate(config, run)
    newest, before = (run / "checkpoint" / f"latest.weights.h5{end}" for end in ("", ".bkp"))
    newest.write_bytes(newest.read_bytes()[: newest.stat().st_size // 2])
    with caplog.at_level(logging.INFO, logger="fmnist_tfds"):
        again = train.train_and_evaluate(config, run)
    assert "going on after 1 of 2 epochs" in caplog.text
    assert [entry["epoch"] for entry in again.history] == [1, 2]
    assert again.history[0] == first.history[0]
    assert again.history[1]["loss"] < first.history[0]["loss"]
    for path in (newest, before):
        path.write_bytes(b"cut")
    with pytest.raises(errors.StoreError, match="is damaged"):
        train.train_and_evaluate(config, run)


def test_unprepared_data_is_one_clear_error(tmp_path):
    with pytest.raises(errors.NotPreparedError):
        train.train_and_evaluate(_config(tmp_path / "none"), tmp_path / "work")
    assert not (tmp_path / "work").exists(), "a run that never began has claimed its folder"


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"epoch": 3}, "'epochs'"),
        ({"epochs": "3"}, "expected a whole number"),
        ({"epochs": 0}, "more than 0"),
        ({"model": "resnet"}, "small_cnn"),
        ({"warmup": 1}, "expected less than 1, got 1"),
        ({"warmup": -0.1}, "at least 0"),
        ({"dataset": "mnist"}, "fmnist_resilient"),
    ],
)
def test_training_table_mistake_is_named(table, said):
    with pytest.raises(errors.ConfigError) as caught:
        training_config.TrainingConfig.from_table(table)
    assert said in str(caught.value)


def _train(*arguments):
    return forked.run(REPO / "scripts" / "train.py", *arguments)


def test_train_script_trains_and_says_how_well(data_dir, tmp_path):
    path = tmp_path / "t.toml"
    path.write_text(
        '[training]\ndataset = "fmnist_synthetic"\nepochs = 1\nbatch_size = 100\nverify = false\n'
        'split = "train[:300]"\n'
    )
    done = _train(f"--config={path}", f"--workdir={tmp_path / 'run'}", f"--data_dir={data_dir}")
    assert done.returncode == 0, done.stderr
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert f"test accuracy {metrics['test_accuracy']:.2%} on synthetic, {EXAMPLES:,}" in done.stdout
    assert "images/s" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--config=t.toml", "--workdir=run"], 2, "'epochs'"),
        (["--config=t.toml", "--workdir=run", "more"], 2, "unknown argument 'more'"),
        (["--confg=t.toml"], 2, "Did you mean: config"),
        ([], 2, "--workdir must have a value"),
        (["--help"], 0, "--config: TOML file"),
    ],
)
def test_train_script_answers_a_mistake_in_one_message(tmp_path, arguments, code, said):
    (tmp_path / "t.toml").write_text("[training]\nepoch = 3\n")
    done = _train(*(word.replace("=", f"={tmp_path}/") for word in arguments))
    assert done.returncode == code
    assert said in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()
