"""Do all workers of a tf.distribute strategy train alike? Asked once, before the first step.

Workers with different seeds would take positions of different permutations: some examples twice,
others never, and no error anywhere.
"""

from __future__ import annotations

import importlib.metadata
import json
from typing import Any

import numpy as np
import tensorflow as tf

from fmnist_tfds import errors

_BYTES = 4096
_PACKAGES = ("fmnist-tfds", "tensorflow", "tensorflow-datasets", "keras", "numpy")


def check_agreement(strategy: tf.distribute.Strategy, **facts: Any) -> None:
    """Compares facts, and the versions of the packages involved, over all workers.

    Every worker must call it at the same point. It costs one collective operation.

    Args:
        strategy: of all workers.
        **facts: what must be the same everywhere: seed, batch_size, epoch, …; JSON values.

    Raises:
        ConfigError: they differ; the message names each difference and the workers. All workers
            raise it.
    """
    mine = {**facts, **{f"version of {name}": _version(name) for name in _PACKAGES}}
    text = json.dumps(mine, sort_keys=True, default=str).encode()
    if len(text) > _BYTES:
        raise errors.ArgumentError(f"facts: expected at most {_BYTES:,} bytes, got {len(text):,}")
    row = tf.constant(np.frombuffer(text.ljust(_BYTES), np.uint8)[None].astype(np.int32))
    rows = gather(strategy, row)
    every = [json.loads(bytes(found.astype(np.uint8))) for found in rows]
    lines = []
    for fact in sorted(set().union(*every)):
        values = [json.dumps(found.get(fact)) for found in every]
        if len(set(values)) > 1:
            shown = "; ".join(
                f"{value} on replica {', '.join(_numbers(values, value))}"
                for value in dict.fromkeys(values)
            )
            lines.append(f"  {fact}: {shown}")
    if lines:
        raise errors.ConfigError(
            f"the {len(every)} replicas do not train alike:\n" + "\n".join(lines),
            hint="start all workers with the same settings and the same packages",
        )


def gather(strategy: tf.distribute.Strategy, row: tf.Tensor) -> Any:
    """The rows dtype[1, n] of all replicas, one below the other: a numpy dtype[replicas, n]."""
    same = tf.function(lambda: strategy.run(lambda: tf.identity(row)), autograph=False)
    return strategy.gather(same(), axis=0).numpy()


def _numbers(values: list[str], value: str) -> list[str]:
    return [str(number) for number, found in enumerate(values) if found == value]


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed as a package"
