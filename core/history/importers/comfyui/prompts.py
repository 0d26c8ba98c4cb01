"""Find the prompts of a ComfyUI graph: the texts behind a conditioning."""

from __future__ import annotations

from typing import Any

from core.config.lora_syntax import split_prompt
from core.history.importers.comfyui.graph import Link, Node
from core.history.importers.comfyui.names import NOT_TEXT, POSITIVE, SIDES, TEXTS
from core.history.importers.comfyui.texts import applies_tags, read_text, side_of
from core.history.importers.comfyui.walk import Walk

_TEXT_ENCODERS = (
    "text_g", "text_l", "clip_l", "clip_g", "t5xxl", "bert", "mt5xl",
)  # fmt: skip  # of one prompt, read by several encoders


def read_prompt(walk: Walk, value: Any, side: str) -> list[str] | None:
    """Return the texts behind a conditioning, in order; [] is an empty one, None is not known."""
    if isinstance(value, str):
        return [value] if value.strip() else []
    found = walk.at("prompt " + side, value, lambda node, output: _prompt(walk, node, output, side))
    return found if isinstance(found, list) else None


def _prompt(walk: Walk, node: Node, output: int, side: str) -> list[str] | None:
    if "zeroout" in node.key:
        for _, link in node.links():  # what it empties is no other prompt
            read_prompt(walk, link, side)
        return []
    selected = walk.selected(node)
    if selected is not None:
        return read_prompt(walk, selected, side)
    own_side = side_of(walk, node, output, side)
    if own_side is not None:
        walk.read.add(node.id)
        return read_prompt_or_text(walk, walk.field(node, SIDES[own_side]), side)
    parts = _conditionings(node)
    if parts:
        texts = [read_prompt(walk, part, side) for part in parts]
        return None if all(text is None for text in texts) else [one for text in texts for one in text or ()]
    if (encoded := _encoded(walk, node, side)) is not None:
        return [encoded] if encoded.strip() else []
    links = [link for name, link in node.links() if name.lower() not in NOT_TEXT]
    if len(links) == 1:
        return read_prompt(walk, links[0], side)
    walk.misunderstood(node)
    return None


def read_prompt_or_text(walk: Walk, value: Any, side: str) -> list[str] | None:
    """Return the texts behind what is either a conditioning or a text."""
    source = walk.graph.source(value)
    if source is not None and not any(
        name == "clip" or name.startswith("cond") or name in POSITIVE for name in source.inputs
    ):
        before = dict(walk.unknown)
        text = read_text(walk, value, side)
        if text is not None:
            return [text] if text.strip() else []
        walk.unknown = before
    return read_prompt(walk, value, side)


def _conditionings(node: Node) -> list[Any]:
    """Return the conditionings that a node takes in and combines, without those of no weight."""
    found = [(name, link) for name, link in node.links() if name.lower().startswith(("cond", "to_cond", "base_cond"))]
    strength = node.inputs.get("conditioning_to_strength")
    if strength in (0, 0.0, 1, 1.0) and not isinstance(strength, bool):
        dropped = "conditioning_from" if strength else "conditioning_to"
        found = [(name, link) for name, link in found if name != dropped] or found
    order = {"conditioning_to": 0, "conditioning_from": 1}
    return [link for _, link in sorted(found, key=lambda pair: order.get(pair[0], 0))]


def _encoded(walk: Walk, node: Node, side: str) -> str | None:
    """Return the text of a node that encodes one. Of texts for several encoders the first counts, and others are noted."""
    names = [name for name in TEXTS if isinstance(node.inputs.get(name), str | Link)]
    texts = {name: text for name in names if (text := read_text(walk, node.inputs[name], side)) is not None}
    if not texts:
        return None
    if applies_tags(node, ""):
        texts = {name: split_prompt(text)[0] for name, text in texts.items()}
    walk.read.add(node.id)
    filled = {name: text for name, text in texts.items() if text.strip()}
    main = next(iter(filled or texts))
    for name, text in filled.items():
        if name != main and name in _TEXT_ENCODERS and text.strip() != filled[main].strip():
            walk.extra[f"{node.label} {name}"] = text
    return texts[main]
