"""Serve A1111's tools: enlarge images, read the parameters of a file, refuse captions (which are not implemented)."""

from __future__ import annotations

import base64
import io
import threading
from collections.abc import Callable
from typing import Annotated, Any

import anyio.to_thread
from fastapi import FastAPI, Request
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, model_validator

from core.errors import OptionError
from core.history import reading_process
from core.history.importers.common import size_of
from core.i18n import localize
from core.server.a1111_info import upscaler_names
from core.server.a1111_request import UPSCALERS
from core.server.body_limit import from_base64
from core.server.error_responses import NotBuiltInError
from core.server.submission import SOURCE, client_of, demand_images, ended, submit
from core.storage.embedded_texts import PARAMETERS
from core.storage.infotext import read_infotext
from core.storage.input_images import MAX_SIDE
from core.storage.metadata import RECORD, read_texts
from core.studio import Studio
from core.types import IMAGE, ImageParameters, InputSources, SubmitOptions

LARGEST = MAX_SIDE * MAX_SIDE // 2  # pixels of an enlarged image; 100 MB in memory
NOTHING = ("", "None")  # names of no upscaler
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
    async def one(body: ExtraImage, request: Request) -> Any:
        """Enlarge an image."""
        studio = await anyio.to_thread.run_sync(get_studio)
        data = await enlarged(studio, from_base64(body.image, "image"), "image", body, request)
        return {"html_info": "", "image": data, "ignored": _ignored(body)}

    @app.post("/extra-batch-images")
    async def several(body: ExtraImages, request: Request) -> Any:
        """Enlarge several images."""
        studio = await anyio.to_thread.run_sync(get_studio)
        images = [
            await enlarged(studio, from_base64(file.data, "imageList"), file.name or "imageList", body, request)
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
    found, texts = reading_process.shared.read(data), read_texts(io.BytesIO(data))
    items = {name: text for name, text in (texts[1] if texts else {}).items() if name != RECORD}
    words = items.get(PARAMETERS, "")
    info = read_infotext(words)
    if not info.fields and found is not None and found.program:
        return {"info": words, "items": items, "parameters": _by_names(found.facts)}
    prompts = {"Prompt": info.prompt, "Negative prompt": info.negative_prompt} if words else {}
    width, height = size_of(info.fields.get("Size", ""))
    sizes = {"Size-1": width, "Size-2": height} if width else {}
    return {"info": words, "items": items, "parameters": {**prompts, **info.fields, **sizes}}


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


async def enlarged(studio: Studio, data: bytes, name: str, body: Extras, request: Request) -> str:
    """Return the enlarged image as base64 of a PNG: by filters at once, by networks as jobs of the caller.

    Raises OptionError and InputImageError, and what a job fails with.
    """
    for key in ("upscaler_1", "upscaler_2"):
        _check_name(studio, getattr(body, key), key)
    digest = await anyio.to_thread.run_sync(studio.input_images.keep, data, name)
    size = _target(studio.input_images.size(digest), body)
    image = await _by(studio, body.upscaler_1, digest, size, body, request)
    if body.upscaler_2 not in NOTHING and body.extras_upscaler_2_visibility:
        other = await _by(studio, body.upscaler_2, digest, size, body, request)
        image = Image.blend(image, other, body.extras_upscaler_2_visibility)
    return await anyio.to_thread.run_sync(_png, image)


def _png(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    return base64.b64encode(buffer.getvalue()).decode("ascii")


async def _by(
    studio: Studio, name: str, digest: str, size: tuple[int, int], body: Extras, request: Request
) -> Image.Image:
    """Return a stored input image at `size`, or as it is by A1111's "None"; with `upscaling_crop` it covers the size."""
    with Image.open(studio.input_images.file(digest)) as stored:
        image = await anyio.to_thread.run_sync(stored.convert, "RGB")
    if name in NOTHING:
        return image
    covering = _covering(image.size, size) if body.resize_mode == 1 and body.upscaling_crop else size
    if name.lower() in UPSCALERS:
        made = await anyio.to_thread.run_sync(_filtered, image, covering, _FILTERS[UPSCALERS[name.lower()]])
    else:
        made = await _by_network(studio, name, digest, covering, request)
    left, top = (made.width - size[0]) // 2, (made.height - size[1]) // 2
    return made.crop((left, top, left + size[0], top + size[1]))


def _filtered(image: Image.Image, size: tuple[int, int], method: Image.Resampling) -> Image.Image:
    with _ONE_AT_A_TIME:
        return image.resize(size, method)


async def _by_network(studio: Studio, name: str, digest: str, size: tuple[int, int], request: Request) -> Image.Image:
    """Have the worker enlarge the image, and return it when it is ready."""
    values = {
        "generation.prompt": "", "generation.width": size[0], "generation.height": size[1], "upscale.mode": "enlarge",
        "upscale.method": name, "output.format": "png",
    }  # fmt: skip
    terms, sources = SubmitOptions(client=client_of(request)), InputSources({IMAGE: digest})
    job = await anyio.to_thread.run_sync(submit, studio, values, terms, None, sources)
    ended_job = demand_images(await ended(studio, job, request))
    with Image.open(studio.history.file(ended_job.image_ids[0])) as made:
        return await anyio.to_thread.run_sync(made.convert, "RGB")


def _covering(image: tuple[int, int], size: tuple[int, int]) -> tuple[int, int]:
    """Return the size in the ratio of the image that covers `size`."""
    factor = max(size[0] / image[0], size[1] / image[1])
    return max(size[0], round(image[0] * factor)), max(size[1], round(image[1] * factor))


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


def _check_name(studio: Studio, name: str, key: str) -> None:
    """Raise OptionError for an upscaler that the studio does not have."""
    known = upscaler_names(studio)
    if name not in NOTHING and name.lower() not in UPSCALERS and name not in known:
        raise OptionError(source=SOURCE, key=key, value=name[:60], allowed=", ".join(known))


def _ignored(body: Extras) -> list[str]:
    return [name for name in ("gfpgan_visibility", "codeformer_visibility") if getattr(body, name)]
