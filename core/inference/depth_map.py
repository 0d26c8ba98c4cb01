"""Estimate depth with Depth-Anything through transformers.

`python -m core.inference.depth_map FOLDER` reads an image from standard input and writes its map to standard output, as PNG.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.nn import functional
from transformers import DepthAnythingForDepthEstimation

from core.models.families.base import read_config

SIDE, MULTIPLE = 518, 14  # px; where preprocessor_config.json does not say
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet


class DepthEstimator:
    """A loaded model."""

    def __init__(self, folder: Path, device: str) -> None:
        """Read the folder's safetensors; the network is never asked."""
        self._model = DepthAnythingForDepthEstimation.from_pretrained(
            folder, local_files_only=True, use_safetensors=True
        )
        self._model.to(device).eval()
        self._config = read_config(folder / "preprocessor_config.json")
        self._device = device

    @torch.inference_mode()
    def __call__(self, image: Image.Image) -> Image.Image:
        """Return the map (RGB, the image's size): the nearest point is white, the farthest black."""
        depth = self._model(pixel_values=self._pixels(image)).predicted_depth[None]
        depth = functional.interpolate(depth, (image.height, image.width), mode="bicubic", align_corners=False)[0, 0]
        low, high = depth.min(), depth.max()
        shares = (depth - low) / torch.clamp(high - low, min=1e-6)
        return Image.fromarray((255 * shares).round().to(torch.uint8).cpu().numpy()).convert("RGB")

    def _pixels(self, image: Image.Image) -> torch.Tensor:
        """Return (1, 3, height, width) as the library's own processor prepares it: scaled so that the shorter side has its size."""
        size, multiple = self._config.get("size", {}), int(self._config.get("ensure_multiple_of", MULTIPLE))
        wanted = int(size.get("height", SIDE) if isinstance(size, dict) else size)
        scale = wanted / min(image.size)
        width, height = (max(multiple, round(side * scale / multiple) * multiple) for side in image.size)
        laid = np.asarray(image.resize((width, height), Image.Resampling.BICUBIC), np.float32) / 255
        mean, deviation = (np.asarray(self._config.get(key, own), np.float32) for key, own in _NORMS)
        pixels: Any = torch.from_numpy((laid - mean) / deviation).permute(2, 0, 1)[None]
        return pixels.to(self._device, self._model.dtype)


_NORMS = (("image_mean", MEAN), ("image_std", DEVIATION))


def main() -> None:
    """Read, estimate, write."""
    image = Image.open(io.BytesIO(sys.stdin.buffer.read())).convert("RGB")
    made = DepthEstimator(Path(sys.argv[1]), "cuda" if torch.cuda.is_available() else "cpu")(image)
    made.save(sys.stdout.buffer, "PNG")


if __name__ == "__main__":
    main()
