"""Run as a process: prepares; prints JSON on its last line."""

from __future__ import annotations

import argparse
import json
import logging
import os
import pathlib
import signal
import time

import tensorflow_datasets as tfds
from absl import logging as absl_logging

import fmnist_tfds  # noqa: F401  registers
from fmnist_tfds.datasets import ordered_builder

NAME = "fmnist_resilient"
parser = argparse.ArgumentParser()
parser.add_argument("data_dir", type=pathlib.Path)
parser.add_argument("--mirror")
parser.add_argument("--ready", action="store_true", help="stop (SIGSTOP) before the beginning")
parser.add_argument("--wait_s", type=float)
parser.add_argument("--halt", action="store_true", help="stop (SIGSTOP) after the first split")
parser.add_argument("--load", action="store_true", help="tfds.load, which imports TensorFlow")
arguments = parser.parse_args()
absl_logging.set_verbosity(absl_logging.INFO)
logging.getLogger().setLevel(logging.INFO)
if arguments.wait_s is not None:
    ordered_builder.OrderedBuilder.WAIT_S = arguments.wait_s
if arguments.halt:
    write_split = ordered_builder.OrderedBuilder._write_split

    def write_and_stop(self, *split):
        info = write_split(self, *split)
        os.kill(os.getpid(), signal.SIGSTOP)
        return info

    ordered_builder.OrderedBuilder._write_split = write_and_stop
if arguments.ready:
    os.kill(os.getpid(), signal.SIGSTOP)
started = time.perf_counter()
builder_kwargs = {"mirrors": [arguments.mirror]} if arguments.mirror else {}
data_dir = str(arguments.data_dir)
if arguments.load:
    found = tfds.load(NAME, data_dir=data_dir, builder_kwargs=builder_kwargs, split="test")
    examples = int(found.cardinality())
    assert int(next(iter(found.take(1)))["label"]) == 9
else:
    # What tfds.load does first; eight imports of TensorFlow would take a minute.
    builder = tfds.builder(NAME, data_dir=data_dir, **builder_kwargs)
    builder.download_and_prepare()
    examples = builder.info.splits["test"].num_examples
seconds = time.perf_counter() - started
print(json.dumps({"seconds": round(seconds, 2), "test": examples}))
