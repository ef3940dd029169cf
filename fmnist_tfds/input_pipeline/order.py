"""Which example comes when in `make_train`'s resident order, in numpy; what decides it, checked.

Bit for bit what sampler.py's TensorFlow ops give, for loops that have no TensorFlow. Never imports
it.

Source: Philox4x32-10 (Salmon et al., SC 2011); TensorFlow's RandomDatasetV2 and StatelessShuffle.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from fmnist_tfds import errors

Shard = tuple[int, int]
LABELS = ("int64", "int32", "one-hot")
# The second half of each data set's seed, so that no other use of the user's seed draws alike.
STREAM = 0x46_4D_4E_49
_MULTIPLIERS = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_WEYL = 0x9E3779B9, 0xBB67AE85


def epoch_seed(seed: int, epoch: int, iteration: int = 0) -> int:
    """The 32-bit seed of an epoch of an iteration over the data set of that seed."""
    first, second = _philox(seed, STREAM, 2 * iteration, 2).tolist()
    return int(_philox(first, second, epoch, 1)[0])


def permuted(values: npt.NDArray[Any], seed: int) -> npt.NDArray[Any]:
    """The values in the order of the epoch of that seed; 4 to 8 ms for 60,000.

    Fisher and Yates, from the first place on: step i swaps places i and other[i] >= i. All steps at
    once: what a step finds in a place comes from the latest step before it that swapped there.
    """
    count = len(values)
    if count < 2:
        return values.copy()
    steps = np.arange(count - 1, dtype=np.int64)
    others = steps + _philox(seed, 0, 0, count - 1) % np.arange(count, 1, -1, dtype=np.uint32)
    # By place, and there by step.
    places, swaps = np.divmod(np.sort(others * count + steps), count)
    # The latest step before each that swapped into the same place; -1: none.
    earlier = np.full(count - 1, -1)
    earlier[swaps[1:]] = np.where(places[1:] == places[:-1], swaps[:-1], -1)
    # The latest step that swapped into place i before step i; i: none. (The last entry counts.)
    source = np.arange(count)
    source[places] = swaps
    own = np.flatnonzero(others == steps)
    source[own] = np.where(earlier[own] < 0, own, earlier[own])
    # Step i brought there what it had found in place i; and so on, back to a place's first value.
    while not np.array_equal(further := source[source], source):
        source = further
    found = values[source]
    last = np.where(others == steps, steps, earlier)
    return np.append(np.where(last < 0, values[others], found[last]), found[-1:])


def key(epoch: int, seed: int) -> int:
    """What the draws of an epoch's examples depend on: its number above its 32-bit seed."""
    return (epoch << 32) + seed


def _philox(key: int, stream: int, first: int, count: int) -> npt.NDArray[np.uint32]:
    """Some of the 32-bit numbers of a key and a stream, 64 bits both, from `first` on."""
    blocks = np.arange(first // 4, (first + count + 3) // 4, dtype=np.uint64)
    low, high = np.uint64(0xFFFFFFFF), np.uint64(32)
    key, stream = key % 2**64, stream % 2**64
    state = [blocks & low, blocks >> high]
    state += [np.full_like(blocks, stream & 0xFFFFFFFF), np.full_like(blocks, stream >> 32)]
    keys = [key & 0xFFFFFFFF, key >> 32]
    for _ in range(10):
        one, two = _MULTIPLIERS[0] * state[0], _MULTIPLIERS[1] * state[2]
        state = [
            (two >> high) ^ state[1] ^ np.uint64(keys[0]),
            two & low,
            (one >> high) ^ state[3] ^ np.uint64(keys[1]),
            one & low,
        ]
        keys = [(word + step) & 0xFFFFFFFF for word, step in zip(keys, _WEYL, strict=True)]
    numbers = np.stack(state, 1).reshape(-1).astype(np.uint32)
    return numbers[first % 4 :][:count]


def whole(name: str, value: Any) -> int:
    """`value`, a whole number.

    Raises:
        ArgumentError: it is None, a float, a string, true or false.
    """
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, np.integer)):
        raise errors.ArgumentError(f"{name}: expected a whole number, got {value!r}")
    return int(value)


def check_seed(seed: int) -> int:
    """`seed`, a whole number that fits an int64.

    Raises:
        ArgumentError: it is none.
    """
    if not -(2**63) <= whole("seed", seed) < 2**63:
        raise errors.ArgumentError(f"seed: expected a number of at most 64 bits, got {seed}")
    return int(seed)


def check_epochs(epochs: int | None) -> None:
    """Refuses fewer than one epoch.

    Raises:
        ArgumentError: it is neither None nor at least 1.
    """
    if epochs is not None and whole("epochs", epochs) < 1:
        raise errors.ArgumentError(f"epochs: expected at least 1 or None, got {epochs}")


def check_labels(labels: str) -> None:
    """Refuses a kind of labels that there is not.

    Raises:
        ArgumentError: it is none of LABELS.
    """
    if labels not in LABELS:
        raise errors.ArgumentError(f"labels: expected int64, int32 or one-hot, got {labels!r}")


def check_start(start: tuple[int, int], epochs: int | None, steps: int) -> tuple[int, int]:
    """`start`, an epoch and a step of one iteration; (epochs, 0) is its end.

    Raises:
        ArgumentError: it is none.
    """
    try:
        epoch, step = start
    except (TypeError, ValueError) as error:
        raise errors.ArgumentError(f"start: expected (epoch, step), got {start!r}") from error
    epoch, step = whole("start", epoch), whole("start", step)
    is_end = epochs is not None and (epoch, step) == (epochs, 0)
    if not is_end and not (0 <= epoch < (epochs or epoch + 1) and 0 <= step < steps):
        raise errors.ArgumentError(
            f"start: expected (epoch, step) within {epochs or 'endless'} epochs of {steps:,} "
            f"steps, got {start}"
        )
    return epoch, step


def check_shard(shard: Shard | None) -> Shard:
    """(index, count); (0, 1) for None.

    Raises:
        ArgumentError: it is none.
    """
    index, count = (whole("shard", part) for part in shard or (0, 1))
    if count < 1 or not 0 <= index < count:
        raise errors.ArgumentError(
            f"shard: expected (index, count) with 0 <= index < count, got {shard}"
        )
    return index, count
