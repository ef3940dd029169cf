"""What the benchmark on an accelerator measures: JAX and Keras alone, no TensorFlow, no TFDS.

The rivals of a case take turns, one epoch or so each, in one process on one card; what counts is
the ratio within a turn. A rival's first turn, which compiles, is kept apart.
"""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import keras
import numpy as np
import numpy.typing as npt

from fmnist_tfds import input_pipeline
from fmnist_tfds.benchmark import rivals
from fmnist_tfds.input_pipeline import augment as augmentation
from fmnist_tfds.input_pipeline import order
from fmnist_tfds.input_pipeline.on_device import fit, loops
from fmnist_tfds.training import config as training_config
from fmnist_tfds.training import hardware, models
from fmnist_tfds.training import speedrun as time_to_accuracy

Result = dict[str, Any]
AUGMENT = "flip_crop_cutout"
# Of a turn of the step loops: 7 steps at batch 8192 would measure the start of the loop.
_LEAST_STEPS = 32
_LOADER_EPOCHS = 4


@dataclasses.dataclass(frozen=True, slots=True)
class Case:
    """One case: what is measured, with which model, dtype policy and batch size."""

    kind: str
    model: str
    precision: str
    batch_size: int


@dataclasses.dataclass(frozen=True, slots=True)
class Splits:
    """What is trained on and, for the speedrun, what is tested on: uint8[n, 28, 28], labels[n]."""

    train: fit.Arrays
    test: fit.Arrays


def scan(case: Case, splits: Splits, bounds: rivals.Bounds) -> Result:
    """`fit_on_device`'s epochs, all augmentations on, in turns with the ceiling.

    The ceiling is a compiled scan of the same steps, of the same sizes, over one batch that lies on
    the device.
    """
    data, model = splits.train, _model(case)
    turns = rivals.Turns(dict.fromkeys(("ceiling", "fed"), len(data[1])), bounds)

    class InTurns(keras.callbacks.Callback):  # type: ignore[misc]
        def on_train_begin(self, logs: Any = None) -> None:
            self.ceiling = _ceiling(model, case.batch_size, data)

        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            self.started = time.perf_counter()

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            turns.add("fed", time.perf_counter() - self.started)
            turns.timed("ceiling", self.ceiling)
            model.stop_training = turns.are_enough()

    fit.fit_on_device(
        model,
        case.batch_size,
        epochs=bounds.turns + 1,
        data=data,
        labels="int32",
        augment=AUGMENT,
        callbacks=[InTurns()],
    )
    return turns.result()


def steps(case: Case, splits: Splits, bounds: rivals.Bounds) -> Result:
    """One call from Python a step: a constant batch, beside the ways to bring others to it."""
    data = splits.train
    images, labels = data[0].reshape(-1, 28, 28, 1), data[1].astype(np.int32)
    per_epoch = len(labels) // case.batch_size
    epochs = -(-_LEAST_STEPS // per_epoch)
    table, classes = jnp.asarray(images), jnp.asarray(labels)
    constant = _unit(table[: case.batch_size]), classes[: case.batch_size]

    def batches(dtype: str) -> Iterator[Any]:
        made = input_pipeline.numpy_batches(
            data, case.batch_size, dtype=dtype, labels="int32", epochs=epochs, drop_remainder=True
        )
        return iter(made)

    def rows() -> Iterator[tuple[npt.NDArray[np.int32]]]:
        for epoch in range(epochs):
            numbers = np.arange(len(labels), dtype=np.int32)
            numbers = order.permuted(numbers, order.epoch_seed(0, epoch))
            for step in range(per_epoch):
                yield (numbers[step * case.batch_size :][: case.batch_size],)

    def looked_up(numbers: Any, table: Any, classes: Any) -> tuple[Any, Any]:
        return _unit(table[numbers]), classes[numbers]

    def scaled(images: Any, classes: Any) -> tuple[Any, Any]:
        return (_unit(images) if images.dtype == np.uint8 else images), classes

    def repeated() -> Iterator[Any]:
        return (constant for _ in range(epochs * per_epoch))

    model = _model(case)
    model._symbolic_build(data_batch=constant)
    work: dict[str, Callable[[], object]] = {
        "constant": _StepLoop(model, scaled, repeated),
        "uint8": _StepLoop(model, scaled, functools.partial(batches, "uint8")),
        "indices": _StepLoop(model, looked_up, rows, table, classes),
        "float32": _StepLoop(model, scaled, functools.partial(batches, "float32")),
        "fit": lambda: model.fit(
            batches("float32"), steps_per_epoch=epochs * per_epoch, shuffle=False, verbose=0
        ),
    }
    turns = rivals.Turns(dict.fromkeys(work, epochs * per_epoch * case.batch_size), bounds)
    turns.interleave(work)
    return turns.result()


def loader(case: Case, splits: Splits, bounds: rivals.Bounds) -> Result:
    """The device-resident loader without a model, all augmentations on.

    `device`: look-up, augmentation and normalisation of an epoch whose order lies on the device;
    `host`: what the host does for an epoch, its order and its draws; `loader`: both at once, the
    host an epoch ahead, as `fit_on_device` has it.
    """
    data, how = splits.train, augmentation.recipe("float32", "unit", AUGMENT)
    table = loops.Table(data[0], data[1].astype(np.int32))
    made = loops.Data(table, case.batch_size, how)
    examples = np.arange(len(data[1]), dtype=np.int32)

    def run(table: Any, labels: Any, rows: Any, drawn: Any) -> Any:
        def one(total: Any, batch: Any) -> tuple[Any, None]:
            # Without the barrier XLA would make no pixel but the one that is looked at.
            pixels, classes = jax.lax.optimization_barrier(made.batch(table, labels, *batch))
            return total + pixels[0, 14, 14, 0] + classes[-1], None

        return jax.lax.scan(one, jnp.float32(0), (rows, drawn))[0]

    epoch = jax.jit(run)

    def ordered(number: int) -> Any:
        seed = order.epoch_seed(0, number)
        numbers = order.permuted(examples, seed)
        return made.cut(numbers, fit.drawn(how, numbers, order.key(number, seed)))[0]

    def both() -> None:
        upcoming, last = ordered(0), None
        for number in range(_LOADER_EPOCHS):
            last = epoch(table.images, table.labels, *upcoming)
            if number + 1 < _LOADER_EPOCHS:
                upcoming = ordered(number + 1)
        jax.block_until_ready(last)

    held = tuple(map(jnp.asarray, ordered(0)))
    whole = len(examples) // case.batch_size * case.batch_size
    turns = rivals.Turns(
        {"device": whole, "host": len(examples), "loader": _LOADER_EPOCHS * whole}, bounds
    )
    work: dict[str, Callable[[], object]] = {
        "device": lambda: jax.block_until_ready(epoch(table.images, table.labels, *held)),
        "host": lambda: ordered(1),
        "loader": both,
    }
    turns.interleave(work)
    return turns.result()


def speedrun(case: Case, splits: Splits, bounds: rivals.Bounds) -> Result:
    """Seconds to an accuracy, as `training/speedrun` measures them: its model, its batch size."""
    return time_to_accuracy.measure(splits.train, splits.test, bounds.speedrun_s)


KINDS: dict[str, Callable[[Case, Splits, rivals.Bounds], Result]] = {
    "scan": scan,
    "steps": steps,
    "loader": loader,
    "speedrun": speedrun,
}


class _StepLoop:
    """Calls one compiled training step per batch, on a copy of the model's variables."""

    def __init__(
        self, model: Any, prepare: Any, batches: Callable[[], Iterator[Any]], *held: Any
    ) -> None:
        def step(state: Any, batch: Any, *held: Any) -> Any:
            return model.train_step(state, prepare(*batch, *held))[1]

        self._step = jax.jit(step, donate_argnums=0)
        self._state, self._batches, self._held = _state(model), batches, held

    def __call__(self) -> None:
        for batch in self._batches():
            self._state = self._step(self._state, batch, *self._held)
        jax.block_until_ready(self._state)


def _ceiling(model: Any, batch_size: int, data: fit.Arrays) -> Callable[[], None]:
    """An epoch's steps over one batch on the device, the last one as small as the epoch's."""
    whole, rest = divmod(len(data[1]), batch_size)
    images = _unit(jnp.asarray(data[0][:batch_size].reshape(-1, 28, 28, 1)))
    labels = jnp.asarray(data[1][:batch_size].astype(np.int32))

    @functools.partial(jax.jit, donate_argnums=0)
    def scanned(state: Any, images: Any, labels: Any) -> Any:
        def one(carried: Any, _: None) -> tuple[Any, None]:
            return tuple(map(tuple, model.train_step(carried, (images, labels))[1])), None

        return jax.lax.scan(one, state, None, length=whole)[0]

    @functools.partial(jax.jit, donate_argnums=0)
    def stepped(state: Any, images: Any, labels: Any) -> Any:
        return tuple(map(tuple, model.train_step(state, (images, labels))[1]))

    state, smaller = _state(model), (images[:rest], labels[:rest])

    def epoch() -> None:
        nonlocal state
        state = scanned(state, images, labels)
        if rest:
            state = stepped(state, *smaller)
        jax.block_until_ready(state)

    return epoch


def _unit(images: Any) -> Any:
    return images.astype(jnp.float32) * np.float32(1 / 255)


def _state(model: Any) -> Any:
    """The model's variables as JAX's training steps take them: copies, since steps donate them."""
    return tuple(
        tuple(jnp.array(variable.value) for variable in group) for group in loops.state_of(model)
    )


def _model(case: Case) -> Any:
    """The compiled model, for pixels of 0 to 1."""
    keras.utils.set_random_seed(0)
    with hardware.dtype_policy(case.precision):
        config = training_config.TrainingConfig.from_table({"model": case.model})
        model = models.build_model(config, statistics=(0.0, 1.0))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(1e-3), loss, metrics=["accuracy"])
    return model
