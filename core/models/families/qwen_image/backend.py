"""Run Qwen-Image, and Qwen-Image-Edit: up to four source images, which the text encoder sees together with the instruction.

The processor of Qwen-Image-Edit gives the text encoder a prompt together with images. transformers' Qwen2VLProcessor has a part for
videos that can't be made without torchvision: here it is made without that part and with the image processor for Pillow, so that
every machine reads an image alike. The pixels differ from those that it makes with torchvision by at most two of 255 levels (mean
0.008, images of noise), in how a resized value is rounded.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from diffusers.pipelines.qwenimage import pipeline_qwenimage_edit_plus as edit_plus
from diffusers.utils.torch_utils import randn_tensor
from PIL import Image
from transformers import Qwen2TokenizerFast, Qwen2VLProcessor
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from transformers.processing_utils import ProcessorMixin

from core.inference import inpaint, precision, variety
from core.inference.img2img import Canvas, Inputs, prepare, required
from core.inference.resolution import size_to_render
from core.models.families.backend import Backend, IsCancelled, PromptEmbeds, Report, Start
from core.models.token_counter import LIMIT, cut_decisions
from core.types import GenerationRequest

if TYPE_CHECKING:
    from core.inference.pipeline_loader import LoadedModel


class QwenImageBackend(Backend):
    """QwenImagePipeline with its img2img and inpaint classes, and QwenImageEditPlusPipeline.

    Latents are tokens of 2 x 2 during the steps: (1, tokens, 4 x channels). The VAE is one for videos, of one frame here.
    """

    def parts_of(self, folder: Path) -> dict[str, Any]:
        """Return the processor of an edit model, see processor.py."""
        return {"processor": read_processor(folder)} if self.family.edits else {}

    # -- 3. an image ---------------------------------------------------------------------------------------------------

    def encode(self, model: LoadedModel, request: GenerationRequest, inputs: Inputs) -> PromptEmbeds:
        """Encode both prompts, for an edit together with the images; `positive` and `negative` are [(1, tokens, width)].

        Raises InputCombinationError for an edit without an image.
        """
        seen = {"image": self._seen(model, request, inputs)} if self.family.edits else {}
        positive = self._encoded(model, request, request.prompt, seen)
        negative = [self._encoded(model, request, request.negative_prompt, seen)] if request.guided else None
        short = None
        if variety.short_steps(request.options, request.num_inference_steps) > 0:
            short = [self._encoded(model, request, variety.shortened(request.prompt), seen)]
        precision.check_embeds([positive, *(negative or ())])
        cut = () if self.family.edits else cut_decisions(model.pipeline.tokenizer, self.family.template, request)
        return PromptEmbeds([positive], negative, cut, short=short)

    def _encoded(
        self, model: LoadedModel, request: GenerationRequest, prompt: str, seen: dict[str, list[Image.Image]]
    ) -> torch.Tensor:
        """Return the embeds as the pipeline makes them, up to the limit; those of an edit have none."""
        pipeline = model.pipeline
        embeds: torch.Tensor = pipeline.encode_prompt(prompt=prompt, device=pipeline._execution_device, **seen)[0]
        return embeds if self.family.edits else embeds[:, : request.options[LIMIT]]

    def _seen(self, model: LoadedModel, request: GenerationRequest, inputs: Inputs) -> list[Image.Image]:
        """Return the source images at the sizes at which the pipeline shows them to the text encoder."""
        required(inputs)
        asked, size = (request.width, request.height), size_to_render(model.info, request)
        laid = inpaint.prepare(inputs, request).inputs
        canvas = prepare(laid, asked, size, not request.options["force_original_resolution"], 1.0)
        seen = []
        for image in canvas.edit_images:
            width, height = edit_plus.calculate_dimensions(edit_plus.CONDITION_IMAGE_SIZE, image.width / image.height)
            seen.append(model.pipeline.image_processor.resize(image, height, width))
        return seen

    def prepare_latents(
        self, model: LoadedModel, request: GenerationRequest, embeds: PromptEmbeds, canvas: Canvas
    ) -> Start:
        """Return noise as tokens for every image; img2img and inpaint pipelines make their own."""
        if canvas.image is not None and not self.family.edits:
            return super().prepare_latents(model, request, embeds, canvas)
        generator = torch.Generator("cpu").manual_seed(request.seed)
        pipeline, (width, height) = model.pipeline, canvas.size
        shape = (1, 1, pipeline.vae.config.z_dim, height // 8, width // 8)
        dtype = self.latents_dtype(embeds)
        noise = randn_tensor(shape, generator=generator, device=pipeline._execution_device, dtype=dtype)
        noise = variety.varied_noise(noise, request.options)
        return Start(canvas, generator, pipeline._pack_latents(noise, 1, noise.shape[2], height // 8, width // 8))

    def denoise(
        self,
        model: LoadedModel,
        request: GenerationRequest,
        embeds: PromptEmbeds,
        start: Start,
        report: Report,
        is_cancelled: IsCancelled,
    ) -> torch.Tensor:
        """Run the pipeline's steps. Returns clean latents (1, channels, height / 8, width / 8)."""
        tokens = super().denoise(model, request, embeds, start, report, is_cancelled)
        width, height = start.canvas.size
        latents: torch.Tensor = model.pipeline._unpack_latents(tokens, height, width, model.pipeline.vae_scale_factor)
        return latents[:, :, 0]

    def pipeline_for(self, pipeline: Any, canvas: Canvas) -> Any:
        """Return the same pipeline for an edit, which has no other classes."""
        return pipeline if self.family.edits else super().pipeline_for(pipeline, canvas)

    def start_arguments(self, start: Start) -> dict[str, Any]:
        """Return the noise and all source images of an edit."""
        if not self.family.edits:
            return super().start_arguments(start)
        width, height = start.canvas.size
        return {
            "width": width,
            "height": height,
            "generator": start.generator,
            "latents": start.noise,
            "image": start.canvas.edit_images,
        }

    def guidance_arguments(self, request: GenerationRequest) -> dict[str, Any]:
        """Return the CFG scale under its name here: `guidance_scale` is for distilled models, of which none is published."""
        return {"true_cfg_scale": request.cfg_scale}

    def embeds_arguments(self, embeds: PromptEmbeds) -> dict[str, Any]:
        """Return one tensor each, with a mask that keeps all tokens: without one the pipeline warns."""
        found = {"prompt_embeds": embeds.positive[0], "prompt_embeds_mask": _all_tokens(embeds.positive[0])}
        if embeds.negative:
            negative = embeds.negative[0]
            found |= {"negative_prompt_embeds": negative, "negative_prompt_embeds_mask": _all_tokens(negative)}
        return found

    def next_embeds(self, embeds: PromptEmbeds) -> dict[str, Any]:
        """Return the prompt embeds of the steps after those with a shortened prompt."""
        return {"prompt_embeds": embeds.positive[0]}

    def extra_arguments(self, request: GenerationRequest) -> dict[str, Any]:
        """Return the maximum prompt length, to which the pipeline cuts once more; that of an edit does not."""
        return {} if self.family.edits else {"max_sequence_length": request.options[LIMIT]}

    def preview_latents(self, vae: Any, clean: torch.Tensor, request: GenerationRequest) -> torch.Tensor | None:
        """Convert tokens (1, h w, 4 x channels) to (1, channels, 2 h, 2 w)."""
        width = -(-request.width // self.family.size_multiple)
        if clean.ndim != 3 or clean.shape[1] % width:
            return None
        grid = clean.permute(0, 2, 1).reshape(1, clean.shape[2], clean.shape[1] // width, width)
        return torch.nn.functional.pixel_shuffle(grid, 2)

    def decode(self, vae: Any, latents: torch.Tensor) -> torch.Tensor:
        """Decode normalised latents (1, channels, h, w) to (1, 3, 8 h, 8 w)."""
        frames = latents.unsqueeze(2).to(vae.dtype)
        shape = (1, vae.config.z_dim, 1, 1, 1)
        mean = torch.tensor(vae.config.latents_mean).view(shape).to(frames)
        spread = 1.0 / torch.tensor(vae.config.latents_std).view(shape).to(frames)
        pixels: torch.Tensor = vae.decode(frames / spread + mean, return_dict=False)[0]
        return pixels[:, :, 0]


BACKEND = QwenImageBackend


def _all_tokens(embeds: torch.Tensor) -> torch.Tensor:
    return torch.ones(embeds.shape[:2], dtype=torch.long, device=embeds.device)


FOLDER = "processor"
IMAGE_TOKEN, VIDEO_TOKEN = "<|image_pad|>", "<|video_pad|>"


class ImageProcessor(Qwen2VLProcessor):
    """Qwen2VLProcessor for images alone: `(text=, images=, padding=, return_tensors=)` gives ids, mask, pixels and their grid."""

    def __init__(self, image_processor: Qwen2VLImageProcessorPil, tokenizer: Qwen2TokenizerFast) -> None:
        self.image_token, self.video_token = IMAGE_TOKEN, VIDEO_TOKEN
        self.image_token_id, self.video_token_id = tokenizer.convert_tokens_to_ids([IMAGE_TOKEN, VIDEO_TOKEN])
        ProcessorMixin.__init__(self, image_processor, tokenizer)  # that of Qwen2VLProcessor passes on a part for videos

    @classmethod
    def get_attributes(cls) -> list[str]:
        """Return the names of its parts."""
        return ["image_processor", "tokenizer"]


def read_processor(model: Path) -> ImageProcessor:
    """Return the processor of a diffusers folder. Raises OSError for files that are missing or not readable."""
    folder = model / FOLDER
    images = Qwen2VLImageProcessorPil.from_pretrained(folder, local_files_only=True)
    return ImageProcessor(images, Qwen2TokenizerFast.from_pretrained(folder, local_files_only=True))
