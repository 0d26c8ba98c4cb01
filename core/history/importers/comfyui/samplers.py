"""The nodes of a ComfyUI graph that sample, told by what they take in, and what each of them does."""

from __future__ import annotations

from typing import Any

from core.history.importers.comfyui.graph import Graph, Link, Node
from core.history.importers.comfyui.resolve import LATENTS, MODEL_LINKS, NEGATIVE, PIPES, POSITIVE, Resolver

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
        if "select" in key or ("pipe" in key and "sampler" not in key) or (key.startswith("sampler") and not prompt):
            return False
        return (prompt or pipe or any(name in inputs for name in MODEL_LINKS)) and (seed or drive or pipe)
    if "pipe" in key or "loader" in key:
        return False
    latent = any(isinstance(inputs.get(name), Link) for name in LATENTS)
    return (prompt or pipe) and seed and drive and (latent or "steps" in inputs)


def describe(node: Node, resolver: Resolver) -> dict[str, Any]:
    """Return what a sampler does, by the field names of ImageParameters, and `scheduler`, `denoise`."""

    def get(*names: str) -> Any:
        return resolver.field(node, names)

    guider, noise = resolver.graph.source(get("guider")), resolver.graph.source(get("noise"))
    guider = resolver.behind(guider) if guider is not None else None
    noise = resolver.behind(noise) if noise is not None else None
    sigmas = resolver.sigmas(get("sigmas"))
    positive, negative = _sides(node, guider, resolver)
    seed = get("seed", "noise_seed", "seed_num")
    if seed is None and noise is not None:
        seed = resolver.field(noise, ("noise_seed", "seed"))
    cfg = get(*_CFG)
    if cfg is None and guider is not None:
        cfg = resolver.field(guider, _CFG)
        cfg = 1.0 if cfg is None and guider.key == "basicguider" else cfg
    steps = get("steps", "num_steps", "num_inference_steps")
    size = (
        resolver.size_at(node) if not any(isinstance(node.inputs.get(name), Link) for name in LATENTS) else (None, None)
    )
    pipes = [link for name, link in node.links() if "pipe" in name.lower() or name.lower() in PIPES]
    for start in (get(*LATENTS), *pipes):
        size = resolver.size(start) if size == (None, None) else size
    model = get(*MODEL_LINKS) or (resolver.field(guider, MODEL_LINKS) if guider is not None else None)
    return {
        "prompt": positive,
        "negative_prompt": negative,
        "seed": resolver.number(seed, "seed"),
        "steps": resolver.number(steps, "steps") if steps is not None else sigmas.get("steps"),
        "cfg_scale": resolver.number(cfg, "cfg"),
        "sampler": resolver.sampler_name(get("sampler_name", "sampler")),
        "scheduler": get("scheduler") or sigmas.get("scheduler"),
        "denoise": get("denoise", "denoise_strength") or sigmas.get("denoise"),
        "width": size[0],
        "height": size[1],
        "model_link": model or next(iter(pipes), None),
        "guided": guider is not None,
    }


def _sides(node: Node, guider: Node | None, resolver: Resolver) -> tuple[list[str] | None, list[str] | None]:
    """Return the texts of the prompt and of the negative prompt. A sampler or guider that takes no negative one has
    an empty one."""
    source = (
        guider
        if guider is not None and resolver.field(guider, (*POSITIVE, "conditioning", "cond1")) is not None
        else node
    )
    positive = resolver.field(
        source, (*POSITIVE, "conditioning", "cond1", "cond", "text_embeds", "prompt_embeds", "prompt")
    )
    negative = resolver.field(source, (*NEGATIVE, "neg"))
    if negative is None and "text_embeds" in source.inputs:
        embeds = resolver.graph.source(source.inputs["text_embeds"])
        negative = None if embeds is None else resolver.field(resolver.behind(embeds), NEGATIVE)
    texts = resolver.prompt_or_text(positive, "positive")
    if negative is not None:
        return texts, resolver.prompt_or_text(negative, "negative")
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
