"""Estimate the image from the latents of a step, as a small preview.

Most models have a linear map from latent channels to red, green and blue: one beside their weights as `preview.safetensors`
(`weight` (channels, 3) and `bias` (3,), from normalised latents to colours of 0 to 1), or one that is fitted when the model is
loaded first: by least squares from the latents of rendered scenes to their colours, tried on scenes that it was not fitted on, and
kept in the models folder by the VAE's weights. A tiny decoder (TAEF1, TAESD, TAESDXL) that is on the machine takes its place.
"""

from __future__ import annotations

import io
import logging
import random
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from core.demo import renderer, scenes
from core.i18n import localize
from core.inference import precision
from core.models.families import FAMILIES
from core.models.model_paths import PREVIEW_MAP, PREVIEWS, TINY_DECODER, tiny_decoder_folder
from core.types import Capability

if TYPE_CHECKING:
    from core.inference.pipeline_loader import LoadedModel

SIDE = 192  # px, the longer side of the preview at most
GROWTH = 2  # px of the preview for each latent: more would be interpolated only, which the browser does as well
SHARE = 0.01  # of the time of an image's steps: all that its previews may take together; half of what is promised
HANDING_SECONDS = 0.001  # to hand one on takes this much more than a report without one, until it has been measured
TRUST = 0.9  # each image expects so much of what the one before did: a slow moment is not held against all to come

Send = Callable[[bytes | None], None]


class Previewer:
    """Converts latents to WebP bytes; less than half a millisecond for 256 x 256, two for 1024 x 1024.

    `seconds` is what one took lately, with all that it caused.
    """

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor) -> None:
        self._weight = weight.float().numpy()
        self._bias = bias.float().numpy()
        self._measure(weight.shape[0])

    def _measure(self, channels: int) -> None:
        nothing = torch.zeros(1, channels, 32, 32)
        for _ in range(2):  # the first one loads libraries; the second tells what one costs
            began = time.perf_counter()
            self.draw(nothing)
            self.seconds = time.perf_counter() - began + HANDING_SECONDS

    def draw(self, clean: torch.Tensor) -> bytes:
        """Turn clean latents (1, channels, h, w) into a WebP of at most SIDE pixels a side."""
        height, width = clean.shape[2:]
        levels = (self.colours(clean).clip(0, 1) * 255).round().astype(np.uint8)
        scale = min(GROWTH, SIDE / max(height, width))
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        buffer = io.BytesIO()
        Image.fromarray(levels).resize(size, Image.Resampling.BICUBIC).save(buffer, "WEBP", quality=90, method=0)
        return buffer.getvalue()

    def colours(self, clean: torch.Tensor) -> np.ndarray:
        """Return (h, w, 3) of about 0 to 1, by numpy: torch would wake all its threads for this."""
        flat = clean[0].float().cpu().numpy().reshape(clean.shape[1], -1)
        found: np.ndarray = (self._weight.T @ flat + self._bias[:, None]).T
        return found.reshape(*clean.shape[2:], 3)


class TinyPreviewer(Previewer):
    """By an AutoencoderTiny, which takes normalised latents."""

    def __init__(self, decoder: Any) -> None:
        self._decoder = decoder
        self._measure(decoder.config.latent_channels)

    def colours(self, clean: torch.Tensor) -> np.ndarray:
        """Return (8 h, 8 w, 3) of about 0 to 1."""
        with torch.inference_mode():
            pixels = self._decoder.decode(clean.to(self._decoder.device, self._decoder.dtype), return_dict=False)[0]
        found: np.ndarray = (pixels[0].float().cpu().numpy().transpose(1, 2, 0) + 1) / 2
        return found


class PreviewBudget:
    """Previews of one image: made as long as they take no more than SHARE of the time of its steps.

    Slow steps pay for a preview each; fast ones for one now and then. All that a preview causes is counted: reading the
    latents, decoding, and how much longer than the quickest report without one the report takes that hands it on.
    `clock` gives seconds.
    """

    def __init__(self, previewer: Previewer | None, clock: Callable[[], float] = time.perf_counter) -> None:
        self._previewer = previewer
        self._clock = clock
        self._began = clock()
        self._spent = 0.0
        self._plain: float | None = None  # seconds of the quickest report without a preview
        if previewer:
            previewer.seconds *= TRUST

    def report(self, send: Send, draw: Callable[[Previewer], bytes | None] | None) -> None:
        """Report a step by `send`: with the preview that `draw` makes where one is due and affordable."""
        began = self._clock()
        previewer = self._previewer
        if previewer is None or draw is None or not self._can_pay(previewer.seconds, began):
            send(None)
            took = self._clock() - began
            self._plain = took if self._plain is None else min(took, self._plain)
            return
        send(draw(previewer))
        previewer.seconds = max(0.0, self._clock() - began - (self._plain or 0.0))
        self._spent += previewer.seconds

    def _can_pay(self, seconds: float, now: float) -> bool:
        """Return whether the steps so far pay for one more preview that takes so long."""
        return self._spent + seconds <= SHARE * (now - self._began - self._spent)


def tiny_decoder_of(folder: Path, device: str) -> Any:
    """Return the tiny decoder that the model in `folder` ships, on the device, or None if it ships none."""
    own = folder / TINY_DECODER
    return _read_tiny(own, None, device) if own.is_dir() else None


def load_previewer(folder: Path) -> Previewer | None:
    """Return the previewer of the model in `folder`, or None if it ships none."""
    path = folder / PREVIEW_MAP
    if not path.is_file():
        return None
    tensors = load_file(path)
    return Previewer(tensors["weight"], tensors["bias"])


log = logging.getLogger(__name__)

SCENE_SIDE = 48  # px of a scene
FITTED_SCENES, HELD_OUT = 16, 4  # scenes
SCENE_BATCH = 10
LEAST_CORRELATION = 0.6  # correlation below which a map shows nothing of the image
_OPTION = "preview.enabled"


def with_previewer(model: LoadedModel, store: Path) -> LoadedModel:
    """Return the model with its previewer, or with the reason why it has none, as a capability."""
    name = FAMILIES[model.info.pipeline].tiny_decoder
    found = tiny_decoder_folder(store, name) if name else None
    tiny = None if found is None else _read_tiny(found, model.pipeline.vae.config.latent_channels, model.device)
    if tiny is not None:
        model = replace(model, tiny_decoder=tiny)
        return _with_preview(model, TinyPreviewer(tiny), localize("inference.latent_preview.tiny", name=name, folder=found))
    try:
        weight, bias, share = _linear(model.pipeline.vae, store / PREVIEWS)
    except (RuntimeError, ValueError, OSError, AttributeError, np.linalg.LinAlgError) as error:
        log.exception("no preview for %s", model.model)
        return _with_preview(
            model, None, localize("inference.latent_preview.broken", detail=f"{type(error).__name__}: {error}"[:200])
        )
    if not share >= LEAST_CORRELATION:
        weak = localize("inference.latent_preview.weak", share=share, least=LEAST_CORRELATION, name=name)
        alone = localize("inference.latent_preview.weak_only", share=share, least=LEAST_CORRELATION)
        return _with_preview(model, None, weak if name else alone)
    if found is not None:
        reason = localize("inference.latent_preview.tiny_broken", share=share, name=name, folder=found)
    else:
        reason = localize("inference.latent_preview.fitted", share=share)
    return _with_preview(model, Previewer(weight, bias), reason)


def _with_preview(model: LoadedModel, previewer: Previewer | None, reason: Mapping[str, str]) -> LoadedModel:
    capability = Capability(_OPTION, "preview", previewer is not None, reason)
    return replace(model, previewer=previewer, capabilities=(*model.capabilities, capability))


# -- tiny decoders -----------------------------------------------------------------------------------------------------


def _read_tiny(folder: Path, channels: int | None, device: str) -> Any:
    """Return the AutoencoderTiny of a folder, for latents of so many channels where that is known.

    None, and a line in the log, for files that are none.
    """
    from diffusers import AutoencoderTiny

    dtype = torch.float32 if device == "cpu" else torch.float16
    try:
        decoder = AutoencoderTiny.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, torch_dtype=dtype
        )
        if channels is not None and decoder.config.latent_channels != channels:
            raise ValueError(f"{decoder.config.latent_channels} latent channels, {channels} wanted")
        return decoder.to(device).eval()
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
    weight, bias, share = fit_map(vae)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        part = kept.with_suffix(".part")
        save_file({"weight": weight, "bias": bias, "correlation": torch.tensor(share)}, part)
        part.replace(kept)
    except OSError as error:  # a full or read-only disk: it is fitted again next time
        log.warning("%s was not written: %s", kept, error)
    return weight, bias, share


def fit_map(vae: Any) -> tuple[torch.Tensor, torch.Tensor, float]:
    """Fit the map. Returns weight (channels, 3), bias (3,) and the correlation with the colours of held-out scenes."""
    images = scene_images()
    latents, colours = _encoded(vae, images), _pooled(images, vae)
    count = FITTED_SCENES * latents.shape[0] // len(images)
    solved, *_ = np.linalg.lstsq(_with_one(latents[:count]), colours[:count], rcond=None)
    guess = _with_one(latents[count:]) @ solved
    share = float(np.corrcoef(guess.ravel(), colours[count:].ravel())[0, 1])
    found = torch.from_numpy(solved.astype(np.float32))
    return found[:-1].contiguous(), found[-1].contiguous(), share if np.isfinite(share) else 0.0


@cache
def scene_images() -> np.ndarray:
    """Render the scenes: (count, SCENE_SIDE, SCENE_SIDE, 3) of 0 to 1, always the same; the last ones are held out."""
    rng = random.Random(2025)
    images = [renderer.render(scenes.sample(rng, None), SCENE_SIDE, SCENE_SIDE, rng) for _ in range(FITTED_SCENES + HELD_OUT)]
    return np.stack([np.asarray(image.convert("RGB"), dtype=np.float32) / 255 for image in images])


def _encoded(vae: Any, images: np.ndarray) -> np.ndarray:
    """(count x h x w, channels) normalised latents, without the encoder's noise. float16 overflows in some of these VAEs."""
    found = []
    widen = precision.in_float32(vae) if vae.dtype == torch.float16 else nullcontext()
    with torch.inference_mode(), widen:
        for start in range(0, len(images), SCENE_BATCH):
            pixels = torch.from_numpy(images[start : start + SCENE_BATCH]).permute(0, 3, 1, 2) * 2 - 1
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
    count, side = len(images), SCENE_SIDE // step
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
