"""fit_on_device: a compiled Keras model trained on images that lie on the accelerator."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from fmnist_tfds import errors
from fmnist_tfds.input_pipeline import arrays, order
from fmnist_tfds.input_pipeline import augment as augmentation
from fmnist_tfds.input_pipeline.on_device import loops

Arrays = tuple[npt.NDArray[np.uint8], npt.NDArray[Any]]
_BACKENDS = ("jax", "tensorflow")


@dataclasses.dataclass(frozen=True, slots=True)
class _Examples:
    """A table on the device, and which of its examples: int32[examples]."""

    table: loops.Table
    numbers: npt.NDArray[np.int32]


def fit_on_device(
    model: Any,
    batch_size: int,
    *,
    epochs: int = 1,
    data_dir: str | os.PathLike[str] | None = None,
    builder: Any = None,
    name: str = "fmnist_resilient",
    split: Any = "train",
    validation_split: Any = None,
    data: Arrays | None = None,
    validation_data: Arrays | None = None,
    augment: str | Sequence[str] | None = None,
    crop_pixels: int = 2,
    cutout_pixels: int = 8,
    normalize: str = "unit",
    labels: str = "int64",
    seed: int = 0,
    callbacks: Sequence[Any] = (),
    verbose: int = 0,
    verify: bool = True,
) -> keras.callbacks.History:
    """Trains a compiled Keras image model in place, each epoch in one call on the device.

    The images lie on the device as uint8 (47 MB); an epoch's order, and what its augmentation
    draws, cross the bus once (240 kB, and as much for each draw). Look-up, augmentation,
    normalisation and Keras's own train step run inside one compiled loop: `lax.scan` on JAX,
    `tf.while_loop` on TensorFlow. XLA's CPU compiles convolutions inside a loop badly (15 times
    slower), so there a model that has them is stepped from Python under JAX, and left to
    TensorFlow's own kernels under TensorFlow, as everything is but Keras's plain layers (dense,
    pooling, normalisation, activations): these XLA compiles too, in a second more. Mixed precision
    is the model's own affair: indices are never cast.

    Epoch e has the examples, the order and the augmented pixels of epoch e of
    `make_train(batch_size, epochs=epochs, seed=seed, …)`, the last, smaller batch included.
    Callbacks are called before and after each epoch, not between batches.

    Args:
        model: compiled; takes float[B, 28, 28, 1] and is trained in place.
        batch_size: examples per step.
        epochs: how many, at least 1.
        data_dir: as in `make_train`.
        builder: as in `make_train`.
        name: as in `make_train`.
        split: as in `make_train`, such as "train[:90%]".
        validation_split: such as "train[90%:]", evaluated after each epoch as Keras does; or None.
        data: (images uint8[n, 28, 28], labels[n]) instead of a prepared data set, as
            `fmnist_tfds.load_data()` gives them: needs neither TFDS nor TensorFlow.
        validation_data: the same for the validation, with `data`.
        augment: as in `make_train`.
        crop_pixels: as in `make_train`.
        cutout_pixels: as in `make_train`.
        normalize: as in `make_train`.
        labels: "int64", "int32" or "one-hot", as the model's loss wants them.
        seed: of the order and the augmentation.
        callbacks: Keras callbacks.
        verbose: as in Keras's `fit`: 0 silent, 1 or 2 a line for each epoch.
        verify: as in `make_train`.

    Returns:
        Keras's History: one value an epoch of loss and metrics, validation as "val_…".

    Raises:
        ArgumentError: an argument is wrong, the model is not compiled or takes other images, or
            the backend is PyTorch, for which `make_train` is.
        NotPreparedError: as `make_train`.
        RecordError: as `make_train`.
        ContentError: as `make_train`.
    """
    _check_model(model, labels)
    order.check_epochs(order.whole("epochs", epochs))
    order.check_seed(seed)
    if data is None:
        from fmnist_tfds.input_pipeline.shards import prepared

        builder = prepared.find_builder(name, data_dir, builder)
    how = augmentation.recipe(
        "float32",
        normalize,
        augment,
        lambda: _statistics(data, builder),
        crop_pixels=crop_pixels,
        cutout_pixels=cutout_pixels,
        seed=seed,
    )
    if "altflip" in how.augment and epochs == 1:
        raise errors.ArgumentError("augment: altflip needs more than one epoch")
    wants_validation = validation_split is not None or validation_data is not None
    if (data is None) is (validation_data is not None) and wants_validation:
        raise errors.ArgumentError("validation_split goes with data_dir, validation_data with data")
    with _out_of_memory(batch_size):
        valid = None
        if data is None:
            tables: dict[Any, loops.Table] = {}  # two slices of one split share its images
            train = _of_builder(builder, split, labels, tables, verify=verify)
            if wants_validation:
                valid = _of_builder(builder, validation_split, labels, tables, verify=verify)
        else:
            train = _of_arrays("data", data, labels)
            if validation_data is not None:
                valid = _of_arrays("validation_data", validation_data, labels)
        if not 1 <= order.whole("batch_size", batch_size) <= len(train.numbers):
            raise errors.ArgumentError(
                f"batch_size: expected 1 to {len(train.numbers):,}, got {batch_size:,}"
            )
        loop = loops.opened(model, train.table, batch_size, how)
        still = dataclasses.replace(how, augment=frozenset())
        test = valid and loops.opened(
            model, valid.table, min(batch_size, len(valid.numbers)), still
        )
        _build(model, train)
        chain = keras.callbacks.CallbackList(
            list(callbacks),
            add_history=True,
            add_progbar=verbose != 0,
            verbose=verbose,
            epochs=epochs,
            steps=-(-len(train.numbers) // batch_size),
            model=model,
        )
        model.stop_training = False
        chain.on_train_begin()
        logs: dict[str, float] = {}

        def ordered(epoch: int) -> tuple[npt.NDArray[np.int32], loops.Drawn]:
            key = order.epoch_seed(seed, epoch)
            numbers = order.permuted(train.numbers, key)
            return numbers, drawn(how, numbers, order.key(epoch, key))

        upcoming = ordered(0)
        for epoch in range(epochs):
            chain.on_epoch_begin(epoch)
            model.reset_metrics()
            loop.epoch(*upcoming, trains=True)
            # JAX does not wait for the device: the next order is made while this epoch trains.
            if epoch + 1 < epochs:
                upcoming = ordered(epoch + 1)
            logs = _metrics(model)
            if test and valid:
                model.reset_metrics()
                test.epoch(valid.numbers, drawn(still, valid.numbers, 0), trains=False)
                logs |= {f"val_{metric}": value for metric, value in _metrics(model).items()}
            chain.on_epoch_end(epoch, logs)
            if model.stop_training:
                break
        chain.on_train_end(logs)
    history: keras.callbacks.History = model.history
    return history


def drawn(how: augmentation.Recipe, numbers: npt.NDArray[np.int32], key: int) -> loops.Drawn:
    """What the augmentation draws for these examples: int32[examples, draws]."""
    names = loops.draw_names(how)
    if not names:
        return np.empty((len(numbers), 0), np.int32)
    draws = augmentation.draw(how, numbers, np.full(len(numbers), key), augmentation.NUMPY)
    return np.stack([draws[name] for name in names], axis=1)


def _check_model(model: Any, labels: str) -> None:
    backend = keras.backend.backend()
    if backend not in _BACKENDS:
        raise errors.ArgumentError(
            f"fit_on_device runs on Keras's backends {' and '.join(_BACKENDS)}, this is {backend}",
            hint="model.fit(make_train(…)) runs on every backend",
        )
    if not getattr(model, "compiled", False) or model.optimizer is None:
        raise errors.ArgumentError("model: expected a compiled Keras model; call model.compile")
    shape = getattr(model, "input_shape", None) if model.built else None
    if shape is not None and (isinstance(shape, list) or tuple(shape)[1:] != (28, 28, 1)):
        raise errors.ArgumentError(
            f"model: expected one input of shape (None, 28, 28, 1), got {shape}"
        )
    order.check_labels(labels)
    loss = getattr(model, "loss", None)
    wanted = str(getattr(loss, "name", loss) or "").lower()
    is_sparse = wanted.startswith("sparse")
    if wanted.endswith("categorical_crossentropy") and is_sparse is (labels == "one-hot"):
        right = '"int64"' if is_sparse else '"one-hot"'
        raise errors.ArgumentError(
            f"labels: the model's loss {wanted} wants {'numbers' if is_sparse else 'one-hot'}, "
            f"got {labels!r}",
            hint=f"pass labels={right}",
        )


def _of_arrays(what: str, data: Arrays, labels: str) -> _Examples:
    images, classes = arrays.checked(what, data)
    table = loops.Table(images, arrays.as_labels(classes, labels))
    return _Examples(table, np.arange(len(images), dtype=np.int32))


def _of_builder(
    builder: Any, split: Any, labels: str, tables: dict[Any, loops.Table], *, verify: bool
) -> _Examples:
    """The chosen examples of a prepared data set; a table of the same splits is taken again."""
    from fmnist_tfds.input_pipeline.shards import in_memory, prepared

    chosen = prepared.select(builder, split)
    if chosen.splits not in tables:
        held = [in_memory.load(whole, builder, verify=verify) for whole in chosen.splits]
        tables[chosen.splits] = loops.Table(
            np.concatenate([part.images for part in held]),
            arrays.as_labels(np.concatenate([part.labels for part in held]), labels),
        )
    return _Examples(tables[chosen.splits], chosen.numbers)


def _statistics(data: Arrays | None, builder: Any) -> tuple[float, float]:
    if data is not None:
        pixels = np.asarray(data[0])
        return float(pixels.mean()), float(pixels.std())
    from fmnist_tfds.input_pipeline import pipeline

    return pipeline.pixel_statistics(builder=builder)


def _build(model: Any, train: _Examples) -> None:
    """Makes the variables of model, optimizer and metrics, as fit does before its first step."""
    images = np.zeros((1, 28, 28, 1), np.float32)
    model._symbolic_build(data_batch=(images, train.table.labels[:1]))


def _metrics(model: Any) -> dict[str, float]:
    return {name: float(value) for name, value in model.get_metrics_result().items()}


@contextlib.contextmanager
def _out_of_memory(batch_size: int) -> Iterator[None]:
    try:
        yield
    except (RuntimeError, MemoryError) as error:  # XlaRuntimeError, tf.errors.OpError's kin
        if "RESOURCE_EXHAUSTED" not in str(error) and not isinstance(error, MemoryError):
            raise
        raise errors.FmnistError(
            f"the device ran out of memory at batch_size={batch_size:,}",
            hint="pass a smaller batch_size, or stream from the host: model.fit(make_train(…))",
        ) from error
