"""Read and write ControlNet units as A1111's extension does: in its API, and in infotext.

    ControlNet 0: "Module: canny, Model: canny-sdxl [d14c016b], Weight: 1, ..., Control Mode: Balanced"

Earlier versions wrote "preprocessor: canny, model: ..., starting/ending: (0, 1), preprocessor params: (512, 100, 200)".
"""

from __future__ import annotations

import math
import re
from typing import Any

from core.config import control_units
from core.config.control_units import LARGEST, MODES, PREPROCESSORS, ControlUnit
from core.types import CONTROLS

FIELDS = tuple(f"ControlNet {number}" for number in range(len(CONTROLS)))  # of an image's parameters, one for each unit
MODE_NAMES = dict(
    zip(MODES, ("Balanced", "My prompt is more important", "ControlNet is more important"), strict=True)
)
CONTROL_MODES = {  # as clients send them -> index of MODES
    **{name.lower(): index for index, name in enumerate(MODE_NAMES.values())}, **{name: k for k, name in enumerate(MODES)},
}  # fmt: skip
UNION_TYPES = {
    "openpose": "pose", "depth": "depth", "soft edge": "softedge", "scribble": "softedge", "canny": "canny",
    "lineart": "canny", "mlsd": "canny", "normal map": "normal", "normalmap": "normal", "segmentation": "segment",
    "tile": "tile", "inpaint": "repaint", "unknown": "", **{name: name for name in control_units.UNION_TYPES},
}  # fmt: skip
_MODULES = (  # how the extension's preprocessors begin -> ours; the first that fits
    ("none", control_units.NONE), ("canny", control_units.CANNY), ("depth", control_units.DEPTH),
    ("lineart", control_units.LINEART), ("scribble", control_units.SCRIBBLE), ("tile", control_units.TILE),
    ("invert", control_units.INVERT),
)  # fmt: skip
_WHOLE_NAMES = {"openpose": control_units.POSE, control_units.POSE: control_units.POSE}  # openpose_full draws hands and faces, too
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
    if unit.preprocessor == control_units.CANNY:
        return {"Threshold A": str(unit.low), "Threshold B": str(unit.high)}
    return {"Threshold A": f"{unit.rate:g}"} if unit.preprocessor == control_units.TILE else {}


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
    if preprocessor == control_units.CANNY:
        values |= {"low": _threshold(low, 100), "high": _threshold(high, 200)}
    elif preprocessor == control_units.TILE:
        values["rate"] = max(1.0, _real(low or "1"))
    mode, kind = fields.pop("control mode", "balanced"), fields.pop("union control type", "unknown")
    values["kind"], index = UNION_TYPES.get(_enum(kind)), CONTROL_MODES.get(_enum(mode))
    if index is None or values["kind"] is None:
        return None
    made = ControlUnit(name, preprocessor=preprocessor or control_units.NONE, mode=MODES[index], **values)
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
