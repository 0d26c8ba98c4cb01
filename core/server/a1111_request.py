"""Read the bodies of A1111's txt2img and img2img: what acts becomes options, and the rest is named.

Every field of A1111 is known here. A null is the field's default, as there. A field acts, or is neutral (its value asks for
what happens anyway), or is listed in `ignored`, which the answer and the log repeat.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from core.config.lora_syntax import KEY as LORA_KEY
from core.config.options import SCHEMA
from core.config.prompt_weights import CLIP_SKIP
from core.config.samplers import SAMPLER, SCHEDULE, Prediction, parse_sampler, parse_schedule, usable
from core.config.schema import AUTO
from core.errors import OptionError
from core.i18n import localize
from core.server.submission import SOURCE

VARIATION_STRENGTH, VARIATION_SEED = "generation.variation_strength", "generation.variation_seed"
CHECKPOINT = "sd_model_checkpoint"
FORMATS = {"png": "png", "jpg": "jpeg", "jpeg": "jpeg", "webp": "webp"}
UPSCALERS = {  # A1111's names -> options of hires.upscaler
    "lanczos": "lanczos",
    "nearest": "nearest",
    "bicubic": "bicubic",
    "bilinear": "bilinear",
}
HIRES_STRENGTH = 0.75  # A1111's own, where a body leaves it out
_REFUSED = ("restore_faces", "tiling", "script_name")  # these ask for what is not here
CLIP_FIELD, CLIP_SETTING = "clip_skip", "CLIP_stop_at_last_layers"
DECODER_SETTING, DECODERS = "sd_vae_decode_method", {"Full": "full", "TAESD": "tiny"}
OVERRIDDEN_CLIP = f"override_settings.{CLIP_SETTING}"
_SILENT = (  # these never change an image
    "do_not_save_samples", "do_not_save_grid", "save_images", "send_images", "force_task_id", "comments", "script_args",
    "override_settings_restore_afterwards", "include_init_images", "infotext", "alwayson_scripts",
    "session_hash", "id_task", "show_grid", "user", "is_api",
)  # fmt: skip
_NEUTRAL: Mapping[str, tuple[Any, ...]] = {  # of fields that do not act: values that ask for what happens anyway
    "styles": ([],),
    "seed_resize_from_h": (-1, 0),
    "seed_resize_from_w": (-1, 0),
    "refiner_checkpoint": ("", "None"),
    "disable_extra_networks": (False,),
    "firstphase_width": (0,),
    "firstphase_height": (0,),
    "eta": (0,),
    "s_churn": (0,),
    "s_tmin": (0,),
    "s_noise": (1,),
    "s_min_uncond": (0,),
    "s_tmax": (0, math.inf),
    "hr_checkpoint_name": ("", "None", "Use same checkpoint"),
    "hr_sampler_name": ("", "Use same sampler"),
    "hr_scheduler": ("", "Use same scheduler"),
    "hr_prompt": ("",),
    "hr_negative_prompt": ("",),
    "hr_cfg": (0,),
    "initial_noise_multiplier": (1,),
    "image_cfg_scale": (0, 1.5),
    "mask_round": (True,),
    "distilled_cfg_scale": (3.5,),
}
_OF_HIRES = ("hr_checkpoint_name", "hr_sampler_name", "hr_scheduler", "hr_prompt", "hr_negative_prompt", "hr_cfg")
_OF_MASK = ("mask_round",)
_FILLS = {0: "blur", 1: "original", 2: "noise", 3: "color"}  # inpainting_fill; 3 is "latent nothing", which is grey
_WITH = {  # fields that mean nothing without another one
    "refiner_switch_at": "refiner_checkpoint",
}
_NEUTRAL_SETTINGS: Mapping[str, tuple[Any, ...]] = {  # of override_settings and options
    "sd_vae": ("", "Automatic", "None", "automatic"),
    "eta_noise_seed_delta": (0,),
    "sd_checkpoint_hash": ("",),
}
LATENT_RESIZE = 3  # A1111's resize_mode that scales latents
MOST_NAMED = 50  # ignored fields that an answer lists


_WHOLE_MARK = BeforeValidator(lambda value: int(value) if _is_broken(value) else value)
Whole = Annotated[int, _WHOLE_MARK]


def _is_broken(value: Any) -> bool:
    """Return True for a number such as 7.5, which A1111 cuts to a whole one where it needs that."""
    return isinstance(value, float) and math.isfinite(value) and value != int(value)


class Body(BaseModel):
    """Fields of both routes. Other fields are kept, and named in `ignored` where they would change the image."""

    model_config = ConfigDict(extra="allow")
    prompt: str = ""
    negative_prompt: str = ""
    styles: list[str] = []
    seed: Whole = -1
    subseed: Whole = -1
    subseed_strength: float = 0
    seed_resize_from_h: Whole = -1
    seed_resize_from_w: Whole = -1
    sampler_name: str | None = None
    scheduler: str | None = None
    sampler_index: str | None = None
    width: Whole = 512
    height: Whole = 512
    steps: Whole | None = None
    cfg_scale: float | None = None
    batch_size: Annotated[Whole, Field(ge=1)] = 1
    n_iter: Annotated[Whole, Field(ge=1)] = 1
    restore_faces: bool | None = None
    tiling: bool | None = None
    eta: float | None = None
    refiner_checkpoint: str | None = None
    refiner_switch_at: float | None = None
    denoising_strength: float | None = None
    override_settings: dict[str, Any] = {}
    script_name: str | None = None
    script_args: list[Any] = []
    alwayson_scripts: dict[str, Any] = {}
    send_images: bool = True
    save_images: bool = False
    lora: list[Any] = []  # stable-diffusion.cpp's
    cut: list[str] = Field(default=[], exclude=True)  # what was cut to a whole number, in words

    @model_validator(mode="before")
    @classmethod
    def _as_a1111_reads(cls, data: Any) -> Any:
        """Drop nulls, and note the numbers that are cut to whole ones."""
        if not isinstance(data, Mapping):
            return data
        kept = {name: value for name, value in data.items() if value is not None and name != "cut"}
        whole = [name for name, field in cls.model_fields.items() if _WHOLE_MARK in field.metadata]
        cut = [f"{name}: {kept[name]} (used: {int(kept[name])})" for name in whole if _is_broken(kept.get(name))]
        return {**kept, "cut": cut}


class TextBody(Body):
    """The body of txt2img."""

    enable_hr: bool = False
    hr_scale: float = 2.0
    hr_resize_x: Whole = 0
    hr_resize_y: Whole = 0
    hr_second_pass_steps: Whole = 0
    hr_upscaler: str | None = None
    hr_prompt: str = ""
    hr_negative_prompt: str = ""


class ImageBody(Body):
    """The body of img2img: an image, and a mask that is white where the image is regenerated."""

    init_images: list[str] = []
    mask: str | None = None
    denoising_strength: float | None = 0.75
    resize_mode: Annotated[Whole, Field(ge=0, le=LATENT_RESIZE)] = 0
    mask_blur: float | None = None
    mask_blur_x: float = 4
    mask_blur_y: float = 4
    inpainting_fill: Whole = 0
    inpaint_full_res: bool = True
    inpaint_full_res_padding: Whole = 0
    inpainting_mask_invert: bool = False
    include_init_images: bool = False


@dataclass
class Reading:
    """Options by schema key, and the names of fields without effect."""

    values: dict[str, Any] = field(default_factory=dict)
    ignored: list[str] = field(default_factory=list)

    def ignore(self, name: str) -> None:
        """Name something that has no effect, once."""
        shown = name[:100]
        if shown not in self.ignored and len(self.ignored) < MOST_NAMED:
            self.ignored.append(shown)


def read_body(body: Body, selected: Mapping[str, Any], upscalers: Sequence[str] = ()) -> Reading:
    """Return the options of a body over those that its caller has `selected` with /options. `upscalers` are those of the studio.

    OptionError for what is refused.
    """
    _refuse(body)
    reading = Reading(dict(selected), list(body.cut))
    given = {
        "generation.prompt": body.prompt,
        "generation.negative_prompt": body.negative_prompt,
        "generation.seed": body.seed,
        "generation.width": body.width,
        "generation.height": body.height,
        "generation.num_inference_steps": body.steps,
        "generation.cfg_scale": body.cfg_scale,
        "generation.num_images": body.batch_size * body.n_iter,
    }
    reading.values |= {key: value for key, value in given.items() if value is not None}
    if uses := _loras(body.lora):
        reading.values[LORA_KEY] = uses
    if body.subseed_strength:
        own = body.subseed if body.subseed >= 0 else random.SystemRandom().randrange(2**32)
        reading.values |= {VARIATION_STRENGTH: body.subseed_strength, VARIATION_SEED: own}
    _read_sampler(body, reading)
    _read_clip_skip((body.model_extra or {}).get(CLIP_FIELD, 0), CLIP_FIELD, reading)
    for name, value in body.override_settings.items():
        read_setting(name, value, reading, "override_settings.")
    _name_ignored(body, reading)
    if isinstance(body, TextBody):
        _read_hires(body, reading, upscalers)
    elif isinstance(body, ImageBody):
        _read_inpaint(body, reading)
    return reading


def _read_inpaint(body: ImageBody, reading: Reading) -> None:
    """Read the denoising strength, and with a mask what is generated within it: fields that were given, no defaults."""
    if body.denoising_strength is not None:
        reading.values["img2img.denoising_strength"] = body.denoising_strength
    if body.resize_mode == LATENT_RESIZE:
        reading.ignore(f"resize_mode: {LATENT_RESIZE} (used: 0)")
    given = body.model_fields_set if body.mask else set()
    if "inpainting_fill" in given:
        if body.inpainting_fill not in _FILLS:
            allowed = ", ".join(map(str, _FILLS))
            raise OptionError(source=SOURCE, key="inpainting_fill", value=body.inpainting_fill, allowed=allowed)
        reading.values["inpaint.fill"] = _FILLS[body.inpainting_fill]
    if "inpaint_full_res" in given and body.inpaint_full_res:
        reading.values |= {
            "inpaint.area": "masked", "inpaint.padding": body.inpaint_full_res_padding, "inpaint.render_width": body.width,
            "inpaint.render_height": body.height,
        }  # fmt: skip


def _read_sampler(body: Body, reading: Reading) -> None:
    """Read the sampler and the schedule by their names in any program; an unknown one is named, and the model's own is used."""
    name = body.sampler_name or body.sampler_index
    found = parse_sampler(name) if name else (AUTO, AUTO)
    if found is None:
        reading.ignore(f"sampler_name: {str(name)[:60]} (unknown; the model's own is used)")
        found = AUTO, AUTO
    sampler, schedule = found
    if body.scheduler:
        read = parse_schedule(body.scheduler)
        if read is None:
            reading.ignore(f"scheduler: {body.scheduler[:60]} (unknown; the model's own is used)")
        schedule = schedule if read in (None, AUTO) else str(read)
    reading.values |= {key: value for key, value in ((SAMPLER, sampler), (SCHEDULE, schedule)) if value != AUTO}


def _read_clip_skip(value: Any, name: str, reading: Reading) -> None:
    """Read A1111's "Clip skip"; 0 and -1 are none, what is out of range is named."""
    if isinstance(value, int) and value in (-1, 0):
        return
    try:
        reading.values[CLIP_SKIP] = SCHEMA.options[CLIP_SKIP].check(value, SOURCE)
    except OptionError:
        reading.ignore(name)


def fit_clip_skip(reading: Reading, cannot: Mapping[str, Any], name: str) -> None:
    """Drop CLIP skip for a model without CLIP; `name` is the field that asked for it."""
    if CLIP_SKIP in cannot and reading.values.pop(CLIP_SKIP, 1) != 1:
        reading.ignore(name)


def fit_sampler(reading: Reading, prediction: Prediction) -> None:
    """Drop a sampler or a schedule that models of this kind have not, and name it: clients send those of other models."""
    known = usable(prediction)
    sampler = reading.values.get(SAMPLER, AUTO)
    if sampler != AUTO and sampler not in known:
        reading.ignore(f"sampler_name: {sampler} (not for this model; its own is used)")
        del reading.values[SAMPLER]
        sampler = AUTO
    schedule = reading.values.get(SCHEDULE, AUTO)
    if schedule != AUTO and schedule not in known["euler" if sampler == AUTO else sampler]:
        reading.ignore(f"scheduler: {schedule} (not for this sampler; the model's own is used)")
        del reading.values[SCHEDULE]


def read_setting(name: str, value: Any, reading: Reading, prefix: str = "") -> None:
    """Read one of A1111's settings into `reading`: the format and quality of files act, here or in override_settings."""
    if value is None or name == CHECKPOINT:
        return
    if name == "samples_format":
        if str(value).lower() in FORMATS:
            reading.values["output.format"] = FORMATS[str(value).lower()]
        else:
            reading.ignore(f"{prefix}{name}")
    elif name in ("jpeg_quality", "webp_quality"):
        if isinstance(value, int) and 1 <= value <= 100:
            reading.values["output.quality"] = value
        else:
            reading.ignore(f"{prefix}{name}")
    elif name == DECODER_SETTING and value in DECODERS:
        reading.values["vae.decoder"] = DECODERS[value]
    elif name == CLIP_SETTING:
        _read_clip_skip(value, f"{prefix}{name}", reading)
    elif name not in _NEUTRAL_SETTINGS or value not in _NEUTRAL_SETTINGS[name]:
        reading.ignore(f"{prefix}{name}")


def _refuse(body: Body) -> None:
    for name in _REFUSED:
        if value := getattr(body, name):
            allowed = localize("server.a1111_request.false_or_empty")
            raise OptionError(source=SOURCE, key=name, value=str(value)[:60], allowed=allowed)
    others = {name: unit for name, unit in body.alwayson_scripts.items() if name.lower() != "controlnet"}
    if scripts := [name for name, unit in others.items() if not is_off(unit)]:
        allowed = localize("server.a1111_request.none_that_is_switched_on")
        raise OptionError(source=SOURCE, key="alwayson_scripts", value=", ".join(scripts)[:60], allowed=allowed)


def is_off(script: Any) -> bool:
    """Return True for an always-on script that asks for nothing: without arguments, or with all its units off."""
    arguments = script.get("args") if isinstance(script, Mapping) else script
    if isinstance(arguments, Mapping):
        arguments = [arguments] if "enabled" in arguments else list(arguments.values())
    if not isinstance(arguments, list):
        return not arguments
    if arguments and isinstance(arguments[0], bool):  # such as ADetailer's: the first says whether it runs
        return not arguments[0]
    return all(not unit or (isinstance(unit, Mapping) and not unit.get("enabled", True)) for unit in arguments)


def _name_ignored(body: Body, reading: Reading) -> None:
    """Name every field that was given, does not act, and asks for more than happens anyway."""
    acting = {*_SILENT, *_REFUSED, *_ACTING, *_WITH, "cut"}
    declared = [name for name in type(body).model_fields if name in body.model_fields_set]
    given = {**{name: getattr(body, name) for name in declared}, **(body.model_extra or {})}
    hires = isinstance(body, TextBody) and body.enable_hr
    masked = isinstance(body, ImageBody) and bool(body.mask)
    for name, value in given.items():
        without = (name in _OF_HIRES and not hires) or (name in _OF_MASK and not masked)
        if value is None or without or name in acting or value in _NEUTRAL.get(name, (None, "", [], {}, False)):
            continue
        reading.ignore(name)
    for name, partner in _WITH.items():
        if name in given and partner in reading.ignored and given[name] is not None:
            reading.ignore(name)


_ACTING = (
    "prompt", "negative_prompt", "seed", "width", "height", "steps", "cfg_scale", "batch_size", "n_iter",
    "denoising_strength", "override_settings", "enable_hr", "hr_scale", "hr_resize_x", "hr_resize_y",
    "hr_second_pass_steps", "hr_upscaler", "init_images", "mask", "resize_mode", "mask_blur", "mask_blur_x", "mask_blur_y",
    "inpainting_mask_invert", "inpainting_fill", "inpaint_full_res", "inpaint_full_res_padding", "lora", "sampler_name",
    "sampler_index", "scheduler", "subseed", "subseed_strength", CLIP_FIELD,
)  # fmt: skip


def _loras(entries: list[Any]) -> tuple[str, ...]:
    """stable-diffusion.cpp's `lora: [{"path": "ink-print.safetensors", "multiplier": 1}]`, by the file's name."""
    uses = []
    for entry in entries:
        path, scale = (
            (entry.get("path") or entry.get("name"), entry.get("multiplier", 1.0))
            if isinstance(entry, dict)
            else ("", 0)
        )
        if not isinstance(path, str) or not path or not isinstance(scale, int | float):
            allowed = localize("server.a1111_request.such_as")
            raise OptionError(source=SOURCE, key="lora", value=str(entry)[:60], allowed=allowed)
        name = path.replace("\\", "/").rpartition("/")[2].removesuffix(".safetensors")
        uses.append(f"{name}:{scale:g}")
    return tuple(uses)


# -- hires fix -----------------------------------------------------------------------------------------------------------


def _read_hires(body: TextBody, reading: Reading, upscalers: Sequence[str]) -> None:
    """A1111's "hires fix" is the second pass: its size is the first pass's, ours is the file's."""
    if not body.enable_hr or body.width <= 0 or body.height <= 0:
        return
    size, scale = _enlarged(body)
    least = SCHEMA.options["hires.scale"].minimum or 1
    strength = HIRES_STRENGTH if body.denoising_strength is None else body.denoising_strength
    reading.values |= {"generation.width": size[0], "generation.height": size[1]}
    if 1 <= scale < least:
        reading.ignore(f"enable_hr: hr_scale {scale:g} (used: one pass at the final size)")
        return
    if strength == 0:
        reading.ignore("enable_hr: denoising_strength 0 (used: one pass at the final size)")
        return
    reading.values |= {"hires.enabled": True, "hires.scale": scale, "hires.denoising_strength": strength}
    if body.hr_second_pass_steps:
        reading.values["hires.steps"] = body.hr_second_pass_steps
    if body.hr_upscaler is None:
        return
    name = body.hr_upscaler
    upscaler = UPSCALERS.get(name.lower(), name if name in upscalers else None)
    if upscaler is not None:
        reading.values["hires.upscaler"] = upscaler
    elif body.hr_upscaler not in ("", "None", "Latent"):
        reading.ignore("hr_upscaler")


def _enlarged(body: TextBody) -> tuple[tuple[int, int], float]:
    """Return the file's size, and how many times the first pass's it is: by the sides that were given, else by the scale."""
    x, y, width, height = body.hr_resize_x, body.hr_resize_y, body.width, body.height
    if not x and not y:
        return (round(width * body.hr_scale), round(height * body.hr_scale)), body.hr_scale
    scale = min(side / first for side, first in ((x, width), (y, height)) if side)
    return (x or round(width * scale), y or round(height * scale)), round(scale, 4)
