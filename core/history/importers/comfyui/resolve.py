"""What an output of a ComfyUI graph stands for: a text, a number, a prompt, a model with LoRAs, a size, sigmas.

Nodes are understood by what their inputs do, not by their names, so that nodes of extensions which nobody listed are
read as well. A graph can compute anything: nothing is evaluated, and what is not understood is noted by node.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from core.config.lora_syntax import split_prompt
from core.history.importers import common
from core.history.importers.comfyui.graph import Graph, Link, Node

MOST_STEPS = 20_000  # nodes that are looked at for one image
DEEPEST = 100  # links from one node to the next

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
)  # fmt: skip
TEXTS = (
    "populated_text", "user_prompt", "text", "prompt", "t5xxl", "mt5xl", "text_g", "clip_g", "positive_prompt",
    "string", "value", "clip_l", "text_l", "bert", "multiline_text", "txt", "str", "String", "Text", "output_text",
    "text_0", "prompt_text", "result", "wildcard_text", "input", "anything", "source", "any", "text_positive",
    "widget_0",
)  # fmt: skip
_TEXT_ENCODERS = (
    "text_g", "text_l", "clip_l", "clip_g", "t5xxl", "bert", "mt5xl",
)  # fmt: skip  # of one prompt, read by several encoders
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
_NOT_TEXT = (
    "clip", "vae", "model", "image", "mask", "control_net", "style_model", "clip_vision", "latent", "samples",
    "sigmas", "noise",
)  # fmt: skip
_PIPE_OUTPUTS = {
    "frombasicpipe": ("model", "clip", "vae", "positive", "negative"),
    "frombasicpipev2": ("basic_pipe", "model", "clip", "vae", "positive", "negative"),
    "fromdetailerpipe": ("model", "clip", "vae", "positive", "negative"),
    "efficientloader": ("model", "positive", "negative", "latent", "vae", "clip"),
    "effloadersdxl": ("sdxl_tuple", "latent", "vae"),
}


class TooComplex(ValueError):
    """The graph needs more steps than any real one."""


class Resolver:
    """Follows links, within a number of steps, each circle at most once."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.unknown: dict[str, None] = {}  # labels of nodes that were not understood, in order
        self.read: set[str] = set()  # ids of the nodes whose texts are part of a prompt
        self.extra: dict[str, str] = {}  # texts of a second encoder that differ from the first one's
        self._steps = 0
        self._active: set[tuple[str, str, int]] = set()

    # -- following ------------------------------------------------------------------------------------------------

    def at(self, what: str, value: Any, then: Callable[[Node, int], Any]) -> Any:
        """Call `then` with the node and output that a link comes from; None for a circle, or a way that is too long."""
        node = self.graph.source(value)
        if node is None:
            return None
        self._steps += 1
        if self._steps > MOST_STEPS:
            raise TooComplex(f"more than {MOST_STEPS} steps")
        state = (what, node.id, value.output)
        if state in self._active or len(self._active) > DEEPEST:
            return None
        self._active.add(state)
        try:
            return then(node, value.output)
        finally:
            self._active.discard(state)

    def field(self, node: Node, names: Iterable[str]) -> Any:
        """Return the input of a node by one of `names`: its own, or that of the pipe that comes in."""
        names = tuple(names)
        own = next((node.inputs[name] for name in names if node.inputs.get(name) is not None), None)
        if own is not None:
            return own
        for name, link in node.links():
            lower = name.lower()
            if lower in PIPES or lower.startswith(("pipe", "ctx_", "basic_pipe")) or lower.endswith("_pipe"):
                found = self.at("field " + names[0], link, lambda source, _: self.field(self.behind(source), names))
                if found is not None:
                    return found
        return None

    def behind(self, node: Node) -> Node:
        """Return the node that a switch or a reroute lets through; the node itself for any other."""
        for _ in range(DEEPEST):
            chosen = self.graph.source(self.chosen(node)) or self._only_source(node)
            if chosen is None:
                return node
            node = chosen
        return node

    def _only_source(self, node: Node) -> Node | None:
        """Return what a node without any value of its own has as its only input."""
        links = list(node.links())
        return (
            self.graph.source(links[0][1])
            if len(links) == 1 and len(node.inputs) == 1 and "reroute" in node.key
            else None
        )

    def misunderstood(self, node: Node) -> None:
        self.unknown.setdefault(node.label)

    # -- switches -------------------------------------------------------------------------------------------------

    def chosen(self, node: Node) -> Any:
        """Return the input that a switch lets through; None for a node that is none."""
        inputs = node.inputs
        for off, on in _PAIRS:
            if off in inputs or on in inputs:
                flag = self.flag(next((inputs[name] for name in _FLAGS if name in inputs), None))
                wanted, other = (on, off) if flag else (off, on)
                return (
                    inputs.get(wanted) if flag is not None or off not in inputs else inputs.get(off, inputs.get(other))
                )
        if not any(mark in node.key for mark in ("switch", "select", "coalesce", "pickone", "firstvalid")):
            return None
        numbered = [(number, inputs[name]) for name, number in _numbered(node) if inputs[name] is not None]
        if not numbered:
            return None
        index = next((self.number(inputs[name], "index") for name in _INDEXES if name in inputs), None)
        if index is None:
            return numbered[0][1]
        exact = dict(reversed(numbered))
        if index in exact:
            return exact[index]
        place = int(index) if isinstance(index, int | float) else 0
        return numbered[place][1] if 0 <= place < len(numbered) else None

    def flag(self, value: Any) -> bool | None:
        """Return a truth value, also at the end of a link."""
        if isinstance(value, Link):
            value = self.at("flag", value, lambda node, _: self.flag(next(
                (node.inputs[name] for name in ("value", "boolean", "bool", "widget_0", "number", "int") if name in
                node.inputs), None )))  # fmt: skip
        if isinstance(value, str):
            return value.strip().lower() in ("true", "on", "yes", "enable", "enabled", "1")
        return bool(value) if isinstance(value, bool | int | float) else None

    # -- numbers --------------------------------------------------------------------------------------------------

    def number(self, value: Any, hint: str) -> Any:
        """Return a number, also at the end of a link, in whatever type the graph has it; `hint` is what it is for."""
        if not isinstance(value, Link):
            return value if isinstance(value, int | float | str) and not isinstance(value, bool) else None
        return self.at("number " + hint, value, lambda node, output: self._number(node, output, hint))

    def _number(self, node: Node, output: int, hint: str) -> Any:
        inputs = node.inputs
        chosen = self.chosen(node)
        if chosen is not None:
            return self.number(chosen, hint)
        if hint in ("width", "height"):
            size = self.size_at(node)
            if size != (None, None):
                return size[0 if hint == "width" else 1]
        names = _SEEDS if hint == "seed" else (hint,)
        for value in (self.field(node, names), *(inputs.get(name) for name in _NUMBERS)):
            found = self.number(value, hint)
            if common.real(found) is not None:
                return found
        literals = [v for v in inputs.values() if isinstance(v, int | float) and not isinstance(v, bool)]
        links = list(node.links())
        if len(literals) == 1 and not links:
            return literals[0]
        if len(links) == 1 and not literals:
            return self.number(links[0][1], hint)
        self.misunderstood(node)
        return None

    # -- texts ----------------------------------------------------------------------------------------------------

    def text(self, value: Any, side: str) -> str | None:
        """Return a text, also at the end of a link; `side` is positive or negative, for nodes that give both."""
        if isinstance(value, str):
            return value
        if isinstance(value, int | float) and not isinstance(value, bool):
            return str(value)
        found = self.at("text " + side, value, lambda node, output: self._text(node, output, side))
        return found if isinstance(found, str) else None

    def _text(self, node: Node, output: int, side: str) -> str | None:
        chosen = self.chosen(node)
        if chosen is not None:
            return self.text(chosen, side)
        self.read.add(node.id)
        if any(mark in node.key for mark in _WRITERS):  # what it was asked is known, not what it wrote
            self.misunderstood(node)
        for rule in (self._replaced, self._joined):
            found = rule(node, side)
            if found is not None:
                return found
        if self.side_of(node, output, side) is not None:
            return self.text(self.field(node, SIDES[self.side_of(node, output, side) or side]), side)
        for name in TEXTS:
            if name in node.inputs:
                found = self.text(node.inputs[name], side)
                if found is not None:
                    return split_prompt(found)[0] if _applies_tags(node, "") else found
        texts = [v for name, v in node.inputs.items() if isinstance(v, str) and len(node.inputs) == 1]
        links = [link for name, link in node.links() if name.lower() not in _NOT_TEXT]
        if texts or len(links) == 1:
            return texts[0] if texts else self.text(links[0], side)
        self.misunderstood(node)
        return None

    def _joined(self, node: Node, side: str) -> str | None:
        """Return the texts of a node that joins several, with its delimiter; None for any other node."""
        names = sorted((name for name in node.inputs if _is_text_part(name)), key=_part_order)
        if not any(mark in node.key for mark in _JOINING) and not (
            len(names) > 1 and {"text_a", "string_a"} & set(names)
        ):
            return None
        delimiter = next((node.inputs[name] for name in _DELIMITERS if isinstance(node.inputs.get(name), str)), None)
        if delimiter is None:
            delimiter = ", " if str(node.inputs.get("tidy_tags", "")).lower() in ("yes", "true") else ""
        parts = [self.text(node.inputs[name], side) for name in names]
        kept = [part for part in parts if part]
        return delimiter.replace("\\n", "\n").join(kept) if kept else None

    def _replaced(self, node: Node, side: str) -> str | None:
        """Return the text of a node that replaces one word by another; a regular expression is not run."""
        if "replace" not in node.key or "regex" in node.key:
            return None
        whole = self.text(
            next((node.inputs[n] for n in ("string", "text", "input", "source") if n in node.inputs), None), side
        )
        old = self.text(
            next((node.inputs[n] for n in ("find", "find_text", "old", "search", "pattern") if n in node.inputs), None),
            side,
        )
        new = self.text(
            next((node.inputs[n] for n in ("replace", "replace_with", "new", "replacement") if n in node.inputs), None),
            side,
        )
        if whole is None or old is None or new is None or not old or len(whole) * max(1, len(new)) > common.LONGEST:
            return whole
        return whole.replace(old, new)

    # -- prompts --------------------------------------------------------------------------------------------------

    def prompt(self, value: Any, side: str) -> list[str] | None:
        """Return the texts behind a conditioning, in order; [] is an empty one, None is not known."""
        if isinstance(value, str):
            return [value] if value.strip() else []
        found = self.at("prompt " + side, value, lambda node, output: self._prompt(node, output, side))
        return found if isinstance(found, list) else None

    def _prompt(self, node: Node, output: int, side: str) -> list[str] | None:
        if "zeroout" in node.key:
            for _, link in node.links():  # what it empties is no other prompt
                self.prompt(link, side)
            return []
        chosen = self.chosen(node)
        if chosen is not None:
            return self.prompt(chosen, side)
        own_side = self.side_of(node, output, side)
        if own_side is not None:
            self.read.add(node.id)
            return self.prompt_or_text(self.field(node, SIDES[own_side]), side)
        parts = self._conditionings(node)
        if parts:
            texts = [self.prompt(part, side) for part in parts]
            return None if all(text is None for text in texts) else [one for text in texts for one in text or ()]
        if (encoded := self._encoded(node, side)) is not None:
            return [encoded] if encoded.strip() else []
        links = [link for name, link in node.links() if name.lower() not in _NOT_TEXT]
        if len(links) == 1:
            return self.prompt(links[0], side)
        self.misunderstood(node)
        return None

    def prompt_or_text(self, value: Any, side: str) -> list[str] | None:
        """Return the texts behind what is either a conditioning or a text."""
        source = self.graph.source(value)
        if source is not None and not any(
            name == "clip" or name.startswith("cond") or name in POSITIVE for name in source.inputs
        ):
            before = dict(self.unknown)
            text = self.text(value, side)
            if text is not None:
                return [text] if text.strip() else []
            self.unknown = before
        return self.prompt(value, side)

    def _conditionings(self, node: Node) -> list[Any]:
        """Return the conditionings that a node takes in and combines, without those of no weight."""
        found = [
            (name, link) for name, link in node.links() if name.lower().startswith(("cond", "to_cond", "base_cond"))
        ]
        strength = node.inputs.get("conditioning_to_strength")
        if strength in (0, 0.0, 1, 1.0) and not isinstance(strength, bool):
            dropped = "conditioning_from" if strength else "conditioning_to"
            found = [(name, link) for name, link in found if name != dropped] or found
        order = {"conditioning_to": 0, "conditioning_from": 1}
        return [link for _, link in sorted(found, key=lambda pair: order.get(pair[0], 0))]

    def _encoded(self, node: Node, side: str) -> str | None:
        """Return the text of a node that encodes one. Of texts for several encoders the first counts, and others are noted."""
        names = [name for name in TEXTS if name in node.inputs]
        texts = {name: text for name in names if (text := self.text(node.inputs[name], side)) is not None}
        if not texts:
            return None
        if _applies_tags(node, ""):
            texts = {name: split_prompt(text)[0] for name, text in texts.items()}
        self.read.add(node.id)
        filled = {name: text for name, text in texts.items() if text.strip()}
        main = next(iter(filled or texts))
        for name, text in filled.items():
            if name != main and name in _TEXT_ENCODERS and text.strip() != filled[main].strip():
                self.extra[f"{node.label} {name}"] = text
        return texts[main]

    def side_of(self, node: Node, output: int, side: str) -> str | None:
        """Tell which prompt an output of a node carries that has both; None for a node that has none of them."""
        if not any(name in node.inputs for names in SIDES.values() for name in names):
            if node.key not in _PIPE_OUTPUTS and not self._is_pipe(node):
                return None
        names = node.outputs or _PIPE_OUTPUTS.get(node.key, ())
        name = names[output] if output < len(names) else ""
        for known in SIDES:
            if known[:3] in name.lower():
                return known
        used = self.graph.prompt_outputs(node)
        if len(used) >= 2:
            return {used[0]: "positive", used[1]: "negative"}.get(output, side)
        return "positive" if output == 0 and any(name in node.inputs for name in POSITIVE) else side

    def _is_pipe(self, node: Node) -> bool:
        return any(name.lower() in PIPES for name, _ in node.links())

    # -- models ---------------------------------------------------------------------------------------------------

    def model(self, value: Any) -> tuple[str | None, list[tuple[Any, Any, bool]]]:
        """Return the name of the model at the start of a chain, and file, weight and whether the text encoders have
        the same weight of each LoRA on the way, the first one first."""
        loras: list[tuple[Any, Any, bool]] = []
        name, seen = None, set[str]()
        for _ in range(DEEPEST):
            node = self.graph.source(value)
            if node is None or node.id in seen:
                break
            seen.add(node.id)
            chosen = self.chosen(node)
            if chosen is not None:
                value = chosen
                continue
            loras[:0] = [*self.stacked(node), *_loras(node, self)]
            value = self.field(node, MODEL_LINKS)
            if not isinstance(value, Link):
                name = self.model_file(node) or (value if isinstance(value, str) else None)
                links = list(node.links())
                if name is not None or len(links) != 1:
                    break
                value = links[0][1]
        return name, loras

    def model_file(self, node: Node) -> str | None:
        """Return the file that a loader names."""
        for name in MODELS:
            text = self.text(node.inputs.get(name), "positive")
            if text:
                return text
        return None

    def stacked(self, node: Node) -> list[tuple[Any, Any, bool]]:
        """Return the LoRAs of the stacks that a node takes in."""
        found: list[tuple[Any, Any, bool]] = []
        for name, link in node.links():
            if "lora" in name.lower() and "name" not in name.lower():
                found += self.at("stack", link, lambda source, _: [*self.stacked(source), *_loras(source, self)]) or []
        return found

    # -- sizes and sigmas -----------------------------------------------------------------------------------------

    def size(self, value: Any) -> tuple[Any, Any]:
        """Return width and height of a latent or an image."""
        return self.at("size", value, lambda node, _: self._size(node)) or (None, None)

    def _size(self, node: Node) -> tuple[Any, Any]:
        chosen = self.chosen(node)
        if chosen is not None:
            return self.size(chosen)
        size = self.size_at(node)
        if size != (None, None):
            return size
        value = self.field(node, LATENTS)
        if isinstance(value, Link):
            return self.size(value)
        links = list(node.links())
        return self.size(links[0][1]) if len(links) == 1 else (None, None)

    def size_at(self, node: Node) -> tuple[Any, Any]:
        """Return the size that a node's own inputs give, as two numbers or as text like "832 x 1216"."""
        inputs = node.inputs
        if "resolution" in inputs and "empty_latent_width" in inputs:
            size = common.size_of(self.text(inputs["resolution"], "positive") or "")
            if size != (None, None):
                return size
        for names in _SIZES:
            if all(inputs.get(name) is not None for name in names):
                found = tuple(
                    self.number(inputs[name], hint) for name, hint in zip(names, ("width", "height"), strict=True)
                )
                if None not in found:
                    swap = str(inputs.get("swap_dimensions", "")).lower() in ("on", "true")
                    return (found[1], found[0]) if swap else (found[0], found[1])
        for name in ("dimensions", "resolution", "size", "preset", "aspect_ratio", "ratio"):
            text = self.text(inputs.get(name), "positive") if name in inputs else None
            if text and (size := common.size_of(text)) != (None, None) and min(size[0] or 0, size[1] or 0) >= 64:
                return size
        if "getimagesize" in node.key or "imagesize" in node.key or "latentsize" in node.key:
            return self.size(self.field(node, LATENTS))
        return None, None

    def sigmas(self, value: Any) -> dict[str, Any]:
        """Return steps and scheduler behind sigmas."""
        return self.at("sigmas", value, lambda node, _: self._sigmas(node)) or {}

    def _sigmas(self, node: Node) -> dict[str, Any]:
        chosen = self.chosen(node)
        if chosen is not None:
            return self.sigmas(chosen)
        if "steps" in node.inputs:
            scheduler = node.inputs.get("scheduler", node.kind)
            return {
                "steps": self.number(node.inputs["steps"], "steps"),
                "scheduler": scheduler,
                "denoise": node.inputs.get("denoise"),
            }
        listed = node.inputs.get("sigmas")
        if isinstance(listed, str):
            return {"steps": max(0, len(listed.replace(",", " ").split()) - 1) or None, "scheduler": node.kind}
        links = [link for name, link in node.links() if name.startswith("sigmas")] or [link for _, link in node.links()]
        if links:
            return self.sigmas(links[0])
        self.misunderstood(node)
        return {}

    def sampler_name(self, value: Any) -> str | None:
        """Return the name of the sampler that a text or a link to a node that makes one tells."""
        if isinstance(value, str):
            return value
        found = self.at("sampler", value, lambda node, _: self._sampler_name(node))
        return found if isinstance(found, str) else None

    def _sampler_name(self, node: Node) -> str | None:
        chosen = self.chosen(node)
        if chosen is not None:
            return self.sampler_name(chosen)
        for name in ("sampler_name", "sampler", "value", "string", "text"):
            if name in node.inputs:
                return self.sampler_name(node.inputs[name])
        if node.kind.startswith("Sampler") and len(node.kind) > len("Sampler"):
            return node.kind[len("Sampler") :].lower()
        return None


_PAIRS = (
    ("on_false", "on_true"),
    ("ff_value", "tt_value"),
    ("if_false", "if_true"),
    ("false_value", "true_value"),
    ("input_false", "input_true"),
)
_FLAGS = ("switch", "boolean", "cond", "condition", "bool", "value", "boolean_switch")
_INDEXES = (
    "select", "index", "Input", "selected", "selection", "switch", "select_index", "choice", "input",
)  # fmt: skip
_SEEDS = ("seed", "noise_seed", "seed_num", "seed_value")
_NUMBERS = (
    "value", "int", "float", "number", "Number", "INT", "FLOAT", "Value", "widget_0", "seed", "noise_seed", "text",
    "string",
)  # fmt: skip
_WRITERS = (
    "textgenerate", "llm", "ollama", "chatgpt", "gemini", "claude", "interrogat", "caption", "tagger", "florence",
    "regex",
)  # fmt: skip
_JOINING = ("concat", "join", "combinestring", "combinetext", "stringcombine", "textcombine", "append")
_DELIMITERS = ("delimiter", "separator", "sep", "seperator", "joiner")
_SIZES = (("width", "height"), ("empty_latent_width", "empty_latent_height"), ("custom_width", "custom_height"), ("w", "h"),
          ("image_width", "image_height"), ("target_width", "target_height"))  # fmt: skip


def _numbered(node: Node) -> Iterator[tuple[str, int]]:
    """Yield the inputs whose names end in a number, in the order of the numbers."""
    found = []
    for name in node.inputs:
        stem = name.rstrip("0123456789")
        if stem != name and len(name) - len(stem) < 6:
            found.append((int(name[len(stem) :]), name))
    for number, name in sorted(found):
        yield name, number


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


def _loras(node: Node, resolver: Resolver) -> Iterator[tuple[Any, Any, bool]]:
    """Yield the LoRAs that a node loads: by one name, by numbered ones, as rgthree's entries, as a list, or by tags in a text."""
    inputs = node.inputs
    count = common.real(inputs.get("lora_count"))
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
        elif isinstance(value, str) and "<lora:" in value and _applies_tags(node, lower):
            for tag in split_prompt(value)[1]:
                file, _, weight = tag.partition(":")
                yield from _acting(file, weight.partition(":")[0] or 1.0, weight.partition(":")[2] or None)
        elif _names_lora(lower):
            number = "".join(mark for mark in lower if mark.isdigit())
            if (number and count is not None and int(number[:6]) > count) or _is_off(inputs, number):
                continue
            weight, clip = _weights(node, number, resolver)
            yield from _acting(resolver.text(value, "positive"), weight, clip)


def _applies_tags(node: Node, name: str) -> bool:
    """Tell the inputs whose <lora:name:weight> tags act; in a plain text encoder's they are text like any other."""
    return (
        "lora" in name
        or "lora" in node.key
        or any(mark in node.key for mark in ("powerprompt", "wildcard", "promptcontrol"))
    )


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


def _weights(node: Node, number: str, resolver: Resolver) -> tuple[Any, Any]:
    """Return the weights for model and text encoders of the LoRA with this number; the second is None where there is one weight."""
    model = clip = None
    simple = (
        str(node.inputs.get("input_mode", "")).lower() == "simple"
    )  # of an Efficiency stacker, which has both kinds
    marks = ("wt", "weight") if simple else ("strength", "weight", "wt", "_str")
    for name, value in node.inputs.items():
        lower = name.lower()
        digits = "".join(mark for mark in lower if mark.isdigit())
        if digits != number or not any(mark in lower for mark in marks):
            continue
        found = resolver.number(value, "weight")
        if "clip" in lower:
            clip = found
        elif model is None or "model" in lower:
            model = found
    return 1.0 if model is None else model, clip


def _acting(file: Any, weight: Any, clip: Any) -> Iterator[tuple[Any, Any, bool]]:
    """Yield a LoRA unless it is none, or has no weight."""
    if isinstance(file, str) and file.strip().lower() not in ("", "none") and common.real(weight) not in (0.0,):
        same = clip is None or common.real(clip) == common.real(weight)
        yield file, weight, same
