"""Paint a scene: sky, sun or moon, clouds, mountains, ground, objects, rain or snow, from back to front.

Flat poster style. Painted at twice the size and reduced, so every edge is anti-aliased. The layout is given in
parts of width and height, objects in parts of the shorter side, so that any ratio looks composed.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from core.demo.scenes import NONE, Scene
from core.demo.shapes import HEIGHTS, SHAPES, Color, Pen, shade

SUPERSAMPLE = 2
HORIZON = 0.62
CELESTIAL_RADIUS = 0.085  # of the shorter side

# Top, middle and horizon of the sky.
SKIES: dict[str, tuple[Color, Color, Color]] = {
    "dawn": ((122, 158, 222), (238, 178, 200), (255, 226, 186)),
    "day": ((52, 140, 230), (120, 190, 244), (204, 234, 250)),
    "sunset": ((92, 52, 128), (230, 92, 88), (255, 186, 92)),
    "night": ((12, 18, 52), (26, 40, 92), (62, 84, 146)),
}
# What the light of the hour leaves of the colours of the ground, and of the objects (which stay readable).
GROUND_LIGHT = {
    "dawn": (1.0, 0.92, 0.94),
    "day": (1.0, 1.0, 1.0),
    "sunset": (0.98, 0.78, 0.70),
    "night": (0.42, 0.49, 0.70),
}
OBJECT_LIGHT = {
    "dawn": (1.0, 1.0, 1.0),
    "day": (1.0, 1.0, 1.0),
    "sunset": (1.0, 0.95, 0.93),
    "night": (0.94, 0.94, 1.0),
}
MOUNTAIN_COLORS = {"dawn": (142, 128, 172), "day": (98, 124, 164), "sunset": (112, 62, 108), "night": (34, 46, 92)}
CLOUD_COLORS = {"dawn": (255, 236, 230), "day": (255, 255, 255), "sunset": (255, 206, 176), "night": (104, 118, 166)}

# Far and near.
GROUND_COLORS: dict[str, tuple[Color, Color]] = {
    "meadow": ((150, 204, 98), (64, 150, 70)),
    "desert": ((246, 212, 146), (222, 164, 92)),
    "snow": ((250, 252, 255), (214, 228, 244)),
    "sea": ((96, 178, 220), (22, 88, 164)),
    "lavender": ((186, 150, 226), (126, 84, 186)),
}
OBJECT_COLORS: dict[str, Color] = {
    "red": (218, 36, 42),
    "orange": (246, 132, 24),
    "yellow": (252, 212, 44),
    "green": (38, 156, 76),
    "blue": (34, 94, 214),
    "purple": (132, 52, 188),
    "pink": (250, 140, 188),
    "white": (248, 248, 250),
}
POSITIONS = {"left": 0.30, "centre": 0.5, "right": 0.70}

# Fixed places (parts of width and of sky height): the model learns them as part of the style.
STARS = (
    (0.06, 0.12), (0.15, 0.42), (0.22, 0.16), (0.33, 0.34), (0.40, 0.08), (0.48, 0.26), (0.57, 0.12),
    (0.63, 0.40), (0.71, 0.20), (0.80, 0.08), (0.86, 0.36), (0.94, 0.18), (0.03, 0.58), (0.97, 0.56),
)  # fmt: skip
CLOUDS = ((0.14, 0.19, 1.0), (0.40, 0.10, 0.8), (0.64, 0.12, 0.8), (0.90, 0.23, 0.95))
PEAKS = ((0.02, 0.16), (0.22, 0.27), (0.45, 0.19), (0.70, 0.30), (0.95, 0.20))


@dataclass(frozen=True)
class Placed:
    """An object of a scene: where its middle and its foot stand, in parts of width and height, and its scale."""

    kind: str
    color: str
    x: float
    y: float
    scale: float


@dataclass(frozen=True)
class Layout:
    """Where the parts of an image stand: the objects from back to front, sun or moon, and which of CLOUDS are drawn."""

    objects: tuple[Placed, ...]
    celestial: tuple[float, float]
    clouds: tuple[int, ...]


def layout(scene: Scene) -> Layout:
    """Return where a scene that is drawn by itself has its parts."""
    x = _celestial_x(scene)
    if scene.kind2 != NONE:
        # The second object is the smaller one and stands a little further back.
        first, second = (0.27, 0.76) if scene.position == "left" else (0.73, 0.24)
        objects: tuple[Placed, ...] = (
            Placed(scene.kind2, scene.color2, second, 0.72, 0.74),
            Placed(scene.kind, scene.color, first, 0.82, 0.9),
        )
    else:
        objects = (Placed(scene.kind, scene.color, POSITIONS[scene.position], 0.82, 1.0),)
    # Sun and moon stay in sight; without one, one gap keeps the sky from being full.
    gap = 0.40 if scene.celestial == NONE else x
    return Layout(
        objects, celestial_centre(scene), tuple(n for n, cloud in enumerate(CLOUDS) if clear_of(cloud[0], gap))
    )


def clear_of(cloud: float, gap: float) -> bool:
    """Return whether a cloud, by its middle in parts of the width, leaves `gap` free."""
    return abs(cloud - gap) >= 0.23


def render(scene: Scene, width: int, height: int, rng: random.Random) -> Image.Image:
    """Return the image of `scene`, width x height, RGB."""
    return paint(scene, layout(scene), width, height, lambda part: rng)


def paint(scene: Scene, places: Layout, width: int, height: int, jitter: Callable[[str], random.Random]) -> Image.Image:
    """Return the image of `scene` with its parts at their `places`, width x height, RGB.

    `jitter` gives the generator of a part's small differences by its name: one generator for each part draws two
    scenes alike but for what they differ in.
    """
    w, h = width * SUPERSAMPLE, height * SUPERSAMPLE
    canvas = _sky(scene, w, h)
    if scene.time == "night" and scene.weather == "clear":
        _stars(canvas, min(w, h))
    if scene.celestial != NONE:
        canvas = _celestial(canvas, scene, places.celestial, jitter("celestial"))
    if scene.weather != "clear":
        _clouds(canvas, scene, places.clouds, jitter)
    if scene.mountains != NONE:
        _mountains(canvas, scene, jitter("mountains"))
    _ground(canvas, scene, jitter("ground"))
    for placed in places.objects:
        _object(canvas, scene, placed, jitter(placed.kind))
    if scene.weather in ("rain", "snow"):
        canvas = _falling(canvas, scene, jitter("weather"))
    return canvas.reduce(SUPERSAMPLE)


def _lit(color: Color, light: tuple[float, float, float]) -> Color:
    return tuple(round(c * k) for c, k in zip(color, light, strict=True))  # type: ignore[return-value]


def _mix(a: Color, b: Color, part: float) -> Color:
    return tuple(round(x + (y - x) * part) for x, y in zip(a, b, strict=True))  # type: ignore[return-value]


def _gradient(stops: list[tuple[float, Color]], w: int, h: int) -> Image.Image:
    at = np.linspace(0, 1, h)
    columns = [np.interp(at, [s[0] for s in stops], [s[1][c] for s in stops]) for c in range(3)]
    column = np.stack(columns, -1).round().astype(np.uint8)
    return Image.fromarray(np.ascontiguousarray(np.broadcast_to(column[:, None], (h, w, 3))))


def _sky(scene: Scene, w: int, h: int) -> Image.Image:
    grey: Color = {"rain": (96, 106, 124), "snow": (190, 200, 218)}.get(scene.weather, (0, 0, 0))
    part = {"rain": 0.40, "snow": 0.25}.get(scene.weather, 0.0) * (0.6 if scene.time == "night" else 1)
    top, middle, low = (_mix(color, grey, part) for color in SKIES[scene.time])
    return _gradient([(0, top), (HORIZON * 0.55, middle), (HORIZON, low), (1, low)], w, h)


def _stars(canvas: Image.Image, unit: int) -> None:
    pen = ImageDraw.Draw(canvas)
    for index, (x, y) in enumerate(STARS):
        r = unit * (0.008 if index % 3 else 0.011)
        cx, cy = x * canvas.width, y * HORIZON * canvas.height
        pen.ellipse([cx - r, cy - r, cx + r, cy + r], fill=(240, 240, 255))


def _celestial_x(scene: Scene) -> float:
    """Return the free part of the sky: opposite a single object, in the middle between two."""
    if scene.kind2 != NONE:
        return 0.5
    return {"left": 0.76, "centre": 0.84, "right": 0.24}[scene.position]


def celestial_centre(scene: Scene) -> tuple[float, float]:
    """Return where sun and moon stand, as shares of width and height, but for a jitter of 0.01."""
    return _celestial_x(scene), {"sunset": 0.36, "dawn": 0.32}.get(scene.time, 0.2)


def _celestial(canvas: Image.Image, scene: Scene, centre: tuple[float, float], rng: random.Random) -> Image.Image:
    w, h, unit = canvas.width, canvas.height, min(canvas.size)
    x, y = centre
    cx = (x + rng.uniform(-0.01, 0.01)) * w
    cy = (y + rng.uniform(-0.01, 0.01)) * h
    radius = CELESTIAL_RADIUS * unit
    if scene.celestial == "moon":
        glow, body, reach = (200, 214, 255), (250, 246, 222), 2.4
    else:
        body = {"dawn": (255, 240, 170), "day": (255, 236, 110), "sunset": (255, 226, 120)}[scene.time]
        glow, reach = _mix(body, (255, 255, 255), 0.3), 2.8
    ys, xs = np.ogrid[:h, :w]
    distance = np.sqrt((xs - cx) ** 2 + (ys - cy) ** 2) / (radius * reach)
    halo = Image.fromarray((np.clip(1 - distance, 0, 1) ** 1.5 * 170).astype(np.uint8))
    canvas = Image.composite(Image.new("RGB", canvas.size, glow), canvas, halo)
    disc = Image.new("L", canvas.size)
    pen = ImageDraw.Draw(disc)
    pen.ellipse([cx - radius, cy - radius, cx + radius, cy + radius], fill=255)
    if scene.celestial == "moon":
        bx, by, r = cx + radius * 0.48, cy - radius * 0.3, radius * 0.86
        pen.ellipse([bx - r, by - r, bx + r, by + r], fill=0)
    canvas.paste(body, mask=disc)
    return canvas


def _clouds(canvas: Image.Image, scene: Scene, drawn: tuple[int, ...], jitter: Callable[[str], random.Random]) -> None:
    w, h, unit = canvas.width, canvas.height, min(canvas.size)
    color = CLOUD_COLORS[scene.time]
    if scene.weather == "rain":
        color = _mix(color, (70, 78, 98), 0.6)
    pen = ImageDraw.Draw(canvas)
    for number in drawn:
        (x, y, size), rng = CLOUDS[number], jitter(f"cloud {number}")
        cx, cy = (x + rng.uniform(-0.03, 0.03)) * w, (y + rng.uniform(-0.01, 0.01)) * h
        s = unit * 0.15 * size
        for tone, dy in ((shade(color, 0.9), 0.05), (color, 0.0)):
            for dx, up, r in ((-0.75, 0.0, 0.42), (-0.1, 0.28, 0.62), (0.6, 0.08, 0.48)):
                px, py, pr = cx + dx * s, cy + (dy * 2 - up) * s, r * s
                pen.ellipse([px - pr, py - pr, px + pr, py + pr], fill=tone)
            pen.rounded_rectangle(
                [cx - 1.3 * s, cy + dy * 2 * s, cx + 1.2 * s, cy + (0.42 + dy * 2) * s], 0.2 * s, fill=tone
            )


def _mountains(canvas: Image.Image, scene: Scene, rng: random.Random) -> None:
    w, h = canvas.size
    base = HORIZON * h + 2
    color = MOUNTAIN_COLORS[scene.time]
    light = _mix(SKIES[scene.time][2], (255, 255, 255), 0.75 if scene.time != "night" else 0.35)
    pen = ImageDraw.Draw(canvas)
    peaks = [(x + rng.uniform(-0.02, 0.02), y + rng.uniform(-0.015, 0.015)) for x, y in PEAKS]
    for index in (1, 3, 0, 2, 4):
        x, tall = peaks[index]
        top, half = base - tall * h, tall * h * 0.95
        tone = shade(color, 1.12) if index in (1, 3) else color
        pen.polygon([(x * w - half, base), (x * w, top), (x * w + half, base)], fill=tone)
        pen.polygon([(x * w, top), (x * w + half, base), (x * w + half * 0.25, base)], fill=shade(tone, 0.86))
        if scene.mountains == "snowy":
            cap = 0.42
            low = top + cap * (base - top)
            edge = [(x * w + half * cap * k, low - (0.1 * (base - top) if i % 2 else 0))
                    for i, k in enumerate((1, 0.45, 0, -0.5, -1))]  # fmt: skip
            pen.polygon([(x * w, top), *edge], fill=light)


def _ground(canvas: Image.Image, scene: Scene, rng: random.Random) -> None:
    w, h = canvas.size
    light = GROUND_LIGHT[scene.time]
    far, near = (_lit(color, light) for color in GROUND_COLORS[scene.ground])
    y0 = round(HORIZON * h)
    canvas.paste(_gradient([(0, far), (1, near)], w, h - y0), (0, y0))
    pen = ImageDraw.Draw(canvas)
    depth = h - y0
    if scene.ground == "sea":
        foam = _mix(far, (255, 255, 255), 0.45)
        for x, y, length in ((0.12, 0.14, 0.2), (0.6, 0.2, 0.26), (0.28, 0.42, 0.28), (0.86, 0.5, 0.26),
                             (0.1, 0.72, 0.3), (0.62, 0.84, 0.36)):  # fmt: skip
            thick = depth * (0.02 + 0.03 * y)
            pen.rounded_rectangle(
                [(x - length / 2) * w, y0 + y * depth, (x + length / 2) * w, y0 + y * depth + thick],
                thick / 2,
                fill=foam,
            )
    elif scene.ground == "lavender":
        # Rows that run towards the vanishing point.
        green = _lit((104, 156, 92), light)
        for k in range(-7, 8):
            x = 0.5 * w + k * 0.22 * h
            pen.polygon(
                [(0.5 * w + k * 0.075 * h, y0), (x + 0.07 * h, h), (x - 0.02 * h, h)], fill=_mix(near, green, 0.75)
            )
    else:
        # Two rolling hills in front; only their height varies.
        for cx, top, tone in ((0.18, 0.34, _mix(far, near, 0.55)), (0.86, 0.52, shade(near, 0.97))):
            top = y0 + (top + rng.uniform(-0.03, 0.03)) * depth
            pen.ellipse([(cx - 0.95) * w, top, (cx + 0.95) * w, top + 3 * depth], fill=tone)


def _object(canvas: Image.Image, scene: Scene, placed: Placed, rng: random.Random) -> None:
    w, h, unit = canvas.width, canvas.height, min(canvas.size)
    kind = placed.kind
    size = HEIGHTS[kind] * unit * placed.scale * rng.uniform(0.97, 1.03)
    cx, ground = (placed.x + rng.uniform(-0.015, 0.015)) * w, (placed.y + rng.uniform(-0.008, 0.008)) * h
    _footing(canvas, scene, kind, cx, ground, size)
    base = ground - 0.10 * unit if kind == "balloon" else ground
    layer, mask = canvas.copy(), Image.new("L", canvas.size)
    tone = _lit(OBJECT_COLORS[placed.color], OBJECT_LIGHT[scene.time])
    SHAPES[kind](Pen(layer, mask, cx, base, size), tone)
    # A thin dark rim keeps white on snow and green on meadow readable.
    rim, r = mask, max(2, round(0.006 * unit))
    for dx, dy in ((r, 0), (-r, 0), (0, r), (0, -r)):
        rim = ImageChops.lighter(rim, mask.transform(mask.size, Image.Transform.AFFINE, (1, 0, dx, 0, 1, dy)))
    canvas.paste(_mix((36, 32, 60), tone, 0.2), mask=rim)
    canvas.paste(layer, mask=mask)


def _footing(canvas: Image.Image, scene: Scene, kind: str, cx: float, ground: float, size: float) -> None:
    """Draw what an object stands on: a shadow, an island in the sea, a pond for a boat on land."""
    light = GROUND_LIGHT[scene.time]
    pen = ImageDraw.Draw(canvas)
    rx = size * {"car": 0.95, "house": 0.72, "castle": 0.78, "tent": 0.82, "sailboat": 0.75}.get(kind, 0.46)

    def patch(wide: float, color: Color, dy: float = 0.0, flat: float = 0.22) -> None:
        ry = rx * wide * flat
        pen.ellipse([cx - rx * wide, ground - ry + dy, cx + rx * wide, ground + ry + dy], fill=color)

    dark = _mix(_lit(GROUND_COLORS[scene.ground][1], light), (20, 20, 50), 0.35)
    if kind == "sailboat" and scene.ground != "sea":
        patch(1.12, _lit((96, 170, 214), light))
        patch(0.7, _lit((50, 120, 190), light))
    elif kind in ("balloon", "sailboat") or scene.ground != "sea":
        patch(1.0, dark, flat=0.13)
    else:
        patch(1.3, _lit((232, 200, 132), light))
        patch(1.3 * 0.86, _lit((124, 178, 92), light), dy=-rx * 0.06)


def _falling(canvas: Image.Image, scene: Scene, rng: random.Random) -> Image.Image:
    """Rain as slanted streaks, snow as soft flakes, on a lattice that is only shifted a little."""
    w, h, unit = canvas.width, canvas.height, min(canvas.size)
    step = 0.135 * unit
    sx, sy = rng.uniform(-0.1, 0.1) * step, rng.uniform(-0.1, 0.1) * step
    mask = Image.new("L", canvas.size)
    pen = ImageDraw.Draw(mask)
    for row in range(-1, int(h / step) + 2):
        for column in range(-1, int(w / step) + 2):
            x = sx + (column + 0.5 * (row % 2) + 0.25) * step
            y = sy + (row + 0.5 + (0.22 if (column + row) % 3 else -0.2)) * step
            if scene.weather == "rain":
                pen.line([x, y, x - 0.022 * unit, y + 0.085 * unit], fill=150, width=max(2, round(0.009 * unit)))
            else:
                r = unit * (0.0135 if (column * 2 + row) % 3 else 0.019)
                pen.ellipse([x - r, y - r, x + r, y + r], fill=235)
    color = (206, 222, 244) if scene.weather == "rain" else (255, 255, 255)
    if scene.weather == "snow":
        mask = mask.filter(ImageFilter.GaussianBlur(unit * 0.002))
    canvas.paste(color, mask=mask)
    return canvas
