"""Read ComfyUI, and what is built on it (Civitai, TensorArt, Stability Matrix): parameters from the graph in an image."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from core.history.importers import common
from core.history.importers.comfyui.graph import MODELS, TEXTS, Graph, Link, Node, read_api_graph
from core.history.importers.comfyui.models import read_model
from core.history.importers.comfyui.samplers import describe, find_samplers, size_at
from core.history.importers.comfyui.texts import read_prompt_or_text, read_text
from core.history.importers.comfyui.walk import TooComplex, Walk
from core.history.importers.comfyui.workflow import read_workflow
from core.storage.embedded_texts import COMMENT, DESCRIPTION, PARAMETERS
from core.storage.infotext import well_formed
from core.types import FoundParameters

_JSON_TEXTS = (PARAMETERS, "UserComment", COMMENT, DESCRIPTION, "generation_data")
_LISTED_MODELS = (*MODELS, "lora_name", "vae_name", "clip_name")
_MOST_TEXTS = 50
_SERVICE_FIRST = (
    "prompt",
    "negative_prompt",
    "model",
)  # what a service tells better than its graph; of numbers the first pass counts
UNKNOWN, LATER = "nodes not understood", "later pass"


def read(texts: Mapping[str, str]) -> FoundParameters | None:
    """Return what the graph says that an image was made by; None when the file has no graph."""
    service, fields = _service(texts)
    best: FoundParameters | None = None
    for graph in _graphs(texts):
        result = _read_graph(graph)
        if best is None or _known(result) > _known(best):
            best = result
        if best.facts.prompt is not None and best.facts.steps is not None:
            break
    if best is None:
        return None if not fields else common.found(service, fields, {})
    if "workflow" in texts:
        best = replace(best, unused={**best.unused, "workflow": common.shown(texts["workflow"])})
    best = replace(best, program=service)
    if not fields:
        return best
    first = common.found(service, {name: fields.get(name) for name in _SERVICE_FIRST}, {})
    return common.merged(common.merged(first, best), common.found(service, fields, {}))


def _graphs(texts: Mapping[str, str]) -> Iterator[Graph]:
    """Yield every graph that a file carries: `prompt` in the API format, then `workflow`, then JSON objects that hold either."""
    lower = {name.lower(): text for name, text in texts.items()}
    candidates = [common.parsed(lower.get(name)) for name in ("prompt", "workflow")]
    for name in _JSON_TEXTS:
        data = common.parsed(texts.get(name))
        if data is not None:
            candidates += [data, *(_object(data.get(key)) for key in ("prompt", "workflow"))]
    for data in candidates:
        graph = (read_api_graph(data) or read_workflow(data)) if data is not None else None
        if graph is not None:
            yield graph


def _object(value: Any) -> dict[str, Any] | None:
    return value if isinstance(value, dict) else common.parsed(value) if isinstance(value, str) else None


def _known(found: FoundParameters) -> int:
    return sum(value not in (None, ()) for value in vars(found.facts).values())


def _read_graph(graph: Graph) -> FoundParameters:
    base, later = find_samplers(graph)
    walk = Walk(graph)
    rest: dict[str, Any] = {}
    raw: dict[str, Any] = {}
    loras: list[tuple[Any, Any, bool]] = []
    try:
        if base is not None:
            raw = describe(base, walk)
            model, loras = read_model(walk, raw["model_link"])
            raw["model"] = model
            rest |= _other_inputs(base, raw)
        else:
            raw = _without_sampler(graph, walk)
        spent = walk.spent
        for number, node in enumerate(later, 1):
            other = Walk(graph, spent)
            described = describe(node, other)
            rest[f"{LATER} {number}"] = _line(node, described)
            if raw["prompt"] is None:  # a first pass that only adds noise has none
                raw |= {side: described[side] for side in ("prompt", "negative_prompt")}
            spent = other.spent
    except TooComplex:
        rest["graph"] = "too complex"
    if raw.get("model") is None:
        raw["model"] = _only_model(graph)
    raw |= {side: _joined(raw.get(side)) for side in ("prompt", "negative_prompt")}
    rest |= _models(graph) | _other_texts(graph, walk, raw)
    if base is None:
        for node in list(graph.nodes.values())[:_MOST_TEXTS]:
            walk.misunderstood(node)
    usable = all(same for _, _, same in loras)
    files = list({common.file_stem(str(file)): (file, weight) for file, weight, _ in reversed(loras)}.values())[::-1]
    result = common.found("ComfyUI", raw, rest, files, usable, lora_names=("lora_name",))
    unknown = ", ".join(list(walk.unknown)[:_MOST_TEXTS])
    long = {name: well_formed(text)[: common.LONGEST_LISTED] for name, text in walk.extra.items()}
    listed = {**result.unused, **long, **({UNKNOWN: unknown} if unknown else {})}
    return replace(result, unused=listed)


def _joined(texts: list[str] | None) -> str | None:
    """Return the texts of a combined prompt, each once, one a line."""
    return None if texts is None else "\n".join(dict.fromkeys(texts))


def _other_inputs(node: Node, raw: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a sampler that have no equivalent here."""
    taken = ("seed", "noise_seed", "steps", "cfg", "width", "height", "positive", "negative", "prompt")
    found = {
        name: value
        for name, value in node.inputs.items()
        if name not in taken and isinstance(value, str | int | float | bool)
    }
    found |= {
        name: raw[name]
        for name in ("scheduler", "denoise")
        if raw.get(name) is not None and not isinstance(raw[name], tuple)
    }
    return found if raw.get("sampler") is None else {"sampler_name": raw["sampler"], **found}


def _without_sampler(graph: Graph, walk: Walk) -> dict[str, Any]:
    """Return the parameters of the node that has most of them, such as one that calls a service or saves its parameters."""
    names = {"prompt": ("prompt", "positive", "positive_prompt", "text"), "negative_prompt": ("negative_prompt", "negative"),
             "seed": ("seed", "noise_seed", "seed_value"), "steps": ("steps", "num_inference_steps"),
             "cfg_scale": ("cfg", "cfg_scale", "guidance_scale"), "sampler": ("sampler_name", "sampler"), "width": ("width",),
             "height": ("height",), "model": (*MODELS, "model")}  # fmt: skip

    def count(node: Node) -> int:
        return sum(any(name in node.inputs for name in known) for known in names.values())

    best = max(graph.nodes.values(), key=count)
    if count(best) < 2 or not any(name in best.inputs for name in names["prompt"]):
        return {}
    size = size_at(walk, best)
    value = {field: next((best.inputs[n] for n in known if n in best.inputs), None) for field, known in names.items()}
    return {
        **{
            side: read_prompt_or_text(walk, value[side], kind)
            for side, kind in (("prompt", "positive"), ("negative_prompt", "negative"))
        },
        **{name: walk.number(value[name], name) for name in ("seed", "steps", "cfg_scale")},
        "width": size[0],
        "height": size[1],
        "sampler": read_text(walk, value["sampler"], "positive"),
        "model": read_model(walk, value["model"])[0]
        if isinstance(value["model"], Link)
        else read_text(walk, value["model"], "positive"),
    }


def _line(node: Node, raw: Mapping[str, Any]) -> str:
    """Return a later pass as one line."""
    names = ("seed", "steps", "cfg_scale", "sampler", "scheduler", "denoise")
    values = [f"{name} {raw[name]}" for name in names if isinstance(raw.get(name), str | int | float)]
    return ", ".join([node.label, *values])


def _models(graph: Graph) -> dict[str, Any]:
    """Return the model files that the graph names, by the inputs that name them."""
    return {
        name: value
        for node in graph.nodes.values()
        for name, value in node.inputs.items()
        if name in _LISTED_MODELS and isinstance(value, str) and not (name == "lora_name" and value.lower() == "none")
    }


def _only_model(graph: Graph) -> str | None:
    """Return the model of a graph with one loader, however it is connected."""
    files = {
        value
        for node in graph.nodes.values()
        for name in ("ckpt_name", "unet_name")
        if isinstance(value := node.inputs.get(name), str)
    }
    return files.pop() if len(files) == 1 else None


def _other_texts(graph: Graph, walk: Walk, raw: Mapping[str, Any]) -> dict[str, str]:
    """Return the texts of encoders that are not part of the base pass: of regions, of later passes, of what is not connected."""
    known = {raw.get("prompt"), raw.get("negative_prompt"), None, ""}
    found: dict[str, str] = {}
    for node in graph.nodes.values():
        if "clip" not in node.inputs and "encode" not in node.key:
            continue
        for name in TEXTS:
            text = node.inputs.get(name)
            if (
                isinstance(text, str)
                and text.strip()
                and text not in known
                and (node.id not in walk.read)
                and len(found) < _MOST_TEXTS
            ):
                found[f"{node.label} {name}"] = text
    return found


def _service(texts: Mapping[str, str]) -> tuple[str, dict[str, Any]]:
    """Return which program built on ComfyUI made the file, and what it says beside the graph."""
    if "generation_data" in texts:
        data = common.parsed(texts["generation_data"]) or {}
        raw = {
            "prompt": data.get("prompt"),
            "negative_prompt": data.get("negativePrompt"),
            "model": data.get("baseModel"),
        }
        return "TensorArt", _plain(raw, data)
    if "smproj" in texts or "parameters-json" in texts:
        data = common.parsed(texts.get("parameters-json")) or {}
        raw = {
            "prompt": data.get("PositivePrompt"),
            "negative_prompt": data.get("NegativePrompt"),
            "model": data.get("ModelName"),
        }
        return "Stability Matrix", raw | {"seed": data.get("Seed"), "steps": data.get("Steps"), "cfg_scale": data.get("CfgScale"),
                                          "width": data.get("Width"), "height": data.get("Height")}  # fmt: skip
    for name in ("prompt", PARAMETERS, "UserComment", COMMENT):
        data = common.parsed(texts.get(name)) or {}
        extra = data.get("extraMetadata", texts.get("extraMetadata"))
        resources = (isinstance(data.get("extra"), dict) and "airs" in data["extra"]) or "resource-stack" in data
        if extra is not None or resources:
            made = _object(extra) or {}
            return "Civitai", _plain(
                {"prompt": made.get("prompt"), "negative_prompt": made.get("negativePrompt")}, made
            )
    return "ComfyUI", {}


def _plain(raw: dict[str, Any], data: Mapping[str, Any]) -> dict[str, Any]:
    """Return `raw` with the numbers that a service keeps under its usual names."""
    names = {
        "seed": "seed",
        "steps": "steps",
        "cfg_scale": "cfgScale",
        "width": "width",
        "height": "height",
        "sampler": "sampler",
    }
    found = {field: data.get(name) for field, name in names.items()}
    return {name: value for name, value in {**raw, **found}.items() if value is not None}
