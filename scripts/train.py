#!/usr/bin/env python
"""Trains from prepared TFRecords: train.py --config=configs/training-cnn.toml --workdir=run

The data must be prepared (`fmnist-tfds build --data_dir=D`). Run again with the same workdir, it
resumes.
"""

import logging
import pathlib
import sys

from absl import app, flags

import fmnist_tfds  # noqa: F401  registers the data sets
from fmnist_tfds import errors
from fmnist_tfds.cli import output
from fmnist_tfds.config import loader
from fmnist_tfds.training import config as training_config
from fmnist_tfds.training import train

_CONFIG = flags.DEFINE_string("config", None, "TOML file with a [training] table.")
_WORKDIR = flags.DEFINE_string("workdir", None, "Folder for checkpoints and metrics.json.")
_HINT = "`scripts/train.py --help` shows what it takes"
_INSTEAD = (
    flags.DEFINE_string("data_dir", None, "TFDS data_dir; beats the TOML's."),
    flags.DEFINE_integer("epochs", None, "Passes over the training split; beats the TOML's."),
    flags.DEFINE_integer("seed", None, "Of the whole training; beats the TOML's."),
)


def main(argv: list[str]) -> int:
    """Parses and calls training.train_and_evaluate."""
    logging.getLogger("fmnist_tfds").setLevel(logging.INFO)
    try:
        if len(argv) > 1:
            raise errors.ConfigError(f"unknown argument {argv[1]!r}", hint=_HINT)
        table = loader.training_table(_CONFIG.value)
        table |= {flag.name: flag.value for flag in _INSTEAD if flag.value is not None}
        settings = training_config.TrainingConfig.from_table(
            table, where=f"{_CONFIG.value}: [training]"
        )
        workdir = pathlib.Path(_WORKDIR.value)
        found = train.train_and_evaluate(settings, workdir)
    except errors.FmnistError as error:
        output.print_error(error, as_json=False)
        return output.exit_code(error)
    digest = found.metrics["receipt_sha256"]
    print(
        f"test accuracy {found.metrics['test_accuracy']:.2%} on {found.metrics['data']}, "
        f"{found.metrics['test_examples']:,} test images; {workdir / 'metrics.json'}"
        + (f"\nthe data's receipt.json: sha256 {digest}" if digest else "")
    )
    return 0


def _parse(argv: list[str]) -> list[str]:
    """absl's parsing, with the exit codes of fmnist-tfds: absl's own are 1, for --help too."""
    try:
        return list(flags.FLAGS(argv))
    except flags.Error as error:
        output.print_error(errors.ConfigError(str(error), hint=_HINT), as_json=False)
        sys.exit(2)
    except SystemExit:
        sys.exit(0)


if __name__ == "__main__":
    flags.mark_flags_as_required(["config", "workdir"])
    app.run(main, flags_parser=_parse)
