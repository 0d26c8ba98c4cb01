"""Run FLUX.2 [klein]: generation from text, and edits of up to four source images by instruction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from diffusers.utils.torch_utils import randn_tensor

from core.config.typed_settings import Options
from core.i18n import localize
from core.inference import precision, variety
from core.inference.img2img import Canvas, Inputs
from core.models.families.backend import Backend, PromptEmbeds, Start
from core.types import CFG_OFF, Decision, GenerationRequest

if TYPE_CHECKING:
    from core.inference.pipeline_loader import LoadedModel


class Flux2Backend(Backend):
    """Flux2KleinPipeline. Latents are tokens of 2 x 2: (1, tokens, 4 x channels) during the steps."""

    def encode(self, model: LoadedModel, request: GenerationRequest, inputs: Inputs) -> PromptEmbeds:
        """Encode the prompts; `positive` and `negative` are [(1, tokens, width)]. A step-distilled model has no guidance."""
        positive = self._encoded(model, request, request.prompt)
        guided = request.guided and not model.pipeline.config.is_distilled
        negative = [self._encoded(model, request, request.negative_prompt)] if guided else None
        precision.check_embeds([positive, *(negative or [])])
        return PromptEmbeds([positive], negative, _cut_off(model, request))

    def _encoded(self, model: LoadedModel, request: GenerationRequest, prompt: str) -> torch.Tensor:
        embeds: torch.Tensor = model.pipeline.encode_prompt(
            prompt=prompt,
            device=model.pipeline._execution_device,
            max_sequence_length=Options(request.options).transformer.max_sequence_length,
        )[0]
        return embeds

    def prepare_latents(
        self, model: LoadedModel, request: GenerationRequest, embeds: PromptEmbeds, canvas: Canvas
    ) -> Start:
        """Return noise (1, 4 x channels, height / 16, width / 16) for every image; source images are references beside it.

        Within a mask the pipeline makes the noise, and the encoded source image is returned.
        """
        generator = torch.Generator("cpu").manual_seed(request.seed)
        pipeline, multiple = model.pipeline, self.family.size_multiple
        if canvas.mask is not None:
            return Start(canvas, generator, encoded=_encoded_image(pipeline, canvas, self.latents_dtype(embeds)))
        shape = (1, pipeline.transformer.config.in_channels, canvas.size[1] // multiple, canvas.size[0] // multiple)
        dtype = self.latents_dtype(embeds)
        noise = randn_tensor(shape, generator=generator, device=pipeline._execution_device, dtype=dtype)
        return Start(canvas, generator, variety.varied_noise(noise, request.options))

    def pipeline_for(self, pipeline: Any, canvas: Canvas) -> Any:
        """Return the same pipeline, which edits as well; within a mask its inpaint class."""
        return pipeline if canvas.mask is None else super().pipeline_for(pipeline, canvas)

    def arguments_of(self, pipeline: Any) -> dict[str, Any]:
        """Return whether the model is step-distilled and ignores the guidance."""
        return {"is_distilled": pipeline.config.is_distilled}

    def start_arguments(self, start: Start) -> dict[str, Any]:
        """Return the noise and the source images; within a mask all steps begin with noise that the pipeline makes."""
        canvas = start.canvas
        given = {"width": canvas.size[0], "height": canvas.size[1], "generator": start.generator}
        if canvas.mask is not None:
            masked = {"image": start.encoded, "mask_image": canvas.mask, "strength": 1.0}
            further = canvas.edit_images[1:]
            return {**given, **masked, "image_reference": further[0] if further else None}
        images = {"image": canvas.edit_images} if canvas.edit_images else {}
        return {**given, "latents": start.noise, **images}

    def embeds_arguments(self, embeds: PromptEmbeds) -> dict[str, Any]:
        """Return one tensor for the prompt and one for the negative prompt."""
        negative = embeds.negative[0] if embeds.negative else None
        return {"prompt_embeds": embeds.positive[0], "negative_prompt_embeds": negative}

    def preview_latents(self, vae: Any, clean: torch.Tensor, request: GenerationRequest) -> torch.Tensor | None:
        """Return tokens (1, h w, 4 x channels) -> (1, channels, 2 h, 2 w), their normalisation undone as the pipeline does it."""
        width = -(-request.width // self.family.size_multiple)
        if clean.ndim != 3 or clean.shape[1] % width:
            return None
        grid = clean.permute(0, 2, 1).reshape(1, clean.shape[2], clean.shape[1] // width, width)
        spread = torch.sqrt(vae.bn.running_var + vae.config.batch_norm_eps).to(grid)
        grid = grid * spread.view(1, -1, 1, 1) + vae.bn.running_mean.to(grid).view(1, -1, 1, 1)
        return torch.nn.functional.pixel_shuffle(grid, 2)

    def decode(self, vae: Any, latents: torch.Tensor) -> torch.Tensor:
        """Return (1, 32, h, w) -> (1, 3, 8 h, 8 w); the pipeline has undone the normalisation."""
        pixels: torch.Tensor = vae.decode(latents.to(vae.dtype), return_dict=False)[0]
        return pixels

    def decisions(self, model: LoadedModel, request: GenerationRequest) -> tuple[Decision, ...]:
        """Return the decisions of every backend, and that a step-distilled model ignores the CFG scale."""
        found = super().decisions(model, request)
        if not (request.guided and model.pipeline.config.is_distilled):
            return found
        reason = localize("models.families.flux2.backend.distilled")
        return (*found, Decision("generation.cfg_scale", request.cfg_scale, CFG_OFF, reason))


BACKEND = Flux2Backend


def _encoded_image(pipeline: Any, canvas: Canvas, dtype: torch.dtype) -> torch.Tensor:
    """Return the source image as patches of latents (1, 4 x channels, height / 16, width / 16), as the inpaint pipeline encodes it.

    Given the image itself, that one would generate at 1 megapixel at most. Raises CorruptImageError for values that are not finite.
    """
    width, height = canvas.size
    pixels = pipeline.image_processor.preprocess(canvas.image, height, width).to(pipeline._execution_device, dtype)
    with precision.checked_encoder(pipeline.vae, dtype):
        encoded: torch.Tensor = pipeline._patchify_latents(pipeline.vae.encode(pixels).latent_dist.mode())
    return encoded


def _cut_off(model: LoadedModel, request: GenerationRequest) -> tuple[Decision, ...]:
    """Say that the prompt was longer than the text encoder reads."""
    most, tokenizer = Options(request.options).transformer.max_sequence_length, model.pipeline.tokenizer
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": request.prompt}], tokenize=False, add_generation_prompt=True, enable_thinking=False
    )
    tokens = len(tokenizer(text).input_ids)
    if tokens <= most:
        return ()
    reason = localize("models.families.flux2.backend.cut_off", tokens=tokens, most=most)
    return (Decision("generation.prompt", tokens, most, reason),)
