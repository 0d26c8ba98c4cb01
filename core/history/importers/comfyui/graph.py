"""Parse a ComfyUI graph: nodes with inputs that are values or links to another node's output."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

MOST_NODES = 5_000


class Link(NamedTuple):
    """The output of a node, counted from 0."""

    node: str
    output: int


@dataclass
class Node:
    """A node; `outputs` has their names in lower case where the format tells them."""

    id: str
    kind: str
    inputs: dict[str, Any] = field(default_factory=dict)
    outputs: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self.key = "".join(mark for mark in self.kind.lower() if mark.isalnum())

    def links(self) -> Iterator[tuple[str, Link]]:
        """Yield the inputs that are links."""
        for name, value in self.inputs.items():
            if isinstance(value, Link):
                yield name, value

    @property
    def label(self) -> str:
        """Return the name of the node as users see it: `KSampler (#3)`."""
        return f"{self.kind[:60]} (#{self.id[:20]})"


class Graph:
    """All nodes by id, and which inputs an output feeds."""

    def __init__(self, nodes: Mapping[str, Node]) -> None:
        self.nodes = dict(nodes)
        self._prompt_outputs: dict[str, list[int]] = {}
        self.consumers: dict[str, list[tuple[Node, str, int]]] = {}
        for node in self.nodes.values():
            for name, link in list(node.links()):
                if link.node not in self.nodes:  # of a muted node, which the format leaves out
                    del node.inputs[name]
                    continue
                self.consumers.setdefault(link.node, []).append((node, name, link.output))

    def prompt_outputs(self, node: Node) -> list[int]:
        """Return the outputs of a node that feed a prompt or a conditioning somewhere, in order."""
        if node.id not in self._prompt_outputs:
            names = self.consumers.get(node.id, ())
            self._prompt_outputs[node.id] = sorted({output for _, name, output in names if _is_prompt(name.lower())})
        return self._prompt_outputs[node.id]

    def source(self, value: Any) -> Node | None:
        """Return the node that a link comes from."""
        return self.nodes.get(value.node) if isinstance(value, Link) else None

    def upstream(self, *starts: Node) -> dict[str, Node]:
        """Return every node that `starts` depend on, themselves not included unless they are in a circle."""
        found: dict[str, Node] = {}
        waiting = list(starts)
        while waiting:
            for _, link in waiting.pop().links():
                if link.node not in found:
                    found[link.node] = self.nodes[link.node]
                    waiting.append(self.nodes[link.node])
        return found

    def outputs(self, is_output: Callable[[Node], bool]) -> list[Node]:
        """Return the nodes that save or show something; where there is none, those that feed no other."""
        named = [node for node in self.nodes.values() if is_output(node)]
        return named or [node for node in self.nodes.values() if node.id not in self.consumers]


def _is_prompt(name: str) -> bool:
    return any(mark in name for mark in ("positive", "negative")) or name.startswith(("cond", "pos", "neg", "uncond"))


def read_api_graph(data: Mapping[str, Any]) -> Graph | None:
    """Return the graph of the API format, {"3": {"class_type": ..., "inputs": {...}}}; None when this is no such object."""
    found = {
        str(key): value
        for key, value in data.items()
        if isinstance(value, dict) and isinstance(value.get("class_type"), str)
    }
    if not found or len(found) > MOST_NODES:
        return None
    return Graph({key: Node(key, value["class_type"], _inputs(value.get("inputs"))) for key, value in found.items()})


def _inputs(data: Any) -> dict[str, Any]:
    return {str(name): _value(value) for name, value in data.items()} if isinstance(data, dict) else {}


def _value(value: Any) -> Any:
    if isinstance(value, dict) and set(value) == {"__value__"}:  # how lists are kept apart from links
        return value["__value__"]
    if isinstance(value, list) and len(value) == 2 and isinstance(value[0], str | int) and type(value[1]) is int:
        if not isinstance(value[0], bool) and (isinstance(value[0], str) or value[1] >= 0):
            return Link(str(value[0]), value[1])
    return value


POSITIVE = (
    "positive", "positive_prompt", "text_positive", "positive_text", "prompt_positive", "base_positive", "pos",
    "optional_positive", "positive_cond", "positive_conditioning", "conditioning_positive", "cond_pos",
    "positive_cond_base",
)  # fmt: skip
NEGATIVE = (
    *(name.replace("positive", "negative").replace("pos", "neg") for name in POSITIVE),
    "neg_conditioning",
    "uncond",
)
SIDES = {"positive": POSITIVE, "negative": NEGATIVE}
PIPES = (
    "pipe", "basic_pipe", "base_ctx", "context", "ctx", "detailer_pipe", "sdxl_tuple", "sdxl_pipe", "pipe_opt",
    "optional_pipe", "loader_pipe", "model_pipe", "pipe_line", "settings",
    "base_sampler",
)  # fmt: skip
TEXTS = (
    "populated_text", "user_prompt", "text", "prompt", "t5xxl", "mt5xl", "text_g", "clip_g", "positive_prompt",
    "string", "value", "clip_l", "text_l", "bert", "multiline_text", "txt", "str", "String", "Text", "output_text",
    "text_0", "prompt_text", "result", "wildcard_text", "input", "anything", "source", "any", "text_positive",
    "widget_0",
)  # fmt: skip
MODELS = (
    "ckpt_name", "unet_name", "model_name", "base_ckpt_name", "gguf_name", "checkpoint", "ckpt", "unet",
    "modelname", "model_path", "diffusion_model", "nunchaku_model_path", "model_id", "repo_id", "base_model",
)  # fmt: skip
MODEL_LINKS = (
    "model", "model1", "model_1", "model_a", "MODEL", "unet", "base_model", "diffusion_model", "optional_model",
    "model_opt", "opt_model", "transformer", "pipeline",
)  # fmt: skip
LATENTS = (
    "latent_image", "latent", "samples", "latents", "optional_latent", "latent_opt", "init_latent", "latent_in",
    "image_embeds", "samples1", "samples_1", "pixels", "image", "images", "optional_image", "image_opt",
    "start_image", "sample",
)  # fmt: skip
NOT_TEXT = (
    "clip", "vae", "model", "image", "mask", "control_net", "style_model", "clip_vision", "latent", "samples",
    "sigmas", "noise",
)  # fmt: skip
