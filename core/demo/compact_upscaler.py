"""Define the network of the embedded upscalers: SRVGGNetCompact of Real-ESRGAN (arXiv 2107.10833), small enough to ship.

Convolutions at the size of the input, then one that makes `scale` x `scale` pixels of each, added to the enlarged input. The
names of the weights are those of published files, so that other programs read the shipped ones.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

FOLDER = Path(__file__).with_name("upscalers")
FEATURES, LAYERS = 32, 8  # of the shipped networks


class CompactUpscaler(nn.Module):
    """Enlarge RGB images (batch, 3, height, width), 0 to 1, `scale` times."""

    def __init__(self, scale: int, features: int = FEATURES, layers: int = LAYERS) -> None:
        super().__init__()
        self.scale = scale
        body: list[nn.Module] = [nn.Conv2d(3, features, 3, padding=1), nn.PReLU(features)]
        for _ in range(layers):
            body += [nn.Conv2d(features, features, 3, padding=1), nn.PReLU(features)]
        self.body = nn.ModuleList([*body, nn.Conv2d(features, 3 * scale * scale, 3, padding=1)])
        self.upsampler = nn.PixelShuffle(scale)

    def forward(self, image: Tensor) -> Tensor:
        """Return (batch, 3, scale x height, scale x width), not clamped."""
        out = image
        for layer in self.body:
            out = layer(out)
        base = nn.functional.interpolate(image, scale_factor=self.scale, mode="nearest")
        enlarged: Tensor = self.upsampler(out) + base
        return enlarged


def load(scale: int, folder: Path = FOLDER) -> CompactUpscaler:
    """Return the shipped network that enlarges `scale` times, in float32 on the CPU."""
    from safetensors.torch import load_file

    network = CompactUpscaler(scale)
    weights = load_file(folder / f"compact-x{scale}.safetensors")
    network.load_state_dict({name: tensor.to(torch.float32) for name, tensor in weights.items()})
    return network.eval().requires_grad_(False)
