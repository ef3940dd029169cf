#!/usr/bin/env python3
"""Measures on an accelerator, beside the ceiling: benchmark_gpu.py --data=FOLDER --out=FILE.json

Needs JAX, Keras and the four .gz in FOLDER; neither TensorFlow, TFDS nor a network. The result is
written after every case, the most valuable first; what does not fit into the budget is left out.
scripts/pack_gpu.py packs what it needs for a machine without a network.
"""

import argparse
import os
import pathlib
import sys
import tempfile

# Keras reads it when it is first imported; its own default is TensorFlow.
os.environ["KERAS_BACKEND"] = "jax"

import fmnist_tfds
from fmnist_tfds import errors
from fmnist_tfds.benchmark import gpu, gpu_cases, rivals


def main(args: argparse.Namespace) -> int:
    """Loads the data, runs the cases, prints the table."""
    try:
        cases = gpu.plan(
            args.models.split(","), args.precisions.split(","), args.batch_sizes.split(",")
        )
        with tempfile.TemporaryDirectory() as cache:
            (images, labels), test = fmnist_tfds.load_data(
                manual_dir=args.data, cache_dir=cache, offline=True
            )
        result = gpu.run(
            cases,
            gpu_cases.Splits((images[: args.examples], labels[: args.examples]), test),
            budget_s=args.budget_s,
            bounds=rivals.Bounds(args.turns, args.case_s, args.speedrun_s),
            out=args.out,
            say=lambda line: print(line, file=sys.stderr, flush=True),
        )
    except (errors.FmnistError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    print(gpu.table(result))
    return 1 if any("failed" in case for case in result["cases"]) else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    add = parser.add_argument
    add("--data", type=pathlib.Path, required=True, help="folder that holds the four .gz")
    add(
        "--out",
        type=pathlib.Path,
        default=pathlib.Path("benchmark-gpu.json"),
        help="JSON, written after a case",
    )
    add("--budget_s", type=float, default=480, help="no case begins that could end later")
    add("--turns", type=int, default=15, help="turns of each case of which the median counts")
    add("--case_s", type=float, default=12, help="a case ends its turns early after so long")
    add("--speedrun_s", type=float, default=90, help="how long the speedrun may take")
    add("--models", default="small_cnn,wide_cnn", help="the most important first")
    add("--precisions", default="mixed_bfloat16,float32", help="the most important first")
    add("--batch_sizes", default="1024,8192,128", help="the most important first")
    add("--examples", type=int, default=60_000, help="of the training split")
    sys.exit(main(parser.parse_args()))
