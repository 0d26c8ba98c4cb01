"""Count what an image takes: floating point operations by phase, and the pixels that are alive at once. Without torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from core.config.boxes import read_boxes
from core.inference import hires, inpaint
from core.inference.resolution import size_to_render
from core.models.families import FAMILIES
from core.models.families.base import read_config
from core.models.part_sources import count_parameters, files_of, skeleton_of, stored_bytes
from core.types import IMAGE, GenerationRequest, ModelInfo

DECODE_FLOPS = 0.12  # a pixel and parameter of the VAE: 10.5e12 at 1024 px with 83.8 M, by torch's FlopCounterMode
ENCODED_TOKENS = 512  # of a prompt, with its padding
# Of a model whose files are elsewhere: workloads of one model then compare, and mean nothing by themselves.
NOMINAL = {"text_encoder": 1, "transformer": 1, "unet": 1, "vae": 1}


@dataclass(frozen=True)
class ModelSize:
    """Parameters by part, the bytes of parts that stay as stored, and the denoiser's configuration."""

    parameters: Mapping[str, int]
    stored: Mapping[str, int] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)

    @property
    def whole(self) -> int:
        """Return the parameters of all parts."""
        return sum(self.parameters.values())


@dataclass(frozen=True)
class Workload:
    """Operations of one image by phase, as `GeneratedImage.timings` has them; `pixels` of its largest pass."""

    operations: Mapping[str, float]
    pixels: int


def size_of_model(info: ModelInfo) -> ModelSize:
    """Return the size of a model by the headers of its files. Raises ModelError when they can't be read."""
    files = files_of(info)
    skeleton = skeleton_of(*files[:3])
    config = read_config(skeleton / FAMILIES[info.pipeline].denoiser / "config.json")
    return ModelSize(count_parameters(*files), stored_bytes(*files), config)


def workload(request: GenerationRequest, info: ModelInfo, model: ModelSize) -> Workload:
    """Return the work of one image of a complete request; of an image that is only enlarged, its pixels as "upscale"."""
    family, passes = FAMILIES.get(info.pipeline), hires.of(request)
    if not passes or family is None:
        pixels = request.width * request.height
        return Workload({"upscale": float(pixels)} if not passes else {"steps": float(pixels)}, pixels)
    parts, from_image = model.parameters, IMAGE in request.inputs
    largest, steps, decode = 0, 0.0, 0.0
    for one in passes:
        pixels = _pixels(one, info)
        step = family.step_flops(parts.get(family.denoiser, 1), model.config, pixels)
        steps += step * hires.steps_of(one, info.pipeline, from_image) * (1 + one.request.guided)
        decode += DECODE_FLOPS * parts.get("vae", 1) * pixels
        largest = max(largest, pixels)
    encoders = sum(count for part, count in parts.items() if part.startswith("text_encoder"))
    text = 2.0 * encoders * ENCODED_TOKENS * (1 + request.guided)
    return Workload({"text": text, "steps": steps, "decode": decode}, largest)


def _pixels(one: hires.Pass, info: ModelInfo) -> int:
    """Return the pixels that a pass renders; a part of an image is generated at about the model's own size."""
    request = one.request
    if one.box:
        (box,) = read_boxes([one.box], "request")
        width, height = size_to_render(info, replace(request, width=box.width, height=box.height))
    elif inpaint.is_partial(request):
        width, height = info.default_width, info.default_height
    else:
        width, height = size_to_render(info, request)
    return width * height
