"""Share what all of Z-Image's pipelines do alike: the shift, latents in float32, CFG's arguments, and decoding."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from core.config.schema import AUTO
from core.config.typed_settings import Options
from core.models.families.backend import Backend, PromptEmbeds
from core.types import GenerationRequest

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
