"""Define the edits of the embedded world: what an instruction changes of a scene, and where the parts stand after it.

An edit changes one thing and keeps the rest. A part stays where it is, unless an object comes to stand before sun or
moon: then they move to the free part of the sky.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

from core.demo import renderer
from core.demo.scenes import (
    COLORS,
    KINDS,
    MOUNTAINS,
    NONE,
    POSITIONS,
    TIMES,
    WEATHERS,
    Scene,
    possible_celestials,
    sample,
)

EDITS = ("recolour", "add", "remove", "move", "time", "weather")
OPPOSITE = {"left": "right", "right": "left"}
FREE = 0.2  # of the width, from the middle of an object to that of sun or moon


@dataclass(frozen=True)
class Edit:
    """A scene before and after, and the attribute that says what the instruction names.

    `thing` is the attribute of `before` (recolour, remove, move) or of `after` (add, time, weather): kind, kind2,
    celestial, mountains, time or weather.
    """

    kind: str
    thing: str
    before: Scene
    after: Scene

    @property
    def changed(self) -> frozenset[str]:
        """Return the attributes of `after` that the instruction asks for."""
        if self.kind == "recolour":
            return frozenset({self.thing.replace("kind", "color")})
        if self.kind == "move":
            return frozenset({"position"})
        if self.thing in ("kind", "kind2"):
            return frozenset({"kind2", "color2"})
        return frozenset({self.thing})

    @property
    def kept(self) -> frozenset[str]:
        """Return the attributes of `after` that are as they were; the sun that sets at night is not asked for."""
        forced = {"celestial"} if self.kind == "time" and self.before.celestial != self.after.celestial else set()
        return frozenset(self.after.attributes()) - self.changed - forced


def edit(kind: str, before: Scene, rng: random.Random) -> Edit | None:
    """Return a random edit of this kind, None where the scene allows none."""
    thing, after = _CHANGES[kind](before, rng)
    return Edit(kind, thing, before, after) if after is not None and after != before else None


def _recolour(scene: Scene, rng: random.Random) -> tuple[str, Scene | None]:
    thing = rng.choice(_objects(scene))
    name = thing.replace("kind", "color")
    return thing, replace(scene, **{name: _other(COLORS, getattr(scene, name), rng)})


def _add(scene: Scene, rng: random.Random) -> tuple[str, Scene | None]:
    missing = [name for name in ("mountains", "celestial") if getattr(scene, name) == NONE]
    if scene.kind2 == NONE and scene.position != "centre":
        missing += ["kind2", "kind2"]
    thing = rng.choice(missing) if missing else ""
    if thing == "mountains":
        return thing, replace(scene, mountains=_other(MOUNTAINS, NONE, rng))
    if thing == "celestial":
        return thing, replace(scene, celestial=_other(possible_celestials(scene.time), NONE, rng))
    if thing == "kind2":
        return thing, replace(scene, kind2=_other(KINDS, scene.kind, rng), color2=rng.choice(COLORS))
    return thing, None


def _remove(scene: Scene, rng: random.Random) -> tuple[str, Scene | None]:
    there = [name for name in ("mountains", "celestial") if getattr(scene, name) != NONE]
    if scene.kind2 != NONE:
        there += ["kind", "kind2"]
    thing = rng.choice(there) if there else ""
    if thing == "kind2":
        return thing, replace(scene, kind2=NONE, color2=NONE)
    if thing == "kind":  # the other one is left where it stands
        place = OPPOSITE[scene.position]
        return thing, replace(scene, kind=scene.kind2, color=scene.color2, position=place, kind2=NONE, color2=NONE)
    return thing, replace(scene, **{thing: NONE}) if thing else None


def _move(scene: Scene, rng: random.Random) -> tuple[str, Scene | None]:
    if scene.kind2 != NONE:
        return "kind", None
    return "kind", replace(scene, position=_other(POSITIONS, scene.position, rng))


def _time(scene: Scene, rng: random.Random) -> tuple[str, Scene | None]:
    time = _other(TIMES, scene.time, rng)
    celestial = scene.celestial if scene.celestial in possible_celestials(time) else NONE
    return "time", replace(scene, time=time, celestial=celestial)


def _weather(scene: Scene, rng: random.Random) -> tuple[str, Scene | None]:
    return "weather", replace(scene, weather=_other(WEATHERS, scene.weather, rng))


_CHANGES = {
    "recolour": _recolour, "add": _add, "remove": _remove, "move": _move, "time": _time, "weather": _weather,
}  # fmt: skip


def _other(values: tuple[str, ...], value: str, rng: random.Random) -> str:
    return rng.choice([other for other in values if other != value])


def _objects(scene: Scene) -> tuple[str, ...]:
    return ("kind",) if scene.kind2 == NONE else ("kind", "kind2")


def sample_before(rng: random.Random, held_out: bool | None = False) -> Scene:
    """Return a random scene whose objects an instruction can tell apart; every second one has two."""
    two = rng.random() < 0.5
    while True:
        scene = sample(rng, held_out)
        if (scene.kind2 != NONE) == two and scene.kind != scene.kind2:
            return scene


def sample_edit(rng: random.Random, kind: str, held_out: bool = False) -> Edit:
    """Return a random edit of this kind, whose result is (`held_out`) or is not a combination kept from training."""
    while True:
        found = edit(kind, sample_before(rng, None if held_out else False), rng)
        if found is not None and found.after.held_out == held_out:
            return found


def layout_after(before: renderer.Layout, made: Edit) -> renderer.Layout:
    """Return where the parts stand after an edit of an image whose parts stand as in `before`."""
    standard = renderer.layout(made.after)
    objects = _objects_after(before, standard, made)
    x, was = standard.celestial[0], before.celestial[0]
    if made.before.celestial != NONE and all(abs(one.x - was) >= FREE for one in objects):
        x = was
    clouds = standard.clouds if made.before.weather == "clear" else before.clouds
    if made.after.celestial != NONE:
        clouds = tuple(n for n in clouds if renderer.clear_of(renderer.CLOUDS[n][0], x))
        clouds = standard.clouds if len(clouds) < 2 else clouds  # one cloud would not be a cloudy sky
    return renderer.Layout(objects, (x, standard.celestial[1]), clouds)


def _objects_after(before: renderer.Layout, standard: renderer.Layout, made: Edit) -> tuple[renderer.Placed, ...]:
    if made.kind == "move":
        return standard.objects
    if made.kind == "add" and made.thing == "kind2":
        return standard.objects[0], *before.objects
    named = getattr(made.before, made.thing) if made.thing in ("kind", "kind2") else None
    if made.kind == "remove":
        return tuple(one for one in before.objects if one.kind != named)
    if made.kind == "recolour":
        color = getattr(made.after, made.thing.replace("kind", "color"))
        return tuple(replace(one, color=color) if one.kind == named else one for one in before.objects)
    return before.objects


def reversed_edit(made: Edit, before: renderer.Layout, after: renderer.Layout) -> Edit | None:
    """Return the edit that undoes this one, None where an instruction would not lead back to the same image."""
    turned = replace(made, before=made.after, after=made.before)
    if made.kind in ("add", "remove"):
        if made.thing in ("kind", "kind2") and (made.kind == "remove"):
            return None
        turned = replace(turned, kind={"add": "remove", "remove": "add"}[made.kind])
    if made.kind == "time" and made.before.celestial != made.after.celestial:
        return None
    return turned if layout_after(after, turned) == before else None


def draw(scene: Scene, places: renderer.Layout, size: tuple[int, int], seed: int) -> renderer.Image.Image:
    """Return the image of one of the scenes of an edit: the same seed draws alike what they have in common."""
    return renderer.paint(scene, places, *size, lambda part: random.Random(f"{seed} {part}"))
