"""A1111's tools beside generation: enlarging images, the parameters of a file, captions (which are not here)."""

from __future__ import annotations

import base64
import io
import threading
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import FastAPI
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, model_validator

from core.errors import OptionError
from core.history.importers import read_parameters
from core.history.importers.common import size_of
from core.i18n import localize
from core.server.a1111_info import upscaler_names
from core.server.a1111_request import UPSCALERS
from core.server.error_responses import NotBuiltInError
from core.server.submission import SOURCE
from core.server.uploads import from_base64
from core.storage.embedded_texts import PARAMETERS
from core.storage.infotext import read_infotext
from core.storage.input_images import MAX_SIDE
from core.storage.metadata import RECORD, read_texts
from core.studio import Studio
from core.types import ImageParameters

LARGEST = MAX_SIDE * MAX_SIDE // 2  # pixels of an enlarged image; 100 MB in memory
MOST_IMAGES = 64  # of one call
_FILTERS = {
    "lanczos": Image.Resampling.LANCZOS,
    "nearest": Image.Resampling.NEAREST,
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
}
_ONE_AT_A_TIME = threading.Lock()  # large images are in memory


class ImageFile(BaseModel):
    """The body of png-info and interrogate."""

    image: str = ""
    model: str = "clip"


class Extras(BaseModel):
    """What both enlarging routes read. Nulls are defaults, as in A1111."""

    model_config = ConfigDict(extra="allow")
    resize_mode: Annotated[int, Field(ge=0, le=1)] = 0  # 0: by a factor, 1: to a size
    upscaling_resize: Annotated[float, Field(gt=0, le=16)] = 2
    upscaling_resize_w: Annotated[int, Field(ge=1, le=MAX_SIDE)] = 512
    upscaling_resize_h: Annotated[int, Field(ge=1, le=MAX_SIDE)] = 512
    upscaling_crop: bool = True
    upscaler_1: str = "None"
    upscaler_2: str = "None"
    extras_upscaler_2_visibility: Annotated[float, Field(ge=0, le=1)] = 0
    gfpgan_visibility: Annotated[float, Field(ge=0, le=1)] = 0
    codeformer_visibility: Annotated[float, Field(ge=0, le=1)] = 0

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, data: Any) -> Any:
        return {name: value for name, value in data.items() if value is not None} if isinstance(data, dict) else data


class ExtraImage(Extras):
    """The body of extra-single-image."""

    image: str = ""


class NamedImage(BaseModel):
    """One image of extra-batch-images."""

    data: str
    name: str = ""


class ExtraImages(Extras):
    """The body of extra-batch-images."""

    imageList: Annotated[list[NamedImage], Field(max_length=MOST_IMAGES)]


def add_extras(app: FastAPI, get_studio: Callable[[], Studio]) -> None:
    """Add the routes."""

    @app.post("/extra-single-image")
    def one(body: ExtraImage) -> Any:
        """Enlarge an image."""
        data = enlarged(get_studio(), from_base64(body.image, "image"), "image", body)
        return {"html_info": "", "image": data, "ignored": _ignored(body)}

    @app.post("/extra-batch-images")
    def several(body: ExtraImages) -> Any:
        """Enlarge several images."""
        studio = get_studio()
        images = [
            enlarged(studio, from_base64(file.data, "imageList"), file.name or "imageList", body)
            for file in body.imageList
        ]
        return {"html_info": "", "images": images, "ignored": _ignored(body)}

    @app.post("/png-info")
    def png_info(file: ImageFile) -> Any:
        """Return the parameters that an image file carries."""
        return _png_info(from_base64(file.image, "image"))

    @app.post("/interrogate", status_code=501)
    def interrogate(_body: dict[str, Any] | None = None) -> Any:
        """Refuse: there is no model here that describes images."""
        raise NotBuiltInError(name="interrogate (CLIP, DeepDanbooru)")


def _png_info(data: bytes) -> dict[str, Any]:
    """Return A1111's text, the named texts of the file, and the parameters of any program by A1111's names."""
    found, texts = read_parameters(io.BytesIO(data)), read_texts(io.BytesIO(data))
    items = {name: text for name, text in (texts[1] if texts else {}).items() if name != RECORD}
    words = items.get(PARAMETERS, "")
    info = read_infotext(words)
    if not info.fields and found is not None and found.program:
        return {"info": words, "items": items, "parameters": _by_names(found.facts)}
    told = {"Prompt": info.prompt, "Negative prompt": info.negative_prompt} if words else {}
    width, height = size_of(info.fields.get("Size", ""))
    sizes = {"Size-1": width, "Size-2": height} if width else {}
    return {"info": words, "items": items, "parameters": {**told, **info.fields, **sizes}}


def _by_names(facts: ImageParameters) -> dict[str, Any]:
    named = {
        "Prompt": facts.prompt,
        "Negative prompt": facts.negative_prompt,
        "Steps": facts.steps,
        "Sampler": facts.sampler,
        "CFG scale": facts.cfg_scale,
        "Seed": facts.seed,
        "Size-1": facts.width,
        "Size-2": facts.height,
        "Model": facts.model,
    }
    return {name: value for name, value in named.items() if value is not None}


def enlarged(studio: Studio, data: bytes, name: str, body: Extras) -> str:
    """Return the enlarged image as base64 of a PNG. Raises OptionError and InputImageError."""
    main, second = (_filter(getattr(body, key), key) for key in ("upscaler_1", "upscaler_2"))
    share = body.extras_upscaler_2_visibility if second is not None else 0.0
    digest = studio.input_images.keep(data, name)
    size = _target(studio.input_images.size(digest), body)
    with _ONE_AT_A_TIME, Image.open(studio.input_images.file(digest)) as stored:
        image = _resized(stored.convert("RGB"), size, main, body)
        if share:
            with Image.open(studio.input_images.file(digest)) as again:
                image = Image.blend(image, _resized(again.convert("RGB"), size, second, body), share)
        buffer = io.BytesIO()
        image.save(buffer, "PNG", compress_level=1)
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def _target(size: tuple[int, int], body: Extras) -> tuple[int, int]:
    """Return width and height of the result. OptionError for more than fits into memory."""
    if body.resize_mode == 1:
        width, height = body.upscaling_resize_w, body.upscaling_resize_h
        if not body.upscaling_crop:
            factor = min(width / size[0], height / size[1])
            width, height = (max(1, round(side * factor)) for side in size)
    else:
        width, height = (max(1, round(side * body.upscaling_resize)) for side in size)
    if width * height > LARGEST or max(width, height) > MAX_SIDE:
        allowed = localize("server.a1111_extras.sides_of_at_most_px_px", max_side=MAX_SIDE, largest=LARGEST)
        raise OptionError(source=SOURCE, key="upscaling_resize", value=f"{width}x{height}", allowed=allowed)
    return width, height


def _resized(
    image: Image.Image, size: tuple[int, int], method: Image.Resampling | None, body: Extras
) -> Image.Image:  # fmt: skip
    """Scale an image; with `upscaling_crop` to cover the size, cut from the centre. None is A1111's "None": nothing."""
    if method is None:
        return image
    if body.resize_mode == 1 and body.upscaling_crop:
        factor = max(size[0] / image.width, size[1] / image.height)
        image = image.resize(
            (max(size[0], round(image.width * factor)), max(size[1], round(image.height * factor))), method
        )
        left, top = (image.width - size[0]) // 2, (image.height - size[1]) // 2
        return image.crop((left, top, left + size[0], top + size[1]))
    return image.resize(size, method)


def _filter(name: str, key: str) -> Image.Resampling | None:
    if name in ("", "None"):
        return None
    method = UPSCALERS.get(name.lower())
    if method is None:
        raise OptionError(source=SOURCE, key=key, value=name[:60], allowed=", ".join(upscaler_names()))
    return _FILTERS[method]


def _ignored(body: Extras) -> list[str]:
    return [name for name in ("gfpgan_visibility", "codeformer_visibility") if getattr(body, name)]
