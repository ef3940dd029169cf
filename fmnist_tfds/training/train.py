"""train_and_evaluate(config, workdir): TFRecords -> tf.data -> a trained model and its figures.

Everything tunable is a key of [training]; everything written lies under workdir.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import logging
import pathlib
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from fmnist_tfds import atomic_file, catalog, errors
from fmnist_tfds.training import config as training_config

_LOG = logging.getLogger(__name__)

IMAGE_SHAPE = (catalog.IMAGE_SIZE, catalog.IMAGE_SIZE, 1)


@dataclasses.dataclass(frozen=True, slots=True)
class Evaluation:
    """What train_and_evaluate found.

    Attributes:
        metrics: what metrics.json holds.
        confusion: int64[10, 10] counts over the test split; row: true class, column: predicted.
        history: one dict per epoch that ran.
    """

    metrics: dict[str, Any]
    confusion: npt.NDArray[np.int64]
    history: list[dict[str, float]]


def train_and_evaluate(config: training_config.TrainingConfig, workdir: pathlib.Path) -> Evaluation:
    """Trains, resuming from workdir/checkpoint if there is one, and evaluates on all test images.

    Writes workdir/metrics.json, workdir/model.keras and workdir/checkpoint/. The saved model takes
    pixels of 0 to 255, as they are in the data set, and needs nothing of this package.

    Raises:
        NotPreparedError: data_dir holds no prepared data set.
        ConfigError: workdir holds the checkpoint of another configuration.
        StoreError: workdir cannot be written, or both checkpoints in it are damaged.
    """
    import keras

    from fmnist_tfds import input_pipeline

    keras.utils.set_random_seed(config.seed)
    dataset = catalog.DATASETS.get(config.dataset)
    if dataset is None:
        raise errors.ConfigError(f"dataset: {config.dataset} has no entry in the catalog")
    has_gpu = _has_gpu()
    policy = _precision(config, has_gpu)
    data: dict[str, Any] = {"name": config.dataset, "data_dir": config.data_dir or None}
    # Pixels as they are: the model normalises, so that nobody who uses it has to.
    pixels: dict[str, Any] = {**data, "dtype": "uint8", "verify": config.verify}
    training = functools.partial(
        input_pipeline.make_train,
        config.batch_size,
        seed=config.seed,
        augment=config.augment or None,
        source=config.source,
        epochs=config.epochs,
        drop_remainder=True,
        **pixels,
    )
    train = training()
    statistics = (0.0, 255.0)
    if config.normalize == "standard":
        statistics = input_pipeline.pixel_statistics(**data)
    test = input_pipeline.make_eval(config.eval_batch_size, **pixels)
    steps = int(train.cardinality()) // config.epochs
    # After the data: a run that never began leaves no claim on the workdir.
    _claim(workdir, config)
    with _dtype_policy(policy):
        model = build_model(config, statistics=statistics)
    _compile(model, config, steps=config.epochs * steps, jit=has_gpu)
    backup, done = _restored(workdir / "checkpoint", model)
    history_file = workdir / "history.json"
    # A killed run may have written an epoch here whose weights it did not save.
    history = (json.loads(history_file.read_text()) if history_file.exists() else [])[:done]
    if done:
        _LOG.info("going on after %d of %d epochs kept in %s", done, config.epochs, workdir)
        train = training(start=(done, 0))
    recorder = _Recorder(history, history_file, images_per_epoch=steps * config.batch_size)
    # One iterator for all epochs: fit would begin two for each, so that the next epoch of a
    # resumed run were another than that of a run in one piece.
    model.fit(
        train,
        validation_data=test,
        epochs=config.epochs,
        steps_per_epoch=steps,
        shuffle=False,  # make_train has done it; Keras could only warn
        verbose=0,
        callbacks=[recorder.callback(keras), backup],
    )
    confusion = confusion_matrix(model, test)
    metrics = {
        "data": dataset.data_name,
        "test_accuracy": float(np.trace(confusion) / confusion.sum()),
        "test_examples": int(confusion.sum()),
        "epochs": len(history),
        "images_per_s": float(np.median([epoch["images_per_s"] for epoch in history])),
        "parameters": int(model.count_params()),
        "backend": keras.backend.backend(),
        "precision": policy,
        "input": _contract(statistics, dataset),
        "config": dataclasses.asdict(config),
    }
    part = workdir / ".part.model.keras"
    model.save(part)
    part.replace(workdir / "model.keras")
    with atomic_file.replacing(workdir / "metrics.json") as stream:
        stream.write((json.dumps(metrics, indent=2) + "\n").encode())
    return Evaluation(metrics=metrics, confusion=confusion, history=history)


def build_model(config: training_config.TrainingConfig, *, statistics: tuple[float, float]) -> Any:
    """The Keras model: pixels of 0 to 255 [B, 28, 28, 1], uint8 or float, to logits [B, 10].

    Args:
        config: which model.
        statistics: what is subtracted from the pixels, and what they are then divided by.
    """
    import keras

    mean, deviation = statistics
    width = {"small_cnn": 32, "wide_cnn": 96}[config.model]
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input(IMAGE_SHAPE),
            # Keras's own layer: the saved model loads where this package is not installed.
            layers.Rescaling(1 / deviation, -mean / deviation, dtype="float32"),
            layers.Conv2D(width, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(2 * width, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dropout(0.3),
            layers.Dense(4 * width, activation="relu"),
            # float32: a softmax over half-precision logits loses accuracy.
            layers.Dense(catalog.NUM_CLASSES, dtype="float32"),
        ]
    )


def _compile(model: Any, config: training_config.TrainingConfig, *, steps: int, jit: bool) -> None:
    """Adam, on a cosine schedule of so many steps; `jit` is what jit_compile = "auto" means."""
    import keras

    schedule = keras.optimizers.schedules.CosineDecay(config.learning_rate, steps)
    model.compile(
        optimizer=keras.optimizers.Adam(schedule),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        jit_compile=jit if config.jit_compile == "auto" else config.jit_compile == "on",
    )


def confusion_matrix(model: Any, test: Any) -> npt.NDArray[np.int64]:
    """int64[10, 10] counts; row: true class, column: predicted class."""
    counts = np.zeros((catalog.NUM_CLASSES, catalog.NUM_CLASSES), np.int64)
    for images, labels in test:
        predicted = np.asarray(model.predict_on_batch(images)).argmax(axis=-1)
        np.add.at(counts, (np.asarray(labels), predicted), 1)
    return counts


def _contract(statistics: tuple[float, float], dataset: catalog.Catalog) -> dict[str, Any]:
    """What model.keras takes and gives."""
    mean, deviation = statistics
    return {
        "shape": [None, *IMAGE_SHAPE],
        "dtype": "uint8 or float32",
        "range": [0, 255],
        "normalization": {"done_by": "the model", "mean": mean, "deviation": deviation},
        "output": "logits; softmax makes them probabilities",
        "class_names": list(dataset.class_names),
    }


class _Recorder:
    """Appends one entry per finished epoch to history.json and to the log."""

    def __init__(
        self, history: list[dict[str, float]], file: pathlib.Path, images_per_epoch: int
    ) -> None:
        self._history = history
        self._file = file
        self._images = images_per_epoch

    def callback(self, keras: Any) -> Any:
        recorder, started = self, [0.0, 0.0]

        class Callback(keras.callbacks.Callback):
            def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
                started[:] = [time.perf_counter(), 0.0]

            def on_test_begin(self, logs: Any = None) -> None:
                # Validation runs inside the epoch; images/s is of training alone.
                started[1] = time.perf_counter()

            def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
                ended = started[1] or time.perf_counter()
                recorder.record(epoch, dict(logs or {}), ended - started[0])

        return Callback()

    def record(self, epoch: int, logs: dict[str, float], seconds: float) -> None:
        entry = {"epoch": epoch + 1, **{key: float(value) for key, value in logs.items()}}
        entry["images_per_s"] = self._images / seconds
        self._history.append(entry)
        with atomic_file.replacing(self._file) as stream:
            stream.write((json.dumps(self._history, indent=2) + "\n").encode())
        _LOG.info(
            "epoch %d: loss %.3f, accuracy %.3f, test accuracy %.4f, %s images/s",
            epoch + 1,
            entry["loss"],
            entry["accuracy"],
            entry["val_accuracy"],
            f"{entry['images_per_s']:,.0f}",
        )


def _restored(checkpoint: pathlib.Path, model: Any) -> tuple[Any, int]:
    """Keras's BackupAndRestore, which has set the model's weights, and the epochs that they had.

    Raises:
        StoreError: neither of the two newest checkpoints can be read.
    """
    import keras

    backup = keras.callbacks.BackupAndRestore(
        checkpoint, double_checkpoint=True, delete_checkpoint=False
    )
    backup.set_model(model)
    note = checkpoint / "training_metadata.json"
    try:
        # Not left to fit: where a kill cut the newest short, this goes back to the one before.
        backup.on_train_begin()
        done = int(json.loads(note.read_text(encoding="utf-8"))["epoch"]) if note.exists() else 0
    except (OSError, ValueError, KeyError) as error:
        raise errors.StoreError(
            f"the checkpoint in {checkpoint} is damaged: {error}",
            hint=f"delete {checkpoint} to start anew, or choose another --workdir",
        ) from error
    return backup, done


def _claim(workdir: pathlib.Path, config: training_config.TrainingConfig) -> None:
    """Makes workdir and notes the configuration; refuses one that trained something else."""
    wanted = {**dataclasses.asdict(config), "data_dir": ""}
    note = workdir / "config.json"
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        if not note.exists():
            note.write_text(json.dumps(wanted, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise errors.StoreError(
            f"cannot write to the workdir {workdir}: {error.strerror or error}",
            hint="choose another --workdir",
        ) from error
    found = json.loads(note.read_text(encoding="utf-8"))
    changed = [key for key in wanted if found.get(key) != wanted[key]]
    if changed:
        rows = "".join(f"\n  {key}: {found.get(key)!r} -> {wanted[key]!r}" for key in changed)
        raise errors.ConfigError(
            f"{workdir} holds a run of another configuration:{rows}",
            hint="choose another --workdir, or delete this one to start anew",
        )


def _has_gpu() -> bool:
    import keras

    if keras.backend.backend() == "jax":
        import jax

        return bool(jax.default_backend() == "gpu")
    if keras.backend.backend() == "torch":
        import torch

        return bool(torch.cuda.is_available())
    import tensorflow as tf

    return bool(tf.config.list_physical_devices("GPU"))


@contextlib.contextmanager
def _dtype_policy(policy: str) -> Iterator[None]:
    """Layers made in the block have the policy; whoever called us keeps their own."""
    import keras

    before = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.mixed_precision.set_dtype_policy(before)


def _precision(config: training_config.TrainingConfig, has_gpu: bool) -> str:
    if config.precision != "auto":
        return config.precision
    return "mixed_bfloat16" if has_gpu else "float32"
