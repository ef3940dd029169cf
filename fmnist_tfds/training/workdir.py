"""What a workdir keeps of a training: its configuration, checkpoints, and history."""

from __future__ import annotations

import dataclasses
import json
import logging
import pathlib
import time
from typing import Any

from fmnist_tfds import atomic_file, errors
from fmnist_tfds.training import config as training_config

_LOG = logging.getLogger(__name__)


class Recorder:
    """Appends one entry per finished epoch to history.json and to the log."""

    def __init__(
        self, history: list[dict[str, float]], file: pathlib.Path, images_per_epoch: int
    ) -> None:
        self._history = history
        self._file = file
        self._images = images_per_epoch

    def callback(self, keras: Any) -> Any:
        """The Keras callback that records."""
        recorder, started = self, [0.0, 0.0]

        class Callback(keras.callbacks.Callback):
            # ARG002: the signatures are Keras's.
            def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:  # noqa: ARG002
                started[:] = [time.perf_counter(), 0.0]

            def on_test_begin(self, logs: Any = None) -> None:  # noqa: ARG002
                # Validation runs inside the epoch; images/s is of training alone.
                started[1] = time.perf_counter()

            def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
                ended = started[1] or time.perf_counter()
                recorder.record(epoch, dict(logs or {}), ended - started[0])

        return Callback()

    def record(self, epoch: int, logs: dict[str, float], seconds: float) -> None:
        """Appends the entry of one epoch, 0 the first, that took so many seconds."""
        entry = {"epoch": epoch + 1, **{key: float(value) for key, value in logs.items()}}
        entry["images_per_s"] = self._images / seconds
        self._history.append(entry)
        with atomic_file.replacing(self._file) as stream:
            stream.write((json.dumps(self._history, indent=2) + "\n").encode())
        held_out = entry.get("val_accuracy")
        _LOG.info(
            "epoch %d: loss %.3f, accuracy %.3f%s, %s images/s",
            epoch + 1,
            entry["loss"],
            entry["accuracy"],
            "" if held_out is None else f", hold-out accuracy {held_out:.4f}",
            f"{entry['images_per_s']:,.0f}",
        )


def restored(checkpoint: pathlib.Path, model: Any) -> tuple[Any, int]:
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


def claim(workdir: pathlib.Path, config: training_config.TrainingConfig) -> None:
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
