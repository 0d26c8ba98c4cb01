"""ComfyUI: the graph `prompt`, read back from the node that samples.

A graph can compute anything; what is followed here are plain links, a bounded number of them. Every other input of the
sampler and the models are listed as without an equivalent.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from core.storage.readers import common
from core.types import FoundParameters

LONGEST_WAY = 30  # links from one node to the next
SAMPLERS = ("KSampler", "SamplerCustom")  # how the names of nodes that sample begin
TEXTS = ("text", "text_g", "t5xxl", "prompt", "string", "value", "text_1", "clip_l")
WAYS = (
    "conditioning",
    "conditioning_1",
    "conditioning_to",
    "positive",
    "samples",
    "latent_image",
    "latent",
    "text",
    "guider",
)
MODELS = ("ckpt_name", "unet_name", "model_name", "lora_name", "vae_name", "clip_name")
HANDLED = (
    "seed",
    "noise_seed",
    "steps",
    "cfg",
    "positive",
    "negative",
    "latent_image",
    "model",
    "noise",
    "guider",
    "sigmas",
)

LORA = "lora_name"

Graph = Mapping[str, Any]


def read(texts: Mapping[str, str]) -> FoundParameters | None:
    graph = common.parsed(texts.get("prompt"))
    if graph is None or not any(_kind(node) for node in graph.values()):
        return None
    sampler = next((node for node in graph.values() if _kind(node).startswith(SAMPLERS)), None)
    inputs = _inputs(sampler)
    guider, noise = _node(graph, inputs.get("guider")), _node(graph, inputs.get("noise"))
    sigmas, latent = _node(graph, inputs.get("sigmas")), _search(graph, inputs.get("latent_image"), ("width", "height"))
    positive = inputs.get("positive") or guider.get("positive") or guider.get("conditioning")
    values = {
        common.PROMPT: _text(graph, positive),
        common.NEGATIVE: _text(graph, inputs.get("negative") or guider.get("negative")) or None,
        common.STEPS: _value(graph, inputs.get("steps", sigmas.get("steps"))),
        common.CFG: _value(graph, inputs.get("cfg", guider.get("cfg"))),
        common.SEED: _value(graph, inputs.get("seed", inputs.get("noise_seed", noise.get("noise_seed")))),
        common.WIDTH: _value(graph, latent.get("width")),
        common.HEIGHT: _value(graph, latent.get("height")),
    }
    rest = {name: value for name, value in inputs.items() if name not in HANDLED and not isinstance(value, list)}
    loras = common.loras(_loras(graph, inputs.get("model") or guider.get("model")))
    for node in graph.values():
        rest |= {
            name: value
            for name, value in _inputs(node).items()
            if name in MODELS and isinstance(value, str) and not (loras and name == LORA)
        }
    if "workflow" in texts:
        rest["workflow"] = texts["workflow"]
    return common.found("ComfyUI", {**values, common.LORAS: loras}, rest)


def _loras(graph: Graph, link: Any) -> Iterator[tuple[Any, Any]]:
    """File and weight of each on the way of the model to the sampler, the first one first. The weight for the text encoders
    has no equivalent: where it is another, none is taken, and the files are listed."""
    found = []
    for _ in range(LONGEST_WAY):
        inputs = _node(graph, link)
        if LORA in inputs:
            strength = _value(graph, inputs.get("strength_model", 1))
            alike = _value(graph, inputs.get("strength_clip", strength)) == strength
            found.append((inputs[LORA], strength if alike else None))
        link = inputs.get("model")
    yield from reversed(found)


def _kind(node: Any) -> str:
    return str(node.get("class_type", "")) if isinstance(node, dict) else ""


def _inputs(node: Any) -> dict[str, Any]:
    inputs = node.get("inputs") if isinstance(node, dict) else None
    return inputs if isinstance(inputs, dict) else {}


def _node(graph: Graph, link: Any) -> dict[str, Any]:
    """The inputs of the node that a link ["id", output] comes from."""
    return _inputs(graph.get(str(link[0]))) if isinstance(link, list) and link else {}


def _search(graph: Graph, link: Any, names: tuple[str, ...]) -> dict[str, Any]:
    """The inputs of the first node on the way back that has one of `names`."""
    for _ in range(LONGEST_WAY):
        inputs = _node(graph, link)
        if not inputs or any(name in inputs for name in names):
            return inputs
        link = next((inputs[way] for way in WAYS if isinstance(inputs.get(way), list)), None)
    return {}


def _text(graph: Graph, link: Any) -> str | None:
    """The words at the end of a link, or those that stand in its place."""
    for _ in range(LONGEST_WAY):
        if isinstance(link, str):
            return link
        inputs = _node(graph, link)
        here = next((inputs[name] for name in TEXTS if isinstance(inputs.get(name), str)), None)
        if here is not None:
            return str(here)
        link = next((inputs[way] for way in (*TEXTS, *WAYS) if isinstance(inputs.get(way), list)), None)
    return None


def _value(graph: Graph, value: Any) -> Any:
    """A number, or the one at the end of a link to a node that holds it."""
    for _ in range(LONGEST_WAY):
        if not isinstance(value, list):
            return value
        inputs = _node(graph, value)
        value = next(
            (inputs[name] for name in ("value", "seed", "noise_seed", "int", "float", "number") if name in inputs), None
        )
    return None
