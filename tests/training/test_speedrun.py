"""Time to accuracy: which runs are made, on what, and what is said of them."""

from __future__ import annotations

import types

import keras
import numpy as np
import pytest

from fmnist_tfds.input_pipeline.on_device import fit
from fmnist_tfds.training import models, speedrun

RNG = np.random.default_rng(0)
TRAIN = RNG.integers(0, 256, (600, 28, 28), np.uint8), RNG.integers(0, 10, 600, np.uint8)
# Darker than the training images: their own mean would be another one.
TEST = RNG.integers(0, 50, (40, 28, 28), np.uint8), RNG.integers(0, 10, 40, np.uint8)


class Sees:
    """In place of a model: keeps the images, and is right about the first `right` of them."""

    def __init__(self, right):
        self.right, self.images = right, None

    def predict(self, images, **options):
        self.images = images
        found = TEST[1].copy()
        found[self.right :] += 1
        return np.eye(11)[found]


@pytest.fixture
def runs(monkeypatch):
    """What each training was asked for; by its clock the first epoch takes 2 s, each other 1 s."""
    found, now = [], [0.0]
    monkeypatch.setattr(speedrun, "time", types.SimpleNamespace(perf_counter=lambda: now[0]))

    def fit_on_device(model, batch_size, *, epochs, callbacks, **asked):
        found.append({"model": model, "batch_size": batch_size, "epochs": epochs, **asked})
        for epoch in range(epochs):
            callbacks[0].on_epoch_begin(epoch)
            now[0] += 2.0 if epoch == 0 else 1.0
            callbacks[0].on_epoch_end(epoch)

    monkeypatch.setattr(fit, "fit_on_device", fit_on_device)
    rights = iter((30, 32, 40))
    monkeypatch.setattr(models, "build_model", lambda *_, **__: Sees(next(rights)))
    monkeypatch.setattr(models, "compile_model", lambda *_, **__: None)
    monkeypatch.setattr(keras.utils, "set_random_seed", lambda seed: found.append(seed))
    return found


def test_each_run_has_a_seed_of_its_own_and_the_mean_of_all_is_told(runs):
    figures = speedrun.measure(TRAIN, TEST, 28.0)  # each takes 9 s
    seeds, trainings = runs[::2], runs[1::2]
    assert seeds == [asked["seed"] for asked in trainings] == [1, 2, 3]
    wanted = np.array([30, 32, 40]) / 40
    assert figures["runs"] == 3
    assert figures["accuracy_mean"] == pytest.approx(wanted.mean())
    assert figures["accuracy_deviation"] == pytest.approx(wanted.std(ddof=1))
    assert (figures["cold_s"], figures["warm_s"]) == (9.0, 8.0)


def test_one_run_is_made_whatever_the_time(runs):
    figures = speedrun.measure(TRAIN, TEST, 0.0)
    assert (figures["runs"], figures["accuracy_deviation"]) == (1, 0.0)


def test_test_images_are_normalised_by_the_training_images_and_never_trained_on(runs):
    speedrun.measure(TRAIN, TEST, 0.0)
    _, asked = runs
    assert asked["data"] is TRAIN
    assert "validation_data" not in asked
    assert (asked["batch_size"], asked["epochs"]) == (256, 8)
    assert (asked["augment"], asked["normalize"], asked["labels"]) == (
        *("altflip", "standard", "one-hot"),
    )
    pixels = TRAIN[0].astype(np.float64)
    wanted = (TEST[0][..., None] - pixels.mean()) / pixels.std()
    np.testing.assert_allclose(asked["model"].images, wanted, atol=1e-5)
