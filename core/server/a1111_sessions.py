"""Keep what A1111's clients set between their calls: options, and how a running job is to end.

A1111 is one program of one user; here each caller has options of its own, forgotten when the app ends.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Literal

from core.config.prompt_weights import CLIP_SKIP
from core.errors import OptionError
from core.server.a1111_request import (
    CHECKPOINT,
    CLIP_SETTING,
    DECODER_SETTING,
    DECODERS,
    Reading,
    fit_clip_skip,
    read_setting,
)
from core.server.submission import SOURCE
from core.studio import Studio
from core.types import ModelInfo

Ending = Literal["interrupt", "skip"]
_REMEMBERED = 1000  # callers, and jobs


class Sessions:
    """Options by caller, and the requested endings by job. Thread-safe."""

    def __init__(self) -> None:
        self._options: OrderedDict[str, dict[str, Any]] = OrderedDict()
        self._endings: OrderedDict[str, Ending] = OrderedDict()

    def options(self, client: str) -> Mapping[str, Any]:
        """Return what this caller has set, by schema key."""
        return dict(self._options.get(client, {}))

    def set_options(self, client: str, values: Mapping[str, Any]) -> None:
        """Add to what this caller has set."""
        self._options[client] = {**self._options.pop(client, {}), **values}
        while len(self._options) > _REMEMBERED:
            self._options.popitem(last=False)

    def end(self, job_id: str, ending: Ending) -> None:
        """Note how a job that is being cancelled is to end."""
        self._endings[job_id] = ending
        while len(self._endings) > _REMEMBERED:
            self._endings.popitem(last=False)

    def ending(self, job_id: str) -> Ending | None:
        """Return how a job is to end, None for one that nobody has interrupted."""
        return self._endings.get(job_id)


def find_model(studio: Studio, name: object) -> ModelInfo | None:
    """Return the model of a title, which may carry a hash or a suffix as A1111's do; None when there is none."""
    plain = str(name).partition(" [")[0].strip().removesuffix(".safetensors")
    found = next((model_id for model_id in studio.catalog.ids() if model_id in (str(name), plain)), None)
    return studio.catalog.find(found) if found is not None else None


def options_of(studio: Studio, selected: Mapping[str, Any]) -> dict[str, Any]:
    """Return A1111's options with their true values; /options takes all of them back."""
    now = {**studio.settings.values, **selected}
    return {
        CHECKPOINT: now["model.id"],
        "sd_checkpoint_hash": "",
        "sd_vae": "Automatic",
        CLIP_SETTING: int(now[CLIP_SKIP]),
        DECODER_SETTING: next(name for name, value in DECODERS.items() if value == now["vae.decoder"]),
        "samples_format": "jpg" if now["output.format"] == "jpeg" else now["output.format"],
        "jpeg_quality": now["output.quality"],
        "enable_pnginfo": now["output.metadata"],
        "save_images_add_number": True,
        "live_previews_enable": now["preview.enabled"],
        "show_progress_every_n_steps": now["preview.interval"],
        "eta_noise_seed_delta": 0,
        "return_grid": False,
        "face_restoration": False,
        "face_restoration_model": None,
        "upscaler_for_img2img": None,
        "sd_hypernetwork": "None",
        "img2img_color_correction": False,
        "outdir_samples": "",
    }


def read_options(studio: Studio, wanted: Mapping[str, Any], selected: Mapping[str, Any]) -> Reading:
    """Return what a body of /options sets and what it names in vain. A value that is in effect already sets nothing.

    Raises OptionError for a checkpoint that there is none of, or the model's own problem where it cannot be used.
    """
    now, reading = options_of(studio, selected), Reading()
    for name, value in wanted.items():
        if name == CHECKPOINT and value not in (None, "", now[CHECKPOINT]):
            reading.values["model.id"] = _usable(studio, value).id
        elif name == "enable_pnginfo" and isinstance(value, bool):
            reading.values["output.metadata"] = value
        elif name == "live_previews_enable" and isinstance(value, bool):
            reading.values["preview.enabled"] = value
        elif name not in now or value != now[name]:
            read_setting(name, value, reading)
    model = studio.catalog.find(str(reading.values.get("model.id", now[CHECKPOINT])))
    fit_clip_skip(reading, model.cannot, CLIP_SETTING)
    return reading


def _usable(studio: Studio, name: object) -> ModelInfo:
    model = find_model(studio, name)
    if model is None:
        known = ", ".join(one.id for one in studio.catalog.models() if one.problem is None)
        raise OptionError(source=SOURCE, key=CHECKPOINT, value=str(name)[:60], allowed=known)
    if model.problem is not None:
        raise model.problem
    return model
