"""Quickstart: the real data where it arrives, else the stand-in, said so everywhere."""

from __future__ import annotations

import dataclasses
import gzip
import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import stand_in
from matplotlib import figure

from fmnist_tfds import catalog, errors
from fmnist_tfds.cli import main
from fmnist_tfds.config import loader
from fmnist_tfds.training import plots, quickstart, train

REPO = pathlib.Path(__file__).resolve().parents[2]
PICTURES = ("samples.png", "training_curve.png", "confusion_matrix.png")


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    return stand_in.prepare(tmp_path_factory.mktemp("tfds"))


@pytest.fixture
def drawn(monkeypatch):
    """The figures, by the names of the files that they are drawn to: empty ones."""
    figures = {}

    def savefig(self, path, **options):
        path.touch()
        figures[path.name] = self

    monkeypatch.setattr(figure.Figure, "savefig", savefig)
    return figures


@pytest.fixture
def nowhere(tmp_path, closed_port):
    """Flags for a mirror that refuses connections, and is asked once."""
    toml = tmp_path / "site.toml"
    toml.write_text("[network]\nattempts = 1\n")
    return [f"--config_file={toml}", f"--mirrors=http://127.0.0.1:{closed_port}/"]


def test_quickstart_without_a_source_never_passes_the_stand_in_off(
    data_dir, tmp_path, nowhere, capfd, drawn, monkeypatch
):
    monkeypatch.setitem(catalog.DATASETS, "fmnist_synthetic", stand_in.known())
    out = tmp_path / "out"
    words = ["quickstart", *nowhere, f"--out={out}", f"--data_dir={data_dir}", "--epochs=2"]
    code = main.run(words)
    said = capfd.readouterr()
    assert code == 0
    assert "connect-refused" in said.err
    assert said.err.count("this is NOT Fashion-MNIST") >= 2
    assert "SYNTHETIC" in said.out
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["data"] == "synthetic"
    assert "NOT Fashion-MNIST" in metrics["WARNING"]
    receipt = json.loads((out / "receipt.json").read_text())
    assert receipt["data"] == "synthetic"
    assert receipt["failure"].startswith("could not obtain train-images")
    assert metrics["epochs"] == 2
    assert f"test accuracy {metrics['test_accuracy']:.2%} on the SYNTHETIC STAND-IN" in said.out
    for name in PICTURES:
        assert "this is NOT Fashion-MNIST" in drawn[name].get_suptitle()


class Trained:
    """In place of training: remembers the configurations, and finds the same each time."""

    def __init__(self):
        self.configs = []

    def __call__(self, config, workdir):
        self.configs.append(config)
        self.workdir = workdir
        real = config.dataset == "fmnist_resilient"
        confusion = np.diag(np.full(10, 90)) + np.eye(10, k=1, dtype=np.int64) * 10
        entry = {"loss": 0.5, "accuracy": 0.8, "val_loss": 0.6, "val_accuracy": 0.7}
        return train.Evaluation(
            metrics={
                "data": "fashion-mnist" if real else "synthetic",
                "test_accuracy": 0.9,
                "test_examples": 990,
                "epochs": config.epochs,
                "images_per_s": 1000.0,
            },
            confusion=confusion,
            history=[{"epoch": epoch + 1, **entry} for epoch in range(config.epochs)],
        )


@pytest.fixture
def trained(monkeypatch):
    stub = Trained()
    monkeypatch.setattr(train, "train_and_evaluate", stub)
    return stub


def test_quickstart_trains_on_the_real_data_where_it_arrived(
    real_data, tmp_path, trained, drawn, capfd
):
    out = tmp_path / "out"
    (out / "tfds").mkdir(parents=True)
    words = ["quickstart", f"--manual_dir={real_data}", "--offline", f"--out={out}", "--epochs=3"]
    assert main.run(words) == 0
    said = capfd.readouterr()
    (config,) = trained.configs
    assert config.dataset == "fmnist_resilient"
    assert config.data_dir == str(out / "tfds")
    assert (config.epochs, config.verify, config.augment) == (3, True, "altflip")
    assert trained.workdir.parent == out
    assert "SYNTHETIC" not in said.out + said.err
    assert "test accuracy 90.00% on Fashion-MNIST (990 test images, 3 epochs" in said.out
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["data"] == "fashion-mnist"
    assert "WARNING" not in metrics
    receipt = json.loads((out / "receipt.json").read_text())
    assert set(receipt["files"]) == {file.name for file in catalog.FASHION_MNIST.files}
    for name in PICTURES:
        assert str(out / name) in said.out
        assert "SYNTHETIC" not in drawn[name].get_suptitle()
    # The samples are the real ones: the first training image is an ankle boot.
    images = gzip.decompress((real_data / "train-images-idx3-ubyte.gz").read_bytes())
    first = np.frombuffer(images, np.uint8, 784, 16).reshape(28, 28)
    shown = drawn["samples.png"].axes[90].images[0].get_array()
    np.testing.assert_array_equal(shown, first)


def test_quickstart_does_not_replace_a_wrong_setting_or_wrong_data_by_the_stand_in(
    real_data, tmp_path, trained, monkeypatch
):
    def obtain(*args, **kwargs):
        return dataclasses.replace(outcome, error=errors.ContentError("not the genuine bytes"))

    from fmnist_tfds import obtain as ladder

    settings = loader.load(mirrors="off", manual_dir=real_data)
    outcome = ladder.obtain(settings)
    monkeypatch.setattr(ladder, "obtain", obtain)
    with pytest.raises(errors.ContentError):
        quickstart.run(settings, tmp_path / "out")
    assert not trained.configs


def test_nothing_of_an_earlier_run_stays_where_a_run_fails(
    data_dir, tmp_path, trained, nowhere, monkeypatch
):
    out = tmp_path / "out"
    words = ["quickstart", *nowhere, f"--out={out}", f"--data_dir={data_dir}", "--epochs=1"]
    assert main.run(words) == 0
    assert trained.configs[0].augment == "flip", "altflip would need a second epoch"
    made = {"metrics.json", "receipt.json", *PICTURES}
    assert {path.name for path in out.iterdir()} == made
    assert {(out / name).read_bytes()[:4] for name in PICTURES} == {b"\x89PNG"}

    def fail(config, workdir):
        raise errors.StoreError("the disk is full")

    monkeypatch.setattr(train, "train_and_evaluate", fail)
    assert main.run(words) == 3
    assert {path.name for path in out.iterdir()} <= {"receipt.json"}


def test_run_of_other_epochs_goes_on_from_no_other_training(
    data_dir, tmp_path, trained, nowhere, monkeypatch
):
    for picture in ("samples", "training_curve", "confusion_matrix"):
        monkeypatch.setattr(plots, picture, lambda *_, **__: None)
    words = ["quickstart", *nowhere, f"--data_dir={data_dir}"]
    folders = []
    for epochs in (2, 3):
        assert main.run([*words, f"--out={tmp_path / 'out'}", f"--epochs={epochs}"]) == 0
        folders.append(trained.workdir)
    assert folders[0] != folders[1]


def test_quickstart_without_matplotlib_says_so_before_it_begins(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(errors.MissingExtraError, match="matplotlib, which is not installed"):
        quickstart.run(loader.load(mirrors="off"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def _draw_all(folder, synthetic):
    images, labels = stand_in.arrays("train")
    names = catalog.FASHION_MNIST.class_names
    history = [
        {"epoch": 1, "loss": 0.9, "accuracy": 0.6, "val_loss": 0.8, "val_accuracy": 0.7},
        {"epoch": 2, "loss": 0.5, "accuracy": 0.8, "val_loss": 0.6, "val_accuracy": 0.75},
    ]
    confusion = np.arange(100).reshape(10, 10)
    plots.samples(folder / "samples.png", images, labels, names, synthetic=synthetic)
    plots.training_curve(folder / "training_curve.png", history, synthetic=synthetic)
    plots.confusion_matrix(folder / "confusion_matrix.png", confusion, names, synthetic=synthetic)


def test_every_picture_of_the_stand_in_carries_the_banner(tmp_path, drawn):
    _draw_all(tmp_path, synthetic=True)
    assert set(drawn) == set(PICTURES)
    for made in drawn.values():
        assert plots.SYNTHETIC_BANNER in made.get_suptitle()


def test_pictures_show_what_they_say_and_no_banner_where_the_data_is_real(tmp_path, drawn):
    _draw_all(tmp_path, synthetic=False)
    assert set(drawn) == set(PICTURES)
    for made in drawn.values():
        assert plots.SYNTHETIC_BANNER not in made.get_suptitle()
    matrix = drawn["confusion_matrix.png"].axes[0]
    assert (matrix.get_ylabel(), matrix.get_xlabel()) == ("true", "predicted")
    shown = {text.get_position(): text.get_text() for text in matrix.texts}
    assert shown[(3, 2)] == "23"  # true class 2, predicted as 3
    assert "4,950 test images, accuracy 10.0%" in drawn["confusion_matrix.png"].get_suptitle()
    accuracy, loss = drawn["training_curve.png"].axes
    lines = {line.get_label(): list(line.get_ydata()) for line in accuracy.lines}
    assert lines == {"training": [0.6, 0.8], "hold-out": [0.7, 0.75]}
    lines = {line.get_label(): list(line.get_ydata()) for line in loss.lines}
    assert lines == {"training": [0.9, 0.5], "hold-out": [0.8, 0.6]}
    images, labels = stand_in.arrays("train")
    for row in range(10):
        axes = drawn["samples.png"].axes[row * 10]
        assert axes.get_ylabel() == f"{row}  {catalog.FASHION_MNIST.class_names[row]}"
        np.testing.assert_array_equal(axes.images[0].get_array(), images[labels == row][0])


def test_script_installs_the_package_where_python_only_sees_it_in_this_folder(tmp_path):
    python, log = tmp_path / "bin" / "python", tmp_path / "log"
    python.parent.mkdir()
    python.write_text(
        f"""#!/bin/sh
echo "$@" >> "{log}"
case "$*" in *"pip install"*) cp "$0" "$(dirname "$0")/fmnist-tfds";; esac
"""
    )
    python.chmod(0o755)
    done = subprocess.run(
        [REPO / "scripts" / "quickstart.sh", "--offline"],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "VIRTUAL_ENV": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr
    assert "pip install" in log.read_text()
    assert log.read_text().splitlines()[-1] == "quickstart --offline"


def test_quickstart_to_an_unwritable_folder_is_one_message(tmp_path, capsys):
    blocker = tmp_path / "file"
    blocker.write_text("")
    assert main.run(["quickstart", f"--out={blocker / 'out'}", "--mirrors=off"]) == 3
    assert "cannot write to" in capsys.readouterr().err
