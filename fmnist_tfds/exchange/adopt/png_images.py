"""8-bit grey PNG files -> uint8[n, side * side], many at once; every other PNG is refused.

Source: https://www.w3.org/TR/png-3/ (chunks, filter types, Paeth predictor).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from fmnist_tfds import errors

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_COLOURS = {0: "grey", 2: "colour", 3: "palette", 4: "grey with alpha", 6: "colour with alpha"}
# A 28x28 grey PNG takes under 1 kB; text chunks of editors add a few.
_MAX_BYTES = 1 << 16


def scanlines(data: bytes, side: int, name: str) -> bytes:
    """The filtered scanlines of one PNG: side * (side + 1) bytes.

    Raises:
        ContentError: damaged, or not an 8-bit grey image of side x side pixels.
    """
    if len(data) > _MAX_BYTES:
        raise errors.ContentError(f"{name}: a PNG of {len(data):,} bytes is no {side}x{side} image")
    packed: list[bytes] = []
    offset = len(SIGNATURE)
    seen_header = False
    while offset + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, offset)
        body = data[offset + 8 : offset + 8 + length]
        check = data[offset + 8 + length : offset + 12 + length]
        if len(check) < 4 or zlib.crc32(kind + body) != int.from_bytes(check):
            raise errors.ContentError(f"{name}: the PNG is damaged or cut short")
        if kind == b"IHDR":
            _check_header(body, side, name)
            seen_header = True
        elif kind == b"IDAT":
            packed.append(body)
        elif kind == b"IEND":
            break
        offset += 12 + length
    else:
        raise errors.ContentError(f"{name}: the PNG is damaged or cut short")
    wanted = side * (side + 1)
    try:
        lines = zlib.decompressobj().decompress(b"".join(packed), wanted + 1)
    except zlib.error as error:
        raise errors.ContentError(f"{name}: the PNG is damaged: {error}") from error
    if not seen_header or len(lines) != wanted:
        raise errors.ContentError(f"{name}: the PNG holds {len(lines):,} bytes, not {wanted:,}")
    return lines


def _check_header(body: bytes, side: int, name: str) -> None:
    if len(body) != 13:
        raise errors.ContentError(f"{name}: the PNG header is damaged")
    width, height, depth, colour, _, _, interlace = struct.unpack(">IIBBBBB", body)
    if (width, height) != (side, side):
        raise errors.ContentError(
            f"{name}: a PNG of {width}x{height} pixels, expected {side}x{side}"
        )
    if (depth, colour) != (8, 0):
        found = f"{depth}-bit {_COLOURS.get(colour, 'unknown')}"
        raise errors.ContentError(f"{name}: a {found} PNG, expected 8-bit grey")
    if interlace:
        raise errors.ContentError(f"{name}: an interlaced PNG, which is not read")


def decode(lines: Sequence[bytes], side: int, name: str) -> npt.NDArray[np.uint8]:
    """The pixels of many images' scanlines, uint8[n, side * side].

    Raises:
        ContentError: a filter type that PNG does not know.
    """
    raw = np.frombuffer(b"".join(lines), np.uint8).reshape(len(lines), side, side + 1)
    # One spare column left and row above hold the zeros that the filters see at the edges.
    out = np.zeros((len(lines), side + 1, side + 1), np.uint8)
    for y in range(side):
        filters = raw[:, y, 0]
        if (filters > 4).any():
            raise errors.ContentError(f"{name}: a PNG with the unknown filter {filters.max()}")
        for filter_type in np.unique(filters):
            at = np.flatnonzero(filters == filter_type)
            out[at, y + 1, 1:] = _unfilter(int(filter_type), raw[at, y, 1:], out[at, y])
    return np.ascontiguousarray(out[:, 1:, 1:]).reshape(len(lines), side * side)


def _unfilter(
    filter_type: int, line: npt.NDArray[np.uint8], above: npt.NDArray[np.uint8]
) -> npt.NDArray[np.uint8]:
    """One scanline of many images; `above` has one spare column on the left."""
    if filter_type == 0:
        return line
    if filter_type == 1:
        return np.cumsum(line, axis=1, dtype=np.uint8)
    if filter_type == 2:
        return line + above[:, 1:]
    out = np.empty_like(line)
    left = np.zeros(len(line), np.int16)
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
