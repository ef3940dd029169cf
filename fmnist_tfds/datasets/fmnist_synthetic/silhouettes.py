"""Ten drawings, one function per class: random draws -> uint16[n, 28, 28]. Imports numpy.

A garment is a few strokes per row. `t` is the height inside its frame, 0 at the top edge to 256
at the bottom; widths are fractions of 256 of the frame's half-width.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from fmnist_tfds.datasets.fmnist_synthetic import raster
from fmnist_tfds.datasets.fmnist_synthetic.raster import Canvas, Draws, Ints

Rows = npt.NDArray[np.bool_]


@dataclasses.dataclass(slots=True)
class Easel:
    """n images being drawn in frames of their own.

    Attributes:
        draws: their random streams.
        canvas: uint16[n, 28, 28], 0..255.
        t: int32[n, 28], where each row lies in the frame.
        centre: int32[n, 1], eighths of a pixel.
        half: int32[n, 1], half the frame's width, eighths of a pixel.
        shade: int32[n, 1], the main colour.
        flipped: bool[n, 1], mirrored left to right.
    """

    draws: Draws
    canvas: Canvas
    t: Ints
    centre: Ints
    half: Ints
    shade: Ints
    flipped: Rows

    @classmethod
    def start(
        cls, draws: Draws, heights: tuple[int, int], halves: tuple[int, int], *, flips: bool = False
    ) -> Easel:
        """Frames of random place and size; heights and halves are [low, high) in eighths."""
        height, half = draws.between(*heights), draws.between(*halves)
        room = raster.SPAN - height
        top = room * draws.between(64, 193) // 256
        centre = raster.SPAN // 2 + draws.between(-20, 21)
        middles = np.arange(raster.SIZE, dtype=np.int32) * raster.UNIT + raster.UNIT // 2
        canvas = np.zeros((len(draws.keys), raster.SIZE, raster.SIZE), np.uint16)
        t = (middles - top) * 256 // height
        flipped = draws.chance(128 if flips else 0)
        return cls(draws, canvas, t, centre, half, draws.between(70, 250), flipped)

    def rows(self, low: Ints | int, high: Ints | int) -> Rows:
        """The rows with low <= t < high, inside the frame."""
        return (self.t >= np.maximum(low, 0)) & (self.t < np.minimum(high, 256))

    def stroke(self, where: Rows, left: Ints, right: Ints, shade: Ints | None = None) -> None:
        """One stroke per row from left to right, in 1/256 of the half-width off the centre."""
        start, stop = np.where(self.flipped, -right, left), np.where(self.flipped, -left, right)
        raster.paint(
            self.canvas,
            where,
            np.clip(self.centre + self.half * start // 256, 0, raster.SPAN),
            np.clip(self.centre + self.half * stop // 256, 0, raster.SPAN),
            self.shade if shade is None else shade,
        )

    def both(self, where: Rows, inner: Ints, outer: Ints, shade: Ints | None = None) -> None:
        """The same stroke on both sides of the centre."""
        self.stroke(where, inner, outer, shade)
        self.stroke(where, -outer, -inner, shade)

    def erase(self, where: Rows, left: Ints, right: Ints) -> None:
        """Background from left to right."""
        self.stroke(where, left, right, np.zeros_like(self.shade))

    def contrast(self) -> Ints:
        """A shade well apart from the main one."""
        away = self.draws.between(70, 135)
        return np.where(self.shade > 150, self.shade - away, np.minimum(self.shade + away, 255))

    def finish(self) -> Canvas:
        """The canvas with fabric and wear."""
        raster.weave(self.draws, self.canvas)
        raster.wear(self.draws, self.canvas)
        return self.canvas


def profile(t: Ints, *points: tuple[int, int]) -> Ints:
    """Straight lines through the points (t, width): int32, the shape of t."""
    table = np.zeros(257, np.int32)
    for (t0, w0), (t1, w1) in itertools.pairwise(points):
        steps = np.arange(t1 - t0 + 1, dtype=np.int32)
        table[t0 : t1 + 1] = w0 + (w1 - w0) * steps // (t1 - t0)
    return np.take(table, np.clip(t, 0, 256))


def _body(easel: Easel, sleeve_end: Ints, slim: Ints, flare: Ints) -> Ints:
    """Torso and two sleeves; returns the torso's half-width."""
    t = easel.t
    torso = profile(t, (0, 70), (14, 120), (60, 128), (256, 128)) * slim // 256 + flare * t // 256
    reach = 100 + 156 * np.clip(t, 0, 256) // sleeve_end
    thick = 58 + 8000 // sleeve_end
    easel.both(easel.rows(6, sleeve_end), np.maximum(reach - thick, 0), reach)
    easel.stroke(easel.rows(0, 256), -torso, torso)
    return torso


def _neck(easel: Easel, depth: Ints, width: Ints) -> None:
    opening = width * np.clip(depth - easel.t, 0, 256) // depth
    easel.erase(easel.rows(0, depth), -opening, opening)


def _t_shirt(draws: Draws) -> Canvas:
    easel = Easel.start(draws, (165, 215), (72, 108))
    end = draws.between(58, 112)
    _body(easel, end, draws.between(225, 290), draws.between(-8, 12))
    _neck(easel, draws.between(14, 40), draws.between(34, 60))
    return easel.finish()


def _trouser(draws: Draws) -> Canvas:
    easel = Easel.start(draws, (185, 224), (40, 70))
    t, crotch = easel.t, draws.between(56, 105)
    hip = draws.between(170, 225)
    outer = hip + (draws.between(150, 256) - hip) * np.clip(t, 0, 256) // 256
    easel.stroke(easel.rows(0, 256), -outer, outer)
    gap = np.clip(t - crotch, 0, 256) * draws.between(70, 190) // 256 + 14
    easel.erase(easel.rows(crotch, 256), -gap, gap)
    return easel.finish()


def _pullover(draws: Draws) -> Canvas:
    easel = Easel.start(draws, (165, 215), (82, 112))
    torso = _body(easel, draws.between(190, 256), draws.between(225, 290), draws.between(-14, 8))
    easel.stroke(easel.rows(draws.between(228, 244), 256), -torso, torso, easel.contrast())
    _neck(easel, draws.between(10, 30), draws.between(34, 56))
    return easel.finish()


def _dress(draws: Draws) -> Canvas:
    easel = Easel.start(draws, (190, 224), (44, 84))
    t = easel.t
    flare = draws.between(-40, 130)
    skirt = np.clip(t - 90, 0, 256) * flare // 166
    figure = profile(t, (0, 100), (50, 130), (90, 92), (140, 130), (256, 140)) + skirt
    has_sleeves = draws.chance(120)
    end = draws.between(50, 190)
    reach = 110 + 110 * np.clip(t, 0, 256) // end
    easel.both(easel.rows(6, end) & has_sleeves, np.maximum(reach - 70, 0), reach)
    easel.stroke(easel.rows(0, 256), -figure, figure)
    _neck(easel, draws.between(16, 56), draws.between(40, 84))
    return easel.finish()


def _coat(draws: Draws) -> Canvas:
    easel = Easel.start(draws, (180, 224), (84, 112))
    torso = _body(easel, draws.between(180, 250), draws.between(225, 290), draws.between(-4, 26))
    lapel, seam = draws.between(60, 130), draws.between(8, 20)
    trim = easel.contrast()
    open_to = 74 * np.clip(lapel - easel.t, 0, 256) // lapel + seam
    easel.stroke(easel.rows(0, 256), -open_to, open_to, trim)
    belted = draws.chance(90)
    belt = draws.between(105, 150)
    easel.stroke(easel.rows(belt, belt + 16) & belted, -torso, torso, trim)
    return easel.finish()


def _shirt(draws: Draws) -> Canvas:
    easel = Easel.start(draws, (165, 220), (76, 110))
    long = draws.chance(190)
    end = np.where(long, draws.between(185, 250), draws.between(65, 120))
    _body(easel, end, draws.between(225, 290), draws.between(-10, 16))
    collar, trim = draws.between(24, 46), easel.contrast()
    easel.both(easel.rows(0, collar), 20 + easel.t // 3, 62 + easel.t // 3, trim)
    _neck(easel, collar, draws.between(20, 40))
    every = draws.between(34, 52)
    buttons = easel.rows(collar, 250) & (easel.t % every < every // 2)
    placket = draws.between(22, 34) + np.zeros_like(easel.t)
    easel.stroke(easel.rows(collar, 256), -placket, placket, trim)
    easel.stroke(buttons, -placket // 2, placket // 2)
    return easel.finish()


def _sandal(draws: Draws) -> Canvas:
    easel = Easel.start(draws, (80, 160), (90, 111), flips=True)
    t, heel = easel.t, draws.between(40, 215)
    low = np.clip(t - heel, 0, 256)
    ball = -256 + 512 * np.clip(246 - t, 0, 256) // np.maximum(246 - heel, 1)
    thick = 90 + 6000 // (256 - heel)
    easel.stroke(easel.rows(heel, 256), np.maximum(ball - thick, -256), np.minimum(ball + 30, 256))
    easel.stroke(easel.rows(heel, 256), 170 + low // 4, np.full_like(t, 250))
    easel.stroke(
        easel.rows(draws.between(214, 236), 256), np.full_like(t, -250), np.full_like(t, -40)
    )
    for place, top in (((-220, -120), (120, 180)), ((-70, 40), (50, 110)), ((90, 170), (0, 30))):
        at, lean, first = draws.between(*place), draws.between(-70, 90), draws.between(*top)
        middle = at + lean * (t - first) // 256
        bed = 250 - (middle + 256) * (246 - heel) // 512
        worn = draws.chance(225)
        band = draws.between(60, 120)
        easel.stroke(easel.rows(first, 250) & (t < bed) & worn, middle, middle + band)
    buckle = draws.between(4, 60)
    easel.stroke(easel.rows(buckle, buckle + 30), at, np.full_like(t, 235))
    easel.stroke(easel.rows(buckle, 250), np.full_like(t, 190), np.full_like(t, 240))
    return easel.finish()


def _shoe(easel: Easel, opening: Ints, toe: Ints) -> Ints:
    """The upper of a closed shoe, toe to the left; returns its left edge per row."""
    t = easel.t
    rise = np.clip(t - toe, 0, 256) * 256 // (256 - toe)
    left = (
        opening - (opening + 250) * profile(rise, (0, 0), (90, 165), (170, 240), (256, 256)) // 256
    )
    right = 225 + profile(t, (0, 0), (60, -18), (200, 20), (256, 25))
    easel.stroke(easel.rows(0, 256), left, right)
    return left


def _sneaker(draws: Draws) -> Canvas:
    easel = Easel.start(draws, (70, 125), (88, 111), flips=True)
    left = _shoe(easel, draws.between(-30, 110), draws.between(0, 40))
    trim = easel.contrast()
    easel.stroke(easel.rows(draws.between(190, 222), 256), left, np.full_like(left, 250), trim)
    at, lean = draws.between(-60, 90), draws.between(-150, 151)
    middle = at + lean * easel.t // 256
    where = easel.rows(draws.between(40, 100), 185) & draws.chance(190)
    easel.stroke(where, middle, middle + draws.between(20, 60), trim)
    return easel.finish()


def _bag(draws: Draws) -> Canvas:
    easel = Easel.start(draws, (120, 220), (66, 110))
    t, lid = easel.t, draws.between(40, 130)
    arch = (
        profile(np.clip(t, 0, 256) * 256 // lid, (0, 120), (40, 200), (110, 245), (256, 256))
        * draws.between(110, 225)
        // 256
    )
    band = draws.between(24, 60)
    easel.stroke(easel.rows(0, lid), -arch, arch)
    inner = arch - band
    easel.erase(easel.rows(band // 2, lid), -inner, inner)
    slant = draws.between(-60, 30)
    side = 240 + slant * np.clip(256 - t, 0, 256) // 256
    easel.stroke(easel.rows(lid, 256), -side, side)
    flap = lid + draws.between(20, 90)
    easel.stroke(easel.rows(flap, flap + 14) & draws.chance(170), -side, side, easel.contrast())
    return easel.finish()


def _ankle_boot(draws: Draws) -> Canvas:
    easel = Easel.start(draws, (130, 215), (78, 109), flips=True)
    shaft = draws.between(90, 150)
    _shoe(easel, draws.between(-20, 70), shaft)
    sole = draws.between(222, 244)
    heel = draws.between(40, 130)
    easel.erase(easel.rows(sole, 256) & draws.chance(150), heel - 110, heel)
    cuff = draws.between(14, 60)
    edge = np.full_like(easel.t, 215)
    easel.stroke(
        easel.rows(cuff, cuff + 12) & draws.chance(120), edge - 150, edge, easel.contrast()
    )
    return easel.finish()


DRAW: tuple[Callable[[Draws], Canvas], ...] = (
    _t_shirt,
    _trouser,
    _pullover,
    _dress,
    _coat,
    _sandal,
    _shirt,
    _sneaker,
    _bag,
    _ankle_boot,
)
