"""ControlNet units in the shape of A1111's extension: `alwayson_scripts.controlnet.args`, and its lists at /controlnet."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from fastapi import FastAPI

from core import __version__
from core.config import control_units
from core.config.control_units import KEY, MODES, PREPROCESSORS, ControlUnit
from core.errors import OptionError
from core.i18n import localize
from core.server.a1111_request import Body, Reading
from core.server.error_responses import install_errors
from core.server.submission import SOURCE
from core.server.uploads import fitted, from_base64
from core.studio import Studio
from core.types import CONTROLS

SCRIPT = "controlnet"
API_VERSION = 2  # of the extension's interface, which clients ask for
_MODULES = (  # how A1111's preprocessors begin -> ours; the first that fits
    ("none", control_units.NONE), ("canny", control_units.CANNY), ("depth", control_units.DEPTH),
    ("lineart", control_units.LINEART), ("scribble", control_units.SCRIBBLE), ("tile_resample", control_units.TILE),
    ("tile", control_units.TILE), ("invert", control_units.INVERT),
)  # fmt: skip
_EXACT = {*PREPROCESSORS, "tile_resample", "invert (from white bg & black line)"}  # the same as A1111's
_CONTROL_MODES = {
    "balanced": 0, "my prompt is more important": 1, "controlnet is more important": 2, **{name: k for k, name in enumerate(MODES)},
}  # fmt: skip
_RESIZE_MODES = {
    "just resize": 0, "scale to fit (inner fit)": 1, "crop and resize": 1, "inner fit": 1, "envelope (outer fit)": 2,
    "resize and fill": 2, "outer fit": 2,
}  # fmt: skip
_TYPES = {
    "openpose": "pose", "depth": "depth", "soft edge": "softedge", "scribble": "softedge", "canny": "canny",
    "lineart": "canny", "mlsd": "canny", "normal map": "normal", "normalmap": "normal", "segmentation": "segment",
    "tile": "tile", "inpaint": "repaint", "unknown": "", **{name: name for name in control_units.UNION_TYPES},
}  # fmt: skip
_READ = (
    "enabled", "module", "model", "weight", "image", "input_image", "resize_mode", "guidance_start", "guidance_end",
    "control_mode", "pixel_perfect", "processor_res", "threshold_a", "threshold_b", "union_control_type",
)  # fmt: skip
_SILENT = ("low_vram", "lowvram", "save_detected_map", "is_ui", "batch_images", "input_mode", "use_preview_as_input")
_NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    "hr_option": ("Both", "HiResFixOption.BOTH", 0),
    "inpaint_crop_input_image": (True, False),
}


def units_in(body: Body) -> list[Mapping[str, Any]]:
    """Return the units of a body that are switched on. OptionError for one that is no object."""
    script = next((script for name, script in body.alwayson_scripts.items() if name.lower() == SCRIPT), None)
    arguments = script.get("args", []) if isinstance(script, Mapping) else script or []
    if isinstance(arguments, Mapping):
        arguments = [arguments] if "model" in arguments or "enabled" in arguments else list(arguments.values())
    units = []
    for unit in arguments if isinstance(arguments, list) else [arguments]:
        if not isinstance(unit, Mapping):
            if unit:
                raise _refused("alwayson_scripts.controlnet.args", unit, localize("server.a1111_control.objects"))
        elif unit and unit.get("enabled", True):
            units.append(unit)
    return units


def read_units(studio: Studio, body: Body, reading: Reading) -> dict[str, str]:
    """Put the units of a body into the reading; return the stored control images by role.

    Raises OptionError and InputImageError; what has no effect here is named in `ignored`.
    """
    units = units_in(body)
    if not units:
        return {}
    if len(units) > control_units.MOST:
        raise OptionError(source=SOURCE, key=KEY, value=len(units), allowed=f"0 - {control_units.MOST}")
    known = studio.requests.all_controlnets()
    images, texts = {}, []
    for index, given in enumerate(units):
        unit = {name: value for name, value in given.items() if value is not None}
        image = _image(unit, index)
        if image is not None:
            digest = studio.input_images.keep(
                from_base64(image, f"controlnet[{index}].image"), f"controlnet[{index}].image"
            )
            size = int(reading.values["generation.width"]), int(reading.values["generation.height"])
            mode = _selected(unit.get("resize_mode", 1), _RESIZE_MODES, f"controlnet[{index}].resize_mode")
            laid = fitted(studio.input_images.file(digest), size, mode)
            images[CONTROLS[index]] = digest if laid is None else studio.input_images.keep(laid, "controlnet")
        texts.append(str(_unit(unit, index, known, reading, index + 1 if image is not None else 0)))
    reading.values[KEY] = tuple(texts)
    return images


def _unit(unit: Mapping[str, Any], index: int, known: Any, reading: Reading, image: int) -> ControlUnit:
    name = f"controlnet[{index}]"
    module = str(unit.get("module", "none")).strip().lower()
    preprocessor = next((ours for begin, ours in _MODULES if module.startswith(begin)), None)
    if preprocessor is None:
        raise _refused(f"{name}.module", module, ", ".join(PREPROCESSORS))
    if module not in _EXACT and not module.startswith("depth_anything"):
        reading.ignore(f"{name}.module: {module[:40]} (used: {preprocessor})")
    for key, value in unit.items():
        if key not in _READ and key not in _SILENT and value not in _NEUTRAL.get(key, (None, "", False, [], {}, 0)):
            reading.ignore(f"{name}.{key[:40]}")
    if not unit.get("pixel_perfect") and _positive(unit, "processor_res", 0) > 0:
        reading.ignore(f"{name}.processor_res (maps have the size of the image)")
    defaults = ControlUnit("")
    canny, tile = preprocessor == control_units.CANNY, preprocessor == control_units.TILE
    return ControlUnit(
        name=_network(str(unit.get("model", "")), known, name),
        weight=_number(unit, "weight", 1.0, name),
        preprocessor=preprocessor,
        low=int(_positive(unit, "threshold_a", defaults.low)) if canny else defaults.low,
        high=int(_positive(unit, "threshold_b", defaults.high)) if canny else defaults.high,
        rate=max(1.0, _positive(unit, "threshold_a", defaults.rate)) if tile else defaults.rate,
        start=_number(unit, "guidance_start", defaults.start, name),
        end=_number(unit, "guidance_end", defaults.end, name),
        mode=MODES[_selected(unit.get("control_mode", 0), _CONTROL_MODES, f"{name}.control_mode")],
        kind=_type(unit, name),
        image=image,
    )


def _type(unit: Mapping[str, Any], name: str) -> str:
    given = str(unit.get("union_control_type", "")).strip().lower()
    if given and given not in _TYPES:
        raise _refused(f"{name}.union_control_type", given, ", ".join(_TYPES))
    return _TYPES.get(given, "")


def _network(given: str, known: Any, name: str) -> str:
    """Return the name of a ControlNet as it is here: A1111 adds a hash in brackets, and clients change the case."""
    wanted = re.sub(r"\s*\[[0-9a-f]+\]$", "", given.strip())
    found = next((one for one in known if one.lower() == wanted.lower()), None)
    if found is None:
        raise _refused(f"{name}.model", given or "-", ", ".join(known) or localize("server.a1111_control.none"))
    return str(found)


def _image(unit: Mapping[str, Any], index: int) -> str | None:
    """Return the image as base64; the extension takes it by two names, and with a mask beside it."""
    image = unit.get("image", unit.get("input_image"))
    if isinstance(image, Mapping):
        image = image.get("image")
    if image is not None and not isinstance(image, str):
        raise _refused(f"controlnet[{index}].image", type(image).__name__, localize("server.uploads.allowed"))
    return image or None


def _positive(unit: Mapping[str, Any], key: str, default: float) -> float:
    """Return a number; the extension's default where it is left out or negative."""
    value = unit.get(key, -1)
    return float(value) if isinstance(value, int | float) and value >= 0 else default


def _number(unit: Mapping[str, Any], key: str, default: float, name: str) -> float:
    value = unit.get(key, default)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _refused(f"{name}.{key}", value, "0 - 1" if key != "weight" else "0 - 2")
    return float(value)


def _selected(given: Any, names: Mapping[str, int], key: str) -> int:
    """Return the number of a mode that is given as such or in words."""
    if isinstance(given, int) and not isinstance(given, bool) and given in names.values():
        return given
    found = names.get(str(given).strip().lower())
    if found is None:
        raise _refused(key, given, ", ".join(names))
    return found


def _refused(key: str, value: Any, allowed: Any) -> OptionError:
    return OptionError(source=SOURCE, key=key, value=str(value)[:60], allowed=allowed)


def create_controlnet(get_studio: Callable[[], Studio], problem: Any) -> FastAPI:
    """Return the app to be mounted at /controlnet: the lists that clients of the extension ask for."""
    app = FastAPI(title="Z Darkroom: ControlNet", version=__version__, docs_url=None, redoc_url=None)

    @app.get("/version")
    def version() -> Any:
        """Return the version of the extension's interface."""
        return {"version": API_VERSION}

    @app.get("/model_list")
    def models() -> Any:
        """List the ControlNets of this machine."""
        return {"model_list": list(get_studio().requests.all_controlnets())}

    @app.get("/module_list")
    def modules() -> Any:
        """List the preprocessors."""
        return {"module_list": list(PREPROCESSORS)}

    @app.get("/control_types")
    def types() -> Any:
        """List the preprocessors and ControlNets as one type."""
        every = {"module_list": list(PREPROCESSORS), "model_list": list(get_studio().requests.all_controlnets())}
        return {"control_types": {"All": {**every, "default_option": "none", "default_model": "None"}}}

    @app.get("/settings")
    def settings() -> Any:
        """Return how many units a request may have."""
        return {"control_net_unit_count": control_units.MOST}

    install_errors(app, problem)
    return app
