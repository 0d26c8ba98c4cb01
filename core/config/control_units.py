"""Read and write ControlNet units: "name:weight:key=value", several of them in the option `controlnet.units`.

`canny-sdxl:0.8:preprocessor=canny:end=0.6` applies the ControlNet canny-sdxl at weight 0.8 to the edges of its control image,
until 60 % of the steps are done.

Units are also read and written as A1111's extension has them, in its API and in infotext:

    ControlNet 0: "Module: canny, Model: canny-sdxl [d14c016b], Weight: 1, ..., Control Mode: Balanced"

Earlier versions wrote "preprocessor: canny, model: ..., starting/ending: (0, 1), preprocessor params: (512, 100, 200)".
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from core.errors import OptionError
from core.i18n import localize
from core.types import CONTROLS, IMAGE

KEY = "controlnet.units"
FILES = "controlnet.files"  # in an image's record: name and hash of each ControlNet that acted
PREPROCESSOR_FILES = "preprocessor.files"  # and of the model that made a depth map or found a pose
MOST = len(CONTROLS)
LARGEST = 2.0  # of a weight, as in A1111
NONE, CANNY, DEPTH, INVERT, LINEART, POSE, SCRIBBLE, TILE = (
    "none", "canny", "depth", "invert", "lineart", "pose", "scribble", "tile",
)  # fmt: skip
PREPROCESSORS = (NONE, CANNY, DEPTH, LINEART, SCRIBBLE, POSE, TILE, INVERT)
BALANCED, PROMPT, CONTROL = "balanced", "prompt", "control"
MODES = (BALANCED, PROMPT, CONTROL)  # A1111's control modes
UNION_TYPES: Mapping[str, int] = {  # of ControlNet Union for SDXL; the last two are those of its ProMax version
    "pose": 0, "depth": 1, "softedge": 2, "canny": 3, "normal": 4, "segment": 5, "tile": 6, "repaint": 7,
}  # fmt: skip
_TYPE_OF = {CANNY: "canny", LINEART: "canny", DEPTH: "depth", POSE: "pose", SCRIBBLE: "softedge", TILE: "tile"}


@dataclass(frozen=True)
class ControlUnit:
    """One ControlNet by name, how strongly and when it acts, and what it sees.

    `weight` None is the pipeline's own default. `start` and `end` are shares of the steps. `low` and `high` are the thresholds
    of canny, `rate` how much tile reduces the image. `kind` is one of UNION_TYPES, "" for that of the preprocessor. `image`
    (from 1) is the control image that is used; 0 is the one at the unit's own position.
    """

    name: str
    weight: float | None = None
    preprocessor: str = NONE
    low: int = 100
    high: int = 200
    rate: float = 1.0
    start: float = 0.0
    end: float = 1.0
    mode: str = BALANCED
    kind: str = ""
    image: int = 0

    def __str__(self) -> str:
        texts = [self.name, *([f"{self.weight:g}"] if self.weight is not None else [])]
        neutral = ControlUnit(self.name)
        for key, name in _NAMES.items():
            value = getattr(self, name)
            if value != getattr(neutral, name):
                texts.append(f"{key}={value:g}" if isinstance(value, float) else f"{key}={value}")
        return ":".join(texts)

    def of_weight(self, weight: float) -> ControlUnit:
        """Return the unit with this weight."""
        return replace(self, weight=weight)

    @property
    def acts(self) -> bool:
        """Return True unless the weight is 0."""
        return self.weight != 0

    @property
    def union_type(self) -> str:
        """Return the type of the map for a Union ControlNet, "" where neither `kind` nor the preprocessor tells."""
        return self.kind or _TYPE_OF.get(self.preprocessor, "")


_NAMES = {  # in the text -> the field
    "preprocessor": "preprocessor", "low": "low", "high": "high", "rate": "rate", "start": "start", "end": "end",
    "mode": "mode", "type": "kind", "image": "image",
}  # fmt: skip


def read_units(texts: Sequence[str], source: str) -> tuple[ControlUnit, ...]:
    """Return the units. Raises OptionError naming `source` for the first that can't be used, and for more than MOST."""
    if len(texts) > MOST:
        raise OptionError(
            source=source, key=KEY, value=len(texts), allowed=localize("config.control_units.most", most=MOST)
        )
    return tuple(_read(text, source) for text in texts)


def units_of(options: Mapping[str, Any]) -> tuple[ControlUnit, ...]:
    """Return the units of a request's options that act."""
    return tuple(unit for unit in read_units(tuple(options.get(KEY, ())), "request") if unit.acts)


def role_of(unit: ControlUnit, position: int, inputs: Mapping[str, object]) -> str | None:
    """Return the role of the input image that a unit at `position` (from 0) sees; None where there is none.

    That is the named control image, else the one of its position, else the first, else the source image.
    """
    if unit.image:
        wanted: tuple[str, ...] = (CONTROLS[unit.image - 1],)
    else:
        wanted = (CONTROLS[position], CONTROLS[0], IMAGE)
    return next((role for role in wanted if role in inputs), None)


def _read(text: str, source: str) -> ControlUnit:
    name, *rest = (part.strip() for part in text.split(":"))
    if not name:
        raise _refused(source, text, _ALLOWED)
    values: dict[str, Any] = {}
    for index, part in enumerate(rest):
        key, equals, value = part.partition("=")
        if not equals:
            if index:
                raise _refused(source, text, _ALLOWED)
            values["weight"] = _number(source, part, 0, LARGEST)
        elif key not in _NAMES:
            raise _refused(source, part, localize("config.control_units.keys", keys=", ".join(_NAMES)))
        else:
            values[_NAMES[key]] = _value(source, key, value)
    unit = ControlUnit(name, **values)
    if unit.start >= unit.end:
        raise _refused(source, text, localize("config.control_units.window"))
    if unit.low > unit.high:
        raise _refused(source, text, localize("config.control_units.thresholds"))
    return unit


def _value(source: str, key: str, value: str) -> Any:
    allowed = {"preprocessor": PREPROCESSORS, "mode": MODES, "type": tuple(UNION_TYPES)}.get(key)
    if allowed is not None:
        if value not in allowed:
            raise _refused(source, f"{key}={value}", ", ".join(allowed))
        return value
    low, high = {"low": (0, 255), "high": (0, 255), "rate": (1, 8), "image": (1, MOST)}.get(key, (0, 1))
    number = _number(source, f"{key}={value}", low, high)
    return int(number) if key in ("low", "high", "image") else number


def _number(source: str, text: str, low: float, high: float) -> float:
    try:
        number = float(text.rpartition("=")[2])
    except ValueError:
        number = math.nan
    whole = (
        not text.startswith(("low=", "high=", "image=")) or number == round(number) if math.isfinite(number) else False
    )
    if not (whole and low <= number <= high):
        raise _refused(source, text, f"{low:g} - {high:g}")
    return number


def _refused(source: str, text: str, allowed: str | Mapping[str, str]) -> OptionError:
    return OptionError(source=source, key=KEY, value=text[:100], allowed=allowed)


_ALLOWED = localize("config.control_units.allowed", largest=LARGEST)


FIELDS = tuple(f"ControlNet {number}" for number in range(len(CONTROLS)))  # of an image's parameters, one for each unit
MODE_NAMES = dict(
    zip(MODES, ("Balanced", "My prompt is more important", "ControlNet is more important"), strict=True)
)
CONTROL_MODES = {  # as clients send them -> index of MODES
    **{name.lower(): index for index, name in enumerate(MODE_NAMES.values())}, **{name: k for k, name in enumerate(MODES)},
}  # fmt: skip
A1111_TYPES = {
    "openpose": "pose", "depth": "depth", "soft edge": "softedge", "scribble": "softedge", "canny": "canny",
    "lineart": "canny", "mlsd": "canny", "normal map": "normal", "normalmap": "normal", "segmentation": "segment",
    "tile": "tile", "inpaint": "repaint", "unknown": "", **{name: name for name in UNION_TYPES},
}  # fmt: skip
_MODULES = (  # how the extension's preprocessors begin -> ours; the first that fits
    ("none", NONE), ("canny", CANNY), ("depth", DEPTH),
    ("lineart", LINEART), ("scribble", SCRIBBLE), ("tile", TILE),
    ("invert", INVERT),
)  # fmt: skip
_WHOLE_NAMES = {"openpose": POSE, POSE: POSE}  # openpose_full draws hands and faces, too
_EXACT = {*PREPROCESSORS, "openpose", "tile_resample", "invert (from white bg & black line)"}
_NEUTRAL = {
    "resize mode": ("crop and resize", "resizemode.inner_fit", "scale to fit (inner fit)"), "low vram": ("false",),
    "pixel perfect": ("true", "false"), "hr option": ("both", "hiresfixoption.both"), "processor res": None,
    "save detected map": None, "batch images": None, "input mode": None, "enabled": None,
}  # fmt: skip  values of other fields that need no note; None: any
_PAIR = re.compile(r"\s*([^:,()]+):\s*(\([^()]*\)|[^,]*)(?:,|$)")


def preprocessor_of(module: str) -> tuple[str | None, bool]:
    """Return our name of a preprocessor of the extension, None where it has no equivalent; and whether both do the same."""
    module = module.strip().lower()
    found = next((ours for begin, ours in _MODULES if module.startswith(begin)), _WHOLE_NAMES.get(module))
    return found, module in _EXACT or module.startswith("depth_anything")


def plain_name(model: str) -> str:
    """Return the name of a ControlNet without the hash in brackets that A1111 adds, as names are written in units."""
    return re.sub(r"\s*\[[0-9a-f]+\]$", "", model.strip()).replace(":", "-").replace(",", "-")


def write_unit(unit: ControlUnit) -> str:
    """Return a unit as the extension writes it."""
    values = {
        "Module": unit.preprocessor, "Model": unit.name, "Weight": f"{1 if unit.weight is None else unit.weight:g}",
        "Resize Mode": "Crop and Resize", **_thresholds(unit), "Guidance Start": f"{unit.start:g}",
        "Guidance End": f"{unit.end:g}", "Pixel Perfect": "True", "Control Mode": MODE_NAMES[unit.mode],
    }  # fmt: skip
    return ", ".join(f"{name}: {value}" for name, value in values.items())


def _thresholds(unit: ControlUnit) -> dict[str, str]:
    if unit.preprocessor == CANNY:
        return {"Threshold A": str(unit.low), "Threshold B": str(unit.high)}
    return {"Threshold A": f"{unit.rate:g}"} if unit.preprocessor == TILE else {}


def read_unit(text: str) -> tuple[ControlUnit, str] | None:
    """Return the unit that a text of the extension describes, and what of it has no equivalent here; None for other texts."""
    fields = {name.strip().lower(): value.strip() for name, value in _PAIR.findall(text)}
    name = plain_name(fields.pop("model", ""))
    if not name or name.lower() == "none":
        return None
    module = fields.pop("module", fields.pop("preprocessor", "none"))
    preprocessor, same = preprocessor_of(module)
    rest = {} if same else {"Module": module}
    start, end = fields.pop("guidance start", "0"), fields.pop("guidance end", "1")
    if (both := _numbers(fields.pop("starting/ending", ""))) and len(both) == 2:
        start, end = both
    low, high = fields.pop("threshold a", ""), fields.pop("threshold b", "")
    if (three := _numbers(fields.pop("preprocessor params", ""))) and len(three) == 3:
        low, high = three[1:]
    values: dict[str, Any] = {"weight": _real(fields.pop("weight", "1")), "start": _real(start), "end": _real(end)}
    if preprocessor == CANNY:
        values |= {"low": _threshold(low, 100), "high": _threshold(high, 200)}
    elif preprocessor == TILE:
        values["rate"] = max(1.0, _real(low or "1"))
    mode, kind = fields.pop("control mode", "balanced"), fields.pop("union control type", "unknown")
    values["kind"], index = A1111_TYPES.get(_enum(kind)), CONTROL_MODES.get(_enum(mode))
    if index is None or values["kind"] is None:
        return None
    made = ControlUnit(name, preprocessor=preprocessor or NONE, mode=MODES[index], **values)
    if not _is_usable(made):
        return None
    rest |= {key: value for key, value in fields.items() if not _is_neutral(key, value)}
    return made, ", ".join(f"{key}: {value}" for key, value in rest.items())


def _is_neutral(field: str, value: str) -> bool:
    if field not in _NEUTRAL:
        return value in ("", "False", "None")
    allowed = _NEUTRAL[field]
    return allowed is None or value.lower() in allowed


def _enum(value: str) -> str:
    """Return "openpose" for the extension's "ControlNetUnionControlType.OPENPOSE", and other values in small letters."""
    return value.lower().rpartition(".")[2].replace("_", " ")


def _is_usable(unit: ControlUnit) -> bool:
    assert unit.weight is not None
    numbers = (unit.weight, unit.start, unit.end, unit.rate)
    return (
        all(map(math.isfinite, numbers)) and 0 <= unit.weight <= LARGEST and 0 <= unit.start < unit.end <= 1
        and 0 <= unit.low <= unit.high <= 255 and 1 <= unit.rate <= 8
    )  # fmt: skip


def _numbers(text: str) -> list[str]:
    return [part.strip() for part in text.strip("()").split(",")] if text.startswith("(") else []


def _real(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def _threshold(text: str, default: int) -> int:
    number = _real(text)
    return round(number) if math.isfinite(number) and number >= 0 else default
