"""Run Z-Image-Omni: images from text, and edits of one to four images, which SigLIP 2 and the VAE both see."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from diffusers.utils.torch_utils import randn_tensor
from transformers.models.siglip2.image_processing_pil_siglip2 import Siglip2ImageProcessorPil

from core.config.schema import AUTO
from core.config.typed_settings import Options
from core.inference import precision, variety
from core.inference.img2img import Canvas, Inputs
from core.models.families.backend import Backend, PromptEmbeds, Start
from core.models.token_counter import LIMIT, cut_decisions
from core.types import IMAGE, REFERENCES, Decision, GenerationRequest

if TYPE_CHECKING:
    from core.inference.pipeline_loader import LoadedModel


class ZImageSteps(Backend):
    """The steps of an image that do not depend on how the prompt is encoded."""

    def shift(self, model: LoadedModel, options: Mapping[str, Any]) -> float:
        """Return the shift that is set, or the model's own."""
        wanted = Options(options).scheduler.shift
        return float(model.scheduler.config.shift if wanted == AUTO else wanted)

    def latents_dtype(self, embeds: PromptEmbeds) -> torch.dtype:
        """Return float32, in which Z-Image keeps latents."""
        return torch.float32

    def extra_arguments(self, request: GenerationRequest) -> dict[str, Any]:
        """Return the arguments of CFG normalization and truncation."""
        return {
            "cfg_normalization": Options(request.options).cfg.normalization,
            "cfg_truncation": Options(request.options).cfg.truncation,
        }

    def decode(self, vae: Any, latents: torch.Tensor) -> torch.Tensor:
        """Decode (1, 16, h, w) normalised latents to (1, 3, 8 h, 8 w)."""
        scaled = latents.to(vae.dtype) / vae.config.scaling_factor + vae.config.shift_factor
        pixels: torch.Tensor = vae.decode(scaled, return_dict=False)[0]
        return pixels


_AFTER_IMAGES = ("<|vision_end|>", "<|im_end|>\n<|im_start|>assistant\n<|vision_start|>")  # around the prompt of an edit


class OmniBackend(ZImageSteps):
    """ZImageOmniPipeline. The prompt of an edit is encoded in pieces, between which the transformer gets the images."""

    def parts_of(self, folder: Path) -> dict[str, Any]:
        """Return the image processor of SigLIP 2 for Pillow, which needs no torchvision."""
        read = Siglip2ImageProcessorPil.from_pretrained(folder / "siglip_processor", local_files_only=True)
        return {"siglip_processor": read}

    def encode(self, model: LoadedModel, request: GenerationRequest, inputs: Inputs) -> PromptEmbeds:
        """Encode both prompts; `positive` and `negative` are their pieces, (tokens, width) each."""
        images = sum(role in inputs for role in (IMAGE, *REFERENCES))
        positive, negative = model.pipeline.encode_prompt(
            prompt=request.prompt,
            negative_prompt=request.negative_prompt,
            do_classifier_free_guidance=request.guided,
            device=model.pipeline._execution_device,
            max_sequence_length=request.options[LIMIT],
            num_condition_images=images,
        )
        pieces = [*positive[0], *(negative[0] if negative else ())]
        precision.check_embeds(pieces)
        return PromptEmbeds(positive[0], negative[0] if negative else None, self._cut_off(model, request, images > 0))

    def _cut_off(self, model: LoadedModel, request: GenerationRequest, edits: bool) -> tuple[Decision, ...]:
        """Say what the text encoder is not given of each prompt."""
        return cut_decisions(model.pipeline.tokenizer, _AFTER_IMAGES if edits else self.family.template, request)

    def prepare_latents(
        self, model: LoadedModel, request: GenerationRequest, embeds: PromptEmbeds, canvas: Canvas
    ) -> Start:
        """Return noise (1, 16, height / 8, width / 8) for every image; source images are conditions beside it."""
        generator = torch.Generator("cpu").manual_seed(request.seed)
        pipeline, (width, height) = model.pipeline, canvas.size
        shape = (1, pipeline.transformer.config.in_channels, height // 8, width // 8)
        dtype = self.latents_dtype(embeds)
        noise = randn_tensor(shape, generator=generator, device=pipeline._execution_device, dtype=dtype)
        return Start(canvas, generator, variety.varied_noise(noise, request.options))

    def pipeline_for(self, pipeline: Any, canvas: Canvas) -> Any:
        """Return the same pipeline, which edits as well."""
        return pipeline

    def start_arguments(self, start: Start) -> dict[str, Any]:
        """Return the noise and the source images: the first as it is laid into the size, further ones as they are."""
        canvas = start.canvas
        images = {"image": canvas.edit_images} if canvas.edit_images else {}
        return {
            "width": canvas.size[0],
            "height": canvas.size[1],
            "generator": start.generator,
            "latents": start.noise,
            **images,
        }

    def embeds_arguments(self, embeds: PromptEmbeds) -> dict[str, Any]:
        """Return the pieces of each prompt, as a list for each image of the batch."""
        negative = [list(embeds.negative)] if embeds.negative else None
        return {"prompt_embeds": [list(embeds.positive)], "negative_prompt_embeds": negative}
