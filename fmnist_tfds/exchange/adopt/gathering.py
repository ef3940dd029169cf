"""Images and labels in any order -> the four payloads in the original order, each proved.

What is offered is placed through the table of rows; the payload's SHA-256 decides.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from fmnist_tfds import catalog
from fmnist_tfds.exchange.adopt.row_order import Bytes, Positions, RowTable
from fmnist_tfds.formats import idx

_SAMPLE = 32
_SPLITS: tuple[catalog.Split, ...] = ("train", "test")


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
        self._classes = {_letters(n): i for i, n in enumerate(dataset.class_names)}
        for i, n in enumerate(dataset.class_names):
            self._classes.setdefault(_letters(n.split("/")[0]), i)

    @property
    def is_complete(self) -> bool:
        """True once all four files are proved."""
        return len(self.proofs) == len(self.dataset.files)

    @property
    def has_rows(self) -> bool:
        """True once a row of the data set was recognised."""
        return bool(self._has_image.any())

    def class_of(self, text: str) -> int | None:
        """The class that a word names ("ankle-boot", "T-shirt"), or None."""
        return self._classes.get(_letters(text))

    def with_class_numbers(self, line: str, separator: str) -> str:
        """A table's line with numbers where its first two cells, or its last, name classes."""
        cells = line.split(separator)
        for at in {0, min(1, len(cells) - 1), len(cells) - 1}:
            number = self.class_of(cells[at])
            cells[at] = cells[at] if number is None else str(number)
        return separator.join(cells)

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


def _letters(name: str) -> str:
    return re.sub(r"[^a-z]", "", name.lower())
