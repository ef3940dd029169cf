"""train_and_evaluate(config, workdir): TFRecords -> tf.data -> a trained model and its figures.

Everything tunable is a key of [training]; everything written lies under workdir.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import logging
import pathlib
import time
from typing import Any

import numpy as np
import numpy.typing as npt

from fmnist_tfds import atomic_file, catalog, errors
from fmnist_tfds.training import config as training_config
from fmnist_tfds.training import hardware, models
from fmnist_tfds.training import workdir as workdir_

_LOG = logging.getLogger(__name__)


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

    The test split is looked at once, at the end; what is watched meanwhile is a hold-out of the
    training split. Writes workdir/metrics.json, workdir/model.keras and workdir/checkpoint/. The
    saved model computes in float32, takes pixels of 0 to 255, as they are in the data set, and
    needs nothing of this package.

    Raises:
        NotPreparedError: data_dir holds no prepared data set.
        ArgumentError: a split that there is not, or an example both trained on and held out.
        ConfigError: workdir holds the checkpoint of another configuration.
        StoreError: workdir cannot be written, or both checkpoints in it are damaged.
    """
    import keras

    from fmnist_tfds import input_pipeline
    from fmnist_tfds.input_pipeline.shards import prepared

    keras.utils.set_random_seed(config.seed)
    dataset = catalog.DATASETS.get(config.dataset)
    if dataset is None:
        raise errors.ConfigError(f"dataset: {config.dataset} has no entry in the catalog")
    gpu = hardware.has_gpu()
    policy = hardware.precision(config, gpu=gpu)
    builder = prepared.find_builder(config.dataset, config.data_dir or None, None)
    # Pixels as they are: the model normalises, so that nobody who uses it has to.
    pixels: dict[str, Any] = {"builder": builder, "dtype": "uint8", "verify": config.verify}
    # Keras smooths one-hot labels alone.
    labels = "one-hot" if config.label_smoothing else "int64"
    held_out = _hold_out(builder, config)
    training = functools.partial(
        input_pipeline.make_train,
        config.batch_size,
        split=config.split,
        seed=config.seed,
        augment=config.augment or None,
        source=config.source,
        epochs=config.epochs,
        drop_remainder=True,
        labels=labels,
        **pixels,
    )
    train = training()
    statistics = (0.0, 255.0)
    if config.normalize == "standard":
        statistics = input_pipeline.pixel_statistics(builder=builder)
    validation = None
    if held_out:
        batch_size = min(config.eval_batch_size, held_out)
        validation = input_pipeline.make_eval(
            batch_size, split=config.validation_split, labels=labels, **pixels
        )
    # Now already: data that is not genuine is found before the training, not after it.
    test = input_pipeline.make_eval(config.eval_batch_size, **pixels)
    steps = int(train.cardinality()) // config.epochs
    # After the data: a run that never began leaves no claim on the workdir.
    workdir_.claim(workdir, config)
    with hardware.dtype_policy(policy):
        model = models.build_model(config, statistics=statistics)
    models.compile_model(model, config, steps=config.epochs * steps, jit=gpu)
    backup, done = workdir_.restored(workdir / "checkpoint", model)
    history_file = workdir / "history.json"
    # A killed run may have written an epoch here whose weights it did not save.
    history = (json.loads(history_file.read_text()) if history_file.exists() else [])[:done]
    if done:
        _LOG.info("going on after %d of %d epochs kept in %s", done, config.epochs, workdir)
        train = training(start=(done, 0))
    recorder = workdir_.Recorder(history, history_file, images_per_epoch=steps * config.batch_size)
    started = time.perf_counter()
    # One iterator for all epochs: fit would begin two for each, so that the next epoch of a
    # resumed run were another than that of a run in one piece.
    model.fit(
        train,
        validation_data=validation,
        epochs=config.epochs,
        steps_per_epoch=steps,
        shuffle=False,  # make_train has done it; Keras could only warn
        verbose=0,
        callbacks=[recorder.callback(keras), backup],
    )
    seconds = time.perf_counter() - started
    with hardware.dtype_policy("float32"):
        saved = models.build_model(config, statistics=statistics, for_training=False)
    saved.set_weights(model.get_weights())
    confusion, flipped = confusion_matrix(saved, test), None
    if config.test_time_flips:
        flipped = _accuracy(confusion_matrix(saved, test, with_flips=True))
    metrics = {
        "data": dataset.data_name,
        "test_accuracy": _accuracy(confusion),
        "test_examples": int(confusion.sum()),
        "test_accuracy_with_flips": flipped,
        "validation_accuracy": history[-1].get("val_accuracy"),
        "validation_examples": held_out,
        "receipt_sha256": _receipt_sha256(builder),
        "epochs": len(history),
        # Of this call: compiling and validation included, loading and the test split not.
        "training_s": seconds,
        "images_per_s": float(np.median([epoch["images_per_s"] for epoch in history])),
        "parameters": int(model.count_params()),
        "backend": keras.backend.backend(),
        "precision": policy,
        "input": _contract(statistics, dataset),
        "config": dataclasses.asdict(config),
    }
    part = workdir / ".part.model.keras"
    saved.save(part)
    atomic_file.publish(part, workdir / "model.keras")
    with atomic_file.replacing(workdir / "metrics.json") as stream:
        stream.write((json.dumps(metrics, indent=2) + "\n").encode())
    return Evaluation(metrics=metrics, confusion=confusion, history=history)


def confusion_matrix(model: Any, test: Any, *, with_flips: bool = False) -> npt.NDArray[np.int64]:
    """int64[10, 10] counts; row: true class, column: predicted class.

    Args:
        model: images to logits.
        test: batches of (images, labels).
        with_flips: whether the logits of each image and of its mirror image are added up.
    """
    counts = np.zeros((catalog.NUM_CLASSES, catalog.NUM_CLASSES), np.int64)
    for images, labels in test:
        logits = np.asarray(model.predict_on_batch(images))
        if with_flips:
            logits = logits + np.asarray(model.predict_on_batch(np.asarray(images)[:, :, ::-1]))
        np.add.at(counts, (np.asarray(labels), logits.argmax(axis=-1)), 1)
    return counts


def _accuracy(confusion: npt.NDArray[np.int64]) -> float:
    return float(np.trace(confusion) / confusion.sum())


def _hold_out(builder: Any, config: training_config.TrainingConfig) -> int:
    """How many examples are held out of the training; none of them may be trained on."""
    from fmnist_tfds.input_pipeline.shards import prepared

    if not config.validation_split:
        return 0
    # Refused where an example is in both.
    prepared.select(builder, f"{config.split}+{config.validation_split}")
    return prepared.select(builder, config.validation_split).examples


def _receipt_sha256(builder: Any) -> str | None:
    """Digest of the prepared folder's receipt.json: which bytes an accuracy belongs to."""
    receipt = pathlib.Path(str(builder.data_path)) / "receipt.json"
    return hashlib.sha256(receipt.read_bytes()).hexdigest() if receipt.exists() else None


def _contract(statistics: tuple[float, float], dataset: catalog.Catalog) -> dict[str, Any]:
    """What model.keras takes and gives."""
    mean, deviation = statistics
    return {
        "shape": [None, *models.IMAGE_SHAPE],
        "dtype": "uint8 or float32",
        "range": [0, 255],
        "normalization": {"done_by": "the model", "mean": mean, "deviation": deviation},
        "output": "logits; softmax makes them probabilities",
        "class_names": list(dataset.class_names),
    }
