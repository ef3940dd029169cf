"""Cast, normalise, augment: what happens to a batch of images, written once over array operations.

`numpy` here, TensorFlow's and Keras's operations in preprocess.py: for the same draws all give
exactly the same numbers, since pixels move as uint8, and then meet one subtraction and one product.
What is drawn for an example depends on the epoch and the example alone. Never imports TensorFlow
or Keras.

Source: SplitMix64 (Steele, Lea, Flood, OOPSLA 2014); alternating flip (Jordan, arXiv:2404.00498);
random erasing (Zhong et al., arXiv:1708.04896).
"""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fmnist_tfds import catalog, errors

DTYPES = ("float32", "bfloat16", "float16", "uint8")
NORMALIZATIONS = ("unit", "standard")
AUGMENTATIONS = ("flip", "altflip", "crop", "cutout", "erase")
SIZE = 28
# Each draw has a number of its own, so that none depends on which others are made.
_DRAWS = ("flip", "down", "right", "top", "left", "erase", "form", "erase_top", "erase_left")
_GOLDEN = 0x9E3779B97F4A7C15
_FORMS, _FRACTIONS = 16, 1 << 10

Draws = dict[str, Any]


@dataclasses.dataclass(frozen=True, slots=True)
class Recipe:
    """What happens to a batch of images, checked.

    Attributes:
        dtype: of the result.
        mean: subtracted from pixels of 0 to 255.
        deviation: what the difference is divided by.
        augment: a subset of AUGMENTATIONS.
        crop_pixels: how far "crop" moves an image at most, in each direction.
        cutout_pixels: the side of the square that "cutout" blackens.
        seed: decides which images "altflip" flips in even epochs.
    """

    dtype: str
    mean: float
    deviation: float
    augment: frozenset[str]
    crop_pixels: int = 2
    cutout_pixels: int = 8
    seed: int = 0


def recipe(
    dtype: str,
    normalize: str,
    augment: str | Sequence[str] | None,
    statistics: Callable[[], tuple[float, float]] = lambda: catalog.FASHION_MNIST_STATISTICS,
    *,
    crop_pixels: int = 2,
    cutout_pixels: int = 8,
    seed: int = 0,
) -> Recipe:
    """The checked recipe.

    Args:
        dtype: one of DTYPES; "uint8" leaves the pixels as they are.
        normalize: "unit" (0 to 1) or "standard" (the training split's mean 0 and deviation 1).
        augment: None, one of AUGMENTATIONS, several joined by "_" ("flip_crop"), or a tuple.
        statistics: gives mean and deviation of the training pixels for "standard".
        crop_pixels: 1 to 27.
        cutout_pixels: 1 to 28.
        seed: of "altflip".

    Raises:
        ArgumentError: an unknown dtype, normalization or augmentation, or a size out of range.
    """
    names = augment.split("_") if isinstance(augment, str) and augment else augment or ()
    _one_of("dtype", dtype, DTYPES)
    _one_of("normalize", normalize, NORMALIZATIONS)
    for word in names:
        _one_of("augment", word, AUGMENTATIONS)
    if {"flip", "altflip"} <= set(names):
        raise errors.ArgumentError("augment: flip and altflip exclude each other")
    _size("crop_pixels", crop_pixels, SIZE - 1)
    _size("cutout_pixels", cutout_pixels, SIZE)
    words, crop, cutout = frozenset(names), int(crop_pixels), int(cutout_pixels)
    if normalize == "unit":
        return Recipe(dtype, 0.0, 255.0, words, crop, cutout, seed)
    if dtype == "uint8":
        raise errors.ArgumentError(
            'normalize="standard" needs a floating dtype, got "uint8"',
            hint='normalise on the device: Preprocess(normalize="standard")',
        )
    mean, deviation = statistics()
    return Recipe(dtype, mean, deviation, words, crop, cutout, seed)


def ranges(how: Recipe) -> dict[str, tuple[int, int]]:
    """Lowest and one past the highest value of each draw that is uniform."""
    found: dict[str, tuple[int, int]] = {}
    if "flip" in how.augment:
        found["flip"] = (0, 2)
    if "crop" in how.augment:
        found |= dict.fromkeys(("down", "right"), (-how.crop_pixels, how.crop_pixels + 1))
    if "cutout" in how.augment:
        found |= dict.fromkeys(("top", "left"), (1 - how.cutout_pixels, SIZE))
    if "erase" in how.augment:
        found |= {"erase": (0, 2), "form": (0, _FORMS**2)}
        found |= dict.fromkeys(("erase_top", "erase_left"), (0, _FRACTIONS))
    return found


def draw(how: Recipe, numbers: Any, epochs: Any, ops: Any) -> Draws:
    """The draws of some examples, int32[B] each, the same on every machine.

    Args:
        how: what is drawn.
        numbers: of the examples, integer[B].
        epochs: the seed of each one's epoch, and above its 32 bits the epoch's number, int64[B].
        ops: the array operations.
    """
    places = ops.unsigned(numbers) * len(_DRAWS)
    states = _mixed(ops.unsigned(epochs) + _GOLDEN, ops)
    draws: Draws = {}
    for name, (low, high) in ranges(how).items():
        # SplitMix64 at a place of its own: uniform to 2**-27.
        bits = _mixed(states + (places + _DRAWS.index(name)) * _GOLDEN, ops)
        draws[name] = ops.signed(_high(_high(bits, ops) * (high - low), ops)) + low
    if "altflip" in how.augment:
        start = _mixed(places * _GOLDEN + how.seed % 2**64, ops)
        draws["flip"] = ops.signed((start + _high(ops.unsigned(epochs), ops)) % 2)
    return draws


def apply(images: Any, draws: Draws, how: Recipe, ops: Any) -> Any:
    """Moves and blackens pixels of uint8[B, 28, 28, 1] as `draws` (int32[B] each) say."""
    rows, columns = ops.constant(np.arange(SIZE)[:, None]), ops.constant(np.arange(SIZE)[None])
    draws = {name: drawn[:, None, None] for name, drawn in draws.items()}

    def blackened(top: Any, left: Any, height: Any, width: Any) -> Any:
        hole = (rows >= top) & (rows < top + height)
        hole = hole & (columns >= left) & (columns < left + width)
        return ops.where(hole[..., None], ops.zero, images)

    if how.augment & {"flip", "altflip", "crop"}:
        from_row, from_column = rows, columns
        if "flip" in draws:
            from_column = draws["flip"] * (SIZE - 1) + (1 - 2 * draws["flip"]) * columns
        if "crop" in how.augment:
            from_row, from_column = from_row + draws["down"], from_column + draws["right"]
        inside = (from_row >= 0) & (from_row < SIZE) & (from_column >= 0) & (from_column < SIZE)
        index = ops.clip(from_row) * SIZE + ops.clip(from_column)
        images = ops.where(inside[..., None], ops.gather(images, index), ops.zero)
    if "cutout" in how.augment:
        side = how.cutout_pixels
        images = blackened(draws["top"], draws["left"], side, side)
    if "erase" in how.augment:
        heights, widths = (ops.take(ops.constant(part), draws["form"]) for part in _forms())
        top = draws["erase_top"] * (SIZE + 1 - heights) // _FRACTIONS
        left = draws["erase_left"] * (SIZE + 1 - widths) // _FRACTIONS
        images = blackened(top, left, heights * draws["erase"], widths)
    return images


def finish(images: Any, how: Recipe, ops: Any, dtype: str) -> Any:
    """Casts and normalises uint8[B, 28, 28, 1]; a recipe of uint8 leaves them as they are."""
    if how.dtype == "uint8":
        return images
    floats = ops.cast(images, "float32")
    if how.mean:
        floats = ops.minus(floats, np.float32(how.mean))
    # Compilers turn a division by a constant into this product, and not all of them do.
    return ops.cast(ops.times(floats, np.float32(1 / how.deviation)), dtype)


def aligned(shape: tuple[int, ...], dtype: Any) -> npt.NDArray[Any]:
    """An empty array that begins at a multiple of 64 bytes: JAX shares no other memory."""
    size = math.prod(shape) * np.dtype(dtype).itemsize  # np.prod takes as long as a small batch
    raw = np.empty(size + 63, np.uint8)
    first = -raw.ctypes.data % 64
    return raw[first : first + size].view(dtype).reshape(shape)


def _mixed(state: Any, ops: Any) -> Any:
    state = (state ^ ops.shifted(state, 30)) * 0xBF58476D1CE4E5B9
    state = (state ^ ops.shifted(state, 27)) * 0x94D049BB133111EB
    return state ^ ops.shifted(state, 31)


def _high(bits: Any, ops: Any) -> Any:
    return ops.shifted(bits, 32)


def _forms() -> tuple[Any, Any]:
    """Heights and widths of what "erase" blackens, int[256]: 2 to 33 % of the image, 0.3 to 3.3."""
    areas = np.linspace(0.02, 0.33, _FORMS)[:, None] * SIZE**2
    aspects = np.round(np.geomspace(0.3, 3.3, _FORMS), 3)[None]
    sides = np.sqrt(areas * aspects), np.sqrt(areas / aspects)
    heights, widths = (np.clip(np.round(side), 1, SIZE).astype(np.int32) for side in sides)
    return heights.reshape(-1), widths.reshape(-1)


def _one_of(name: str, value: str, valid: tuple[str, ...]) -> None:
    if value not in valid:
        near = difflib.get_close_matches(str(value), valid, 1, 0.4)
        raise errors.ArgumentError(
            f"{name}: expected one of {', '.join(valid)}; got {value!r}",
            hint=f"the nearest valid one is {near[0]}" if near else "",
        )


def _size(name: str, value: int, most: int) -> None:
    is_whole = isinstance(value, (int, np.integer)) and not isinstance(value, (bool, np.bool_))
    if not is_whole or not 1 <= value <= most:
        raise errors.ArgumentError(f"{name}: expected 1 to {most} pixels, got {value!r}")


class NUMPY:
    """The operations on numpy arrays."""

    zero = np.uint8(0)
    constant = staticmethod(lambda array: np.asarray(array, np.int32))
    where = staticmethod(np.where)
    take = staticmethod(np.take)
    # In place: only `finish` calls these, on floats of its own.
    minus = staticmethod(lambda floats, number: np.subtract(floats, number, out=floats))
    times = staticmethod(lambda floats, number: np.multiply(floats, number, out=floats))
    clip = staticmethod(lambda index: np.clip(index, 0, SIZE - 1))
    unsigned = staticmethod(lambda array: np.asarray(array).astype(np.uint64))
    signed = staticmethod(lambda array: array.astype(np.int32))
    shifted = staticmethod(lambda bits, by: bits >> np.uint64(by))

    @staticmethod
    def cast(array: Any, dtype: Any) -> Any:
        """The array as that dtype, aligned where it is made anew."""
        if array.dtype == dtype:
            return array
        made = aligned(array.shape, dtype)
        made[...] = array
        return made

    @staticmethod
    def gather(images: Any, index: Any) -> Any:
        """uint8[B, 28, 28, 1] at the places int[B, 28, 28] of each image."""
        flat, places = images.reshape(-1, SIZE**2), index.reshape(-1, SIZE**2)
        return np.take_along_axis(flat, places, 1).reshape(-1, SIZE, SIZE, 1)
