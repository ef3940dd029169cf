"""Integer randomness and integer drawing on uint8[n, 28, 28]. Imports numpy.

No floating point and no numpy.random: the same bytes on every platform and numpy version.
Positions are in eighths of a pixel, 0 (left or top edge) to 224; shades are 0 to 255.

Source: splitmix64, https://prng.di.unimi.it/splitmix64.c (public domain).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

SIZE = 28
UNIT = 8
SPAN = SIZE * UNIT

Ints = npt.NDArray[np.int32]
Keys = npt.NDArray[np.uint64]
Canvas = npt.NDArray[np.uint16]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def mix(counters: Keys) -> Keys:
    """The splitmix64 outputs at those counters: uint64, any shape."""
    z = (counters + np.uint64(1)) * _GOLDEN
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


class Draws:
    """A stream of random integers per image; each call advances every stream by one."""

    def __init__(self, keys: Keys) -> None:
        self.keys = keys
        self._lane = 0

    def between(self, low: int, high: int) -> Ints:
        """Integers in [low, high): int32[n, 1]."""
        words = mix(self.keys + np.uint64(self._lane)) >> np.uint64(32)
        self._lane += 1
        picked = (words * np.uint64(high - low)) >> np.uint64(32)
        return (picked.astype(np.int32) + np.int32(low))[:, np.newaxis]

    def chance(self, in_256: int) -> npt.NDArray[np.bool_]:
        """True with probability in_256 / 256: bool[n, 1]."""
        return self.between(0, 256) < in_256

    def grain(self) -> npt.NDArray[np.uint16]:
        """One random byte per pixel: uint16[n, 28, 28] in 0..255."""
        words = SIZE * SIZE // 8
        offsets = np.arange(words, dtype=np.uint64) + np.uint64(1 << 20)
        bits = mix(self.keys[:, np.newaxis] + offsets)
        # Little-endian on every machine, so that the bytes stand in the same order.
        return bits.astype("<u8").view(np.uint8).reshape(-1, SIZE, SIZE).astype(np.uint16)


def _coverage() -> Canvas:
    """Row p: how much of each pixel lies right of position p, in 0..256: uint16[225, 28]."""
    positions = np.arange(SPAN + 1, dtype=np.int32)[:, np.newaxis]
    right_edges = np.arange(1, SIZE + 1, dtype=np.int32) * UNIT
    return (np.clip(right_edges - positions, 0, UNIT) * (256 // UNIT)).astype(np.uint16)


_RIGHT_OF = _coverage()


def paint(
    canvas: Canvas, where: npt.NDArray[np.bool_], left: Ints, right: Ints, shade: Ints
) -> None:
    """Draws one horizontal stroke per row, its ends smoothed, over uint16[n, 28, 28].

    Args:
        canvas: changed in place.
        where: the rows to draw on: bool[n, 28].
        left: int32[n, 28], eighths of a pixel.
        right: int32[n, 28]; nothing is drawn where right <= left.
        shade: 0..255, int32[n, 1] or int32[n, 28].
    """
    start = np.where(where, left, SPAN)
    stop = np.maximum(start, np.where(where, right, SPAN))
    cover = np.take(_RIGHT_OF, start, axis=0, mode="clip")
    cover -= np.take(_RIGHT_OF, stop, axis=0, mode="clip")
    canvas *= np.uint16(256) - cover
    cover *= np.broadcast_to(shade.astype(np.uint16), where.shape)[:, :, np.newaxis]
    canvas += cover
    canvas >>= np.uint16(8)


def weave(draws: Draws, canvas: Canvas) -> None:
    """Darkens the canvas in place by a fabric: plain, stripes across, stripes down, or checks."""
    kind, depth = draws.between(0, 8), draws.between(40, 150)
    lines = np.arange(SIZE, dtype=np.int32)
    factors = []
    for kinds in ((4, 6), (5, 6)):
        period, phase = draws.between(3, 8), draws.between(0, 8)
        dark = ((lines + phase) % period) * 2 < period
        chosen = (kind == kinds[0]) | (kind == kinds[1])
        factors.append((256 - np.where(dark & chosen, depth, 0)).astype(np.uint16))
    canvas *= factors[0][:, :, np.newaxis]
    canvas >>= np.uint16(8)
    canvas *= factors[1][:, np.newaxis, :]
    canvas >>= np.uint16(8)


def wear(draws: Draws, canvas: Canvas) -> None:
    """Adds grain to the cloth and, on some images, hides a patch; in place."""
    grain = draws.grain()
    grain *= draws.between(10, 110).astype(np.uint16)[:, :, np.newaxis]
    grain >>= np.uint16(8)
    np.subtract(np.uint16(256), grain, out=grain)
    canvas *= grain
    canvas >>= np.uint16(8)
    lines = np.arange(SIZE, dtype=np.int32)
    top, height = draws.between(0, SIZE), draws.between(3, 9)
    left, width = draws.between(0, SPAN), draws.between(24, 80)
    hidden = draws.chance(90) & (lines >= top) & (lines < top + height)
    paint(
        canvas,
        hidden,
        np.broadcast_to(left, hidden.shape),
        np.broadcast_to(np.minimum(left + width, SPAN), hidden.shape),
        draws.between(0, 2) * draws.between(60, 256),
    )
