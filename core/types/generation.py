"""Define what goes into the model and what comes out: requests, progress, images."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # Pillow is needed by whoever makes or saves an image, not by whoever carries a request
    from pathlib import Path

    from PIL.Image import Image


class Phase(StrEnum):
    """The phase of a running job."""

    LOADING = "loading"
    TEXT = "text"
    STEPS = "steps"
    UPSCALE = "upscale"
    DECODE = "decode"
    SAVE = "save"


SET_FIELDS = (  # of a request: what the options generation.<name> set
    "prompt", "negative_prompt", "width", "height", "num_inference_steps", "cfg_scale", "seed", "num_images",
)  # fmt: skip
OWN_FIELDS = (  # of a request: what each image of a batch may have of its own
    "prompt", "template", "negative_prompt", "negative_template", "width", "height", "num_inference_steps", "cfg_scale", "seed",
)  # fmt: skip


CFG_OFF = 1.0
CFG_DIGITS = 6  # 0.1 stays 0.1 when it becomes 1.1 and back
STORED_OFFSET = 1.0  # records, queue rows and columns of version 0.1.0 hold CFG - 1 for every family


def cfg_of(guidance: float, offset: float) -> float:
    """Return the CFG scale of a pipeline's own `guidance_scale`; `offset` is CFG minus that, see ModelInfo.cfg_offset."""
    return max(CFG_OFF, round(guidance + offset, CFG_DIGITS))


def guidance_of(cfg: float, offset: float) -> float:
    """Return the pipeline's own `guidance_scale` of a CFG scale."""
    return round(cfg - offset, CFG_DIGITS)


def with_cfg(stored: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the stored fields of a request with the CFG scale in place of the CFG - 1 that version 0.1.0 kept."""
    if "cfg_scale" in stored or "guidance_scale" not in stored:
        return stored
    guidance = stored["guidance_scale"]
    if guidance is not None and (isinstance(guidance, bool) or not isinstance(guidance, int | float)):
        return stored  # left to the checks of whoever reads it
    rest = {name: value for name, value in stored.items() if name != "guidance_scale"}
    return {**rest, "cfg_scale": None if guidance is None else cfg_of(guidance, STORED_OFFSET)}


IMAGE, MASK, CONTROL = "image", "mask_image", "control_image"  # what an input image is for; diffusers' own names
CONTROLS = (CONTROL, "control_image_2", "control_image_3", "control_image_4")  # of several ControlNets
REFERENCES = ("image_2", "image_3", "image_4")  # further images of an edit, beside "image"
ROLES = (IMAGE, MASK, *CONTROLS, *REFERENCES)


@dataclass(frozen=True)
class GenerationRequest:
    """Everything that decides an image. Complete: after submission no field depends on a default.

    `width` and `height` are the pixels of the delivered file; `options` holds every advanced option by its schema key
    (such as ``vae.enable_tiling``), so that the record of an image never depends on a configuration file of that day.
    `prompt` is final; `template`, if not empty, is the template that it was expanded from (see core.batch).
    A batch says in `images` what each image has other than the request itself; there is one entry an image, then.
    `inputs` names stored images by what they are for (one of ROLES) and digest; all images of a batch share them.
    """

    prompt: str
    negative_prompt: str = ""
    model: str = "demo"
    width: int = 256
    height: int = 256
    num_inference_steps: int = 8
    cfg_scale: float = 1.0  # 1 = off, for every family of models
    seed: int = -1
    num_images: int = 1
    options: Mapping[str, Any] = field(default_factory=dict)
    template: str = ""
    original_prompt: str = ""  # what the user wrote, where the prompt was enhanced or translated from it
    negative_template: str = ""  # likewise, of the negative prompt
    images: tuple[Mapping[str, Any], ...] = ()  # values by names of OWN_FIELDS
    inputs: Mapping[str, str] = field(default_factory=dict)  # role -> digest, see Studio.keep_input
    parent: str = ""  # the id of the image of the history that the input "image" is; "" = none

    @property
    def guided(self) -> bool:
        """Return True if CFG is on: each step takes two passes, and the negative prompt acts."""
        return self.cfg_scale > CFG_OFF

    def per_image_requests(self) -> tuple[GenerationRequest, ...]:
        """Return one request per image. Without a batch, image k (from 0) has seed + k."""
        if self.images:
            return tuple(replace(self, num_images=1, images=(), **own) for own in self.images)
        return tuple(replace(self, seed=self.seed + k, num_images=1) for k in range(self.num_images))


@dataclass(frozen=True)
class InputSources:
    """The input images of a request: digests by role, and the history id of the source image."""

    inputs: Mapping[str, str] = field(default_factory=dict)
    parent: str = ""


@dataclass(frozen=True)
class Decision:
    """An automatic choice: the requested value, the used one, and the reason by language."""

    option: str
    requested: Any
    effective: Any
    reason: Mapping[str, str]  # language -> sentence


@dataclass(frozen=True)
class Progress:
    """The progress of a running job. `step` of `steps` are the denoising steps of image `image` of `images` (from 1)."""

    phase: Phase
    step: int = 0
    steps: int = 0
    image: int = 1
    images: int = 1
    eta_seconds: float | None = None
    detail: str = ""
    preview: bytes | None = None  # a small WebP of the forming image; None = unchanged
    workers: int = 1  # that generate images of this job at once; the steps are those of the first of these images
    preview_step: int = 0  # the step that the latest preview of image `image` shows; 0 = there is none yet
    read_bytes: int = 0  # while a model is loaded: how much of its weight files is in memory
    total_bytes: int = 0  # and how much there is; 0 = not known

    @property
    def fraction(self) -> float:
        """Return the progress of the whole job, 0 to 1, by images and by the steps of the present one."""
        if not self.steps or (self.phase in (Phase.LOADING, Phase.TEXT) and self.image == 1):
            return 0.0
        return min(1.0, (self.image - 1 + self.step / self.steps) / self.images)


@dataclass(frozen=True)
class GeneratedImage:
    """One finished image, still in memory. Sizes are (width, height) in pixels, times in seconds."""

    image: Image
    request: GenerationRequest  # a single: its seed is this image's
    rendered_size: tuple[int, int]  # what the model drew, a multiple of 16
    timings: Mapping[str, float]  # text, steps, decode
    effective: Mapping[str, Any]  # resolved values: device, dtype, scheduler, attention, versions, model revision ...
    decisions: tuple[Decision, ...] = ()
    peak_memory_bytes: int | None = None
    place: int = 1  # which of its job's images this is, from 1


@dataclass(frozen=True)
class GenerationResult:
    """All the images of one request, in order."""

    images: tuple[GeneratedImage, ...]


@dataclass(frozen=True)
class ResumeState:
    """What a generator gets besides the request: the job, its finished images, and its input images."""

    job_id: str = ""  # the same job may come again after a crash: this tells
    made: Collection[int] = ()  # places (from 1) of the images that an earlier attempt has finished
    inputs: Mapping[str, Image] = field(default_factory=dict)  # role -> RGB image
    folder: Path | None = None  # for the state of an image that is stopped between two steps; None: it begins again


FIRST_ATTEMPT = ResumeState()
