"""PNG files -> images uint8[n, side * side], many at once, and the labels that their names tell.

8-bit grey ones, and colour or alpha ones whose every pixel is grey and opaque; every other PNG is
refused. Split and number in a path are only hints: the row table finds each image's place.

Source: https://www.w3.org/TR/png-3/ (chunks, filter types, Paeth predictor).
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from fmnist_tfds import errors
from fmnist_tfds.exchange.adopt.gathering import Gathering
from fmnist_tfds.exchange.adopt.leaf import Leaf
from fmnist_tfds.exchange.adopt.row_order import Bytes

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_COLOURS = {0: "grey", 2: "colour", 3: "palette", 4: "grey with alpha", 6: "colour with alpha"}
_CHANNELS = {0: 1, 2: 3, 4: 2, 6: 4}
_BATCH = 4096
_NO_CLASS = 255
# A 28x28 PNG takes under 4 kB; text chunks of editors add a few.
_MAX_BYTES = 1 << 16


def images_of(values: Sequence[object], side: int, name: str) -> Bytes:
    """uint8[n, side * side] of values that are PNG files, or raw pixels.

    Raises:
        ContentError: one is neither.
    """
    encoded = [value for value in values if isinstance(value, bytes)]
    if len(encoded) != len(values):
        raise errors.ContentError(f"{name}: an image holds no bytes")
    if all(len(value) == side * side for value in encoded):
        return np.frombuffer(b"".join(encoded), np.uint8).reshape(len(encoded), -1)
    for value in encoded:
        if not value.startswith(SIGNATURE):
            what = "a JPEG image" if value.startswith(b"\xff\xd8\xff") else f"{value[:12]!r}"
            raise errors.ContentError(f"{name}: expected PNG images, found {what}")
    return decode([scanlines(value, side, name) for value in encoded], side, name)


def scanlines(data: bytes, side: int, name: str) -> bytes:
    """The filtered scanlines of one PNG: side * (1 + side * channels) bytes.

    Raises:
        ContentError: damaged, or not an 8-bit grey or colour image of side x side pixels.
    """
    if len(data) > _MAX_BYTES:
        raise errors.ContentError(f"{name}: a PNG of {len(data):,} bytes is no {side}x{side} image")
    packed: list[bytes] = []
    offset, channels = len(SIGNATURE), 0
    while offset + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, offset)
        body = data[offset + 8 : offset + 8 + length]
        check = data[offset + 8 + length : offset + 12 + length]
        if len(check) < 4 or zlib.crc32(kind + body) != int.from_bytes(check):
            raise errors.ContentError(f"{name}: the PNG is damaged or cut short")
        if kind == b"IHDR":
            channels = _channels(body, side, name)
        elif kind == b"IDAT":
            packed.append(body)
        elif kind == b"IEND":
            break
        offset += 12 + length
    else:
        raise errors.ContentError(f"{name}: the PNG is damaged or cut short")
    wanted = side * (side * channels + 1)
    try:
        lines = zlib.decompressobj().decompress(b"".join(packed), wanted + 1)
    except zlib.error as error:
        raise errors.ContentError(f"{name}: the PNG is damaged: {error}") from error
    if not channels or len(lines) != wanted:
        raise errors.ContentError(f"{name}: the PNG holds {len(lines):,} bytes, not {wanted:,}")
    return lines


def _channels(body: bytes, side: int, name: str) -> int:
    if len(body) != 13:
        raise errors.ContentError(f"{name}: the PNG header is damaged")
    width, height, depth, colour, _, _, interlace = struct.unpack(">IIBBBBB", body)
    if (width, height) != (side, side):
        raise errors.ContentError(
            f"{name}: a PNG of {width}x{height} pixels, expected {side}x{side}"
        )
    if depth != 8 or colour not in _CHANNELS:
        found = f"{depth}-bit {_COLOURS.get(colour, 'unknown')}"
        raise errors.ContentError(f"{name}: a {found} PNG, expected 8-bit grey")
    if interlace:
        raise errors.ContentError(f"{name}: an interlaced PNG, which is not read")
    return _CHANNELS[colour]


def decode(lines: Sequence[bytes], side: int, name: str) -> Bytes:
    """The pixels of many images' scanlines, uint8[n, side * side].

    Raises:
        ContentError: a filter type that PNG does not know; a pixel that is not grey and opaque.
    """
    out = np.empty((len(lines), side * side), np.uint8)
    by_channels: dict[int, list[int]] = {}
    for i, line in enumerate(lines):
        by_channels.setdefault((len(line) // side - 1) // side, []).append(i)
    for channels, rows in by_channels.items():
        pixels = _pixels([lines[i] for i in rows], side, channels, name)
        colours = channels if channels in (1, 3) else channels - 1
        grey = pixels[:, :, 0]
        if (pixels[:, :, 1:colours] != grey[:, :, None]).any():
            raise errors.ContentError(f"{name}: an 8-bit colour PNG, expected grey pixels")
        if colours != channels and (pixels[:, :, -1] != 255).any():
            raise errors.ContentError(f"{name}: a PNG with transparent pixels")
        out[rows] = grey
    return out


def _pixels(lines: Sequence[bytes], side: int, channels: int, name: str) -> Bytes:
    """uint8[n, side * side, channels] of scanlines that have as many channels."""
    raw = np.frombuffer(b"".join(lines), np.uint8).reshape(len(lines), side, side * channels + 1)
    # One spare pixel left and row above hold the zeros that the filters see at the edges.
    out = np.zeros((len(lines), side + 1, side + 1, channels), np.uint8)
    for y in range(side):
        filters = raw[:, y, 0]
        if (filters > 4).any():
            raise errors.ContentError(f"{name}: a PNG with the unknown filter {filters.max()}")
        for filter_type in np.unique(filters):
            at = np.flatnonzero(filters == filter_type)
            line = raw[at, y, 1:].reshape(len(at), side, channels)
            out[at, y + 1, 1:] = _unfilter(int(filter_type), line, out[at, y])
    return np.ascontiguousarray(out[:, 1:, 1:]).reshape(len(lines), side * side, channels)


def _unfilter(
    filter_type: int, line: npt.NDArray[np.uint8], above: npt.NDArray[np.uint8]
) -> npt.NDArray[np.uint8]:
    """One scanline of many images, uint8[n, side, channels]; `above` has one pixel more, left."""
    if filter_type == 0:
        return line
    if filter_type == 1:
        return np.cumsum(line, axis=1, dtype=np.uint8)
    if filter_type == 2:
        return line + above[:, 1:]
    out = np.empty_like(line)
    left = np.zeros((len(line), line.shape[2]), np.int16)
    up = above.astype(np.int16)
    for x in range(line.shape[1]):
        b, c = up[:, x + 1], up[:, x]
        guess = (left + b) // 2 if filter_type == 3 else _paeth(left, b, c)
        out[:, x] = line[:, x] + guess.astype(np.uint8)
        left = out[:, x].astype(np.int16)
    return out


def _paeth(
    a: npt.NDArray[np.int16], b: npt.NDArray[np.int16], c: npt.NDArray[np.int16]
) -> npt.NDArray[np.int16]:
    estimate = a + b - c
    pa, pb, pc = abs(estimate - a), abs(estimate - b), abs(estimate - c)
    return np.where((pa <= pb) & (pa <= pc), a, np.where(pb <= pc, b, c))


class PngTree:
    """Collects PNG leaves and offers them as rows; memory: the pixels read so far.

    The class is told by the nearest folder that names one ("7", "Sneaker", "class_7"), or else by
    the file's name: a class in words, "label7", or a digit that stands first or last in it.
    """

    def __init__(self, gathering: Gathering) -> None:
        self._gathering = gathering
        self._origin = self._form = ""
        self._lines: list[bytes] = []
        self._images: list[Bytes] = []
        self._labels: list[tuple[int, int]] = []

    def add(self, leaf: Leaf) -> None:
        """Takes one PNG leaf.

        Raises:
            ContentError: it is no 8-bit grey image of the right size.
        """
        self._lines.append(scanlines(leaf.read(), self._gathering.side, leaf.name))
        self._labels.append(self._told(leaf.name))
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
        images, labels = np.concatenate(self._images), np.array(self._labels, np.uint8)
        origin = f"{self._origin} ({len(labels):,} PNG files)"
        form = f"{self._form} > PNG tree" if self._form else "PNG tree"
        self._origin, self._images, self._labels = "", [], []
        positions = self._gathering.offer_images(images, origin, form)
        # A name may begin and end with a digit, as 3_7.png does: the digests say which is it.
        for way in labels.T:
            known = np.where(way == _NO_CLASS, -1, positions)
            self._gathering.offer_labels(way, origin, form, known)
            if self._gathering.is_complete:
                return

    def _decode(self) -> None:
        if self._lines:
            lines, self._lines = self._lines, []
            self._images.append(decode(lines, self._gathering.side, self._origin))

    def _told(self, name: str) -> tuple[int, int]:
        """The classes that a path may mean; twice the same where it is plain, or _NO_CLASS."""
        *folders, base = re.split(r"[/\\!]", name)
        for folder in reversed(folders):
            number = re.fullmatch(r"(?:class|label)?[ _-]?0*(\d)(?:[ _-].*)?", folder.lower())
            if number:
                return int(number[1]), int(number[1])
            if (found := self._gathering.class_of(folder)) is not None:
                return found, found
        stem = base.rpartition(".")[0]
        for word in (stem, *re.split(r"[_\s.]+", stem)):
            if (found := self._gathering.class_of(word)) is not None:
                return found, found
        if named := re.search(r"(?:class|label|cls|lbl|y)[ _=-]?0*(\d)(?!\d)", stem.lower()):
            return int(named[1]), int(named[1])
        first, last = re.match(r"(\d)(?!\d)", stem), re.search(r"(?<!\d)(\d)$", stem)
        ways = [int(found[1]) for found in (last, first) if found] or [_NO_CLASS]
        return ways[0], ways[-1]
