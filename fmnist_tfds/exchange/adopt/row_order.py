"""Images and labels in any order -> the four payloads in the original order, each proved.

All images of the family's data sets differ, so a table of truncated per-image digests says where
each image stood. The table only finds the order; the payload's SHA-256 proves the outcome.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.resources
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from fmnist_tfds import catalog, errors
from fmnist_tfds.formats import idx

Bytes = npt.NDArray[np.uint8]
Positions = npt.NDArray[np.int64]
DIGEST_BYTES = 8
_SAMPLE = 32
_SPLITS: tuple[catalog.Split, ...] = ("train", "test")


def digests(images: Bytes) -> npt.NDArray[np.uint64]:
    """The first 8 bytes of each image's SHA-256, as uint64[n]; images uint8[n, pixels]."""
    data = b"".join(hashlib.sha256(row).digest()[:DIGEST_BYTES] for row in images)
    return np.frombuffer(data, ">u8").astype(np.uint64)


class RowTable:
    """Where each image stands in the original: train rows first, then test rows."""

    def __init__(self, table: npt.NDArray[np.uint64]) -> None:
        self._order: Positions = np.argsort(table, kind="stable").astype(np.int64)
        self._sorted = table[self._order]
        self.size = len(table)

    @classmethod
    def of_images(cls, images: Bytes) -> RowTable:
        """The table of images uint8[n, pixels] that stand in the original order."""
        return cls(digests(images))

    @classmethod
    def from_bytes(cls, data: bytes) -> RowTable:
        """The table that `to_bytes` wrote."""
        return cls(np.frombuffer(data, ">u8").astype(np.uint64))

    def to_bytes(self) -> bytes:
        """8 bytes per row, big-endian, in the original order."""
        table = np.empty(self.size, np.uint64)
        table[self._order] = self._sorted
        return table.astype(">u8").tobytes()

    def positions(self, images: Bytes) -> Positions:
        """int64[n]: each image's row in the original, -1 where it is none of its images."""
        wanted = digests(images)
        slots = np.minimum(np.searchsorted(self._sorted, wanted), self.size - 1)
        return np.where(self._sorted[slots] == wanted, self._order[slots], -1)


def shipped(dataset: catalog.Catalog) -> RowTable | None:
    """The table that comes with the package for that data set, or None."""
    file = importlib.resources.files("fmnist_tfds.exchange.adopt") / f"{dataset.name}-rows.bin"
    return RowTable.from_bytes(file.read_bytes()) if file.is_file() else None


@dataclasses.dataclass(frozen=True, slots=True)
class Proof:
    """One payload whose digest matches the catalog.

    Attributes:
        payload: the IDX file.
        origin: the file, archive member or column it came from.
        form: the containers around it, outermost first.
        restored: True where the rows stood in another order.
        gz: the canonical .gz where it was at hand, else None.
    """

    payload: bytes
    origin: str
    form: str
    restored: bool = False
    gz: bytes | None = None


class Gathering:
    """What was proved so far, and the rows placed so far. Memory: at most two copies of the data.

    Attributes:
        proofs: canonical file name -> proof.
    """

    def __init__(self, dataset: catalog.Catalog, table: RowTable | None) -> None:
        self.dataset = dataset
        self.table = table
        self.proofs: dict[str, Proof] = {}
        self._by_digest = {file.payload_sha256: file for file in dataset.files}
        self._starts = {"train": 0, "test": self._rows("train")}
        self.total_rows = self._rows("train") + self._rows("test")
        self.pixels = math.prod(dataset.part("train", "images").shape[1:])
        self.side = dataset.part("train", "images").shape[1]
        self._images: Bytes | None = None
        self._labels = np.zeros(self.total_rows, np.uint8)
        self._has_image = np.zeros(self.total_rows, bool)
        self._has_label = np.zeros(self.total_rows, bool)
        self.unknown_rows: list[str] = []

    @property
    def is_complete(self) -> bool:
        """True once all four files are proved."""
        return len(self.proofs) == len(self.dataset.files)

    @property
    def has_rows(self) -> bool:
        """True once a row of the data set was recognised."""
        return bool(self._has_image.any())

    def offer_payload(
        self, payload: bytes, origin: str, form: str, *, gz: bytes | None = None
    ) -> catalog.SourceFile | None:
        """The file that these bytes prove to be, or None."""
        return self._prove([payload], origin, form, gz=gz)

    def offer_images(self, images: Bytes, origin: str, form: str) -> Positions:
        """Where images uint8[n, pixels] stand in the original, -1 for unknown rows; places them."""
        in_order = self._offer_in_order(
            images.reshape(-1, self.side, self.side), "images", origin, form
        )
        if in_order is not None:
            return in_order
        if self.table is None:
            self.unknown_rows.append(
                f"{origin}: {len(images):,} rows that are not in the original order"
            )
            return np.full(len(images), -1, np.int64)
        positions = self.table.positions(images)
        known = positions >= 0
        if not known.any() and (altered := self._as_stored_elsewhere(images)):
            how, images = altered
            origin, positions = f"{origin} ({how})", self.table.positions(images)
            known = positions >= 0
        if not known.all():
            first = int(np.argmin(known))
            self.unknown_rows.append(
                f"{origin}: {int((~known).sum()):,} of {len(images):,} images are none of "
                f"{self.dataset.title} (the first is row {first + 1:,})"
            )
        if self._images is None:
            self._images = np.zeros((self.total_rows, self.pixels), np.uint8)
        self._images[positions[known]] = images[known]
        self._has_image[positions[known]] = True
        self._settle("images", origin, form)
        return positions

    def _as_stored_elsewhere(self, images: Bytes) -> tuple[str, Bytes] | None:
        """The images as they were before somebody inverted or turned them; None otherwise."""
        assert self.table is not None
        square = (-1, self.side, self.side)
        ways: dict[str, Callable[[Bytes], Bytes]] = {
            "inverted": lambda rows: 255 - rows,
            "transposed": lambda rows: rows.reshape(square).transpose(0, 2, 1).reshape(rows.shape),
            "mirrored": lambda rows: rows.reshape(square)[:, :, ::-1].reshape(rows.shape),
            "upside down": lambda rows: rows.reshape(square)[:, ::-1].reshape(rows.shape),
        }
        ways["inverted and transposed"] = lambda rows: ways["inverted"](ways["transposed"](rows))
        for how, restore in ways.items():
            if (self.table.positions(restore(images[:_SAMPLE])) >= 0).all():
                return how, np.ascontiguousarray(restore(images))
        return None

    def offer_labels(
        self, labels: Bytes, origin: str, form: str, positions: Positions | None = None
    ) -> bool:
        """True if labels uint8[n] stand in the original order; else places them at `positions`."""
        if self._offer_in_order(labels, "labels", origin, form) is not None:
            return True
        if positions is not None:
            known = positions >= 0
            self._labels[positions[known]] = labels[known]
            self._has_label[positions[known]] = True
            self._settle("labels", origin, form)
        return False

    def lacks_labels(self, positions: Positions) -> bool:
        """True if the images at `positions` are of the data set and some have no proved label."""
        known = positions[positions >= 0]
        proved = np.zeros(self.total_rows, bool)
        for split in _SPLITS:
            if self.dataset.part(split, "labels").name in self.proofs:
                proved[self._slice(split)] = True
        return bool(known.size) and not proved[known].all()

    def shortfall(self) -> str:
        """What is missing, for people: "train: 30,000 of 60,000 images; …"."""
        parts = []
        for split in _SPLITS:
            rows = self._rows(split)
            kinds: tuple[catalog.Kind, ...] = ("images", "labels")
            for kind in kinds:
                if self.dataset.part(split, kind).name in self.proofs:
                    continue
                have = int(self._mask(kind)[self._slice(split)].sum())
                if have == rows:
                    parts.append(f"the {split} {kind} differ from the original")
                else:
                    parts.append(f"found {have:,} of {rows:,} {split} {kind}")
        return ", ".join(parts)

    def _rows(self, split: catalog.Split) -> int:
        return self.dataset.part(split, "images").shape[0]

    def _slice(self, split: catalog.Split) -> slice:
        start = self._starts[split]
        return slice(start, start + self._rows(split))

    def _mask(self, kind: catalog.Kind) -> npt.NDArray[np.bool_]:
        return self._has_image if kind == "images" else self._has_label

    def _prove(
        self, parts: list[Any], origin: str, form: str, *, gz: bytes | None = None, **extra: bool
    ) -> catalog.SourceFile | None:
        state = hashlib.sha256()
        for part in parts:
            state.update(part)
        file = self._by_digest.get(state.hexdigest())
        if file is not None and file.name not in self.proofs:
            payload = parts[0] if len(parts) == 1 else b"".join(bytes(p) for p in parts)
            self.proofs[file.name] = Proof(payload, origin, form, gz=gz, **extra)
        return file

    def _offer_in_order(
        self, array: Bytes, kind: catalog.Kind, origin: str, form: str
    ) -> Positions | None:
        """The positions of an array that is one split, or both one after the other; else None."""
        array = np.ascontiguousarray(array)
        for split in _SPLITS:
            if array.shape == self.dataset.part(split, kind).shape:
                file = self._prove([idx.header(array.shape), array.data], origin, form)
                if file is not None:
                    start = self._starts[file.split]
                    return np.arange(start, start + len(array))
        if len(array) == self.total_rows:
            found = [
                self._prove([idx.header(part.shape), part.data], origin, form)
                for part in (array[self._slice(split)] for split in _SPLITS)
            ]
            if all(found):
                return np.arange(self.total_rows)
        return None

    def _settle(self, kind: catalog.Kind, origin: str, form: str) -> None:
        """Prove each split whose rows have all been placed."""
        source = self._images if kind == "images" else self._labels
        if source is None:
            return
        for split in _SPLITS:
            file, where = self.dataset.part(split, kind), self._slice(split)
            if file.name not in self.proofs and self._mask(kind)[where].all():
                part = source[where].reshape(file.shape)
                self._prove([idx.header(file.shape), part.data], origin, form, restored=True)


def impostor(payload: bytes, dataset: catalog.Catalog) -> str:
    """What known other data set these bytes are, for people; "" if none."""
    algorithms = {algorithm for known in dataset.impostors for algorithm, _ in known.digests}
    found = {
        (algorithm, hashlib.new(algorithm, payload, usedforsecurity=False).hexdigest())
        for algorithm in algorithms
    }
    return next((known.title for known in dataset.impostors if known.digests & found), "")


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
