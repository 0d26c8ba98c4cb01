"""Find width and height in a ComfyUI graph: of an empty latent, an image, or as numbers and texts."""

from __future__ import annotations

from typing import Any

from core.history.importers import common
from core.history.importers.comfyui.graph import Link, Node
from core.history.importers.comfyui.names import LATENTS
from core.history.importers.comfyui.texts import read_text
from core.history.importers.comfyui.walk import Walk

_SIZES = (("width", "height"), ("empty_latent_width", "empty_latent_height"), ("custom_width", "custom_height"), ("w", "h"),
          ("image_width", "image_height"), ("target_width", "target_height"))  # fmt: skip


def read_size(walk: Walk, value: Any) -> tuple[Any, Any]:
    """Return width and height of a latent or an image."""
    return walk.at("size", value, lambda node, _: _size(walk, node)) or (None, None)


def _size(walk: Walk, node: Node) -> tuple[Any, Any]:
    selected = walk.selected(node)
    if selected is not None:
        return read_size(walk, selected)
    own = size_at(walk, node)
    if own != (None, None):
        return own
    value = walk.field(node, LATENTS)
    if isinstance(value, Link):
        return read_size(walk, value)
    links = list(node.links())
    return read_size(walk, links[0][1]) if len(links) == 1 else (None, None)


def size_at(walk: Walk, node: Node) -> tuple[Any, Any]:
    """Return the size that a node's own inputs give, as two numbers or as text like "832 x 1216"."""
    inputs = node.inputs
    if "resolution" in inputs and "empty_latent_width" in inputs:
        size = common.size_of(read_text(walk, inputs["resolution"], "positive") or "")
        if size != (None, None):
            return size
    for names in _SIZES:
        if all(inputs.get(name) is not None for name in names):
            found = tuple(_dimension(walk, inputs[name], k) for k, name in enumerate(names))
            if None not in found:
                swap = str(inputs.get("swap_dimensions", "")).lower() in ("on", "true")
                return (found[1], found[0]) if swap else (found[0], found[1])
    for name in ("dimensions", "resolution", "size", "preset", "aspect_ratio", "ratio"):
        text = read_text(walk, inputs.get(name), "positive") if name in inputs else None
        if text and (size := common.size_of(text)) != (None, None) and min(size[0] or 0, size[1] or 0) >= 64:
            return size
    if "getimagesize" in node.key or "imagesize" in node.key or "latentsize" in node.key:
        return read_size(walk, walk.field(node, LATENTS))
    return None, None


def _dimension(walk: Walk, value: Any, side: int) -> Any:
    """Return a width (0) or height (1), also one of a node that gives both."""
    return walk.number(value, ("width", "height")[side], lambda node: size_at(walk, node)[side])
