"""Say how the weights of a safetensors file are stored: plainly, in 8 bits with a scale, or in a way that is not read.

A scaled weight is only right when it is multiplied by its scale. Loaders that do not know the scale's name drop it without an
error, so every published scheme is either listed here with its scales or refused by name before memory is allocated.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from core.models.weight_files import UNQUANTISED, BadFile, Tensor

Tensors = Mapping[str, Tensor]

FP8 = ("F8_E4M3", "F8_E5M2")
SCALES = (".scale_weight", ".weight_scale", ".weight_scale_inv", ".weight.scale_weight")  # each is multiplied by
INPUT_SCALES = (".scale_input", ".input_scale")  # of activations: without effect in 16-bit arithmetic
MARKER = "scaled_fp8"  # an empty tensor: ComfyUI's older files have it beside `.scale_weight`
COMFY_QUANT = ".comfy_quant"  # JSON in bytes, one a layer: ComfyUI's newer files
COMFY_FORMATS = ("float8_e4m3fn", "float8_e5m2", "int8_tensorwise")
# Keys of a layer's description that do not change what a weight is worth.
_COMFY_NEUTRAL = {"format", "full_precision_matrix_mult", "convrot_groupsize", "per_channel", "orig_dtype"}
_METADATA = "_quantization_metadata"  # the same in one text of the file's metadata

_REFUSED: tuple[tuple[str, re.Pattern[str]], ...] = tuple(  # what a scheme's tensors are called
    (scheme, re.compile(pattern))
    for scheme, pattern in (
        (
            "SVDQuant (Nunchaku)",
            r"\.(wscales|smooth_factor|smooth|smooth_orig|wtscale|wcscales|proj_down|lora_down_q)$",
        ),
        ("NVFP4", r"\.weight_scale_2$"),
        ("bitsandbytes 4-bit", r"\.(quant_state\.bitsandbytes__\w+|nested_absmax|absmax|quant_map)$"),
        ("bitsandbytes 8-bit", r"\.(SCB|weight_format)$"),
        ("GPTQ or AWQ", r"\.(qweight|qzeros|g_idx)$"),
        ("SDNQ", r"\.(zero_point|svd_up|svd_down)$"),
        ("HQQ", r"\.W_q$"),
        ("optimum-quanto", r"\._data$|\._scale$|\.qtype$"),
        ("torchao", r"_(weight_)?(qdata|scale_and_zero)$|\.tensor_impl"),
        ("MXFP8 with a tensor scale", r"\.weight_scalar$"),
        ("ComfyUI convrot", r"\.convrot"),
    )
)
_METHODS = {
    "svdquant": "SVDQuant (Nunchaku)",
    "nunchaku": "SVDQuant (Nunchaku)",
    "sdnq": "SDNQ",
    "bitsandbytes": "bitsandbytes",
}


@dataclass(frozen=True)
class Scheme:
    """How weights are stored. `scales`: weight -> its scale; `unused`: tensors that are not weights."""

    name: str = ""  # "" when no weight has a scale
    scales: Mapping[str, str] = field(default_factory=dict)
    unused: frozenset[str] = frozenset()


ReadBytes = Callable[[Tensor], bytes]


def scheme_of(tensors: Tensors, metadata: Mapping[str, Any], read: ReadBytes) -> Scheme:
    """Return the scheme of a safetensors file; `read` gives the bytes of one of its small tensors.

    Raises:
        BadFile: the scheme is not read ("scheme"), or its own description is broken ("scheme_broken").
    """
    _refuse_by_metadata(metadata)
    for scheme, pattern in _REFUSED:
        found = next((name for name in tensors if pattern.search(name)), None)
        if found is not None:
            raise BadFile("scheme", scheme=scheme)
    _refuse_by_comfy(tensors, metadata, read)
    scales = {weight: scale for scale in tensors if (weight := _weight_of(scale, tensors)) is not None}
    unused = frozenset(name for name in tensors if _is_marker(name)) | frozenset(scales.values())
    for weight, scale in scales.items():
        _check_scale(tensors[weight], tensors[scale], weight)
    for name, tensor in tensors.items():
        if (
            name not in unused
            and name not in scales
            and tensor.dtype not in (*UNQUANTISED, *FP8)
            and len(tensor.shape) > 1
        ):
            if not _counts(name):
                raise BadFile("scheme", scheme=_unscaled(name, tensor, tensors))
    kinds = {tensors[weight].dtype for weight in scales}
    name = "int8 scaled" if "I8" in kinds else "fp8 scaled" if scales else ""
    return Scheme(name, scales, unused)


def _weight_of(scale: str, tensors: Tensors) -> str | None:
    """The weight that a tensor is the scale of, or None."""
    names = (f"{scale.removesuffix(ending)}.weight" for ending in SCALES if scale.endswith(ending))
    return next((name for name in names if name in tensors), None)


def _is_marker(name: str) -> bool:
    return name.rpartition(".")[2] == MARKER or name.endswith((*INPUT_SCALES, COMFY_QUANT))


def _counts(name: str) -> bool:
    """Return whether integers are no weights: positions and the like."""
    return name.endswith(
        ("position_ids", "num_updates", "num_batches_tracked", "relative_position_index", "string_to_token")
    )


def _unscaled(name: str, tensor: Tensor, tensors: Tensors) -> str:
    stem = name.removesuffix(".weight")
    return "SDNQ" if f"{stem}.scale" in tensors else f"{tensor.dtype} without a scale"


def _check_scale(weight: Tensor, scale: Tensor, name: str) -> None:
    """Check that there is one scale, one a row, or one a block of equal sides."""
    if scale.dtype in ("F8_E8M0", "U8", "F8_E4M3"):
        raise BadFile("scheme", scheme="MXFP8")
    if weight.dtype not in (*FP8, *UNQUANTISED, "I8"):
        raise BadFile("scheme", scheme=f"{weight.dtype} with a scale")
    if scale.dtype not in UNQUANTISED or not scale_fits(weight.shape, scale.shape):
        raise BadFile("scheme_broken", name=name)


def scale_fits(weight: tuple[int, ...], scale: tuple[int, ...]) -> bool:
    """Return True when a scale of this shape can be spread over a weight: whole, by rows, or by blocks with two sides."""
    if all(side == 1 for side in scale):
        return True
    if weight and scale[0] == weight[0] and all(side == 1 for side in scale[1:]):
        return True
    return len(scale) == len(weight) == 2 and all(
        0 < parts <= side and -(-side // -(-side // parts)) == parts for side, parts in zip(weight, scale, strict=True)
    )


def _refuse_by_comfy(tensors: Tensors, metadata: Mapping[str, Any], read: ReadBytes) -> None:
    """ComfyUI names each layer's format, beside the layer or in the metadata; a key that is unknown may change the weight."""
    formats = []
    for name, tensor in tensors.items():
        if name.endswith(COMFY_QUANT):
            formats.append(_json(read(tensor), name) if tensor.bytes < 100_000 else None)
    if _METADATA in metadata:
        layers = (_json(str(metadata[_METADATA]).encode(), _METADATA) or {}).get("layers")
        formats += list(layers.values()) if isinstance(layers, dict) else [None]
    for layer in formats:
        if not isinstance(layer, dict) or not isinstance(layer.get("format"), str):
            raise BadFile("scheme_broken", name=COMFY_QUANT)
        if layer["format"] not in COMFY_FORMATS:
            raise BadFile("scheme", scheme=_comfy_name(layer["format"]))
        extra = {key for key, value in layer.items() if key not in _COMFY_NEUTRAL and value not in (None, False)}
        if extra:
            raise BadFile("scheme", scheme=f"ComfyUI {layer['format']} with {', '.join(sorted(map(str, extra)))}")


def _comfy_name(written: str) -> str:
    return {"nvfp4": "NVFP4", "mxfp8": "MXFP8"}.get(written, f"ComfyUI {written[:40]}")


def _json(data: bytes, name: str) -> dict[str, Any] | None:
    try:
        found = json.loads(data.rstrip(b"\0").decode("utf-8"))
    except (ValueError, RecursionError):
        raise BadFile("scheme_broken", name=name) from None
    return found if isinstance(found, dict) else None


def _refuse_by_metadata(metadata: Mapping[str, Any]) -> None:
    """Nunchaku, SDNQ and others name their method in the metadata."""
    for key in ("quantization_config", "model_class", "quantization"):
        written = str(metadata.get(key, "")).lower()
        method = next((name for word, name in _METHODS.items() if word in written), None)
        if method is not None:
            raise BadFile("scheme", scheme=method)
