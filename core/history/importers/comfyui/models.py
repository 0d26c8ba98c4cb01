"""Find the model of a ComfyUI graph, and the LoRAs between its loader and a sampler."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from core.config.lora_syntax import split_prompt
from core.history.importers import common
from core.history.importers.comfyui.graph import MODEL_LINKS, MODELS, Link, Node
from core.history.importers.comfyui.texts import applies_tags, read_text
from core.history.importers.comfyui.walk import DEEPEST, Walk


def read_model(walk: Walk, value: Any) -> tuple[str | None, list[tuple[Any, Any, bool]]]:
    """Return the name of the model at the start of a chain, and file, weight and whether the text encoders have
    the same weight of each LoRA on the way, the first one first."""
    loras: list[tuple[Any, Any, bool]] = []
    name, seen = None, set[str]()
    for _ in range(DEEPEST):
        node = walk.graph.source(value)
        if node is None or node.id in seen:
            break
        seen.add(node.id)
        selected = walk.selected(node)
        if selected is not None:
            value = selected
            continue
        loras[:0] = [*stacked(walk, node), *_loras(walk, node)]
        value = walk.field(node, MODEL_LINKS)
        if not isinstance(value, Link):
            name = model_file(walk, node) or (value if isinstance(value, str) else None)
            links = list(node.links())
            if name is not None or len(links) != 1:
                break
            value = links[0][1]
    return name, loras


def model_file(walk: Walk, node: Node) -> str | None:
    """Return the file that a loader names."""
    for name in MODELS:
        text = read_text(walk, node.inputs.get(name), "positive")
        if text:
            return text
    return None


def stacked(walk: Walk, node: Node) -> list[tuple[Any, Any, bool]]:
    """Return the LoRAs of the stacks that a node takes in."""
    found: list[tuple[Any, Any, bool]] = []
    for name, link in node.links():
        if "lora" in name.lower() and "name" not in name.lower():
            found += walk.at("stack", link, lambda source, _: [*stacked(walk, source), *_loras(walk, source)]) or []
    return found


def _loras(walk: Walk, node: Node) -> Iterator[tuple[Any, Any, bool]]:
    """Yield the LoRAs that a node loads: by one name, by numbered ones, as rgthree's entries, as a list, or by tags in a text."""
    inputs = node.inputs
    count = common.real(common.first_of(inputs, "lora_count", "num_loras"))
    mode = str(common.first_of(inputs, "input_mode", "mode")).lower()
    simple = mode == "simple"  # of a stacker that has one weight for both beside one for each
    numbered: dict[str, list[tuple[str, Any]]] = {}
    for name, value in inputs.items():
        numbered.setdefault(_digits(name), []).append((name.lower(), value))
    for name, value in inputs.items():
        lower = name.lower()
        if isinstance(value, dict) and "lora" in value:
            if value.get("on", True) is not False:
                weight, clip = value.get("strength", 1.0), value.get("strengthTwo")
                yield from _acting(value["lora"], weight, clip)
        elif lower == "loras" and isinstance(value, list):
            for entry in value:
                if isinstance(entry, dict) and entry.get("active", entry.get("on", True)):
                    file = common.first_of(entry, "name", "lora", "lora_name", "path")
                    yield from _acting(file, common.first_of(entry, "strength", "weight"), entry.get("clipStrength"))
        elif isinstance(value, str) and "<lora:" in value and applies_tags(node, lower):
            for tag in split_prompt(value)[1]:
                file, _, weight = tag.partition(":")
                yield from _acting(file, weight.partition(":")[0] or 1.0, weight.partition(":")[2] or None)
        elif _names_lora(lower):
            number = _digits(name)
            if (number and count is not None and int(number[:6]) > count) or _is_off(inputs, number):
                continue
            weight, clip = _weights(walk, numbered.get(number, []), simple)
            yield from _acting(read_text(walk, value, "positive"), weight, clip)


def _names_lora(name: str) -> bool:
    bare = "".join(mark for mark in name if mark.isalpha())
    return bare in ("loraname", "lora", "namelora", "loramodel", "lorafile", "lorapath")


def _is_off(inputs: dict[str, Any], number: str) -> bool:
    names = (
        f"switch_{number}",
        f"lora_{number}_on",
        f"on_{number}",
        f"enable_{number}",
        f"toggle_{number}",
        f"lora_on_{number}",
    )
    values = [str(inputs[name]).lower() for name in names if name in inputs]
    return any(value in ("off", "false", "no", "0") for value in values)


def _digits(name: str) -> str:
    return "".join(mark for mark in name if mark.isdigit())


def _weights(walk: Walk, inputs: list[tuple[str, Any]], simple: bool) -> tuple[Any, Any]:
    """Return the weights for model and text encoders among the inputs of one LoRA; the second is None where there is one weight."""
    model = clip = None
    for name, value in inputs:
        if not any(mark in name for mark in ("strength", "weight", "wt", "_str")):
            continue
        if simple and ("model" in name or "clip" in name):
            continue
        found = walk.number(value, "weight")
        if "clip" in name:
            clip = found
        elif model is None or "model" in name:
            model = found
    return 1.0 if model is None else model, clip


def _acting(file: Any, weight: Any, clip: Any) -> Iterator[tuple[Any, Any, bool]]:
    """Yield a LoRA unless it is none, or has no weight."""
    if isinstance(file, str) and file.strip().lower() not in ("", "none") and common.real(weight) not in (0.0,):
        same = clip is None or common.real(clip) == common.real(weight)
        yield file, weight, same
