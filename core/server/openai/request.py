"""Read the bodies of OpenAI's image routes, with the fields that SGLang, vLLM-Omni and others add.

Each field acts on an option, is neutral (its value leaves the image as it is), has no effect here (`ignored` says so), or is
refused by name with what is allowed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from starlette.datastructures import FormData, UploadFile

from core.config.lora_syntax import KEY as LORA_KEY
from core.config.schema import AUTO
from core.errors import OptionError
from core.i18n import localize
from core.server.body_limit import from_base64
from core.server.submission import SOURCE
from core.types import REFERENCES

VARIATION_PROMPT = "a detailed image"  # of a variation whose client says nothing; the answer says it as revised_prompt
VARIATION_STRENGTH = 0.6
_SIZE = re.compile(r"(\d{1,5})\s*[x×*]\s*(\d{1,5})")
_QUALITIES = {"maximum": 100, "high": 90, "medium": 55, "low": 35}  # SGLang's `output_quality`
MOST_IMAGES = 1 + len(REFERENCES)  # of an edit
_ONE_MASK = localize("server.openai.request.one_mask")
_SET = (  # field -> option
    ("prompt", "generation.prompt"),
    ("negative_prompt", "generation.negative_prompt"),
    ("num_inference_steps", "generation.num_inference_steps"),
    ("guidance_scale", "generation.guidance_scale"),
    ("true_cfg_scale", "generation.cfg_scale"),
    ("seed", "generation.seed"),
    ("width", "generation.width"),
    ("height", "generation.height"),
    ("output_format", "output.format"),
    ("vae_use_tiling", "vae.enable_tiling"),
    ("flow_shift", "scheduler.shift"),
    ("max_sequence_length", "transformer.max_sequence_length"),
    ("strength", "img2img.denoising_strength"),
)
_NEUTRAL: Mapping[str, tuple[Any, ...]] = {  # field -> values that leave the image as it is; others are refused
    "enable_teacache": (False,),
    "generator_device": ("cpu",),
    "enable_upscaling": (False,),
    "num_frames": (1,),
    "diffusers_kwargs": ({},),
    "extra_args": ({},),
    "extra_body": ({},),
    "return_trajectory_latents": (False,),
    "return_trajectory_decoded": (False,),
    "image_prompt_strength": (0,),
}
_UNUSED = (  # these change nothing here: callers, billing, moderation, memory
    "user", "safety_identifier", "moderation", "metadata", "request_id", "vae_use_slicing",
    "enable_progress_bar", "priority", "n_threads",
)  # fmt: skip
_WITHOUT_EFFECT = {
    "quality": ("auto", "standard"),
    "style": ("vivid", "natural"),
    "complexity": (),
    "input_fidelity": ("low",),
}  # field -> values not worth a word


class ImageBody(BaseModel):
    """The body of /v1/images/generations."""

    model_config = ConfigDict(extra="forbid")
    prompt: str
    model: str | None = None
    n: Annotated[int, Field(ge=1, le=64)] | None = None
    size: str | None = None
    width: int | None = None
    height: int | None = None
    response_format: Literal["url", "b64_json"] | None = None
    output_format: Literal["png", "jpeg", "webp"] | None = None
    output_compression: Annotated[int, Field(ge=0, le=100)] | None = None
    background: Literal["auto", "opaque"] | None = None
    stream: bool = False
    partial_images: Annotated[int, Field(ge=0, le=3)] | None = None
    quality: str | None = None
    style: str | None = None
    complexity: str | None = None
    input_fidelity: str | None = None
    negative_prompt: str | None = None  # from here on: what other servers add
    num_inference_steps: int | None = None
    guidance_scale: float | None = None
    true_cfg_scale: float | None = None
    seed: int | None = None
    vae_use_tiling: bool | None = None
    flow_shift: float | None = None
    max_sequence_length: int | None = None
    output_quality: str | int | None = None
    lora: dict[str, Any] | list[Any] | None = None

    @model_validator(mode="before")
    @classmethod
    def _plain(cls, data: Any) -> Any:
        """Drop nulls and what changes nothing; refuse by name the values of other servers that would change the image."""
        if not isinstance(data, Mapping):
            return data
        kept = {name: value for name, value in data.items() if value is not None and name not in _UNUSED}
        for name, neutral in _NEUTRAL.items():
            if name in kept and kept.pop(name) not in neutral:
                allowed = " | ".join(str(value) for value in neutral)
                raise OptionError(source=SOURCE, key=f"body.{name}", value=str(data[name])[:60], allowed=allowed)
        return kept

    def values(self) -> tuple[dict[str, Any], list[str]]:
        """Return the options by schema key, and the names of fields without an effect. Raises OptionError."""
        values = {key: getattr(self, name) for name, key in _SET if getattr(self, name, None) is not None}
        values["generation.num_images"] = self.n or 1
        if self.true_cfg_scale is not None and self.guidance_scale is not None:
            allowed = localize("server.openai.request.one_of_true_cfg_scale_and")
            raise OptionError(source=SOURCE, key="true_cfg_scale", value=self.true_cfg_scale, allowed=allowed)
        values |= self._size() | self._quality() | self._loras()
        if self.stream and self.partial_images:
            values |= {"preview.enabled": True, "preview.interval": 1}
        ignored = [name for name, usual in _WITHOUT_EFFECT.items() if getattr(self, name) not in (None, "", *usual)]
        if self.output_compression == 0:
            ignored.append("output_compression: 0 (used: 1)")
        return values, ignored

    def _size(self) -> dict[str, Any]:
        if self.size in (None, "", AUTO):
            return {}
        found = _SIZE.fullmatch((self.size or "").strip().lower())
        if not found:
            allowed = localize("server.openai.request.auto_or_such_as_1024x768")
            raise OptionError(source=SOURCE, key="size", value=str(self.size)[:60], allowed=allowed)
        return {"generation.width": int(found[1]), "generation.height": int(found[2])}

    def _quality(self) -> dict[str, Any]:
        if self.output_compression is not None:
            return {"output.quality": max(1, self.output_compression)}
        if self.output_quality in (None, "default"):
            return {}
        quality = _QUALITIES.get(str(self.output_quality), self.output_quality)
        if not isinstance(quality, int) or not 1 <= quality <= 100:
            allowed = f"default | {' | '.join(_QUALITIES)} | 1 - 100"
            raise OptionError(source=SOURCE, key="output_quality", value=str(self.output_quality)[:60], allowed=allowed)
        return {"output.quality": quality}

    def _loras(self) -> dict[str, Any]:
        """vLLM-Omni's `lora`: one or several, by the name that the studio knows."""
        entries = self.lora if isinstance(self.lora, list) else [self.lora] if self.lora else []
        uses = []
        for entry in entries:
            name = entry.get("name") or entry.get("lora_name") if isinstance(entry, Mapping) else entry
            scale = entry.get("scale", entry.get("lora_scale", 1.0)) if isinstance(entry, Mapping) else 1.0
            if not isinstance(name, str) or not isinstance(scale, int | float):
                allowed = localize("server.openai.request.such_as")
                raise OptionError(source=SOURCE, key="lora", value=str(entry)[:60], allowed=allowed)
            uses.append(f"{name}:{scale:g}")
        return {LORA_KEY: tuple(uses)} if uses else {}


class EditBody(ImageBody):
    """The fields of /v1/images/edits and /v1/images/variations except files."""

    strength: float | None = None
    revised: bool = Field(default=False, exclude=True)  # the prompt is not the client's own


@dataclass(frozen=True)
class Images:
    """The files of an edit: one to MOST_IMAGES images, and the mask of the first."""

    images: tuple[bytes, ...]
    mask: bytes | None = None


async def read_edit(request: Request) -> tuple[EditBody, Images]:
    """Read an edit, sent as a form or as JSON with `images`. Raises OptionError naming the first field at fault."""
    if request.headers.get("content-type", "").startswith("application/json"):
        data = await request.json()
        return _edit_of_json(data if isinstance(data, Mapping) else {})
    form = await request.form()
    return _body(_texts(form)), await _files(form)


async def read_variation(request: Request) -> tuple[EditBody, Images]:
    """Read a variation: an edit whose prompt may be missing."""
    form = await request.form()
    fields = _texts(form)
    prompt = str(fields.get("prompt") or "").strip()
    body = _body(
        {**fields, "prompt": prompt or VARIATION_PROMPT, "strength": fields.get("strength", VARIATION_STRENGTH)}
    )
    return body.model_copy(update={"revised": not prompt}), await _files(form)


def _texts(form: FormData) -> dict[str, Any]:
    return {name: value for name, value in form.items() if isinstance(value, str) and value != ""}


async def _files(form: FormData) -> Images:
    files: dict[str, list[bytes]] = {"image": [], "mask": []}
    for name, sent in form.multi_items():
        if not isinstance(sent, UploadFile):
            continue
        kind = name.partition("[")[0]  # image, image[] or image[0]
        if kind not in files:
            allowed = localize("server.openai.request.files")
            raise OptionError(source=SOURCE, key=name[:60], value=sent.filename or "", allowed=allowed)
        files[kind].append(await sent.read())
    return _images(files["image"], files["mask"])


def _edit_of_json(data: Mapping[str, Any]) -> tuple[EditBody, Images]:
    """Read `images: [{"image_url": "data:..."}]` and `mask: {"image_url": ...}`, as OpenAI's JSON edits have them."""
    fields = {name: value for name, value in data.items() if name not in ("image", "images", "mask")}
    given = data.get("images") or data.get("image") or []
    entries = list(given) if isinstance(given, Sequence) and not isinstance(given, str) else [given]
    _check_count(len(entries))  # before any is decoded
    masks = [_from_entry(data["mask"], "mask")] if data.get("mask") else []
    return _body(fields), _images([_from_entry(entry, "images") for entry in entries], masks)


def _from_entry(entry: Any, key: str) -> bytes:
    url = entry.get("image_url") if isinstance(entry, Mapping) else entry
    url = url.get("url") if isinstance(url, Mapping) else url
    if not isinstance(url, str):
        allowed = localize("server.openai.request.text")
        raise OptionError(source=SOURCE, key=key, value=str(entry)[:60], allowed=allowed)
    return from_base64(url, key)


def _images(images: Sequence[bytes], masks: Sequence[bytes]) -> Images:
    _check_count(len(images))
    if not images:
        allowed = localize("server.openai.request.an_image_file")
        raise OptionError(source=SOURCE, key="image", value=None, allowed=allowed)
    if len(masks) > 1:
        raise OptionError(source=SOURCE, key="mask", value=len(masks), allowed=_ONE_MASK)
    return Images(tuple(images), masks[0] if masks else None)


def _check_count(images: int) -> None:
    if images > MOST_IMAGES:
        allowed = localize("server.openai.request.up_to", most=MOST_IMAGES)
        raise OptionError(source=SOURCE, key="image", value=images, allowed=allowed)


def _body(fields: Mapping[str, Any]) -> EditBody:
    try:
        return EditBody.model_validate(fields)
    except ValidationError as error:
        found = error.errors()[0]
        key = ".".join(str(part) for part in found["loc"])
        raise OptionError(source=SOURCE, key=key, value=str(fields.get(key))[:60], allowed=found["msg"]) from None
