"""The synthetic stand-in, drawn in integer arithmetic: NOT Fashion-MNIST. Imports numpy.

Each class has four drawings of polygons. An image is one of them at some size and place, in some
shades and fabric, with grain. No floating point and no numpy.random: the same bytes on every
platform and numpy version; their digests are pinned in catalog.toml.

Source: splitmix64, https://prng.di.unimi.it/splitmix64.c (public domain).
"""

from __future__ import annotations

import itertools
import re

import numpy as np
import numpy.typing as npt

from fmnist_tfds import catalog

_Ints = npt.NDArray[np.int32]
_Keys = npt.NDArray[np.uint64]

# One drawing a line, of parts that are painted in turn: "#" cloth, "+" trim or "." background, then
# the corners x,y of a polygon in half pixels, x from the middle (-28 to 28), y from the top (0 to
# 56). Of clothes and bags this is the right half; shoes have their toes on the left.
_DRAWINGS = """
T-shirt/top
# 0,10 5,8 7,4 13,6 26,16 22,25 15,20 15,52 0,52
# 0,16 6,4 12,5 27,18 23,28 16,23 17,50 0,50|+ 0,24 8,24 8,35 0,35
# 0,15 6,13 7,4 11,4 12,14 15,19 16,52 0,52
# 0,8 8,5 14,7 25,15 24,27 18,25 14,21 13,48 0,48|+ 0,8 8,5 8,7 0,10
Trouser
# 0,2 11,2 13,14 12,55 4,55 1,18 0,18|+ 0,2 11,2 11,5 0,5
# 0,2 9,2 11,12 8,55 3,55 1,16 0,16
# 0,2 10,2 11,20 16,55 6,55 1,20 0,20|+ 0,2 10,2 10,5 0,5
# 0,3 13,3 15,20 15,55 3,55 1,22 0,22
Pullover
# 0,9 5,8 7,4 14,6 20,13 26,46 20,48 15,24 15,50 0,50|+ 0,46 15,46 15,50 0,50
# 0,2 6,2 7,6 14,8 20,14 25,46 19,48 16,26 16,51 0,51|+ 0,2 6,2 6,8 0,8
# 0,10 8,5 15,8 21,16 27,44 21,46 15,26 16,49 0,49|+ 0,22 15,22 15,27 0,27|+ 0,32 15,32 15,37 0,37
# 0,1 6,3 9,8 15,9 20,15 25,47 19,49 15,26 15,51 0,51|. 0,4 3,6 4,12 0,15|+ 0,36 9,36 12,46 0,46
Dress
# 0,13 5,11 6,2 9,2 10,12 8,24 18,55 0,55
# 0,8 5,4 10,5 18,14 14,20 9,17 8,26 14,54 0,54|+ 0,25 8,25 8,28 0,28
# 0,12 6,10 7,3 10,3 11,14 11,30 12,55 0,55
# 0,9 6,4 10,5 15,13 17,34 12,35 9,20 8,27 20,50 0,52
Coat
# 0,16 6,3 13,5 20,12 26,44 19,46 16,26 18,55 0,55|+ 0,20 2,20 8,4 5,3 0,15|. 0,20 1,20 1,55 0,55
# 0,6 6,3 14,5 21,12 27,44 20,46 16,26 16,52 0,52|. 0,4 1,4 1,52 0,52|+ 2,14 15,14 15,16 2,16|
  + 2,23 15,23 15,25 2,25|+ 2,32 15,32 15,34 2,34|+ 2,41 15,41 15,43 2,43
# 0,16 6,3 13,5 20,12 25,44 19,46 15,24 20,55 0,55|+ 0,30 15,30 16,33 0,33|+ 2,18 6,3 9,4 8,14|
  . 0,18 1,18 1,30 0,30|. 0,33 1,33 1,55 0,55
# 0,2 8,3 11,8 20,12 26,44 20,46 16,26 17,54 0,54|. 0,5 4,6 4,11 0,14|. 0,14 1,14 1,54 0,54|
  + 5,36 13,36 13,44 5,44
Sandal
# -27,42 27,38 27,43 -26,47|# -22,42 -14,30 -6,29 -4,41|. -17,42 -12,34 -9,34 -9,41|
  # 14,40 16,22 26,22 26,38 22,38 22,26 19,26 18,39
# -27,48 -14,46 -4,39 14,17 27,15 27,20 17,23 0,44 -11,52 -27,52|# 20,20 26,18 24,52 21,52|
  # -24,48 -20,38 -13,36 -9,45|. -20,47 -17,41 -14,41 -13,46|# 10,4 27,1 27,6 11,9|
  # 23,3 27,3 27,18 23,18|# 10,7 14,7 -8,44 -12,44
# -27,42 27,42 27,46 -25,46|# -24,42 -18,33 -8,31 -5,42|# 10,42 13,29 27,24 27,42|
  # 6,24 27,21 27,25 7,28|# -12,34 -10,31 8,25 9,28
# -27,44 27,32 27,48 -26,48|# -24,44 -18,34 -8,32 -6,42|+ 0,40 6,26 10,26 6,39|
  # 12,36 16,18 27,18 27,32 24,32 24,22 18,22 16,36
Shirt
# 0,10 6,3 14,6 20,13 26,46 20,48 15,24 15,52 0,52|+ 0,12 2,12 2,52 0,52|+ 0,12 5,3 9,4 5,13|
  . 0,4 3,4 0,11|. 0,20 1,20 1,22 0,22|. 0,30 1,30 1,32 0,32|. 0,40 1,40 1,42 0,42
# 0,10 6,3 13,6 24,18 20,27 15,22 15,51 0,51|+ 0,12 2,12 2,51 0,51|+ 0,12 5,3 9,4 5,13|
  . 0,4 3,4 0,11|. 0,20 1,20 1,22 0,22|. 0,30 1,30 1,32 0,32|. 0,40 1,40 1,42 0,42
# 0,10 6,3 14,6 19,13 24,46 18,48 14,24 15,46 10,54 0,54|+ 5,20 11,20 11,29 5,29|
  . 0,12 1,12 1,54 0,54|+ 0,12 5,3 9,4 5,13|. 0,4 3,4 0,11
# 0,10 6,3 13,6 24,16 20,26 15,21 15,50 0,50|+ 0,11 5,3 9,4 5,12|+ 0,12 2,12 2,24 0,24
Sneaker
# -27,40 -26,34 -18,31 -4,21 2,18 8,22 18,22 24,17 27,20 27,40|+ -28,40 28,40 28,46 -26,46|
  + -12,28 -8,25 -2,31 -5,33|+ -5,23 -1,20 5,28 2,30
# -27,38 -24,33 -10,28 0,20 8,18 24,20 27,24 27,40 -27,40|+ -28,40 28,38 28,45 -27,45|
  + 0,38 14,26 22,26 20,30 6,38
# -27,40 -27,36 -20,30 -6,26 2,16 26,16 27,40|+ -28,40 28,40 28,44 -28,44|
  + -27,40 -27,36 -20,30 -16,29 -14,40
# -27,38 -22,32 -6,26 2,20 12,24 20,22 25,16 28,22 27,40 -25,42|+ -27,42 27,38 28,46 -24,47|
  + 4,38 8,26 11,26 8,38|+ 12,38 16,26 19,26 16,38
Bag
# 0,4 8,5 13,11 15,26 0,26|. 0,8 6,9 9,13 11,26 0,26|# 0,24 21,24 24,52 0,52|+ 0,36 24,36 24,39 0,39
# 8,6 11,6 12,22 9,22|# 8,6 8,9 0,9 0,6|# 0,20 24,20 21,53 0,53
# 0,22 24,22 26,48 0,48|+ 0,22 24,22 14,36 0,38|. 0,36 2,36 2,40 0,40
# 0,8 14,8 22,18 23,28 20,28 18,19 12,12 0,12|# 0,26 25,26 25,46 0,46|+ 0,26 25,26 25,34 0,34
Ankle boot
# -27,46 -26,38 -16,34 -5,28 -2,6 20,6 21,24 25,46|+ -28,46 25,46 25,51 12,51 11,49 -28,50
# -27,50 -24,42 -10,36 2,22 4,5 24,5 25,30 26,52 21,52 20,42 8,42 -8,51|+ 4,5 24,5 24,9 4,9
# -27,46 -26,37 -14,32 -4,24 -4,8 22,8 22,26 24,46|+ -28,46 25,46 25,50 -28,50|+ 4,8 14,8 11,28 7,28
# -27,46 -27,36 -14,32 -6,24 -5,5 20,3 22,24 25,46|+ -28,46 26,46 26,52 10,52 9,49 -28,51|
  + -6,22 4,20 4,22 -6,25|+ -5,16 4,14 4,16 -5,19|+ -5,10 4,8 4,10 -5,13
"""
_SHOES = (5, 7, 9)  # labels
_PALETTES = ((0, 255, 120), (0, 150, 255), (0, 240, 195))  # background, cloth, trim
_SIZE = 28
_FINE = 12  # points of a drawing per pixel, across and down
_SPAN = _SIZE * _FINE
_SEEDS: dict[catalog.Split, int] = {"train": 0x5EED_0001, "test": 0x5EED_0002}


def generate(split: catalog.Split) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """The images and labels of one split.

    Returns:
        images uint8[n, 28, 28], 0..255, and labels uint8[n], 0..9, in shuffled order, every class
        equally often; n is 60,000 ("train") or 10,000 ("test").
    """
    count = catalog.FASHION_MNIST_SYNTHETIC.part(split, "labels").shape[0]
    # The upper half of a key is the split, so that the streams of the splits cannot meet.
    keys = mix(np.arange(count, dtype=np.uint64) + np.uint64(_SEEDS[split] << 32))
    labels = (np.argsort(keys, kind="stable") % catalog.NUM_CLASSES).astype(np.uint8)
    images = np.empty((count, _SIZE, _SIZE), np.uint8)
    _, *blocks = re.split(r"(?m)^[A-Z].*\n", _DRAWINGS.replace("|\n", "|"))
    for label, block in enumerate(blocks):
        sheets = _sheets(block.splitlines(), is_mirrored=label not in _SHOES)
        sheet_of = keys % np.uint64(len(sheets))
        for number, sheet in enumerate(sheets):
            # About 500 images: what they need while they are made stays in the cache.
            chosen = np.flatnonzero((labels == label) & (sheet_of == number))
            images[chosen] = _images(sheet, keys[chosen], flips=label in _SHOES)
    return images, labels


def mix(counters: _Keys) -> _Keys:
    """The splitmix64 outputs at those counters: uint64, any shape."""
    z = (counters + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def _sheets(drawings: list[str], *, is_mirrored: bool) -> list[_Ints]:
    """Each drawing in each palette, as sums over the points above and left: int32[337 * 337]."""
    sheets = []
    for drawing in drawings:
        tones = np.zeros((_SPAN, _SPAN), np.int8)
        for part in drawing.split("|"):
            tone, *corners = part.replace(",", " ").split()
            inside = _inside(np.array(corners, np.int32).reshape(-1, 2))
            tones[inside | inside[:, ::-1] if is_mirrored else inside] = ".#+".index(tone)
        for palette in _PALETTES:
            sums = np.zeros((_SPAN + 1, _SPAN + 1), np.int32)
            shades = np.array(palette, np.int32)[tones]
            np.cumsum(np.cumsum(shades, axis=0, dtype=np.int32), axis=1, out=sums[1:, 1:])
            sheets.append(sums.reshape(-1))
    return sheets


def _inside(corners: _Ints) -> npt.NDArray[np.bool_]:
    """The points inside the polygon with those corners, int32[n, 2]: bool[336, 336]."""
    edges = np.zeros((_SPAN, _SPAN + 1), bool)
    places = (corners + np.array([_SIZE, 0], np.int32)) * _FINE // 2
    for start, stop in zip(places, np.roll(places, -1, axis=0), strict=True):
        (x0, y0), (x1, y1) = sorted((start.tolist(), stop.tolist()), key=lambda corner: corner[1])
        rows = np.arange(y0, y1)
        edges[rows, x0 + (x1 - x0) * (rows - y0) // max(y1 - y0, 1)] ^= True
    # A point is inside where the edges left of it are odd in number.
    return np.logical_xor.accumulate(edges, axis=1)[:, :-1]


def _images(sheet: _Ints, keys: _Keys, *, flips: bool) -> npt.NDArray[np.uint16]:
    """One image per key: uint16[n, 28, 28], 0..255."""
    lanes = itertools.count()

    def draw(low: int, high: int) -> _Ints:
        """The next random integer of each image, in [low, high): int32[n, 1, 1]."""
        words = mix(keys + np.uint64(next(lanes))) >> np.uint64(32)
        drawn = (words * np.uint64(high - low)) >> np.uint64(32)
        return (drawn.astype(np.int32) + np.int32(low))[:, np.newaxis, np.newaxis]

    # A pixel covers height x width points of the sheet: the larger, the smaller the garment.
    height, width = draw(11, 18), draw(11, 18)
    lines = np.arange(_SIZE + 1, dtype=np.int32)
    rows = _SPAN // 2 + draw(-30, 31) + height * (lines[:, np.newaxis] - _SIZE // 2)
    columns = _SPAN // 2 + draw(-30, 31) + width * (lines - _SIZE // 2)
    corners = np.clip(rows, 0, _SPAN) * np.int32(_SPAN + 1) + np.clip(columns, 0, _SPAN)
    sums = np.diff(np.diff(sheet.take(corners), axis=1), axis=2)
    shade = draw(90, 257) * 256 // (height * width)
    canvas = ((sums * shade) >> 16).astype(np.uint16)
    if flips:
        canvas = np.where(draw(0, 2) == 1, canvas[:, :, ::-1], canvas)
    # Fabric: plain, stripes across (kind 4), stripes down (5), or checks (6).
    kind, depth = draw(0, 8), draw(30, 110)
    for kinds, places in (((4, 6), lines[:-1, np.newaxis]), ((5, 6), lines[:-1])):
        period, phase = draw(3, 8), draw(0, 8)
        is_dark = ((places + phase) % period * 2 < period) & np.isin(kind, kinds)
        canvas *= (256 - is_dark * depth).astype(np.uint16)
        canvas >>= np.uint16(8)
    grain = _grain(keys) * draw(10, 90).astype(np.uint16)
    canvas *= np.uint16(256) - (grain >> np.uint16(8))
    return canvas >> np.uint16(8)


def _grain(keys: _Keys) -> npt.NDArray[np.uint16]:
    """One random byte per pixel: uint16[n, 28, 28] in 0..255."""
    offsets = np.arange(_SIZE * _SIZE // 8, dtype=np.uint64) + np.uint64(1 << 20)
    bits = mix(keys[:, np.newaxis] + offsets)
    # Little-endian on every machine, so that the bytes stand in the same order.
    return bits.astype("<u8").view(np.uint8).reshape(-1, _SIZE, _SIZE).astype(np.uint16)
