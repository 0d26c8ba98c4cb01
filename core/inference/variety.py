"""Vary images of one prompt: a second seed, noise on the prompt embeds, first steps on a shortened prompt. Each is off at 0.

Turbo models give nearly the same composition for every seed; these change it and keep the prompt.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from diffusers.utils.torch_utils import randn_tensor
from torch.nn.functional import normalize

STRENGTH, SEED = "generation.variation_strength", "generation.variation_seed"
EMBEDS_NOISE = "generation.prompt_noise"
SHORT_STEPS = "generation.short_prompt_steps"
_CLAUSE = re.compile(r"[,.;:!?，。；：！？、\n]")


def slerp(share: float, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    """Interpolate on the sphere between two samples of noise (..., height, width), as A1111 does for its subseed.

    `share` 0 is the first, 1 the second. Each column of each channel is turned by its own angle, in float32; the variance is kept.
    """
    one, two = first.float().cpu(), second.float().cpu()
    cosine = (normalize(one, dim=-2) * normalize(two, dim=-2)).sum(-2, keepdim=True)
    angle = torch.acos(cosine.clamp(-1.0, 1.0))
    sine = torch.sin(angle)
    turned = (torch.sin((1.0 - share) * angle) / sine) * one + (torch.sin(share * angle) / sine) * two
    mixed = torch.where(sine < 1e-3, one + share * (two - one), turned)  # nearly parallel: on the line between them
    return mixed.to(first.dtype).to(first.device)


def varied_noise(noise: torch.Tensor, options: Mapping[str, Any]) -> torch.Tensor:
    """Mix the noise with that of the variation seed; the same tensor at strength 0."""
    strength = float(options[STRENGTH])
    if strength == 0:
        return noise
    generator = torch.Generator("cpu").manual_seed(int(options[SEED]))
    other = randn_tensor(tuple(noise.shape), generator=generator, device=noise.device, dtype=noise.dtype)
    return slerp(strength, noise, other)


@contextmanager
def varied_img2img(scheduler: Any, options: Mapping[str, Any]) -> Iterator[None]:
    """Mix the noise that img2img and inpaint pipelines sample themselves, where they hand it to the scheduler."""
    if float(options[STRENGTH]) == 0:
        yield
        return
    name = "scale_noise" if hasattr(scheduler, "scale_noise") else "add_noise"
    plain = getattr(scheduler, name)

    def mixed(sample: torch.Tensor, one: Any, two: Any) -> Any:
        """`add_noise` takes noise and timesteps, `scale_noise` a timestep and noise."""
        if name == "scale_noise":
            return plain(sample, one, varied_noise(two, options))
        return plain(sample, varied_noise(one, options), two)

    setattr(scheduler, name, mixed)
    try:
        yield
    finally:
        delattr(scheduler, name)


def varied_embeds(positive: Sequence[torch.Tensor], options: Mapping[str, Any], seed: int) -> Sequence[torch.Tensor]:
    """Add noise to the prompt embeds, in shares of their standard deviation, by the image's own seed."""
    strength = float(options[EMBEDS_NOISE])
    if strength == 0:
        return positive
    generator = torch.Generator("cpu").manual_seed(seed)
    found = []
    for tensor in positive:
        noise = randn_tensor(tuple(tensor.shape), generator=generator, device=tensor.device, dtype=torch.float32)
        found.append((tensor.float() + strength * tensor.float().std() * noise).to(tensor.dtype))
    return found


def shortened(prompt: str) -> str:
    """Return the first clause of a prompt, or the first half of its words where it has one clause."""
    clause = next((part.strip() for part in _CLAUSE.split(prompt) if part.strip()), "")
    if clause and clause != prompt.strip().rstrip(".。"):
        return clause
    words = prompt.split()
    if len(words) > 1:
        return " ".join(words[: -(-len(words) // 2)])
    return prompt[: -(-len(prompt) // 2)]


def short_steps(options: Mapping[str, Any], steps: int) -> int:
    """Return how many of `steps` use the shortened prompt: never all."""
    return min(steps - 1, round(float(options[SHORT_STEPS]) * steps))
