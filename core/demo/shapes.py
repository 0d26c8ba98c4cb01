"""Draw the ten objects of a scene, each in its own unit box.

x runs from the object's middle, y from the ground up, and 1 is the object's height. Only flat shapes and two or
three tones: a token of the model covers 16 px, so finer detail would be lost.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from PIL import Image, ImageDraw

Color = tuple[int, int, int]

# Height as a part of the shorter side of the image.
HEIGHTS = {
    "house": 0.46, "tree": 0.52, "lighthouse": 0.64, "sailboat": 0.54, "balloon": 0.56,
    "car": 0.36, "windmill": 0.60, "castle": 0.46, "tent": 0.42, "rocket": 0.62,
}  # fmt: skip

DARK: Color = (52, 46, 66)
BROWN: Color = (112, 72, 48)
CREAM: Color = (255, 244, 214)
GLOW: Color = (255, 224, 120)
GLASS: Color = (186, 226, 246)


def shade(color: Color, factor: float) -> Color:
    """Return a darker color for a factor below 1, a lighter one above."""
    if factor <= 1:
        return tuple(round(c * factor) for c in color)  # type: ignore[return-value]
    return tuple(round(c + (255 - c) * (factor - 1)) for c in color)  # type: ignore[return-value]


class Pen:
    """Draws unit-box shapes on an image, and the same shapes on a mask from which outline and shadow are made."""

    def __init__(self, image: Image.Image, mask: Image.Image, x: float, y: float, height: float) -> None:
        self._draws = (ImageDraw.Draw(image), ImageDraw.Draw(mask))
        self._x, self._y, self._height = x, y, height

    def _at(self, x: float, y: float) -> tuple[float, float]:
        return self._x + x * self._height, self._y - y * self._height

    def poly(self, points: list[tuple[float, float]], color: Color) -> None:
        """Draw a filled polygon of unit-box points (x to the right, y upwards)."""
        pixels = [self._at(*p) for p in points]
        self._draws[0].polygon(pixels, fill=color)
        self._draws[1].polygon(pixels, fill=255)

    def rect(self, x0: float, y0: float, x1: float, y1: float, color: Color) -> None:
        """Draw a filled rectangle between two corners."""
        self.poly([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], color)

    def ellipse(self, x: float, y: float, rx: float, ry: float, color: Color) -> None:
        """Draw a filled ellipse around (x, y) with radii rx and ry."""
        box = [*self._at(x - rx, y + ry), *self._at(x + rx, y - ry)]
        self._draws[0].ellipse(box, fill=color)
        self._draws[1].ellipse(box, fill=255)


def _house(pen: Pen, color: Color) -> None:
    pen.rect(0.24, 0.6, 0.38, 0.95, shade(color, 0.5))
    pen.rect(-0.5, 0, 0.5, 0.56, color)
    pen.rect(0.2, 0, 0.5, 0.56, shade(color, 0.84))
    pen.poly([(-0.64, 0.52), (0, 1), (0.64, 0.52)], shade(color, 0.55))
    pen.rect(-0.1, 0, 0.1, 0.32, BROWN)
    pen.rect(-0.4, 0.2, -0.2, 0.4, GLOW)
    pen.rect(0.2, 0.2, 0.4, 0.4, GLOW)


def _tree(pen: Pen, color: Color) -> None:
    pen.poly([(-0.1, 0), (0.1, 0), (0.06, 0.45), (-0.06, 0.45)], BROWN)
    pen.ellipse(0.2, 0.52, 0.24, 0.22, shade(color, 0.8))
    pen.ellipse(-0.2, 0.52, 0.24, 0.22, shade(color, 0.92))
    pen.ellipse(0.02, 0.68, 0.33, 0.32, color)
    pen.ellipse(-0.08, 0.76, 0.16, 0.14, shade(color, 1.18))


def _lighthouse(pen: Pen, color: Color) -> None:
    def side(y: float) -> float:
        return 0.2 - 0.11 * y

    pen.poly([(-side(0), 0), (side(0), 0), (side(0.74), 0.74), (-side(0.74), 0.74)], color)
    for low, high in ((0.2, 0.31), (0.46, 0.57)):
        pen.poly([(-side(low), low), (side(low), low), (side(high), high), (-side(high), high)], shade(color, 0.66))
    pen.rect(-0.18, 0.72, 0.18, 0.77, DARK)
    pen.rect(-0.1, 0.77, 0.1, 0.89, GLOW)
    pen.poly([(-0.15, 0.88), (0, 1), (0.15, 0.88)], shade(color, 0.6))


def _sailboat(pen: Pen, color: Color) -> None:
    pen.rect(-0.025, 0.15, 0.025, 1, DARK)
    pen.poly([(0.05, 0.25), (0.05, 0.98), (0.46, 0.25)], color)
    pen.poly([(-0.05, 0.25), (-0.05, 0.86), (-0.38, 0.25)], shade(color, 0.8))
    pen.poly([(-0.52, 0.19), (0.52, 0.19), (0.34, 0), (-0.36, 0)], BROWN)


def _balloon(pen: Pen, color: Color) -> None:
    for x in (-0.08, 0.08):
        pen.poly([(x - 0.012, 0.1), (x + 0.012, 0.1), (x + 0.012, 0.3), (x - 0.012, 0.3)], DARK)
    pen.poly([(-0.32, 0.5), (0.32, 0.5), (0.1, 0.2), (-0.1, 0.2)], shade(color, 0.82))
    pen.ellipse(0, 0.65, 0.36, 0.35, shade(color, 0.82))
    pen.poly([(-0.19, 0.5), (0.19, 0.5), (0.06, 0.2), (-0.06, 0.2)], color)
    pen.ellipse(0, 0.65, 0.22, 0.35, color)
    pen.rect(-0.11, 0, 0.11, 0.13, BROWN)


def _car(pen: Pen, color: Color) -> None:
    pen.poly([(-0.5, 0.5), (-0.34, 0.98), (0.3, 0.98), (0.56, 0.5)], color)
    pen.poly([(-0.36, 0.56), (-0.26, 0.86), (-0.03, 0.86), (-0.03, 0.56)], GLASS)
    pen.poly([(0.06, 0.56), (0.06, 0.86), (0.24, 0.86), (0.4, 0.56)], GLASS)
    pen.poly([(-0.82, 0.2), (0.84, 0.2), (0.84, 0.42), (0.66, 0.58), (-0.74, 0.58), (-0.82, 0.46)], color)
    pen.rect(-0.82, 0.18, 0.84, 0.3, shade(color, 0.72))
    for x in (-0.46, 0.48):
        pen.ellipse(x, 0.2, 0.2, 0.2, DARK)
        pen.ellipse(x, 0.2, 0.09, 0.09, (200, 204, 214))


def _windmill(pen: Pen, color: Color) -> None:
    pen.poly([(-0.25, 0), (0.25, 0), (0.14, 0.6), (-0.14, 0.6)], color)
    pen.poly([(0.06, 0), (0.25, 0), (0.14, 0.6), (0.04, 0.6)], shade(color, 0.82))
    pen.ellipse(0, 0.6, 0.16, 0.12, shade(color, 0.55))
    pen.rect(-0.07, 0, 0.07, 0.2, BROWN)
    for quarter in range(4):
        angle = math.pi / 4 + quarter * math.pi / 2
        _blade(pen, math.cos(angle), math.sin(angle))
    pen.ellipse(0, 0.62, 0.05, 0.05, DARK)


def _blade(pen: Pen, cos: float, sin: float) -> None:
    def box(a0: float, b0: float, a1: float, b1: float) -> list[tuple[float, float]]:
        """a runs along the blade, b across it."""
        corners = ((a0, b0), (a1, b0), (a1, b1), (a0, b1))
        return [(a * cos - b * sin, 0.62 + a * sin + b * cos) for a, b in corners]

    pen.poly(box(0, -0.02, 0.5, 0.02), DARK)
    pen.poly(box(0.1, 0, 0.5, 0.13), CREAM)


def _castle(pen: Pen, color: Color) -> None:
    pen.rect(-0.16, 0.3, 0.16, 0.72, shade(color, 0.82))
    pen.poly([(-0.22, 0.7), (0, 1), (0.22, 0.7)], shade(color, 0.5))
    pen.rect(-0.4, 0, 0.4, 0.46, color)
    for x in (-0.24, -0.08, 0.08):
        pen.rect(x + 0.02, 0.44, x + 0.14, 0.53, color)
    for x in (-0.46, 0.46):
        pen.rect(x - 0.14, 0, x + 0.14, 0.62, shade(color, 0.92))
        pen.poly([(x - 0.19, 0.6), (x, 0.86), (x + 0.19, 0.6)], shade(color, 0.5))
        pen.rect(x - 0.05, 0.38, x + 0.05, 0.52, GLOW)
    pen.rect(-0.11, 0, 0.11, 0.22, DARK)
    pen.ellipse(0, 0.22, 0.11, 0.1, DARK)


def _tent(pen: Pen, color: Color) -> None:
    pen.poly([(-0.7, 0), (0, 1), (0.7, 0)], color)
    pen.poly([(0, 1), (0.7, 0), (0.2, 0)], shade(color, 0.78))
    pen.poly([(-0.2, 0), (0, 0.66), (0.2, 0)], DARK)
    pen.poly([(-0.1, 0), (0, 0.34), (0.1, 0)], GLOW)


def _rocket(pen: Pen, color: Color) -> None:
    pen.poly([(-0.12, 0.2), (0, 0), (0.12, 0.2)], (255, 150, 40))
    for sign in (-1, 1):
        pen.poly([(sign * 0.1, 0.44), (sign * 0.33, 0.1), (sign * 0.1, 0.16)], shade(color, 0.6))
    pen.ellipse(0, 0.55, 0.18, 0.45, color)
    pen.rect(-0.13, 0.15, 0.13, 0.3, color)
    # The nose is the top of the same ellipse in a darker tone.
    tip = [(0.18 * math.cos(a), 0.55 + 0.45 * math.sin(a)) for a in (math.pi * k / 24 for k in range(6, 19))]
    pen.poly(tip, shade(color, 0.6))
    pen.ellipse(0, 0.58, 0.1, 0.1, DARK)
    pen.ellipse(0, 0.58, 0.07, 0.07, GLASS)


SHAPES: dict[str, Callable[[Pen, Color], None]] = {
    "house": _house,
    "tree": _tree,
    "lighthouse": _lighthouse,
    "sailboat": _sailboat,
    "balloon": _balloon,
    "car": _car,
    "windmill": _windmill,
    "castle": _castle,
    "tent": _tent,
    "rocket": _rocket,
}
