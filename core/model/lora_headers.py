"""What a LoRA is, by the names and shapes of its tensors alone: what it was trained on, and whether it fits a model.

Trainers name the same layer in many ways: `transformer.layers.0.attention.to_q.lora_A.weight` (diffusers),
`lora_unet_down_blocks_1_attentions_0_proj_in.lora_down.weight` (kohya), `diffusion_model.layers.0...` (ComfyUI). Here all dots are
underlines and the parts' own beginnings are cut off, so that a name can be looked for in the model's header.
What this module does not know: torch, diffusers, folders.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from core.model.families import FAMILIES
from core.model.formats import SAFETENSORS, BadFile, Tensor, read_header, read_notes
from core.model.single import Files, weights_by_part

NOTES = "lora_adapter_metadata"  # where diffusers writes how its adapter was made, as JSON
_DOWN = re.compile(r"[._](lora_A|lora_down|lora\.down)(\.default)?\.weight$")
_UP = re.compile(r"[._](lora_B|lora_up|lora\.up)(\.default)?\.weight$")
_ENDS = re.compile(r"\.(alpha|lora_[AB](\.default)?\.bias|dora_scale|diff|diff_b)$")
_BEGINNINGS = re.compile(r"^(base_model\.model\.|transformer[._]|diffusion_model[._]|unet[._]|lora_unet_)")
_TEXT = re.compile(r"^(text_encoder(_2)?[._]|lora_te[12]?_|te[12]?[._])")
_NAMES = tuple({family.lora.kind: family.lora for family in FAMILIES.values()}.values())
_ORIGINAL = tuple(name for names in _NAMES for name in names.original)
_PLAIN = {  # of diffusers' notes: what may stand there beside nothing at all; anything else could change the model itself
    "r", "lora_alpha", "rank_pattern", "alpha_pattern", "target_modules", "lora_dropout", "peft_type", "peft_version",
}  # fmt: skip
_ONLY: Mapping[str, tuple[Any, ...]] = {
    "bias": ("none",),
    "init_lora_weights": (True, "gaussian"),
    "megatron_core": ("megatron.core",),
    "runtime_config": ({"ephemeral_gpu_offload": False},),
}


@dataclass(frozen=True)
class Header:
    """A LoRA's layers by canonical name: (what goes in, what comes out, rank). `kind` and `width` as in LoraInfo."""

    layers: Mapping[str, tuple[int, int, int]]
    kind: str | None
    width: int | None

    @property
    def rank(self) -> int:
        """The largest."""
        return max(rank for _, _, rank in self.layers.values())


def read_lora(path: Path) -> Header:
    """BadFile, with one of the kinds of `lora_files.PROBLEMS`, when the file is no LoRA that can be used."""
    tensors = read_header(path)
    with path.open("rb") as file:
        if path.suffix.lower() != SAFETENSORS or file.read(4) == b"GGUF":
            raise BadFile("header")
    _check_notes(read_notes(path))
    downs = {_DOWN.sub("", name): tensor for name, tensor in tensors.items() if _DOWN.search(name)}
    ups = {_UP.sub("", name): tensor for name, tensor in tensors.items() if _UP.search(name)}
    rest = [name for name in tensors if not (_DOWN.search(name) or _UP.search(name) or _ENDS.search(name))]
    if not downs or rest or set(downs) != set(ups):
        raise BadFile("other" if any("lokr" in name or "hada" in name for name in rest) else "tensors")
    if any(name.endswith("dora_scale") for name in tensors):
        raise BadFile("other")
    layers = {_canonical(name): _layer(downs[name], ups[name]) for name in downs}
    return Header(layers, *_trained_on(layers))


def _layer(down: Tensor, up: Tensor) -> tuple[int, int, int]:
    if min(len(down.shape), len(up.shape)) < 2 or down.shape[0] != up.shape[1]:
        raise BadFile("tensors")
    return down.shape[1], up.shape[0], down.shape[0]


def _check_notes(notes: Mapping[str, str]) -> None:
    """diffusers makes the adapter as the file's notes say, and they could say more than names and ranks."""
    try:
        told = json.loads(notes.get(NOTES) or "{}")
        pairs = [(name.rpartition(".")[2], value) for name, value in told.items()]
    except (ValueError, AttributeError, RecursionError):
        raise BadFile("notes") from None
    for name, value in pairs:
        if value and name not in _PLAIN and value not in _ONLY.get(name, ()):
            raise BadFile("notes")


def _canonical(name: str) -> str:
    text = _TEXT.match(name)
    if text is not None:
        second = "2" in text[0]
        return f"text_encoder{'_2' if second else ''}." + name[text.end() :].replace(".", "_")
    while (cut := _BEGINNINGS.sub("", name)) != name:
        name = cut
    return name.replace(".", "_")


def _trained_on(layers: Mapping[str, tuple[int, int, int]]) -> tuple[str | None, int | None]:
    """Return the kind of LoRA, and the width by which two models of a kind are told apart; see LoraNames."""
    for names in _NAMES:
        for layer, (width, _, _) in layers.items():
            if names.layers.match(layer) and names.width.search(layer):
                return names.kind, width
    known = (names.kind for names in _NAMES if any(names.layers.match(layer) for layer in layers))
    encoders = (names.kind for names in _NAMES if names.text_encoders)
    only_text = any(layer.startswith("text_encoder") for layer in layers)
    return next(known, next(encoders, None) if only_text else None), None


def misfit(lora: Header, files: Files) -> str | None:
    """The first layer that the model has in another shape, "" when it has none of them, None when the LoRA fits.

    By the headers of the model's files. Layers that go by other names there can't be compared, and count as fitting.
    """
    known = _layers_of(files)
    met = 0
    for name, (into, out, _) in lora.layers.items():
        if name not in known:
            continue
        met += 1
        if known[name] != (into, out):
            return name
    renamed = any(name.startswith(_ORIGINAL) for name in (*lora.layers, *known))
    return None if met or renamed else ""


def _layers_of(files: Files) -> Mapping[str, tuple[int, int]]:
    """The model's layers by canonical name: (what goes in, what comes out)."""
    return _kept_layers(tuple((part, file, file.stat().st_mtime_ns) for part, file in weights_by_part(*files)))


@lru_cache(maxsize=4)  # a batch asks for each of its pictures
def _kept_layers(files: tuple[tuple[str, Path, int], ...]) -> Mapping[str, tuple[int, int]]:
    found: dict[str, tuple[int, int]] = {}
    for part, file, _ in files:
        begin = f"{part}." if part.startswith("text_encoder") else ""
        for name, tensor in read_header(file).items():
            if not name.endswith(".weight") or len(tensor.shape) not in (2, 4):
                continue
            plain = name.removesuffix(".weight").removeprefix("model.diffusion_model.")
            shape = (tensor.shape[1], tensor.shape[0])
            found[begin + plain.replace(".", "_")] = shape
            if begin:  # transformers cuts the outermost name of the text encoders; trainers write it
                found[f"{begin}text_model_{plain.removeprefix('text_model.').replace('.', '_')}"] = shape
    return found
