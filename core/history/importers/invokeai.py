"""Read InvokeAI: `invokeai_metadata`, `sd-metadata` of version 2, and the command line `Dream` of version 1."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from core.history.importers import common
from core.types import FoundParameters

USED = ("positive_prompt", "negative_prompt", "prompt", "steps", "cfg_scale", "seed", "width", "height")
LONGEST_FLAGS = 10_000  # characters of flags that are read
_FLAGS = {"s": "steps", "S": "seed", "W": "width", "H": "height", "C": "cfg_scale", "A": "scheduler", "-steps": "steps",
          "-seed": "seed", "-width": "width", "-height": "height", "-cfg_scale": "cfg_scale", "-sampler": "scheduler"}  # fmt: skip


def read(texts: Mapping[str, str]) -> FoundParameters | None:
    """Return what the newest of the three says; None when there is none of them."""
    data = common.parsed(texts.get("invokeai_metadata")) or _wrapped(texts)
    if data is None:
        data = _version_2(common.parsed(texts.get("sd-metadata"))) or _dream(texts.get("Dream"))
    if data is None:
        return None
    raw = {
        "prompt": common.first_of(data, "positive_prompt", "prompt", "positive_conditioning"),
        "negative_prompt": common.first_of(data, "negative_prompt", "negative_conditioning"),
        "steps": data.get("steps"),
        "cfg_scale": data.get("cfg_scale"),
        "seed": data.get("seed"),
        "sampler": common.first_of(data, "scheduler", "sampler"),
        "model": common.first_of(data, "model_weights", "model"),
        "width": data.get("width"),
        "height": data.get("height"),
    }
    loras = list(_loras(data.get("loras")))
    return common.found("InvokeAI", raw, common.without(data, *USED), loras, lora_names=("loras",))


def _wrapped(texts: Mapping[str, str]) -> dict[str, Any] | None:
    """Return the metadata that a conversion of the file put into one JSON comment, or that version 3.0 called `invokeai`."""
    for name in ("parameters", "Comment", "UserComment", "invokeai"):
        data = common.parsed(texts.get(name))
        inner = data.get("invokeai_metadata", data if "generation_mode" in data else None) if data else None
        inner = common.parsed(inner) if isinstance(inner, str) else inner
        if isinstance(inner, dict):
            return inner
    return None


def _loras(data: Any) -> Iterator[tuple[Any, Any]]:
    """Yield name and weight of each; before version 4 the model was called lora."""
    for one in data if isinstance(data, list) else []:
        model = (one.get("model") or one.get("lora")) if isinstance(one, dict) else None
        if isinstance(model, dict) and (model.get("name") or model.get("model_name")):
            yield model.get("name") or model.get("model_name"), one.get("weight", one.get("lora_weight", 1))


def _version_2(data: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return one flat object of the older form, whose prompt may be a list of weighted parts, the negative one in brackets."""
    image = data.get("image") if data else None
    if not data or not isinstance(image, dict):
        return None
    prompt = image.get("prompt")
    if isinstance(prompt, list):
        prompt = ", ".join(str(part["prompt"]) for part in prompt if isinstance(part, dict) and "prompt" in part)
    flat = {**common.without(data, "image", "model"), **image}
    if "model_weights" not in flat and "model" in data:
        flat["model"] = data["model"]
    return {**flat, **(_split_brackets(prompt) if isinstance(prompt, str) else {})}


def _dream(text: str | None) -> dict[str, Any] | None:
    """Return the parameters of `"a house [rain]" -s 50 -S 77 -W 512 ...`."""
    if text is None or len(text) > common.LONGEST:
        return None
    text = text.strip().removeprefix("dream>").strip()
    prompt, rest = text, ""
    if text.startswith('"'):
        end = text.rfind('" -')
        end = end if end > 0 else text.rfind('"')
        prompt, rest = (text[1:end], text[end + 1 :]) if end > 0 else (text[1:], "")
    elif " -" in text:
        prompt, _, rest = text.partition(" -")
        rest = "-" + rest
    return {**_split_brackets(prompt), **_flags(rest[:LONGEST_FLAGS].split())}


def _flags(words: list[str]) -> dict[str, str]:
    """Return the values of flags by their names, written as `-s 50`, `-s50` or `--steps 50`."""
    values: dict[str, str] = {}
    for k, word in enumerate(words):
        if not word.startswith("-") or common.real(word) is not None:
            continue
        name, following = word[1:], words[k + 1] if k + 1 < len(words) else ""
        value = following if not following.startswith("-") or common.real(following) is not None else ""
        if name not in _FLAGS and name[:1] in _FLAGS and common.real(name[1:]) is not None:
            name, value = name[:1], name[1:]
        values.setdefault(_FLAGS.get(name, name.lstrip("-")), value)
    return values


def _split_brackets(prompt: str) -> dict[str, str]:
    """Return prompt and negative prompt of a text that has the latter in brackets."""
    positive, negative = [], []
    start = 0
    while (opening := prompt.find("[", start)) >= 0 and (closing := prompt.find("]", opening)) >= 0:
        positive.append(prompt[start:opening].strip(" ,"))
        negative.append(prompt[opening + 1 : closing].strip())
        start = closing + 1
    positive.append(prompt[start:].strip(" ,") if negative else prompt[start:].strip())
    return {"prompt": ", ".join(filter(None, positive)), "negative_prompt": ", ".join(filter(None, negative))}
