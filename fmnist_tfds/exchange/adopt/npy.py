"""NumPy and IDX arrays -> images and labels; pairs those of one folder or archive by length.

Names are not needed: an array of n images and the one array of n labels beside it belong
together, and the payload digests prove it.

Source: numpy.lib.format (the .npy header).
"""

from __future__ import annotations

import collections
import dataclasses
import itertools
import math
import struct
from typing import Any

import numpy as np
import numpy.typing as npt

from fmnist_tfds import catalog, errors
from fmnist_tfds.exchange.adopt.gathering import Gathering
from fmnist_tfds.exchange.adopt.leaf import Leaf
from fmnist_tfds.exchange.adopt.row_order import Bytes


@dataclasses.dataclass(frozen=True, slots=True)
class _Waiting:
    """Labels not yet placed, or the positions of images placed."""

    origin: str
    form: str
    values: npt.NDArray[Any]


class Pairing:
    """Offers arrays to a gathering and brings images and labels of one group together.

    Attributes:
        assumed: what was assumed, or is not known, where that did not lead to the data; or "".
    """

    def __init__(self, found: Gathering) -> None:
        self._gathering = found
        self.assumed = ""
        self._positions: dict[tuple[str, int], list[_Waiting]] = collections.defaultdict(list)
        self._labels: dict[tuple[str, int], list[_Waiting]] = collections.defaultdict(list)

    def offer(self, array: npt.NDArray[Any], leaf: Leaf) -> None:
        """Offers one array of images or labels.

        Raises:
            ContentError: its shape is neither, or a value is no byte.
        """
        gathering = self._gathering
        count = len(array) if array.ndim else 0
        if count > gathering.total_rows:
            raise errors.ContentError(
                f"{leaf.name}: {count:,} rows, expected at most {gathering.total_rows:,}"
            )
        key = (leaf.group, count)
        if array.dtype.kind in "SU" and count and array.size == count:
            array = class_numbers(array.reshape(-1), gathering, leaf.name)
        if count and array.ndim > 1 and array.size == count * gathering.pixels:
            images = byte_values(array.reshape(count, -1), leaf.name)
            positions = gathering.offer_images(images, leaf.name, leaf.form)
            self._positions[key].append(_Waiting(leaf.name, leaf.form, positions))
        elif count and (array.size == count or array.shape[1:] == (_CLASSES,)):
            labels = byte_values(_one_number_each(array, leaf.name), leaf.name)
            if not gathering.offer_labels(labels, leaf.name, leaf.form):
                self._labels[key].append(_Waiting(leaf.name, leaf.form, labels))
        else:
            side = gathering.side
            raise errors.ContentError(
                f"{leaf.name}: an array of shape {array.shape} is neither {side}x{side} images "
                "nor labels"
            )

    def close(self) -> None:
        """Places the labels with arrays of as many images beside them; the digests prove which.

        Where several arrays have as many rows (x_valid and x_test, 10,000 each), every way to
        bring them together is tried, up to a bound.
        """
        ways = []
        for key, labels in self._labels.items():
            images = [
                image
                for image in self._positions.get(key, [])
                if self._gathering.lacks_labels(image.values)
            ]
            if len(labels) > len(images) or len(images) > _MOST_ALIKE:
                self.assumed = (
                    f"{len(labels)} arrays of {key[1]:,} labels and {len(images)} of as many "
                    "images: which belong together is not known"
                )
                continue
            alike = sorted(images, key=lambda image: image.origin)
            labels.sort(key=lambda label: label.origin)  # x_test, x_valid; y_test, y_valid
            pairs = itertools.permutations(alike, len(labels))
            ways.append([list(zip(labels, chosen, strict=True)) for chosen in pairs])
        for way in itertools.islice(itertools.product(*ways), _MOST_WAYS):
            for label, image in (pair for pairs in way for pair in pairs):
                self._gathering.offer_labels(label.values, label.origin, label.form, image.values)
            if self._gathering.is_complete:
                return
        if ways and not self.assumed:
            self.assumed = "labels were taken to belong to the images of as many rows beside them"


_CLASSES = catalog.NUM_CLASSES
# Arrays of one number of rows, and ways to bring all of them together, that are tried at most.
_MOST_ALIKE = 5
_MOST_WAYS = 500


def class_numbers(
    names: npt.NDArray[Any], gathering: Gathering, origin: str
) -> npt.NDArray[np.uint8]:
    """uint8[n]: the labels that n texts name, by word or number.

    Raises:
        ContentError: one names no class.
    """
    kinds, inverse = np.unique(names, return_inverse=True)
    numbers = []
    for kind in kinds.tolist():
        text = kind.decode("latin-1") if isinstance(kind, bytes) else kind
        number = int(text) if text in map(str, range(_CLASSES)) else gathering.class_of(text)
        if number is None:
            raise errors.ContentError(f"{origin}: {text[:20]!r} names no class")
        numbers.append(number)
    return np.array(numbers, np.uint8)[inverse]


def _one_number_each(array: npt.NDArray[Any], name: str) -> npt.NDArray[Any]:
    if array.size == len(array):
        return array.reshape(-1)
    one_hot = np.asarray(array)
    if not (((one_hot == 0) | (one_hot == 1)).all() and (one_hot.sum(axis=1) == 1).all()):
        raise errors.ContentError(f"{name}: labels of shape {array.shape} are not one-hot")
    numbers: npt.NDArray[Any] = one_hot.argmax(axis=1)
    return numbers


def read_npy(leaf: Leaf, max_bytes: int) -> npt.NDArray[Any]:
    """The array of a .npy leaf; memory-mapped where it lies on disk.

    Raises:
        ArchiveError: it holds pickled objects, or declares more than `max_bytes`.
        ContentError: the file is damaged.
    """
    with leaf.open() as stream:
        try:
            version = np.lib.format.read_magic(stream)
            if version == (1, 0):
                shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream)
            else:
                shape, fortran, dtype = np.lib.format.read_array_header_2_0(stream)
            start = stream.tell()
        # SyntaxError: numpy reads the header with ast.literal_eval; the others: forged fields.
        except (ValueError, SyntaxError, EOFError, OSError, TypeError, struct.error) as error:
            raise errors.ContentError(f"{leaf.name}: not a readable .npy file: {error}") from error
    if dtype.hasobject:
        raise errors.ArchiveError(
            f"{leaf.name}: holds pickled Python objects, which could run code"
        )
    size = math.prod(shape) * dtype.itemsize
    if size > max_bytes or min(shape, default=0) < 0:
        raise errors.ArchiveError(f"{leaf.name}: declares {size:,} bytes (shape {shape})")
    if leaf.size - start != size:
        raise errors.ContentError(
            f"{leaf.name}: declares {size:,} bytes of values, holds {leaf.size - start:,}"
        )
    if not size:
        return np.empty(shape, dtype)
    order: Any = "F" if fortran else "C"
    if leaf.path is not None:
        return np.memmap(leaf.path, dtype, "r", start, shape, order)
    return np.frombuffer(leaf.data, dtype, offset=start).reshape(shape, order=order)


def read_idx(leaf: Leaf, payload: bytes) -> npt.NDArray[np.uint8]:
    """The array of an IDX file whose digest is unknown: its own header decides the shape.

    Raises:
        ContentError: the header does not fit the length.
    """
    rank = payload[3] if len(payload) > 3 else 0
    start = 4 + 4 * rank
    if not 1 <= rank <= 4 or len(payload) < start:
        raise errors.ContentError(f"{leaf.name}: the IDX header is cut short or damaged")
    shape = struct.unpack_from(f">{rank}I", payload, 4)
    if len(payload) - start != math.prod(shape):
        raise errors.ContentError(
            f"{leaf.name}: the IDX header declares {math.prod(shape):,} values of shape {shape}, "
            f"the file holds {len(payload) - start:,}"
        )
    return np.frombuffer(payload, np.uint8, offset=start).reshape(shape)


def byte_values(array: npt.NDArray[Any], origin: str) -> Bytes:
    """The same numbers as uint8; floats in [0, 1] are taken as multiples of 1/255.

    Raises:
        ContentError: a value is NaN, not whole, below 0 or above 255.
    """
    if array.dtype == np.uint8:
        return np.asarray(array)
    if array.dtype.kind not in "iufb":
        raise errors.ContentError(f"{origin}: expected numbers, found dtype {array.dtype}")
    out = np.empty(array.shape, np.uint8)
    scale = 1.0
    step = 4096
    if array.dtype.kind == "f" and array.ndim > 1 and array.size:
        highest = max(float(np.max(array[i : i + step])) for i in range(0, len(array), step))
        scale = 255.0 if highest <= 1.0 else 1.0
    for start in range(0, len(array), step):
        part = array[start : start + step]
        if part.dtype.kind == "f":
            if not np.isfinite(part).all():
                raise errors.ContentError(f"{origin}: holds NaN or infinite values")
            whole = np.rint(part * scale)
            if np.abs(part * scale - whole).max(initial=0) > 1e-3:
                raise errors.ContentError(f"{origin}: holds values that are not whole numbers")
            part = whole
        if part.size and (part.min() < 0 or part.max() > 255):
            worst = part.max() if part.max() > 255 else part.min()
            raise errors.ContentError(f"{origin}: holds the value {worst:g}, outside 0..255")
        out[start : start + step] = part
    return out
