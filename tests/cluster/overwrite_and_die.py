"""Run as a process: each of its children replaces a data set and kills itself at one moment.

Usage: overwrite_and_die.py FOLDER, which holds a prepared data_dir for each moment of `kill_at`, of
that name. Prints the children's exit codes as JSON.
"""

from __future__ import annotations

import json
import os
import pathlib
import signal
import sys

import numpy as np
import tensorflow_datasets as tfds
from etils import epath

from fmnist_tfds import version_folder
from fmnist_tfds.datasets import ordered_builder
from fmnist_tfds.datasets.fmnist_synthetic import fmnist_synthetic_dataset_builder as synthetic

EXAMPLES = {"train": 40, "test": 20}


def arrays(split: str) -> tuple[np.ndarray, np.ndarray]:
    """(images uint8[n, 28, 28], labels uint8[n])."""
    count = EXAMPLES[split]
    images = np.arange(count * 28 * 28, dtype=np.uint32).reshape(count, 28, 28) * 7 % 253
    return images.astype(np.uint8), (np.arange(count) % 10).astype(np.uint8)


class Builder(synthetic.Builder, skip_registration=True):
    """fmnist_synthetic with 40 and 20 examples."""

    name = "fmnist_synthetic"
    pkg_dir_path = synthetic.Builder._get_pkg_dir_path()

    def _arrays(self, dl_manager):
        return {split: arrays(split) for split in EXAMPLES}


def prepare(data_dir, num_shards, **options):
    """Prepares in as many shards a split."""
    builder = Builder(data_dir=str(data_dir))
    config = tfds.download.DownloadConfig(num_shards=num_shards, **options)
    builder.download_and_prepare(download_config=config)
    return builder


def before(owner, name, nth=1):
    """Kills this process where `owner.name` is called for the nth time."""
    wrapped, calls = getattr(owner, name), []

    def call(*arguments, **named):
        calls.append(name)
        if len(calls) == nth:
            os.kill(os.getpid(), signal.SIGKILL)
        return wrapped(*arguments, **named)

    setattr(owner, name, call)


kill_at = {
    "before it obtains": lambda: before(Builder, "_obtained"),
    "while it writes": lambda: before(ordered_builder.OrderedBuilder, "_write_split", 2),
    "before it proves": lambda: before(ordered_builder.OrderedBuilder, "_prove"),
    "before the swap": lambda: before(version_folder, "swap"),
    # TFDS's own rename, of its folder to the name beside the old one, is the first.
    "before the first rename": lambda: before(type(epath.Path("/")), "rename", 2),
    "between the renames": lambda: before(type(epath.Path("/")), "rename", 3),
    "before the old one is deleted": lambda: before(version_folder, "discard"),
}

if __name__ == "__main__":
    overwrite = tfds.download.GenerateMode.REUSE_CACHE_IF_EXISTS
    codes = {}
    for moment, arm in kill_at.items():
        pid = os.fork()  # the imports, of 3 s, are made once
        if pid == 0:
            arm()
            prepare(pathlib.Path(sys.argv[1]) / moment, 2, download_mode=overwrite)
            os._exit(0)
        codes[moment] = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    print(json.dumps(codes))
