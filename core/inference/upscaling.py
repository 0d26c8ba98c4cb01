"""Enlarge images: by Pillow's filters, by the embedded networks, or by files that the spandrel library reads.

A network sees tiles with a halo around them that is cut off again, so that memory does not grow with the image and the seams
of convolutional networks are invisible. Factors that a network does not have are reached by several passes, then by Lanczos.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file

from core.config.schema import AUTO
from core.demo import compact_upscaler
from core.demo.compact_upscaler import CompactUpscaler
from core.errors import Cancelled, UpscalerError
from core.i18n import localize
from core.inference.progress import Reporter
from core.models.families.backend import IsCancelled
from core.models.upscaler_library import EMBEDDED, FILTERS, UpscalerLibrary, file_hash
from core.models.weight_files import file_state
from core.types import Phase

Size = tuple[int, int]  # width, height in pixels
OnTile = Callable[[int, int], None]  # called with the tiles done and their total; may raise Cancelled
TILE = 256  # px of a side, of the image before
HALO = 32  # px around it; the embedded networks see 10
_COMPACT = re.compile(r"body\.(\d+)\.weight")


@dataclass(frozen=True)
class Network:
    """A network that enlarges `scale` times. `run` maps (1, 3, h, w), 0 to 1, to (1, 3, scale h, scale w)."""

    name: str
    scale: int
    run: Callable[[torch.Tensor], torch.Tensor]
    device: str
    fingerprint: str


class Upscalers:
    """Enlarge by name; keeps the network that was used last."""

    def __init__(self, library: UpscalerLibrary) -> None:
        self._library = library
        self._kept: Network | None = None
        self._stamp: tuple[int, int] | None = None  # of its file

    def enlarged(
        self, image: Image.Image, size: Size, name: str, device: str, key: str, on_tile: OnTile = lambda done, of: None
    ) -> tuple[Image.Image, str]:
        """Return the image (RGB) at `size` and what enlarged it, for the record. `key` is the option that named it.

        Raises UpscalerError.
        """
        if image.size == size:
            return image, "none"
        name = automatic(image.size, size) if name == AUTO else name
        if name in FILTERS:
            return image.resize(size, Image.Resampling[name.upper()]), name
        network = self._network(name, device, key)
        while image.width < size[0] or image.height < size[1]:
            image = by_network(image, network, on_tile)
        return fitted(image, size), f"{name} ({network.fingerprint[:10]})" if network.fingerprint else name

    def _network(self, name: str, device: str, key: str) -> Network:
        path = None if name in EMBEDDED else self._library.find(name, key)
        now = None if path is None else file_state(path)
        if self._kept is None or (self._kept.name, self._kept.device, self._stamp) != (name, device, now):
            self._kept = None
            if path is None:
                own = compact_upscaler.load(int(name[-1])).to(device)
                self._kept = Network(name, own.scale, own, device, "")
            else:
                self._kept = read_network(path, name, device, key)
            self._stamp = now
        return self._kept


def automatic(size: Size, wanted: Size) -> str:
    """Return the embedded upscaler for this enlargement; Lanczos where the image does not grow."""
    factor = max(wanted[0] / size[0], wanted[1] / size[1])
    return FILTERS[0] if factor <= 1 else EMBEDDED[0] if factor <= 2 else EMBEDDED[1]


def fitted(image: Image.Image, size: Size) -> Image.Image:
    """Return the image at exactly `size`."""
    return image if image.size == size else image.resize(size, Image.Resampling.LANCZOS)


def read_network(path: Path, name: str, device: str, key: str) -> Network:
    """Read a .safetensors file: a compact network by our own class, all others by spandrel. Raises UpscalerError."""
    try:
        weights = load_file(path)
    except Exception as error:  # safetensors has errors of its own for damaged files
        raise UpscalerError(key=key, name=name, problem=localize("inference.upscaling.damaged")) from error
    compact = _compact(weights)
    if compact is not None:
        return Network(name, compact.scale, compact.to(device), device, file_hash(path))
    if find_spec("spandrel") is None:
        raise UpscalerError(key=key, name=name, problem=localize("inference.upscaling.no_spandrel"))
    try:
        import spandrel  # optional, and it imports every architecture that it knows
    except Exception as error:  # such as a torchvision that was built for another torch
        problem = localize("inference.upscaling.spandrel_broken", detail=" ".join(str(error).split())[:200])
        raise UpscalerError(key=key, name=name, problem=problem) from error
    try:
        found = spandrel.ModelLoader(device=torch.device(device)).load_from_state_dict(weights)
    except Exception as error:  # it raises many kinds for what it does not know
        raise UpscalerError(key=key, name=name, problem=localize("inference.upscaling.unknown")) from error
    if not isinstance(found, spandrel.ImageModelDescriptor) or found.scale < 2 or found.input_channels != 3:
        raise UpscalerError(key=key, name=name, problem=localize("inference.upscaling.no_upscaler"))
    found.eval()
    return Network(name, found.scale, found, device, file_hash(path))


def _compact(weights: dict[str, torch.Tensor]) -> CompactUpscaler | None:
    """Return SRVGGNetCompact with these weights; None where they are those of another network."""
    layers = sorted(int(found[1]) for key in weights if (found := _COMPACT.fullmatch(key)))
    convolutions = [weights[f"body.{index}.weight"] for index in layers if weights[f"body.{index}.weight"].ndim == 4]
    if len(convolutions) < 3 or not all(key.startswith("body.") for key in weights):
        return None
    features, last = convolutions[0].shape[0], convolutions[-1].shape[0]
    scale = round((last / 3) ** 0.5)
    if 3 * scale * scale != last or scale < 2:
        return None
    made: Any = CompactUpscaler(scale, features, len(convolutions) - 2)
    try:
        made.load_state_dict({key: tensor.to(torch.float32) for key, tensor in weights.items()})
    except RuntimeError:  # ReLU in place of PReLU, and other forms
        return None
    return made.eval().requires_grad_(False)  # type: ignore[no-any-return]


@torch.inference_mode()
def by_network(image: Image.Image, network: Network, on_tile: OnTile) -> Image.Image:
    """Return the image enlarged by one pass of a network, tile by tile."""
    pixels = torch.from_numpy(np.asarray(image.convert("RGB")).copy()).permute(2, 0, 1)
    scale, (width, height) = network.scale, image.size
    made = np.empty((height * scale, width * scale, 3), np.uint8)
    tiles = list(_tiles(width, height))
    for done, (left, top, right, bottom) in enumerate(tiles):
        on_tile(done, len(tiles))
        x, y = max(0, left - HALO), max(0, top - HALO)
        part = pixels[:, y : min(height, bottom + HALO), x : min(width, right + HALO)]
        out = network.run(part[None].to(network.device, torch.float32) / 255)[0]
        first, above = (left - x) * scale, (top - y) * scale
        own = out[:, above : above + (bottom - top) * scale, first : first + (right - left) * scale]
        own = (own.float().clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).cpu()
        made[top * scale : bottom * scale, left * scale : right * scale] = own.numpy()
    on_tile(len(tiles), len(tiles))
    return Image.fromarray(made)


def _tiles(width: int, height: int) -> Iterator[tuple[int, int, int, int]]:
    for top in range(0, height, TILE):
        for left in range(0, width, TILE):
            yield left, top, min(left + TILE, width), min(top + TILE, height)


class Enlarger:
    """Enlarge images by the upscaler that an option names; `used` says for the record which did it."""

    def __init__(
        self,
        upscalers: Upscalers,
        options: Mapping[str, Any],
        device: str,
        is_cancelled: IsCancelled,
        report: Reporter | None = None,
    ) -> None:
        self._upscalers = upscalers
        self._options = options
        self._device = device
        self._is_cancelled = is_cancelled
        self._report = report
        self.used: dict[str, str] = {}

    def __call__(self, image: Image.Image, size: tuple[int, int], key: str) -> Image.Image:
        """Return the image at `size`. Raises Cancelled between two tiles, UpscalerError."""
        made, used = self._upscalers.enlarged(image, size, self._options[key], self._device, key, self._after_tile)
        self.used[f"{key.partition('.')[0]}.upscaled_with"] = used
        return made

    def _after_tile(self, done: int, of: int) -> None:
        if self._is_cancelled():
            raise Cancelled
        if self._report is not None:
            self._report.of(Phase.UPSCALE, done, of)
