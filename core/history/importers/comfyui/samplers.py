"""Find the sampling nodes of a ComfyUI graph by their inputs, and read their parameters."""

from __future__ import annotations

from typing import Any

from core.history.importers import common
from core.history.importers.comfyui.graph import LATENTS, MODEL_LINKS, NEGATIVE, PIPES, POSITIVE, Graph, Link, Node
from core.history.importers.comfyui.texts import read_prompt_or_text, read_text
from core.history.importers.comfyui.walk import Walk

MOST_SAMPLERS = 60
_SEEDS = ("seed", "noise_seed", "seed_num", "noise")
_DRIVES = ("steps", "sigmas", "sampler_name", "sampler", "scheduler")
_PROMPTS = (*POSITIVE, "guider", "conditioning", "cond", "text_embeds", "prompt_embeds", "prompt")
_CFG = ("cfg", "cfg_scale", "guidance_scale", "true_gs", "true_cfg", "cfg_conds", "cfg1")
_SAVING = ("save", "preview", "output", "sendimage", "websocket", "display")
_FILES = ("filename_prefix", "filename", "file_name", "path", "output_path", "base_directory")


def find_samplers(graph: Graph) -> tuple[Node | None, list[Node]]:
    """Return the sampler of the first pass, and the later ones in the order of the graph.

    Only samplers that what is saved depends on count; of two first passes the one that starts from noise alone, then the first.
    """
    samplers = [node for node in graph.nodes.values() if is_sampler(node, graph)][:MOST_SAMPLERS]
    if not samplers:
        return None, []
    ends = graph.outputs(_saves)
    saved = {node.id for node in ends} | graph.upstream(*ends).keys()
    used = [node for node in samplers if node.id in saved] or samplers
    before = {node.id: graph.upstream(node).keys() & {one.id for one in used} - {node.id} for node in used}
    first = [node for node in used if not before[node.id]] or used
    base = min(first, key=lambda node: (_starts_from_image(node, graph), _number(node.id)))
    later = sorted(
        (node for node in used if node is not base), key=lambda node: (len(before[node.id]), _number(node.id))
    )
    return base, later


def is_sampler(node: Node, graph: Graph) -> bool:
    """Tell a node that samples: it takes a prompt, a seed or noise, and steps or a sampler; or a pipe with all of them."""
    inputs, key = node.inputs, node.key
    if (
        any(name in inputs for name in _FILES)
        or "presampling" in key
        or "context" in key
        or key.startswith(("seed", "bus"))
    ):
        return False
    prompt = any(isinstance(inputs.get(name), Link) for name in _PROMPTS) or isinstance(
        inputs.get("positive_prompt"), str
    )
    pipe = any(name.lower() in PIPES for name, _ in node.links())
    seed, drive = any(name in inputs for name in _SEEDS), any(name in inputs for name in _DRIVES)
    if "sampler" in key or "detailer" in key or "ultimatesdupscale" in key:
        if (
            "select" in key
            or "provider" in key
            or ("pipe" in key and "sampler" not in key)
            or (key.startswith("sampler") and not prompt)
        ):
            return False
        return (prompt or pipe or any(name in inputs for name in MODEL_LINKS)) and (seed or drive or pipe)
    if "pipe" in key or "loader" in key:
        return False
    latent = any(isinstance(inputs.get(name), Link) for name in LATENTS)
    return (prompt or pipe) and seed and drive and (latent or "steps" in inputs)


def describe(node: Node, walk: Walk) -> dict[str, Any]:
    """Return what a sampler does, by the field names of ImageParameters, and `scheduler`, `denoise`."""

    def get(*names: str) -> Any:
        return walk.field(node, names)

    guider, noise = walk.graph.source(get("guider")), walk.graph.source(get("noise"))
    guider = walk.behind(guider) if guider is not None else None
    noise = walk.behind(noise) if noise is not None else None
    sigmas = _sigmas(walk, get("sigmas"))
    positive, negative = _sides(node, guider, walk)
    seed = get("seed", "noise_seed", "seed_num")
    if seed is None and noise is not None:
        seed = walk.field(noise, ("noise_seed", "seed"))
    cfg = get(*_CFG)
    if cfg is None and guider is not None:
        cfg = walk.field(guider, _CFG)
        cfg = 1.0 if cfg is None and guider.key == "basicguider" else cfg
    steps = get("steps", "num_steps", "num_inference_steps")
    size = size_at(walk, node) if not any(isinstance(node.inputs.get(name), Link) for name in LATENTS) else (None, None)
    pipes = [link for name, link in node.links() if "pipe" in name.lower() or name.lower() in PIPES]
    for start in (get(*LATENTS), *pipes):
        size = read_size(walk, start) if size == (None, None) else size
    model = get(*MODEL_LINKS) or (walk.field(guider, MODEL_LINKS) if guider is not None else None)
    return {
        "prompt": positive,
        "negative_prompt": negative,
        "seed": walk.number(seed, "seed"),
        "steps": walk.number(steps, "steps") if steps is not None else sigmas.get("steps"),
        "cfg_scale": walk.number(cfg, "cfg"),
        "sampler": _sampler_name(walk, get("sampler_name", "sampler")),
        "scheduler": get("scheduler") or sigmas.get("scheduler"),
        "denoise": get("denoise", "denoise_strength") or sigmas.get("denoise"),
        "width": size[0],
        "height": size[1],
        "model_link": model or next(iter(pipes), None),
        "guided": guider is not None,
    }


def _sides(node: Node, guider: Node | None, walk: Walk) -> tuple[list[str] | None, list[str] | None]:
    """Return the texts of the prompt and of the negative prompt. A sampler or guider that takes no negative one has
    an empty one."""
    source = (
        guider if guider is not None and walk.field(guider, (*POSITIVE, "conditioning", "cond1")) is not None else node
    )
    positive = walk.field(
        source, (*POSITIVE, "conditioning", "cond1", "cond", "text_embeds", "prompt_embeds", "prompt")
    )
    negative = walk.field(source, (*NEGATIVE, "neg"))
    if negative is None and "text_embeds" in source.inputs:
        embeds = walk.graph.source(source.inputs["text_embeds"])
        negative = None if embeds is None else walk.field(walk.behind(embeds), NEGATIVE)
    texts = read_prompt_or_text(walk, positive, "positive")
    if negative is not None:
        return texts, read_prompt_or_text(walk, negative, "negative")
    return texts, [] if texts is not None else None


def _saves(node: Node) -> bool:
    return any(mark in node.key for mark in _SAVING) and any(True for _ in node.links())


def _starts_from_image(node: Node, graph: Graph) -> int:
    """Tell how much of an image a first pass starts from: 0 for an empty latent, 1 for another image, 2 where it is a detailer."""
    if "detailer" in node.key or "upscale" in node.key:
        return 2
    kinds = {one.key for one in graph.upstream(node).values()}
    from_image = any("loadimage" in kind for kind in kinds) and any("vaeencode" in kind for kind in kinds)
    return int(from_image and not any("empty" in kind and "latent" in kind for kind in kinds))


def _number(node_id: str) -> tuple[int, str]:
    """Sort ids as numbers: 9 before 10, subgraphs by the number of their instance."""
    head = node_id.partition(":")[0]
    return (int(head), node_id) if head.isdigit() and len(head) < 18 else (10**18, node_id)


def _sigmas(walk: Walk, value: Any) -> dict[str, Any]:
    """Return steps and scheduler behind sigmas."""
    return walk.at("sigmas", value, lambda node, _: _sigmas_of(walk, node)) or {}


def _sigmas_of(walk: Walk, node: Node) -> dict[str, Any]:
    selected = walk.selected(node)
    if selected is not None:
        return _sigmas(walk, selected)
    if "steps" in node.inputs:
        scheduler = node.inputs.get("scheduler", node.kind)
        return {
            "steps": walk.number(node.inputs["steps"], "steps"),
            "scheduler": scheduler,
            "denoise": node.inputs.get("denoise"),
        }
    listed = node.inputs.get("sigmas")
    if isinstance(listed, str):
        return {"steps": max(0, len(listed.replace(",", " ").split()) - 1) or None, "scheduler": node.kind}
    links = [link for name, link in node.links() if name.startswith("sigmas")] or [link for _, link in node.links()]
    if links:
        return _sigmas(walk, links[0])
    walk.misunderstood(node)
    return {}


def _sampler_name(walk: Walk, value: Any) -> str | None:
    """Return the name of the sampler that a text or a link to a node that makes one tells."""
    if isinstance(value, str):
        return value
    found = walk.at("sampler", value, lambda node, _: _name_of(walk, node))
    return found if isinstance(found, str) else None


def _name_of(walk: Walk, node: Node) -> str | None:
    selected = walk.selected(node)
    if selected is not None:
        return _sampler_name(walk, selected)
    for name in ("sampler_name", "sampler", "value", "string", "text"):
        if name in node.inputs:
            return _sampler_name(walk, node.inputs[name])
    if node.kind.startswith("Sampler") and len(node.kind) > len("Sampler"):
        return node.kind[len("Sampler") :].lower()
    return None


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
