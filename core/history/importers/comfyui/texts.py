"""Resolve texts of a ComfyUI graph: written in a node, joined, replaced, switched or passed on."""

from __future__ import annotations

from typing import Any

from core.config.lora_syntax import split_prompt
from core.history.importers.comfyui.graph import NOT_TEXT, POSITIVE, SIDES, TEXTS, Link, Node
from core.history.importers.comfyui.walk import Walk, is_pipe

TEXT_SHARE = 16  # characters that a node may join for one unit of work
_PIPE_OUTPUTS = {
    "frombasicpipe": ("model", "clip", "vae", "positive", "negative"),
    "frombasicpipev2": ("basic_pipe", "model", "clip", "vae", "positive", "negative"),
    "fromdetailerpipe": ("model", "clip", "vae", "positive", "negative"),
    "efficientloader": ("model", "positive", "negative", "latent", "vae", "clip"),
    "effloadersdxl": ("sdxl_tuple", "latent", "vae"),
}
_WRITERS = (
    "textgenerate", "llm", "ollama", "chatgpt", "gemini", "claude", "interrogat", "caption", "tagger", "florence",
    "regex",
)  # fmt: skip
_JOINING = ("concat", "join", "combinestring", "combinetext", "stringcombine", "textcombine", "append")
_DELIMITERS = ("delimiter", "separator", "sep", "seperator", "joiner")


def read_text(walk: Walk, value: Any, side: str) -> str | None:
    """Return a text, also at the end of a link; `side` is positive or negative, for nodes that give both."""
    if isinstance(value, str):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    found = walk.at("text " + side, value, lambda node, output: _text(walk, node, output, side))
    return found if isinstance(found, str) else None


def _text(walk: Walk, node: Node, output: int, side: str) -> str | None:
    selected = walk.selected(node)
    if selected is not None:
        return read_text(walk, selected, side)
    walk.read.add(node.id)
    if any(mark in node.key for mark in _WRITERS):  # what it was asked is known, not what it wrote
        walk.misunderstood(node)
    for rule in (_replaced, _joined):
        found = rule(walk, node, side)
        if found is not None:
            return found
    if side_of(walk, node, output, side) is not None:
        return read_text(walk, walk.field(node, SIDES[side_of(walk, node, output, side) or side]), side)
    for name in TEXTS:
        if name in node.inputs:
            found = read_text(walk, node.inputs[name], side)
            if found is not None:
                return split_prompt(found)[0] if applies_tags(node, "") else found
    texts = [
        v for name, v in node.inputs.items() if isinstance(v, str) and len(node.inputs) == 1 and name not in NOT_TEXT
    ]
    links = [link for name, link in node.links() if name.lower() not in NOT_TEXT]
    if texts or len(links) == 1:
        return texts[0] if texts else read_text(walk, links[0], side)
    walk.misunderstood(node)
    return None


def _joined(walk: Walk, node: Node, side: str) -> str | None:
    """Return the texts of a node that joins several, with its delimiter; None for any other node."""
    names = sorted((name for name in node.inputs if _is_text_part(name)), key=_part_order)
    if not any(mark in node.key for mark in _JOINING) and not (len(names) > 1 and {"text_a", "string_a"} & set(names)):
        return None
    delimiter = next((node.inputs[name] for name in _DELIMITERS if isinstance(node.inputs.get(name), str)), None)
    if delimiter is None:
        delimiter = ", " if str(node.inputs.get("tidy_tags", "")).lower() in ("yes", "true") else ""
    parts = [read_text(walk, node.inputs[name], side) for name in names]
    kept = [part for part in parts if part]
    joined = delimiter.replace("\\n", "\n").join(kept)
    walk.spend(len(joined) // TEXT_SHARE)
    return joined or None


def _replaced(walk: Walk, node: Node, side: str) -> str | None:
    """Return the text of a node that replaces one word by another; a regular expression is not run."""
    if "replace" not in node.key or "regex" in node.key:
        return None
    whole = read_text(
        walk, next((node.inputs[n] for n in ("string", "text", "input", "source") if n in node.inputs), None), side
    )
    old = read_text(
        walk,
        next((node.inputs[n] for n in ("find", "find_text", "old", "search", "pattern") if n in node.inputs), None),
        side,
    )
    new = read_text(
        walk,
        next((node.inputs[n] for n in ("replace", "replace_with", "new", "replacement") if n in node.inputs), None),
        side,
    )
    if whole is None or old is None or new is None or not old:
        return whole
    walk.spend(len(whole) * max(1, len(new)) // TEXT_SHARE)
    return whole.replace(old, new)


def side_of(walk: Walk, node: Node, output: int, side: str) -> str | None:
    """Tell which prompt an output of a node carries that has both; None for a node that has none of them."""
    if not any(name in node.inputs for names in SIDES.values() for name in names):
        if node.key not in _PIPE_OUTPUTS and not is_pipe(node):
            return None
    names = node.outputs or _PIPE_OUTPUTS.get(node.key, ())
    name = names[output] if output < len(names) else ""
    for known in SIDES:
        if known[:3] in name.lower():
            return known
    used = walk.graph.prompt_outputs(node)
    if len(used) >= 2:
        return {used[0]: "positive", used[1]: "negative"}.get(output, side)
    return "positive" if output == 0 and any(name in node.inputs for name in POSITIVE) else side


def _is_text_part(name: str) -> bool:
    """Tell the inputs of a joining node that are joined, such as `string_a`, `text2`, `input_3`."""
    lower = name.lower()
    return lower in ("a", "b", "c", "d") or (
        lower.startswith(("text", "string", "str_", "prompt", "input_", "part"))
        and not lower.endswith(("count", "delimiter"))
    )


def _part_order(name: str) -> tuple[str, int]:
    stem = name.rstrip("0123456789")
    return stem, int(name[len(stem) :][:6] or 0)


def applies_tags(node: Node, name: str) -> bool:
    """Tell the inputs whose <lora:name:weight> tags act; in a plain text encoder's they are text like any other."""
    return (
        "lora" in name
        or "lora" in node.key
        or any(mark in node.key for mark in ("powerprompt", "wildcard", "promptcontrol"))
    )


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
