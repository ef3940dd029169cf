"""What each worker of a training run keeps, and from what all of them go on after a failure.

All workers hold the same weights, so that any whole copy serves them all: they go on from the
newest epoch that any of them has, and its owner hands it to the others. A node that was replaced, a
worker that was an epoch behind, a file cut short: there is nothing to copy or to delete by hand.
"""

from __future__ import annotations

import json
import logging
import pathlib
import re
import zipfile
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from fmnist_tfds import atomic_file, errors
from fmnist_tfds.input_pipeline import replicas

Arrays = list[npt.NDArray[Any]]

_LOG = logging.getLogger(__name__)
_KEPT = 2
_NAME = re.compile(r"epoch-(\d+)\.npz")
_FOREIGN = -1


class EpochFiles:
    """The state after the newest epochs, a file each, in a folder of one worker."""

    def __init__(self, folder: pathlib.Path, facts: dict[str, Any]) -> None:
        """Keeps the states in `folder`; `facts` are the JSON values that make this run this run."""
        self._folder, self._facts = folder, json.loads(json.dumps(facts))

    def save(self, epoch: int, arrays: Arrays) -> None:
        """Writes the state after `epoch`, and removes what is older than the one before it.

        Raises:
            StoreError: the folder cannot be written.
        """
        facts = np.array(json.dumps(self._facts))
        numbered: dict[str, Any] = {str(number): array for number, array in enumerate(arrays)}
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with atomic_file.replacing(self._folder / f"epoch-{epoch:05}.npz") as stream:
                np.savez(stream, facts=facts, **numbered)
            for part in self._folder.glob(".epoch-*"):  # of a killed process
                part.unlink()
            for number, path in self._files().items():
                # One of a later epoch could not be read, or its worker would have handed it out.
                if not epoch - _KEPT < number <= epoch:
                    path.unlink()
        except OSError as error:
            raise errors.StoreError(
                f"cannot write to {self._folder}: {error.strerror or error}",
                hint="choose another --workdir",
            ) from error

    def newest(self) -> tuple[int, Arrays]:
        """The newest epoch whose file is whole, and its state; (0, []) where there is none.

        Raises:
            ConfigError: that file is of a run with other facts.
        """
        for epoch, path in sorted(self._files().items(), reverse=True):
            try:
                with path.open("rb") as stream, np.load(stream, allow_pickle=False) as held:
                    facts = json.loads(str(held["facts"]))
                    arrays = [held[str(number)] for number in range(len(held.files) - 1)]
            except (
                OSError,
                EOFError,
                KeyError,
                ValueError,
                zipfile.BadZipFile,
                zlib.error,
            ) as error:
                _LOG.warning("%s is damaged and not used: %s", path, error)
                continue
            changed = [
                key for key in {**facts, **self._facts} if facts.get(key) != self._facts.get(key)
            ]
            if changed:
                rows = "".join(
                    f"\n  {key}: {facts.get(key)!r} -> {self._facts.get(key)!r}" for key in changed
                )
                raise errors.ConfigError(
                    f"{self._folder} holds a run of another configuration:{rows}",
                    hint="choose another --workdir, or delete this one to start anew",
                )
            return epoch, arrays
        return 0, []

    def _files(self) -> dict[int, pathlib.Path]:
        found = self._folder.iterdir() if self._folder.is_dir() else ()
        matches = ((_NAME.fullmatch(path.name), path) for path in found)
        return {int(match[1]): path for match, path in matches if match}


def adopt_newest(
    strategy: tf.distribute.Strategy, files: EpochFiles | None, variables: Sequence[Any]
) -> int:
    """Sets the variables of all workers to the newest state that any of them has kept.

    Every worker must call it at the same point. It costs one collective operation, and two more
    where there is a state to hand out. A worker that did not have that state keeps it from now on.

    Args:
        strategy: of all workers.
        files: this worker's; None: it keeps none.
        variables: of the model and the optimizer, in the same order everywhere.

    Returns:
        the epoch after which training goes on; 0: from the beginning.

    Raises:
        ConfigError: the folder of a worker holds another run. All workers raise it.
        StoreError: the folder cannot be written.
    """
    refusal, mine, state = None, 0, list[npt.NDArray[Any]]()
    try:
        mine, state = files.newest() if files is not None else (0, [])
    except errors.ConfigError as error:
        refusal, mine = error, _FOREIGN
    found = replicas.gather(strategy, tf.constant([[mine]], tf.int64))[:, 0]
    if refusal is not None:
        raise refusal
    if _FOREIGN in found:
        where = ", ".join(str(number) for number in np.flatnonzero(found == _FOREIGN))
        raise errors.ConfigError(
            f"the workdir of replica {where} holds a run of another configuration",
            hint="choose another --workdir",
        )
    epoch, owner = int(found.max()), int(found.argmax())
    if epoch == 0:
        return 0
    now = [np.asarray(variable) for variable in variables]
    state = _handed_out(strategy, owner, state if mine == epoch else now)
    with strategy.scope():
        for variable, array in zip(variables, state, strict=True):
            variable.assign(array)
    if files is not None and mine != epoch:
        files.save(epoch, state)
    return epoch


def _handed_out(strategy: tf.distribute.Strategy, owner: int, arrays: Arrays) -> Arrays:
    """The arrays of replica `owner`; those of the others give only shapes and dtypes."""
    given: dict[bool, npt.NDArray[Any]] = {}
    for floating, dtype in ((True, np.float32), (False, np.int64)):
        parts = [a.astype(dtype).ravel() for a in arrays if _floats(a) == floating]
        given[floating] = _sum_of_one(strategy, owner, np.concatenate([*parts, np.zeros(0, dtype)]))
    found, taken = [], {True: 0, False: 0}
    for array in arrays:
        kind = _floats(array)
        start, taken[kind] = taken[kind], taken[kind] + array.size
        part = given[kind][start : taken[kind]]
        found.append(part.reshape(array.shape).astype(array.dtype))
    return found


def _floats(array: npt.NDArray[Any]) -> bool:
    return bool(array.dtype.kind not in "biu")


def _sum_of_one(strategy: tf.distribute.Strategy, owner: int, vector: Any) -> Any:
    """The owner's vector: all others add zeros, which keeps it bit for bit."""

    def one(mine: tf.Tensor) -> tf.Tensor:
        context = tf.distribute.get_replica_context()
        owns = tf.equal(context.replica_id_in_sync_group, owner)
        return context.all_reduce(
            tf.distribute.ReduceOp.SUM, tf.where(owns, mine, tf.zeros_like(mine))
        )

    function = tf.function(lambda: strategy.run(one, args=(tf.constant(vector),)), autograph=False)
    return strategy.experimental_local_results(function())[0].numpy()
