"""A tree of PNG files by split and class -> rows; split and number are only hints.

The class is the nearest folder that names one ("7", "Sneaker", "class_7", "ankle-boot"); the
images find their place through the row table.
"""

from __future__ import annotations

import re

import numpy as np

from fmnist_tfds.exchange.adopt import containers, png_images, row_order

_BATCH = 4096
_NO_CLASS = 255


class PngTree:
    """Collects PNG leaves and offers them as rows; memory: the pixels read so far."""

    def __init__(self, gathering: row_order.Gathering) -> None:
        self._gathering = gathering
        names = gathering.dataset.class_names
        self._classes = {_letters(name): i for i, name in enumerate(names)}
        for i, name in enumerate(names):
            self._classes.setdefault(_letters(name.split("/")[0]), i)
        self._origin = self._form = ""
        self._lines: list[bytes] = []
        self._images: list[row_order.Bytes] = []
        self._labels: list[int] = []

    def add(self, leaf: containers.Leaf) -> None:
        """Takes one PNG leaf.

        Raises:
            ContentError: it is no 8-bit grey image of the right size.
        """
        self._lines.append(png_images.scanlines(leaf.read(), self._gathering.side, leaf.name))
        self._labels.append(self._class_of(leaf.name))
        self._origin = self._origin or leaf.group
        self._form = leaf.form
        if len(self._lines) == _BATCH:
            self._decode()
        if len(self._labels) == self._gathering.total_rows:
            self.flush()

    def flush(self) -> None:
        """Offers what was collected.

        Raises:
            ContentError: a PNG with an unknown filter.
        """
        self._decode()
        if not self._labels:
            return
        images = np.concatenate(self._images)
        labels = np.array(self._labels, np.uint8)
        origin = f"{self._origin} ({len(labels):,} PNG files)"
        form = f"{self._form} > PNG tree" if self._form else "PNG tree"
        self._origin, self._images, self._labels = "", [], []
        positions = self._gathering.offer_images(images, origin, form)
        positions = np.where(labels == _NO_CLASS, -1, positions)
        self._gathering.offer_labels(labels, origin, form, positions)

    def _decode(self) -> None:
        if self._lines:
            lines, self._lines = self._lines, []
            self._images.append(png_images.decode(lines, self._gathering.side, self._origin))

    def _class_of(self, name: str) -> int:
        folders = re.split(r"[/\\!]", name)[:-1]
        for folder in reversed(folders):
            number = re.fullmatch(r"(?:class|label)?[ _-]?0*(\d)(?:[ _-].*)?", folder.lower())
            if number and int(number[1]) < len(self._classes):
                return int(number[1])
            if (found := self._classes.get(_letters(folder))) is not None:
                return found
        return _NO_CLASS


def _letters(name: str) -> str:
    return re.sub(r"[^a-z]", "", name.lower())
