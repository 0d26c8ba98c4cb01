"""One random LoRA for each family, written in every published layout.

`LAYOUTS` maps a layout's name to its family, its publisher, and a function that makes the file's tensors and says by how much
each layer's weight must change. The matrices are the same in all layouts of a family.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors.torch import save_file

from tests.models.originals import _unet_name

RANK, ALPHA, SCALE = 4, 2.0, 0.2
Tensors = dict[str, torch.Tensor]
Deltas = dict[tuple[str, str], torch.Tensor]  # (part, layer) -> change of its weight


@dataclass
class Source:
    """Random matrices for the layers of a pipeline: (down, up) by part and name, and the weights that they change."""

    family: str
    weights: Mapping[tuple[str, str], torch.Tensor]
    pairs: dict[tuple[str, str], tuple[torch.Tensor, torch.Tensor]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        dice = torch.Generator().manual_seed(3)
        for key, weight in self.weights.items():
            down = torch.randn(RANK, *weight.shape[1:], generator=dice) * SCALE
            up = torch.randn(weight.shape[0], RANK, *(1 for _ in weight.shape[2:]), generator=dice) * SCALE
            self.pairs[key] = (down, up)
        for part, name in self.pairs:  # a LoRA over q, k and v at once has one matrix for all three
            if re.search(r"\.to_[kv]$", name):
                query = (part, name[:-1] + "q")
                if query in self.pairs and self.pairs[query][0].shape == self.pairs[part, name][0].shape:
                    self.pairs[part, name] = (self.pairs[query][0], self.pairs[part, name][1])

    def keys(self, pattern: str, part: str | None = None) -> list[tuple[str, str]]:
        return [key for key in self.pairs if re.search(pattern, key[1]) and part in (None, key[0])]

    def delta(self, key: tuple[str, str], scale: float) -> torch.Tensor:
        down, up = self.pairs[key]
        return ((up.flatten(1) @ down.flatten(1)) * scale).reshape(self.weights[key].shape)


@dataclass(frozen=True)
class Layout:
    """`write` gives the tensors, what each layer must change by, and the notes of the header."""

    family: str
    publisher: str
    write: Callable[[Source], tuple[Tensors, Deltas, dict[str, str]]]


LAYOUTS: dict[str, Layout] = {}
Rename = Callable[[str, str], str]  # (part, layer's name) -> published name of the layer


def _layout(name: str, family: str, publisher: str) -> Callable[..., None]:
    def add(write: Callable[[Source], tuple[Tensors, Deltas, dict[str, str]]]) -> None:
        LAYOUTS[name] = Layout(family, publisher, write)

    return add


def write(name: str, source: Source, folder: Path) -> Deltas:
    """Write the file of a layout; what each layer must change by."""
    tensors, deltas, notes = LAYOUTS[name].write(source)
    save_file(
        {key: tensor.contiguous().clone() for key, tensor in tensors.items()},
        folder / f"{name}.safetensors",
        notes or None,
    )
    return deltas


# -- plain LoRAs: names --------------------------------------------------------------------------------------------------

ATTENTION = r"attention\.to_|attn\d\.to_|self_attn\.(q|k|v|out|o)_proj"
MAIN = ATTENTION + r"|feed_forward\.w\d|ff\.net\.|proj_in|proj_out|mlp\.fc\d"


def _plain(
    name: str, family: str, publisher: str, rename: Rename, pattern: str = MAIN, parts: tuple[str, ...] = ("main",),
    ends: tuple[str, str] = ("lora_A.weight", "lora_B.weight"), alpha: bool = False, notes: Mapping[str, str] | None = None,
    scale: float | None = None, extra: Tensors | None = None, dtype: torch.dtype = torch.float32,
) -> None:  # fmt: skip
    def make(source: Source) -> tuple[Tensors, Deltas, dict[str, str]]:
        tensors: Tensors = dict(extra or {})
        deltas: Deltas = {}
        main = next(iter(source.pairs))[0]
        factor = scale if scale is not None else ALPHA / RANK if alpha else 1.0
        for key in source.keys(pattern):
            part, layer = key
            if (main if "main" in parts and part == main else part) not in (
                *parts,
                *([main] if "main" in parts else []),
            ):
                continue
            published = rename(part, layer)
            down, up = source.pairs[key]
            tensors[f"{published}.{ends[0]}"], tensors[f"{published}.{ends[1]}"] = down.to(dtype), up.to(dtype)
            if alpha:
                tensors[f"{published}.alpha"] = torch.tensor(ALPHA)
            rounded = (up.to(dtype).float().flatten(1) @ down.to(dtype).float().flatten(1)) * factor
            deltas[key] = rounded.reshape(source.weights[key].shape)
        return tensors, deltas, dict(notes or {})

    LAYOUTS[name] = Layout(family, publisher, make)


def _dotted(prefix: str) -> Rename:
    return lambda part, name: prefix + name


def _flat(prefix: str, texts: Mapping[str, str] | None = None) -> Rename:
    return lambda part, name: ((texts or {}).get(part, prefix) + name).replace(".", "_")


def _by_part(part: str, name: str) -> str:
    return f"{part}.{name}"


DOWN_UP = ("lora_down.weight", "lora_up.weight")
DEFAULT = ("lora_A.default.weight", "lora_B.default.weight")
ADALN = MAIN + r"|adaLN_modulation"
Z = "z_image"
KOHYA = {
    "ss_network_module": "networks.lora_zimage",
    "ss_network_dim": "4",
    "ss_tag_frequency": '{"10_girl": {"1girl": 10}}',
}


def _peft_notes(prefix: str = "transformer.", **more: object) -> dict[str, str]:
    said = {
        "r": RANK,
        "lora_alpha": RANK,
        "target_modules": "(a+)+$",
        "peft_type": "LORA",
        "qalora_group_size": 16,
        **more,
    }
    return {"lora_adapter_metadata": json.dumps({prefix + key: value for key, value in said.items()})}


_plain("z-diffusers", Z, "diffusers' training scripts", _dotted("transformer."))
_plain("z-diffusers-attention", Z, "diffusers' training scripts", _dotted("transformer."), ATTENTION)
_plain("z-diffusers-peft-0.18", Z, "diffusers with peft from 0.17 on", _dotted("transformer."), notes=_peft_notes())
_plain(
    "z-diffusers-alpha-in-notes",
    Z,
    "diffusers",
    _dotted("transformer."),
    notes=_peft_notes(lora_alpha=ALPHA),
    scale=0.5,
)
_plain("z-diffusers-rslora", Z, "peft with use_rslora", _dotted("transformer."),
       notes=_peft_notes(lora_alpha=ALPHA, use_rslora=True), scale=ALPHA / math.sqrt(RANK))  # fmt: skip
_plain("z-simpletuner", Z, "SimpleTuner", _dotted("transformer."), alpha=True)
_plain("z-onetrainer", Z, "OneTrainer", _dotted("transformer."), ends=DOWN_UP, alpha=True)
_plain("z-onetrainer-kohya", Z, "OneTrainer", _flat("lora_transformer_"), ends=DOWN_UP, alpha=True)
_plain("z-ai-toolkit", Z, "ai-toolkit", _dotted("diffusion_model."), ADALN)
_plain("z-ai-toolkit-bf16", Z, "ai-toolkit", _dotted("diffusion_model."), dtype=torch.bfloat16)
_plain("z-comfyui-alpha", Z, "ComfyUI", _dotted("diffusion_model."), alpha=True)
_plain("z-comfyui-model", Z, "ComfyUI, saved as an extract", _dotted("model.diffusion_model."), ends=DOWN_UP)
_plain("z-kohya", Z, "musubi-tuner, sd-scripts", _flat("lora_unet_"), ADALN, ends=DOWN_UP, alpha=True, notes=KOHYA)
_plain("z-kohya-no-alpha", Z, "sd-scripts, converted", _flat("lora_unet_"), ends=DOWN_UP)
_plain("z-videox-fun", Z, "VideoX-Fun, Fun-Distill", _flat("lora_unet__"), ends=DOWN_UP, alpha=True)
_plain("z-lycoris", Z, "LyCORIS", _flat("lycoris_"), ends=DOWN_UP, alpha=True)
_plain("z-bare", Z, "peft", _dotted(""))
_plain("z-bare-down", Z, "community", _dotted(""), ends=DOWN_UP, alpha=True)
_plain("z-diffsynth", Z, "DiffSynth-Studio", _dotted(""), ends=DEFAULT)
_plain("z-diffsynth-pipe-dit", Z, "DiffSynth-Studio", _dotted("pipe.dit."), ends=DEFAULT)
_plain("z-peft", Z, "peft", _dotted("base_model.model."))
_plain("z-model", Z, "converters", _dotted("model."), alpha=True)
_plain("z-module", Z, "trainers with DistributedDataParallel", _dotted("module."))
_plain("z-net", Z, "NVIDIA's trainers", _dotted("net."))
_plain("z-lora-dit", Z, "community", _flat("lora_dit_"), ends=DOWN_UP, alpha=True)
_plain("z-kohya-comfyui", Z, "ComfyUI extracts, converted", _flat("lora_unet_model_diffusion_model_"), ends=DOWN_UP, alpha=True)
_plain("z-fp8", Z, "shrunk LoRAs", _dotted("transformer."), alpha=True, dtype=torch.float8_e5m2)
_plain("z-peft-transformer", Z, "peft", _dotted("base_model.model.transformer."))
_plain(
    "z-old-diffusers", Z, "early diffusers' ends", _dotted("transformer."), ends=("lora.down.weight", "lora.up.weight")
)
_plain("z-unet-dots", Z, "community", _dotted("unet."), ends=("lora.down.weight", "lora.up.weight"))
_plain("z-linear-layer", Z, "early diffusers' ends", _dotted("transformer."),
       ends=("lora_linear_layer.down.weight", "lora_linear_layer.up.weight"))  # fmt: skip
_plain("z-all-layers", Z, "ai-toolkit", _dotted("diffusion_model."), r".")
_plain("z-text-encoder-diffusers", Z, "diffusers", _by_part, MAIN, parts=("main", "text_encoder"))
_plain("z-text-encoder-kohya", Z, "musubi-tuner", _flat("lora_unet_", {"text_encoder": "lora_te_"}), parts=("main", "text_encoder"),
       ends=DOWN_UP, alpha=True)  # fmt: skip
_plain("z-text-encoder-comfyui", Z, "ComfyUI",
       lambda part, name: ("text_encoders.qwen3_4b.transformer.model." if part == "text_encoder" else "diffusion_model.") + name,
       parts=("main", "text_encoder"), ends=DOWN_UP)  # fmt: skip


_plain("z-default-0", Z, "diffusers, second adapter", _dotted("transformer."),
       ends=("lora_A.default_0.weight", "lora_B.default_0.weight"))  # fmt: skip
_plain("z-compiled", Z, "trainers with torch.compile", _dotted("transformer._orig_mod."))
_plain("z-kohya-dots", Z, "community", _dotted("lora_unet."), ends=DOWN_UP, alpha=True)
_plain("z-peft-model", Z, "peft over a wrapper", _dotted("base_model.model.model."))
_plain("z-kohya-out", Z, "musubi-tuner, converted to ComfyUI's names",
       lambda part, name: f"lora_unet_{name.replace('attention.to_out.0', 'attention.out')}".replace(".", "_"), ends=DOWN_UP,
       alpha=True)  # fmt: skip
_plain("z-comfyui-embedders", Z, "ComfyUI", lambda part, name: "diffusion_model." + name.replace("all_x_embedder.2-1", "x_embedder")
       .replace("all_final_layer.2-1", "final_layer"), r"embedder|final_layer|refiner.*to_q")  # fmt: skip
_plain("z-kohya-embedders", Z, "sd-scripts", lambda part, name: f"lora_unet_{name}".replace(".", "_").replace("-", "_"),
       r"embedder|final_layer|refiner.*to_q", ends=DOWN_UP, alpha=True)  # fmt: skip
_plain("z-text-encoder-model", Z, "diffusers with transformers' wrapper",
       lambda part, name: ("text_encoder.model." if part == "text_encoder" else "transformer.") + name,
       parts=("main", "text_encoder"))  # fmt: skip
_plain("z-text-encoder-llm", Z, "stable-diffusion.cpp's names",
       lambda part, name: ("text_encoders.llm.model." if part == "text_encoder" else "diffusion_model.") + name,
       parts=("main", "text_encoder"), ends=DOWN_UP)  # fmt: skip


def _sgm(layer: str) -> str:
    return _unet_name(f"{layer}.weight", 1).removesuffix(".weight")


def _kohya_sgm(part: str, name: str) -> str:
    prefix = {"unet": "lora_unet_", "text_encoder": "lora_te1_text_model_", "text_encoder_2": "lora_te2_text_model_"}[
        part
    ]
    return prefix + (_sgm(name) if part == "unet" else name.removeprefix("text_model.")).replace(".", "_")


def _old_processor(part: str, name: str) -> str:
    return "unet." + re.sub(r"to_(q|k|v|out)(\.0)?$", r"processor.to_\1_lora", name)


def _comfy_texts(part: str, name: str) -> str:
    clip = {"text_encoder": "clip_l", "text_encoder_2": "clip_g"}.get(part)
    bare = name.removeprefix("text_model.")
    return f"text_encoders.{clip}.transformer.text_model.{bare}" if clip else f"diffusion_model.{_sgm(name)}"


def _diffusers_texts(part: str, name: str) -> str:
    return f"{part}.text_model.{name.removeprefix('text_model.')}" if part != "unet" else f"unet.{name}"


XL, ALL_XL = "sdxl", ("main", "text_encoder", "text_encoder_2")
CONV = MAIN + r"|resnets\.\d\.conv\d|samplers\.\d\.conv"
_plain("xl-kohya", XL, "sd-scripts", _kohya_sgm, ends=DOWN_UP, alpha=True)
_plain("xl-kohya-texts", XL, "sd-scripts", _kohya_sgm, parts=ALL_XL, ends=DOWN_UP, alpha=True)
_plain("xl-kohya-locon", XL, "sd-scripts, LyCORIS", _kohya_sgm, CONV, ends=DOWN_UP, alpha=True)
_plain("xl-lcm", XL, "LCM-LoRA", _flat("lora_unet_"), CONV, ends=DOWN_UP, alpha=True)
_plain("xl-lycoris", XL, "LyCORIS", _flat("lycoris_unet_"), ends=DOWN_UP, alpha=True)
_plain("xl-diffusers", XL, "diffusers", _diffusers_texts, parts=ALL_XL)
_plain("xl-diffusers-notes", XL, "diffusers", _diffusers_texts, notes=_peft_notes("unet.", lora_alpha=ALPHA), scale=0.5)
_plain("xl-old-diffusers", XL, "diffusers 0.17", _diffusers_texts, parts=("main", "text_encoder"),
       ends=("lora_linear_layer.down.weight", "lora_linear_layer.up.weight"))  # fmt: skip
_plain(
    "xl-old-processor", XL, "diffusers before 0.17", _old_processor, r"attn\d\.to_", ends=("down.weight", "up.weight")
)
_plain("xl-peft", XL, "peft", _dotted("base_model.model."))
_plain("xl-bare", XL, "peft", _dotted(""))
_plain("xl-onetrainer", XL, "OneTrainer", _dotted("unet."), ends=DOWN_UP, alpha=True)
_plain("xl-comfyui-extract", XL, "ComfyUI", _comfy_texts, ends=DOWN_UP)
_plain("xl-comfyui-clip-l", XL, "ComfyUI",
       lambda part, name: f"text_encoders.clip_l.transformer.text_model.{name.removeprefix('text_model.')}",
       parts=("text_encoder",), ends=DOWN_UP)  # fmt: skip
_plain("xl-comfyui-texts", XL, "ComfyUI", _comfy_texts, parts=ALL_XL, ends=DOWN_UP, alpha=True)
_plain("xl-old-processor-bare", XL, "diffusers' first attention processors", lambda part, name: _old_processor(part, name)[5:],
       r"attn\d\.to_", ends=("down.weight", "up.weight"))  # fmt: skip
_plain("xl-unet-lora-dots", XL, "diffusers 0.20 to 0.22", _diffusers_texts, ends=("lora.down.weight", "lora.up.weight"))
_plain("xl-diffusers-texts-bare", XL, "diffusers with transformers 5", _by_part, parts=ALL_XL)
_plain("xl-onetrainer-texts", XL, "OneTrainer",
       lambda part, name: _diffusers_texts(part, name).replace("text_encoder.", "text_encoder_1."), parts=ALL_XL, ends=DOWN_UP,
       alpha=True)  # fmt: skip
_plain("xl-lycoris-texts", XL, "LyCORIS", _flat("lycoris_", {
       "text_encoder": "lycoris_te1_", "text_encoder_2": "lycoris_te2_"}), parts=ALL_XL, ends=DOWN_UP, alpha=True)  # fmt: skip
_plain("xl-comfyui-model", XL, "ComfyUI, saved with the model's prefix", lambda part, name: f"model.diffusion_model.{_sgm(name)}")
_plain("xl-comfyui-diffusers-names", XL, "converters", _dotted("diffusion_model."), ends=DOWN_UP, alpha=True)
_plain("xl-comfyui-clip-g", XL, "ComfyUI",
       lambda part, name: f"text_encoders.clip_g.transformer.text_model.{name.removeprefix('text_model.')}",
       parts=("text_encoder_2",))  # fmt: skip
_plain("xl-everything", XL, "sd-scripts", _kohya_sgm, r".", ends=DOWN_UP, alpha=True)
SD = "sd"
_plain("sd-kohya", SD, "sd-scripts", _flat("lora_unet_", {"text_encoder": "lora_te_text_model_"}), parts=("main", "text_encoder"),
       ends=DOWN_UP, alpha=True)  # fmt: skip
_plain("sd-kohya-sgm", SD, "merges", _kohya_sgm, ends=DOWN_UP, alpha=True)
_plain("sd-diffusers", SD, "diffusers", _diffusers_texts, parts=("main", "text_encoder"))
_plain("sd-old-text-encoder", SD, "diffusers before 0.20",
       lambda part, name: f"text_encoder.text_model.{re.sub('(q|k|v|out)_proj$', lambda found: f'to_{found[1]}_lora', name)}",
       r"self_attn", parts=("text_encoder",), ends=("down.weight", "up.weight"))  # fmt: skip


# -- stacked layers, other ranks, repeated names -------------------------------------------------------------------------


def _fused(
    rename: Callable[[str], str], ends: tuple[str, str], alpha: bool, pattern: str = MAIN
) -> Callable[[Source], tuple]:
    def make(source: Source) -> tuple[Tensors, Deltas, dict[str, str]]:
        tensors: Tensors = {}
        deltas: Deltas = {}
        for part, name in source.keys(pattern, "transformer"):
            down, up = source.pairs[part, name]
            deltas[part, name] = source.delta((part, name), ALPHA / RANK if alpha else 1.0)
            if re.search(r"to_[kv]$", name):
                continue
            if name.endswith("to_q"):
                stem = name.removesuffix("to_q")
                up = torch.cat([source.pairs[part, stem + one][1] for one in ("to_q", "to_k", "to_v")])
                name = f"{stem}qkv"
            published = rename(name.replace("attention.to_out.0", "attention.out"))
            tensors[f"{published}.{ends[0]}"], tensors[f"{published}.{ends[1]}"] = down, up
            if alpha:
                tensors[f"{published}.alpha"] = torch.tensor(ALPHA)
        return tensors, deltas, {}

    return make


_layout("z-comfyui-fused", Z, "ComfyUI")(
    _fused(lambda name: f"diffusion_model.{name}", ("lora_A.weight", "lora_B.weight"), False)
)
_layout("z-comfyui-fused-alpha", Z, "ComfyUI")(_fused(lambda name: f"diffusion_model.{name}", DOWN_UP, True))
_layout("z-comfyui-fused-attention", Z, "ComfyUI")(
    _fused(lambda name: f"diffusion_model.{name}", DOWN_UP, False, ATTENTION)
)
_layout("z-kohya-fused", Z, "sd-scripts")(_fused(lambda name: f"lora_unet_{name}".replace(".", "_"), DOWN_UP, True))


_QKV = ("to_q", "to_k", "to_v")


def _block_diagonal(rename: Callable[[str], str], ends: tuple[str, str]) -> Callable[[Source], tuple]:
    """Three LoRAs in one of three times the rank and alpha, the upper matrix block by block."""

    def make(source: Source) -> tuple[Tensors, Deltas, dict[str, str]]:
        tensors: Tensors = {}
        deltas: Deltas = {}
        for part, name in source.keys(r"attention\.to_q$", "transformer"):
            stem = name.removesuffix("to_q")
            pairs = [source.pairs[part, stem + one] for one in _QKV]
            layer = rename(f"{stem}qkv")
            tensors[f"{layer}.{ends[0]}"] = torch.cat([down for down, _ in pairs])
            tensors[f"{layer}.{ends[1]}"] = torch.block_diag(*(up for _, up in pairs))
            tensors[f"{layer}.alpha"] = torch.tensor(3 * ALPHA)
            deltas |= {(part, stem + one): source.delta((part, stem + one), ALPHA / RANK) for one in _QKV}
        return tensors, deltas, {}

    return make


_layout("z-musubi-comfyui", Z, "musubi-tuner, converted to ComfyUI's names")(
    _block_diagonal(lambda name: f"lora_unet_{name}".replace(".", "_"), DOWN_UP)
)
_layout("z-comfyui-block-diagonal", Z, "converters to ComfyUI's names")(
    _block_diagonal(lambda name: f"diffusion_model.{name}", ("lora_A.weight", "lora_B.weight"))
)


@_layout("z-loha-fused", Z, "musubi-tuner, converted to ComfyUI's names")
def _loha_fused(source: Source) -> tuple[Tensors, Deltas, dict[str, str]]:
    tensors: Tensors = {}
    deltas: Deltas = {}
    dice = torch.Generator().manual_seed(17)
    for part, name in source.keys(r"attention\.to_q$", "transformer"):
        stem, halves = name.removesuffix("to_q"), []
        for one in _QKV:
            rows, columns = source.weights[part, stem + one].shape
            left, right = (torch.randn(rows, RANK, generator=dice) * SCALE for _ in "12"), (
                torch.randn(RANK, columns, generator=dice) * SCALE for _ in "12")  # fmt: skip
            halves.append([*left, *right])
            deltas[part, stem + one] = (halves[-1][0] @ halves[-1][2]) * (halves[-1][1] @ halves[-1][3]) * ALPHA / RANK
        layer = f"lora_unet_{stem}qkv".replace(".", "_")
        for half in (0, 1):
            tensors[f"{layer}.hada_w{half + 1}_a"] = torch.block_diag(*(one[half] for one in halves))
            tensors[f"{layer}.hada_w{half + 1}_b"] = torch.cat([one[half + 2] for one in halves])
        tensors[f"{layer}.alpha"] = torch.tensor(3 * ALPHA)
    return tensors, deltas, {}


@_layout("z-lokr-fused", Z, "LyCORIS over ComfyUI's layers")
def _lokr_fused(source: Source) -> tuple[Tensors, Deltas, dict[str, str]]:
    tensors: Tensors = {}
    deltas: Deltas = {}
    dice = torch.Generator().manual_seed(19)
    for part, name in source.keys(r"attention\.to_q$", "transformer"):
        stem, (rows, columns) = name.removesuffix("to_q"), source.weights[part, name].shape
        first, second = torch.randn(4, 4, generator=dice), torch.randn(3 * rows // 4, columns // 4, generator=dice) * SCALE
        layer = f"diffusion_model.{stem}qkv"
        tensors |= {f"{layer}.lokr_w1": first, f"{layer}.lokr_w2": second, f"{layer}.alpha": torch.tensor(1e10)}
        pieces = torch.kron(first, second).chunk(3)
        deltas |= {(part, stem + one): piece for one, piece in zip(_QKV, pieces, strict=True)}
    return tensors, deltas, {}


@_layout("z-diff-fused", Z, "ComfyUI, saved as a difference")
def _diff_fused(source: Source) -> tuple[Tensors, Deltas, dict[str, str]]:
    tensors: Tensors = {}
    deltas: Deltas = {}
    for part, name in source.keys(r"attention\.to_q$", "transformer"):
        stem = name.removesuffix("to_q")
        pieces = {(part, stem + one): source.delta((part, stem + one), 1.0) for one in _QKV}
        tensors[f"diffusion_model.{stem}qkv.diff"] = torch.cat(list(pieces.values()))
        deltas |= pieces
    return tensors, deltas, {}


@_layout("z-diff-and-lora", Z, "LightX2V, distilled")
def _diff_and_lora(source: Source) -> tuple[Tensors, Deltas, dict[str, str]]:
    tensors: Tensors = {}
    deltas: Deltas = {}
    for number, key in enumerate(source.keys(ATTENTION, "transformer")):
        layer = f"diffusion_model.{key[1]}"
        deltas[key] = source.delta(key, 1.0)
        if number % 2:
            tensors[f"{layer}.diff"] = deltas[key]
        else:
            tensors[f"{layer}.lora_down.weight"], tensors[f"{layer}.lora_up.weight"] = source.pairs[key]
    return tensors, deltas, {}


@_layout("z-ranks-vary", Z, "resized LoRAs")
def _ranks(source: Source) -> tuple[Tensors, Deltas, dict[str, str]]:
    tensors: Tensors = {}
    deltas: Deltas = {}
    for place, key in enumerate(source.keys(MAIN, "transformer")):
        rank = 1 + place % RANK
        down, up = (matrix.narrow(side, 0, rank) for side, matrix in enumerate(source.pairs[key]))
        name = f"diffusion_model.{key[1]}"
        tensors |= {f"{name}.lora_down.weight": down, f"{name}.lora_up.weight": up, f"{name}.alpha": torch.tensor(3.0)}
        deltas[key] = up @ down * 3.0 / rank
    return tensors, deltas, {}


@_layout("z-repeated", Z, "Anime-Z: each layer under two names")
def _repeated(source: Source) -> tuple[Tensors, Deltas, dict[str, str]]:
    tensors, deltas, _ = _fused(lambda name: f"lora_unet_{name}".replace(".", "_"), DOWN_UP, True, ATTENTION)(source)
    for part, name in deltas:
        down, up = source.pairs[part, name]
        flat = f"lora_unet_{name}".replace(".", "_")
        tensors |= {
            f"{flat}.lora_down.weight": down,
            f"{flat}.lora_up.weight": up,
            f"{flat}.alpha": torch.tensor(ALPHA),
        }
    return tensors, deltas, {}


@_layout("xl-tucker", XL, "LyCORIS LoCon with use_tucker")
def _tucker(source: Source) -> tuple[Tensors, Deltas, dict[str, str]]:
    tensors: Tensors = {}
    deltas: Deltas = {}
    dice = torch.Generator().manual_seed(5)
    for key in source.keys(r"resnets\.\d\.conv\d", "unet"):
        weight = source.weights[key]
        down, mid, up = (torch.randn(*size, generator=dice) * SCALE for size in (
            (RANK, weight.shape[1], 1, 1), (RANK, RANK, *weight.shape[2:]), (weight.shape[0], RANK, 1, 1)))  # fmt: skip
        name = f"lora_unet_{key[1]}".replace(".", "_")
        tensors |= {f"{name}.lora_down.weight": down, f"{name}.lora_mid.weight": mid, f"{name}.lora_up.weight": up,
                    f"{name}.alpha": torch.tensor(ALPHA)}  # fmt: skip
        deltas[key] = torch.einsum("or,rshw,si->oihw", up[..., 0, 0], mid, down[..., 0, 0]) * ALPHA / RANK
    return tensors, deltas, {}


# -- other algorithms ----------------------------------------------------------------------------------------------------


def _factor(number: int) -> int:
    return next(one for one in (4, 3, 2, 1) if number % one == 0)


def _lokr(
    family: str, rename: Rename, pattern: str, low: bool
) -> Callable[[Source], tuple[Tensors, Deltas, dict[str, str]]]:
    def make(source: Source) -> tuple[Tensors, Deltas, dict[str, str]]:
        tensors: Tensors = {}
        deltas: Deltas = {}
        dice = torch.Generator().manual_seed(7)
        for key in source.keys(pattern, "transformer" if family == Z else "unet"):
            weight = source.weights[key]
            a, b = _factor(weight.shape[0]), _factor(weight.shape[1])
            c, d, kernel = weight.shape[0] // a, weight.shape[1] // b, weight.shape[2:]
            w1 = torch.randn(a, b, generator=dice) * SCALE
            name, area = rename(*key), math.prod(kernel)
            tensors |= {f"{name}.lokr_w1": w1, f"{name}.alpha": torch.tensor(ALPHA)}
            if low:
                left, right = torch.randn(c, RANK, generator=dice), torch.randn(RANK, d * area, generator=dice) * SCALE
                tensors |= {f"{name}.lokr_w2_a": left, f"{name}.lokr_w2_b": right}
                w2, scale = left @ right, ALPHA / RANK
            else:
                whole = torch.randn(c, d, *kernel, generator=dice)
                tensors[f"{name}.lokr_w2"] = whole
                w2, scale = whole.flatten(1), 1.0  # without a rank alpha counts nothing
            pieces = [torch.kron(w1, w2.reshape(c, d, area)[..., place]) for place in range(area)]
            deltas[key] = torch.stack(pieces, -1).reshape(weight.shape) * scale
        return tensors, deltas, {}

    return make


@_layout("xl-lokr-tucker", XL, "LyCORIS LoKr with use_tucker")
def _lokr_tucker(source: Source) -> tuple[Tensors, Deltas, dict[str, str]]:
    tensors: Tensors = {}
    deltas: Deltas = {}
    dice = torch.Generator().manual_seed(15)
    for key in source.keys(r"resnets\.\d\.conv\d", "unet"):
        weight, name = source.weights[key], _kohya_sgm(*key)
        a, b = _factor(weight.shape[0]), _factor(weight.shape[1])
        w1, core = torch.randn(a, b, generator=dice) * SCALE, torch.randn(RANK, RANK, *weight.shape[2:], generator=dice)
        left, right = (torch.randn(RANK, side, generator=dice) * 0.3 for side in (weight.shape[0] // a, weight.shape[1] // b))
        tensors |= {f"{name}.lokr_w1": w1, f"{name}.lokr_t2": core, f"{name}.lokr_w2_a": left, f"{name}.lokr_w2_b": right,
                    f"{name}.alpha": torch.tensor(ALPHA)}  # fmt: skip
        w2 = torch.einsum("ijhw,jd,ic->cdhw", core, right, left).contiguous()
        deltas[key] = torch.kron(w1[..., None, None].contiguous(), w2) * ALPHA / RANK
    return tensors, deltas, {}


@_layout("z-lycoris-scalar", Z, "LyCORIS with use_scalar")
def _scalar(source: Source) -> tuple[Tensors, Deltas, dict[str, str]]:
    tensors, deltas, notes = LAYOUTS["z-lycoris"].write(source)
    names = {key.rpartition(".alpha")[0] for key in tensors if key.endswith(".alpha")}
    tensors |= {f"{name}.scalar": torch.tensor(0.5) for name in names}
    return tensors, {key: delta * 0.5 for key, delta in deltas.items()}, notes


_layout("z-lokr-ai-toolkit", Z, "ai-toolkit")(_lokr(Z, _dotted("diffusion_model."), MAIN, low=False))
_layout("z-lokr-low-rank", Z, "SimpleTuner, LyCORIS")(_lokr(Z, _flat("lycoris_"), MAIN, low=True))
_layout("xl-lokr", XL, "LyCORIS")(_lokr(XL, _kohya_sgm, CONV, low=False))
_layout("xl-lokr-low-rank", XL, "LyCORIS")(_lokr(XL, _kohya_sgm, CONV, low=True))


def _loha(family: str, rename: Rename, pattern: str) -> Callable[[Source], tuple[Tensors, Deltas, dict[str, str]]]:
    def make(source: Source) -> tuple[Tensors, Deltas, dict[str, str]]:
        tensors: Tensors = {}
        deltas: Deltas = {}
        dice = torch.Generator().manual_seed(9)
        for key in source.keys(pattern, "transformer" if family == Z else "unet"):
            weight, name = source.weights[key], rename(*key)
            left = [torch.randn(weight.shape[0], RANK, generator=dice) * 0.5 for _ in range(2)]
            right = [torch.randn(RANK, weight[0].numel(), generator=dice) * 0.5 for _ in range(2)]
            for half in (0, 1):
                tensors |= {f"{name}.hada_w{half + 1}_a": left[half], f"{name}.hada_w{half + 1}_b": right[half]}
            tensors[f"{name}.alpha"] = torch.tensor(ALPHA)
            product = (left[0] @ right[0]) * (left[1] @ right[1])
            deltas[key] = (product * ALPHA / RANK).reshape(weight.shape)
        return tensors, deltas, {}

    return make


_layout("z-loha", Z, "LyCORIS")(_loha(Z, _dotted("diffusion_model."), ATTENTION))
_layout("xl-loha", XL, "LyCORIS")(_loha(XL, _kohya_sgm, CONV))


@_layout("xl-loha-tucker", XL, "LyCORIS LoHa with use_tucker")
def _loha_tucker(source: Source) -> tuple[Tensors, Deltas, dict[str, str]]:
    tensors: Tensors = {}
    deltas: Deltas = {}
    dice = torch.Generator().manual_seed(11)
    for key in source.keys(r"resnets\.\d\.conv\d", "unet"):
        weight, name, halves = source.weights[key], _kohya_sgm(*key), []
        for half in ("1", "2"):
            core = torch.randn(RANK, RANK, *weight.shape[2:], generator=dice)
            left, right = (torch.randn(RANK, side, generator=dice) * 0.5 for side in weight.shape[:2])
            tensors |= {f"{name}.hada_t{half}": core, f"{name}.hada_w{half}_a": left, f"{name}.hada_w{half}_b": right}
            halves.append(torch.einsum("ijhw,jd,ic->cdhw", core, right, left))
        tensors[f"{name}.alpha"] = torch.tensor(ALPHA)
        deltas[key] = halves[0] * halves[1] * ALPHA / RANK
    return tensors, deltas, {}


def _dora(family: str, rename: Rename, pattern: str, end: str, ends: tuple[str, str]) -> Callable[[Source], tuple]:
    def make(source: Source) -> tuple[Tensors, Deltas, dict[str, str]]:
        tensors: Tensors = {}
        deltas: Deltas = {}
        dice = torch.Generator().manual_seed(13)
        for key in source.keys(pattern, "transformer" if family == Z else "unet"):
            weight, name = source.weights[key].float(), rename(*key)
            down, up = source.pairs[key]
            magnitude = 0.5 + torch.rand(weight.shape[0], generator=dice)
            shape = (-1,) if "magnitude" in end else (-1, *(1 for _ in weight.shape[1:]))
            tensors |= {f"{name}.{ends[0]}": down, f"{name}.{ends[1]}": up, f"{name}.{end}": magnitude.reshape(shape)}
            changed = weight + source.delta(key, 1.0)
            norm = changed.flatten(1).norm(dim=1)
            deltas[key] = changed * (magnitude / norm).reshape(-1, *(1 for _ in weight.shape[1:])) - weight
        return tensors, deltas, {}

    return make


AB = ("lora_A.weight", "lora_B.weight")
_layout("z-dora", Z, "ai-toolkit, OneTrainer")(_dora(Z, _dotted("diffusion_model."), ATTENTION, "dora_scale", AB))
_layout("z-dora-peft", Z, "peft with use_dora")(
    _dora(Z, _dotted("transformer."), ATTENTION, "lora_magnitude_vector.weight", AB)
)
_layout("z-dora-peft-saved", Z, "peft, saved with its adapter's name")(
    _dora(Z, _dotted("base_model.model."), ATTENTION, "lora_magnitude_vector.default.weight", DEFAULT)
)
_layout("xl-dora-kohya", XL, "OneTrainer, LyCORIS")(_dora(XL, _kohya_sgm, CONV, "dora_scale", DOWN_UP))


@_layout("xl-full", XL, "LyCORIS full")
def _full(source: Source) -> tuple[Tensors, Deltas, dict[str, str]]:
    deltas = {key: source.delta(key, 1.0) for key in source.keys(CONV, "unet")[::5]}
    return {f"{_kohya_sgm(*key)}.diff": delta for key, delta in deltas.items()}, dict(deltas), {}


# -- what wrappers, savers and converters leave in names and numbers ------------------------------------------------------


def _inside(mark: str, prefix: str = "transformer.") -> Rename:
    """A wrapper's mark before the blocks, and within them."""
    return lambda part, name: f"{prefix}{mark}" + re.sub(r"^((?:\w+_refiner|layers)\.\d+\.)", rf"\1{mark}", name)


_plain("z-peft-named", Z, "peft, saved with the adapter's own name", _dotted("base_model.model."),
       ends=("lora_A.my_style.weight", "lora_B.my_style.weight"))  # fmt: skip
_plain("z-compiled-blocks", Z, "trainers that compile block by block", _inside("_orig_mod."))
_plain("z-fsdp", Z, "trainers with FSDP", _inside("_fsdp_wrapped_module."))
_plain("z-checkpointed", Z, "trainers with activation checkpointing", _inside("_checkpoint_wrapped_module.", "diffusion_model."))
_plain("z-kohya-peft-ends", Z, "converters between kohya's and peft's names", _flat("lora_unet_"), alpha=True)
_plain("z-dit", Z, "VideoX-Fun, DiffSynth-Studio", _dotted("dit."), ends=DOWN_UP, alpha=True)
_plain("z-flat-transformer", Z, "converters", _flat("transformer_"), ends=DOWN_UP, alpha=True)
_plain("z-peft-comfyui", Z, "peft over ComfyUI's wrapper", _dotted("base_model.model.diffusion_model."))
_plain("z-comfyui-flat", Z, "ComfyUI extracts, flattened", _flat("diffusion_model_"), ends=DOWN_UP, alpha=True)


def _with_pattern(source: Source) -> tuple[Tensors, Deltas, dict[str, str]]:
    """Layers of their own rank and alpha, told in the notes alone."""
    tensors, deltas, _ = LAYOUTS["z-diffusers"].write(source)
    notes = {"r": RANK, "lora_alpha": RANK, "alpha_pattern": {"layers.0.attention.to_q": ALPHA, r"feed_forward\.w1": 1.0},
             "rank_pattern": {"layers.0.attention.to_q": RANK}}  # fmt: skip
    for key in deltas:
        alpha = ALPHA if key[1] == "layers.0.attention.to_q" else 1.0 if key[1].endswith("feed_forward.w1") else RANK
        deltas[key] = deltas[key] * (alpha / RANK)
    told = json.dumps({f"transformer.{key}": value for key, value in notes.items()})
    return tensors, deltas, {"lora_adapter_metadata": told}


_layout("z-diffusers-alpha-pattern", Z, "peft with alpha_pattern")(_with_pattern)


@_layout("z-alpha-whole", Z, "converters that write alpha as a whole number of one element")
def _whole_alpha(source: Source) -> tuple[Tensors, Deltas, dict[str, str]]:
    tensors, deltas, notes = LAYOUTS["z-kohya"].write(source)
    whole = {name: torch.tensor([int(ALPHA)]) if name.endswith(".alpha") else tensor for name, tensor in tensors.items()}
    return whole, deltas, notes


@_layout("z-four-sided", Z, "LoCon over linear layers: matrices as 1 x 1 kernels")
def _four_sided(source: Source) -> tuple[Tensors, Deltas, dict[str, str]]:
    tensors, deltas, notes = LAYOUTS["z-kohya"].write(source)
    return {name: tensor[..., None, None] if tensor.dim() == 2 else tensor for name, tensor in tensors.items()}, deltas, notes


_plain("xl-kohya-peft-ends", XL, "converters between kohya's and peft's names", _kohya_sgm, alpha=True)
_plain("xl-peft-unet", XL, "peft over a pipeline", lambda part, name: f"base_model.model.unet.{name}")
_plain("xl-peft-named", XL, "peft, saved with the adapter's own name", _dotted("unet."),
       ends=("lora_A.my_style.weight", "lora_B.my_style.weight"))  # fmt: skip

# -- the table in docs/lora-formats.md and .zh.md ----------------------------------------------------------------------

_FAMILIES = {Z: "Z-Image", XL: "SDXL", SD: "SD 1.5"}


HEADERS = {
    "lora-formats.md": "| layout | family | written by |",
    "lora-formats.zh.md": "| 布局 | 模型族 | 写出它的程序 |",
}


def table(page: str) -> str:
    """Return the layouts as the Markdown table of this page."""
    rows = [f"| `{name}` | {_FAMILIES[layout.family]} | {layout.publisher} |" for name, layout in LAYOUTS.items()]
    return "\n".join([HEADERS[page], "| --- | --- | --- |", *rows])
