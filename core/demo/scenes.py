"""Define the world of the embedded model: what a scene can contain, and which scenes are held out for the test.

A scene is a handful of named attributes. Everything important in its image follows from them, so a caption can
say it and a recogniser can check it; `painting.draw` adds only a little jitter. The random generator is always
passed in (`random.Random`): the same scene, size and generator state give the same pixels.
"""

from __future__ import annotations

import random
import zlib
from dataclasses import dataclass

TIMES = ("dawn", "day", "sunset", "night")
GROUNDS = ("meadow", "desert", "snow", "sea", "lavender")
KINDS = ("house", "tree", "lighthouse", "sailboat", "balloon", "car", "windmill", "castle", "tent", "rocket")
COLORS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "white")
POSITIONS = ("left", "centre", "right")
MOUNTAINS = ("none", "mountains", "snowy")
CELESTIALS = ("none", "sun", "moon")
WEATHERS = ("clear", "clouds", "rain", "snow")

NONE = "none"

# Every attribute with its values, in the order in which tables and recogniser heads list them.
ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "kind": KINDS,
    "color": COLORS,
    "position": POSITIONS,
    "ground": GROUNDS,
    "time": TIMES,
    "mountains": MOUNTAINS,
    "celestial": CELESTIALS,
    "weather": WEATHERS,
    "kind2": (NONE, *KINDS),
    "color2": (NONE, *COLORS),
}

# One scene in three has a second object: often enough to learn it, rare enough to keep one object the default.
TWO_OBJECTS = 0.35


@dataclass(frozen=True)
class Scene:
    """One image in words. `kind2` and `color2` are "none" together; a second object stands opposite the first."""

    kind: str
    color: str
    position: str
    ground: str
    time: str
    mountains: str = NONE
    celestial: str = NONE
    weather: str = "clear"
    kind2: str = NONE
    color2: str = NONE

    def __post_init__(self) -> None:
        for name, values in ATTRIBUTES.items():
            value = getattr(self, name)
            if value not in values:
                raise ValueError(f"{name} is {value!r}, expected one of {', '.join(values)}")
        if (self.kind2 == NONE) != (self.color2 == NONE):
            raise ValueError("kind2 and color2 must both be 'none' or both be set")
        if self.kind2 != NONE and self.position == "centre":
            raise ValueError("with two objects the first stands left or right, not in the centre")
        if self.celestial not in possible_celestials(self.time):
            raise ValueError(f"a {self.celestial} does not shine at {self.time}")

    def attributes(self) -> dict[str, str]:
        """Return the value of every attribute by name."""
        return {name: getattr(self, name) for name in ATTRIBUTES}

    @property
    def held_out(self) -> bool:
        """Return True where either object makes a combination that training never shows."""
        second = self.kind2 != NONE and is_held_out(self.kind2, self.color2, self.ground, self.time)
        return second or is_held_out(self.kind, self.color, self.ground, self.time)


def possible_celestials(time: str) -> tuple[str, ...]:
    """Return what can be in the sky: the sun never shines at night, and the moon not in broad daylight."""
    return {"day": (NONE, "sun"), "night": (NONE, "moon")}.get(time, CELESTIALS)


def is_held_out(kind: str, color: str, ground: str, time: str) -> bool:
    """Return True for the held-out side of the split: about a tenth of all (kind, color, ground, time)."""
    return zlib.crc32(f"{kind}|{color}|{ground}|{time}".encode()) % 10 == 0


def sample(rng: random.Random, held_out: bool | None = False) -> Scene:
    """Return a random scene; `held_out` chooses the side of the split, None takes either."""
    while True:
        time = rng.choice(TIMES)
        two = rng.random() < TWO_OBJECTS
        scene = Scene(
            kind=rng.choice(KINDS),
            color=rng.choice(COLORS),
            position=rng.choice(("left", "right") if two else POSITIONS),
            ground=rng.choice(GROUNDS),
            time=time,
            mountains=rng.choices(MOUNTAINS, (4, 3, 3))[0],
            celestial=rng.choice(possible_celestials(time)),
            weather=rng.choices(WEATHERS, (4, 2, 2, 2))[0],
            kind2=rng.choice(KINDS) if two else NONE,
            color2=rng.choice(COLORS) if two else NONE,
        )
        if held_out is None or scene.held_out == held_out:
            return scene
