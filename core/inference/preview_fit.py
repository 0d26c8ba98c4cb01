"""Give a loaded model its live preview: a tiny decoder that is on the machine, or a linear map fitted to its own VAE.

The map is the least-squares one from the latents of scenes that the project draws to their colours, tried on scenes that it was
not fitted on. It is kept in the models folder by the VAE's weights, so that it is made once.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from core.demo import renderer, scenes
from core.i18n import localize
from core.inference import precision
from core.inference.latent_preview import Previewer, TinyPreviewer
from core.models.families import FAMILIES
from core.models.model_paths import PREVIEWS, tiny_decoder_folder
from core.types import Capability

if TYPE_CHECKING:
    from core.inference.pipeline_loader import LoadedModel

log = logging.getLogger(__name__)

SIDE = 48  # px of a scene
FITTED, HELD_OUT = 16, 4  # scenes
BATCH = 10
LEAST = 0.6  # correlation below which a map shows nothing of the image
_OPTION = "preview.enabled"


def with_previewer(model: LoadedModel, store: Path) -> LoadedModel:
    """Return the model with its previewer, or with the reason why it has none, as a capability."""
    name = FAMILIES[model.info.pipeline].tiny_decoder
    found = tiny_decoder_folder(store, name) if name else None
    tiny = _read_tiny(found, model) if found is not None else None
    if tiny is not None:
        return _with_preview(model, tiny, localize("inference.preview_fit.tiny", name=name, folder=found))
    try:
        weight, bias, share = _linear(model.pipeline.vae, store / PREVIEWS)
    except (RuntimeError, ValueError, OSError, AttributeError, np.linalg.LinAlgError) as error:
        log.exception("no preview for %s", model.model)
        return _with_preview(
            model, None, localize("inference.preview_fit.broken", detail=f"{type(error).__name__}: {error}"[:200])
        )
    if not share >= LEAST:
        weak = localize("inference.preview_fit.weak", share=share, least=LEAST, name=name)
        return _with_preview(model, None, weak if name else localize("inference.preview_fit.weak_only", share=share, least=LEAST))
    if found is not None:
        reason = localize("inference.preview_fit.tiny_broken", share=share, name=name, folder=found)
    else:
        reason = localize("inference.preview_fit.fitted", share=share)
    return _with_preview(model, Previewer(weight, bias), reason)


def _with_preview(model: LoadedModel, previewer: Previewer | None, reason: Mapping[str, str]) -> LoadedModel:
    capability = Capability(_OPTION, "preview", previewer is not None, reason)
    return replace(model, previewer=previewer, capabilities=(*model.capabilities, capability))


# -- tiny decoders -----------------------------------------------------------------------------------------------------


def _read_tiny(folder: Path, model: LoadedModel) -> Previewer | None:
    """None, and a line in the log, for files that are no AutoencoderTiny for these latents."""
    from diffusers import AutoencoderTiny

    dtype = torch.float32 if model.device == "cpu" else torch.float16
    try:
        decoder = AutoencoderTiny.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, torch_dtype=dtype
        )
        wanted = model.pipeline.vae.config.latent_channels
        if decoder.config.latent_channels != wanted:
            raise ValueError(f"{decoder.config.latent_channels} latent channels, {wanted} wanted")
        return TinyPreviewer(decoder.to(model.device).eval())
    except (OSError, ValueError, RuntimeError, TypeError, KeyError) as error:
        log.warning("%s can't be used for previews: %s", folder, error)
        return None


# -- the linear map ----------------------------------------------------------------------------------------------------


def _linear(vae: Any, folder: Path) -> tuple[torch.Tensor, torch.Tensor, float]:
    """Return weight (channels, 3), bias (3,) and the correlation on held-out scenes, from the folder or fitted now."""
    kept = folder / f"{_identity(vae)}.safetensors"
    if kept.is_file():
        tensors = load_file(kept)
        return tensors["weight"], tensors["bias"], float(tensors["correlation"])
    weight, bias, share = fit(vae)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        part = kept.with_suffix(".part")
        save_file({"weight": weight, "bias": bias, "correlation": torch.tensor(share)}, part)
        part.replace(kept)
    except OSError as error:  # a full or read-only disk: it is fitted again next time
        log.warning("%s was not written: %s", kept, error)
    return weight, bias, share


def fit(vae: Any) -> tuple[torch.Tensor, torch.Tensor, float]:
    """Fit the map. Returns weight (channels, 3), bias (3,) and the correlation with the colours of held-out scenes."""
    images = scene_images()
    latents, colours = _encoded(vae, images), _pooled(images, vae)
    count = FITTED * latents.shape[0] // len(images)
    solved, *_ = np.linalg.lstsq(_with_one(latents[:count]), colours[:count], rcond=None)
    guess = _with_one(latents[count:]) @ solved
    share = float(np.corrcoef(guess.ravel(), colours[count:].ravel())[0, 1])
    found = torch.from_numpy(solved.astype(np.float32))
    return found[:-1].contiguous(), found[-1].contiguous(), share if np.isfinite(share) else 0.0


@cache
def scene_images() -> np.ndarray:
    """Draw the scenes: (count, SIDE, SIDE, 3) of 0 to 1, always the same; the last ones are held out."""
    rng = random.Random(2025)
    images = [renderer.render(scenes.sample(rng, None), SIDE, SIDE, rng) for _ in range(FITTED + HELD_OUT)]
    return np.stack([np.asarray(image.convert("RGB"), dtype=np.float32) / 255 for image in images])


def _encoded(vae: Any, images: np.ndarray) -> np.ndarray:
    """(count x h x w, channels) normalised latents, without the encoder's noise. float16 overflows in some of these VAEs."""
    found = []
    widen = precision.in_float32(vae) if vae.dtype == torch.float16 else nullcontext()
    with torch.inference_mode(), widen:
        for start in range(0, len(images), BATCH):
            pixels = torch.from_numpy(images[start : start + BATCH]).permute(0, 3, 1, 2) * 2 - 1
            normalised = _normalised(vae, pixels.to(vae.device, vae.dtype))
            found.append(normalised.permute(0, 2, 3, 1).reshape(-1, normalised.shape[1]).cpu().numpy())
    together = np.concatenate(found).astype(np.float64)
    if not np.isfinite(together).all():
        raise ValueError("the VAE's latents are not finite")
    return together


def _normalised(vae: Any, pixels: torch.Tensor) -> torch.Tensor:
    """(count, 3, side, side) -> (count, channels, h, w), as the steps have them. A VAE for videos has statistics per channel."""
    mean = getattr(vae.config, "latents_mean", None)
    if mean is None:
        latents = vae.encode(pixels).latent_dist.mode().float()
        scale = getattr(vae.config, "scaling_factor", None) or 1.0
        return (latents - (getattr(vae.config, "shift_factor", None) or 0.0)) * scale
    latents = vae.encode(pixels.unsqueeze(2)).latent_dist.mode()[:, :, 0].float()
    by_channel = (1, -1, 1, 1)
    spread = torch.tensor(vae.config.latents_std).view(by_channel).to(latents)
    return (latents - torch.tensor(mean).view(by_channel).to(latents)) / spread


def _pooled(images: np.ndarray, vae: Any) -> np.ndarray:
    """(count x h x w, 3): the mean colour under each latent."""
    step = getattr(vae, "spatial_compression_ratio", None) or 2 ** (len(vae.config.block_out_channels) - 1)
    count, side = len(images), SIDE // step
    means: np.ndarray = images.reshape(count, side, step, side, step, 3).mean(axis=(2, 4)).reshape(-1, 3)
    return means.astype(np.float64)


def _with_one(latents: np.ndarray) -> np.ndarray:
    return np.concatenate([latents, np.ones((len(latents), 1))], axis=1)


def _identity(vae: Any) -> str:
    """16 hex digits of the VAE's weights: names, shapes and a few values of each, in milliseconds."""
    digest = sha256()
    for name, tensor in vae.state_dict().items():
        digest.update(f"{name} {tuple(tensor.shape)}\n".encode())
        flat = tensor.detach().flatten()
        picked = flat[:: max(1, flat.numel() // 16)][:16].to("cpu", torch.float32).bfloat16().float()
        digest.update(picked.numpy().tobytes())
    return digest.hexdigest()[:16]
