"""Read ControlNet units of A1111's extension, `alwayson_scripts.controlnet.args`, and serve its lists at /controlnet."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel

from core import __version__
from core.config import control_units
from core.config.control_units import (
    A1111_TYPES,
    CONTROL_MODES,
    KEY,
    MODES,
    PREPROCESSORS,
    ControlUnit,
    plain_name,
    preprocessor_of,
)
from core.errors import OptionError
from core.i18n import localize
from core.server.a1111_request import Body, Reading
from core.server.body_limit import fitted, from_base64
from core.server.error_responses import install_errors
from core.server.submission import SOURCE
from core.studio import Studio
from core.types import CONTROLS

SCRIPT = "controlnet"
API_VERSION = 2  # of the extension's interface, which clients ask for
_RESIZE_MODES = {
    "just resize": 0, "scale to fit (inner fit)": 1, "crop and resize": 1, "inner fit": 1, "envelope (outer fit)": 2,
    "resize and fill": 2, "outer fit": 2,
}  # fmt: skip
_TYPES: Mapping[str, tuple[tuple[str, ...], str]] = {  # the extension's types -> words in the names of ControlNets, preprocessor
    "Canny": (("canny",), control_units.CANNY), "Depth": (("depth",), control_units.DEPTH),
    "OpenPose": (("pose",), control_units.POSE), "Lineart": (("lineart", "mlsd"), control_units.LINEART),
    "Scribble": (("scribble", "sketch"), control_units.SCRIBBLE), "SoftEdge": (("softedge", "hed"), ""),
    "NormalMap": (("normal",), ""), "Segmentation": (("seg",), ""), "Tile": (("tile",), control_units.TILE),
    "Inpaint": (("inpaint",), ""),
}  # fmt: skip
_READ = (
    "enabled", "module", "model", "weight", "image", "input_image", "resize_mode", "guidance_start", "guidance_end",
    "control_mode", "pixel_perfect", "processor_res", "threshold_a", "threshold_b", "union_control_type",
)  # fmt: skip
_SILENT = ("save_detected_map", "is_ui", "batch_images", "input_mode", "use_preview_as_input")
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
    module = str(unit.get("module", "none"))
    preprocessor, same = preprocessor_of(module)
    if preprocessor is None:
        raise _refused(f"{name}.module", module, ", ".join(PREPROCESSORS))
    if not same:
        reading.ignore(f"{name}.module: {module[:40]} (used: {preprocessor})")
    for key, value in unit.items():
        if key not in _READ and key not in _SILENT and value not in _NEUTRAL.get(key, (None, "", False, [], {}, 0)):
            reading.ignore(f"{name}.{key[:40]}")
    if not unit.get("pixel_perfect") and _positive(unit, "processor_res", 0) > 0:
        reading.ignore(f"{name}.processor_res (maps have the size of the image)")
    defaults = ControlUnit("")
    return ControlUnit(
        name=_network(str(unit.get("model", "")), known, name),
        weight=_number(unit, "weight", 1.0, name),
        preprocessor=preprocessor,
        **_thresholds(unit, preprocessor),
        start=_number(unit, "guidance_start", defaults.start, name),
        end=_number(unit, "guidance_end", defaults.end, name),
        mode=MODES[_selected(unit.get("control_mode", 0), CONTROL_MODES, f"{name}.control_mode")],
        kind=_type(unit, name),
        image=image,
    )


def _thresholds(unit: Mapping[str, Any], preprocessor: str) -> dict[str, Any]:
    """Return what the extension's thresholds mean for a preprocessor, by fields of a unit."""
    if preprocessor == control_units.CANNY:
        low, high = (_positive(unit, key, default) for key, default in (("threshold_a", 100), ("threshold_b", 200)))
        return {"low": int(low), "high": int(high)}
    return {"rate": max(1.0, _positive(unit, "threshold_a", 1.0))} if preprocessor == control_units.TILE else {}


def _type(unit: Mapping[str, Any], name: str) -> str:
    given = str(unit.get("union_control_type", "")).strip().lower()
    if given and given not in A1111_TYPES:
        raise _refused(f"{name}.union_control_type", given, ", ".join(A1111_TYPES))
    return A1111_TYPES.get(given, "")


def _network(given: str, known: Any, name: str) -> str:
    """Return the name of a ControlNet as it is here: A1111 adds a hash in brackets, and clients change the case."""
    wanted = plain_name(given).lower()
    found = next((one for one in known if one.lower() == wanted), None)
    if found is None:
        raise _refused(f"{name}.model", given or "-", ", ".join(known) or localize("server.a1111_control.none"))
    return str(found)


def _image(unit: Mapping[str, Any], index: int) -> str | None:
    """Return the image as base64; the extension takes it by two names, and with a mask beside it."""
    image = unit.get("image", unit.get("input_image"))
    if isinstance(image, Mapping):
        image = image.get("image")
    if image is not None and not isinstance(image, str):
        raise _refused(f"controlnet[{index}].image", type(image).__name__, localize("server.body_limit.allowed"))
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


class Detection(BaseModel):
    """What the extension takes at /controlnet/detect; -1 is the preprocessor's own threshold."""

    controlnet_module: str = "none"
    controlnet_input_images: list[str] = []
    controlnet_threshold_a: float = -1
    controlnet_threshold_b: float = -1


def _sliders(preprocessor: str) -> list[dict[str, Any]]:
    """Return the ranges of a preprocessor's values in the extension's form."""
    size = {"name": "Preprocessor Resolution", "min": 64, "max": 2048, "value": 512}
    if preprocessor == control_units.CANNY:
        limits = (("Canny Low Threshold", 100), ("Canny High Threshold", 200))
        return [size, *({"name": name, "min": 0, "max": 255, "value": value} for name, value in limits)]
    if preprocessor == control_units.TILE:
        return [size, {"name": "Down Sampling Rate", "min": 1.0, "max": 8.0, "value": 1.0, "step": 0.01}]
    return [size] if preprocessor != control_units.NONE else []


def _by_type(models: Sequence[str]) -> dict[str, Any]:
    """Return for each type of the extension its preprocessors and ControlNets, with the first as default."""

    def listed(modules: Sequence[str], fitting: Sequence[str], module: str, model: str) -> dict[str, Any]:
        return {"module_list": [*modules], "model_list": [*fitting], "default_option": module, "default_model": model}

    found = {"All": listed(PREPROCESSORS, models, control_units.NONE, "None")}
    for name, (words, preprocessor) in _TYPES.items():
        fitting = [model for model in models if any(word in model.lower() for word in (*words, "union"))]
        own = [control_units.NONE, *([preprocessor] if preprocessor else [])]
        found[name] = listed(own, fitting, own[-1], next(iter(fitting), "None"))
    return found


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
        """List the preprocessors, with the ranges of their values."""
        return {
            "module_list": list(PREPROCESSORS),
            "module_detail": {name: {"model_free": False, "sliders": _sliders(name)} for name in PREPROCESSORS},
        }

    @app.get("/control_types")
    def types() -> Any:
        """List preprocessors and ControlNets by type: those whose names have the type's words, and Unions."""
        return {"control_types": _by_type(list(get_studio().requests.all_controlnets()))}

    @app.post("/detect")
    def detect(body: Detection) -> Any:
        """Return the control images that a preprocessor makes."""
        preprocessor, same = preprocessor_of(body.controlnet_module)
        if preprocessor is None:
            raise _refused("controlnet_module", body.controlnet_module, ", ".join(PREPROCESSORS))
        if not body.controlnet_input_images:
            raise _refused("controlnet_input_images", "[]", localize("server.body_limit.allowed"))
        values = {"threshold_a": body.controlnet_threshold_a, "threshold_b": body.controlnet_threshold_b}
        unit = ControlUnit("", preprocessor=preprocessor, **_thresholds(values, preprocessor))
        images = [
            get_studio().requests.preprocessed(from_base64(given, "controlnet_input_images"), unit)
            for given in body.controlnet_input_images
        ]
        used = "" if same else f" ({body.controlnet_module[:40]} is not here, used: {preprocessor})"
        return {"images": [base64.b64encode(image).decode() for image in images], "info": f"Success{used}"}

    @app.get("/settings")
    def settings() -> Any:
        """Return how many units a request may have."""
        return {"control_net_unit_count": control_units.MOST}

    install_errors(app, problem)
    return app
