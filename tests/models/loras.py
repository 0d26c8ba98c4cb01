"""LoRA files with random matrices, for any pipeline: what loading, swapping and refusing are tested on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

SCALE = 0.08  # of the random numbers: enough to be seen in an image


def write_lora(
    file: Path, pipeline: object, seed: int, rank: int = 2, parts: tuple[str, ...] = ("transformer", "unet"),
    notes: Mapping[str, str] | None = None, dtype: torch.dtype = torch.float32, scale: float = SCALE, also: str = "to_",
) -> Path:  # fmt: skip
    """Matrices for the attention layers of these parts, and those with `also` in their names, named as diffusers does."""
    dice = torch.Generator().manual_seed(seed)
    tensors: dict[str, torch.Tensor] = {}
    for part in parts:
        for name, layer in getattr(pipeline, part, nn.Module()).named_modules():
            acts = "to_" in name or "_proj" in name or also in name
            if isinstance(layer, nn.Linear) and acts and "context_refiner" not in name:
                down = torch.randn(rank, layer.in_features, generator=dice) * scale
                up = torch.randn(layer.out_features, rank, generator=dice) * scale
                tensors |= {
                    f"{part}.{name}.lora_A.weight": down.to(dtype),
                    f"{part}.{name}.lora_B.weight": up.to(dtype),
                }
    file.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, file, metadata=dict(notes or {}))
    return file
