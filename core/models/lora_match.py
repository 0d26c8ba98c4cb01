"""Match the layers of a LoRA with the layers of a network, by name and shape, and say why it does not fit, or acts in part.

The network is what is loaded, or what the headers of a model's files say it will be; a LoRA fits when its layers are found there,
whatever names the file on disk has.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from core.config.lora_syntax import FORBIDDEN
from core.i18n import LANGUAGES, catalogue, fill, localize
from core.models.families import FAMILIES
from core.models.families.base import LoraNames, LoraPart, Modules, Shape
from core.models.lora_kinds import TEXT
from core.models.lora_metadata import Layer, LoraHeader
from core.models.part_sources import Files, weights_by_part
from core.models.validation import PROBLEMS as MODEL_PROBLEMS
from core.models.weight_files import BadFile, read_header
from core.types import LoraInfo, ModelInfo

Network = Mapping[str, Modules]  # part of the pipeline -> its layers


@dataclass(frozen=True)
class Target:
    """A layer of the network that a LoRA layer acts on; `rows` is the affected range of its rows."""

    part: str
    module: str
    rows: tuple[int, int] | None = None


@dataclass(frozen=True)
class Match:
    """The layers that a LoRA acts on. `missing`: layers that the network lacks; `misshapen`: of another shape.

    `unknown` are layers of a part whose layers are not known yet: they are matched when the model is loaded.
    """

    acting: Mapping[str, tuple[Target, ...]]
    missing: tuple[str, ...] = ()
    misshapen: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()

    @property
    def total(self) -> int:
        """Return the number of layers in the file that can be read."""
        return len(self.acting) + len(self.missing) + len(self.misshapen) + len(self.unknown)


def match(header: LoraHeader, network: Network, pipeline: str) -> Match:
    """Return where each layer of a LoRA acts in a network of this pipeline class."""
    table = FAMILIES[pipeline].lora
    indexes = {part.part: _index(part, network[part.part]) for part in table.parts if part.part in network}
    acting: dict[str, tuple[Target, ...]] = {}
    missing, misshapen, unknown = [], [], []
    for name, layer in header.layers.items():
        part, bare = _part_of(name, table)
        if part is not None and part.part not in indexes:
            unknown.append(name)
            continue
        found = indexes[part.part].get(bare) if part is not None else None
        if part is None or not found:
            missing.append(name)
        elif not _fits(layer, found, network[part.part]):
            misshapen.append(name)
        else:
            acting[name] = found
    return Match(acting, tuple(missing), tuple(misshapen), tuple(unknown))


def _part_of(name: str, table: LoraNames) -> tuple[LoraPart | None, str]:
    """Return the part that a published name belongs to, and the rest of the name with underscores for dots."""
    parts = table.parts[1:] if TEXT.match(name) else table.parts[:1]
    for part in parts:
        rest, cut = name, False
        while True:
            found = next((match for prefix in part.prefixes if (match := re.match(prefix, rest))), None)
            if found is None:
                break
            cut = cut or found[0] != "base_model.model."
            rest = rest[found.end() :]
        if cut or part is table.parts[0]:
            return part, _flat(rest).lstrip("_")
    return None, ""


def _flat(name: str) -> str:
    """Return a name with underscores for dots and for the hyphens that some trainers replace, too."""
    return name.replace(".", "_").replace("-", "_")


def _index(part: LoraPart, modules: Modules) -> dict[str, tuple[Target, ...]]:
    """Return the layers by each of their names, with underscores for dots; one name may stand for several stacked layers."""
    found: dict[str, list[Target]] = {}
    for alias in part.aliases(modules):
        targets = found.setdefault(_flat(alias.name), [])
        if all(target.module != alias.module for target in targets):
            targets.append(Target(part.part, alias.module, alias.rows))
    return {name: tuple(targets) for name, targets in found.items()}


def _fits(layer: Layer, targets: tuple[Target, ...], modules: Modules) -> bool:
    rows = sum(modules[target.module][0] for target in targets)
    return rows == layer.rows and all(_columns(modules[target.module]) == layer.columns for target in targets)


def _columns(shape: Shape) -> int:
    count = 1
    for side in shape[1:]:
        count *= side
    return count


# -- the network as the files' headers tell ----------------------------------------------------------------------------


def network_of_files(files: Files, pipeline: str) -> Network:
    """Return the layers that a model's files will give when it is loaded, under diffusers' names. Raises BadFile, OSError."""
    states = tuple((part, file, file.stat().st_mtime_ns) for part, file in weights_by_part(*files))
    return _kept_network(states, files[2], pipeline)


@lru_cache(maxsize=8)
def _kept_network(states: tuple[tuple[str, Path, int], ...], frame: Path | None, pipeline: str) -> Network:
    found: dict[str, dict[str, Shape]] = {}
    for part, file, _ in states:
        for name, tensor in read_header(file).items():
            if name.endswith(".weight") and len(tensor.shape) in (2, 4):
                found.setdefault(part, {})[name.removesuffix(".weight")] = tensor.shape
    parts = {part.part: part for part in FAMILIES[pipeline].lora.parts}
    network = {part: parts[part].plain(modules) for part, modules in found.items() if part in parts}
    if frame is not None:
        network |= {part: _clip_layers(frame, part) for part in parts if part.startswith("text_encoder")}
    return {part: modules for part, modules in network.items() if modules}


def _clip_layers(frame: Path, part: str) -> Modules:
    """Return the layers of a CLIP text encoder by its configuration; {} when that can't be read."""
    try:
        config = json.loads((frame / part / "config.json").read_text(encoding="utf-8"))
        width, inner, count = (int(config[key]) for key in ("hidden_size", "intermediate_size", "num_hidden_layers"))
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    square = dict.fromkeys(
        ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.out_proj"), (width, width)
    )
    shapes: Modules = {**square, "mlp.fc1": (inner, width), "mlp.fc2": (width, inner)}
    return {f"encoder.layers.{layer}.{name}": shape for layer in range(count) for name, shape in shapes.items()}


def try_network(files: Files, pipeline: str) -> Network | None:
    """Return the network of a model's files, or None when they can't be read yet: then the loaded model decides."""
    try:
        return network_of_files(files, pipeline) or None
    except (OSError, BadFile, ValueError, KeyError):
        return None


NAMED_LAYERS = 3  # in a sentence; then "(+N)"
_BETWEEN = {"en": "; ", "zh": "；"}  # two details of a sentence

_KNOWN = ", ".join(family.label for family in FAMILIES.values() if family.plain is None)
_NO_SAFETENSORS = localize("models.lora_match.no_safetensors")
_SHARED = (  # of any weight file
    "truncated", "longer", "pickle", "empty", "lfs", "web_page", "json_answer", "text_answer", "archive",
)  # fmt: skip
LORA_PROBLEMS: Mapping[str, Mapping[str, str]] = {
    **{name: MODEL_PROBLEMS[name] for name in _SHARED},
    **dict.fromkeys(("header", "gguf", "quantisation"), _NO_SAFETENSORS),
    "missing": localize("models.lora_match.problems.missing"),
    "tensors": localize("models.lora_match.problems.tensors"),
    "algorithm": localize("models.lora_match.problems.algorithm"),
    "foreign": localize("models.lora_match.problems.foreign"),
    "family": localize("models.lora_match.problems.family", known=_KNOWN, what="{what}"),
    "large": localize("models.lora_match.problems.large"),
    "notes": localize("models.lora_match.problems.notes"),
    "link": localize("models.lora_match.problems.link"),
    "name": localize("models.lora_match.problems.name", forbidden=FORBIDDEN),
    "twice": localize("models.lora_match.problems.twice"),
    "shipped": localize("models.lora_match.problems.shipped"),
}


def problem_text(kind: str, what: str = "") -> Mapping[str, str]:
    """Return why a file can't be used, by a kind of BadFile; `what` names what it is instead."""
    text = LORA_PROBLEMS.get(kind, LORA_PROBLEMS["header"])
    return {
        language: fill(text[language], language, {"what": what_text(what)}) if what else text[language]
        for language in text
    }


def what_text(what: str) -> Mapping[str, str]:
    """Return the words for what a file or a layer is: names of families and algorithms stay as they are."""
    known = catalogue(LANGUAGES[0])
    keys = [f"models.lora_match.what.{one}" for one in what.split(", ")]
    return {
        language: ", ".join(catalogue(language)[key] if key in known else key.rpartition(".what.")[2] for key in keys)
        for language in LANGUAGES
    }


def foreign_problem(info: LoraInfo, model: ModelInfo) -> Mapping[str, str]:
    """Return why a LoRA of another family or width can't be used with a model."""
    made = f"{info.kind or '?'} {info.width or ''}".strip()
    wanted = f"{model.lora_kind} {model.width or ''}".strip()
    return localize("models.lora_match.it_was_made_for_another_model", made=made, id=model.id, wanted=wanted)


def unmatched_problem(matched: Match, model: ModelInfo) -> Mapping[str, str] | None:
    """Return why a LoRA can't act on a network: a layer of another shape, or no layer at all; None when it can."""
    if matched.misshapen:
        layer = matched.misshapen[0]
        return localize("models.lora_match.its_layer_has_another_shape_than", layer=layer, id=model.id)
    if not matched.acting and not matched.unknown:
        return localize("models.lora_match.has_none_of_its_layers_choose", id=model.id, missing=_named(matched.missing))
    return None


def parts_reason(header: LoraHeader, matched: Match) -> Mapping[str, str]:
    """Return the sentence about a LoRA that acts in part: how many layers, and what is left out."""
    details = [localize("models.lora_match.lacks", layers=_named(matched.missing))] if matched.missing else []
    for what in sorted(set(header.unread.values())):
        layers = [name for name, one in header.unread.items() if one == what]
        details.append(localize("models.lora_match.not_read", what=what_text(what), layers=_named(layers)))
    if header.embeddings:
        details.append(localize("models.lora_match.embeddings", names=", ".join(header.embeddings)))
    joined = {language: _BETWEEN[language].join(one[language] for one in details) for language in LANGUAGES}
    total = matched.total + len(header.unread)
    return localize("models.lora_match.acts_on", acting=len(matched.acting), total=total, details=joined)


def _named(layers: Sequence[str]) -> str:
    first = ", ".join(name[:100] for name in layers[:NAMED_LAYERS])
    return f"{first} (+{len(layers) - NAMED_LAYERS})" if len(layers) > NAMED_LAYERS else first
