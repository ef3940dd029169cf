#!/usr/bin/env python
"""Time to accuracy: each configuration trained with several seeds in turn, a line of figures each.

    python scripts/speedrun.py --data_dir=DIR configs/speedrun.toml configs/training-cnn.toml

Seconds are of the training alone, compiling and validation included; imports and loading are not.
A ± is the standard deviation. Every run is a process of its own, seed by seed over all
configurations, so that a busy machine slows all of them. The data must be prepared. The last line
is JSON.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from typing import Any

KEYS = ("test_accuracy", "test_accuracy_with_flips", "training_s")
TRAIN = pathlib.Path(__file__).with_name("train.py")


def main() -> int:
    """Parses, trains, prints."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("configs", nargs="+", type=pathlib.Path)
    parser.add_argument("--data_dir", required=True)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, nargs="*", help="beats the configurations' epochs")
    arguments = parser.parse_args()
    epochs = arguments.epochs or [None]
    runs = [(config, count) for config in arguments.configs for count in epochs]
    found: dict[str, list[dict[str, float]]] = {}
    with tempfile.TemporaryDirectory(prefix="speedrun-") as scratch:
        for seed in range(1, arguments.seeds + 1):
            for config, count in runs:
                metrics = _trained(config, count, seed, arguments.data_dir, pathlib.Path(scratch))
                name = f"{config.stem}, {metrics['epochs']} epochs"
                figures = {key: metrics[key] for key in KEYS if metrics[key] is not None}
                figures["seed"] = metrics["config"]["seed"]
                found.setdefault(name, []).append(figures)
                print(f"seed {seed}: {_line(name, [figures])}", file=sys.stderr)
    for name, all_of_it in found.items():
        print(_line(name, all_of_it))
    print(json.dumps(found))
    return 0


def _trained(
    config: pathlib.Path, epochs: int | None, seed: int, data_dir: str, scratch: pathlib.Path
) -> dict[str, Any]:
    """The metrics of one run.

    Raises:
        SystemExit: the training failed; it has said why.
    """
    workdir = scratch / f"{config.stem}-{epochs}-{seed}"
    command = [sys.executable, str(TRAIN), f"--config={config}", f"--workdir={workdir}"]
    command += [f"--data_dir={data_dir}", f"--seed={seed}"]
    if epochs is not None:
        command.append(f"--epochs={epochs}")
    done = subprocess.run(command, stdout=subprocess.DEVNULL, check=False)
    if done.returncode:
        raise SystemExit(done.returncode)
    metrics: dict[str, Any] = json.loads((workdir / "metrics.json").read_text(encoding="utf-8"))
    return metrics


def _line(name: str, runs: list[dict[str, float]]) -> str:
    seconds = statistics.median(run["training_s"] for run in runs)
    line = f"{name}: {_spread(run['test_accuracy'] for run in runs)} in {seconds:.1f} s"
    flipped = [run["test_accuracy_with_flips"] for run in runs if "test_accuracy_with_flips" in run]
    return f"{line}; with test-time flips {_spread(flipped)}" if flipped else line


def _spread(accuracies: Iterable[float]) -> str:
    shares = [100 * accuracy for accuracy in accuracies]
    deviation = f" ± {statistics.stdev(shares):.2f}" if len(shares) > 1 else ""
    return f"{statistics.mean(shares):.2f}{deviation} %"


if __name__ == "__main__":
    sys.exit(main())
