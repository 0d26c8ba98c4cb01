"""Read tensors of weight files into memory: converted to one dtype, multiplied by their scales, or quantised as GGUF has them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open

from core.inference import load_watch
from core.models.single_file import storage_of
from core.models.weight_files import UNQUANTISED, Tensor, read_all

MAPPED = 64_000_000  # bytes of a file at a time, see read_tensors
_PLAIN = {"F32": (np.float32, torch.float32), "F16": (np.float16, torch.float16), "BF16": (np.int16, torch.bfloat16)}


def read_tensors(file: Path, names: Iterable[str], dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Return these tensors of a file in `dtype`, each multiplied by its scale; quantised ones of a GGUF file stay so.

    What is stored in `dtype` stays mapped; of the rest no more than MAPPED bytes are mapped at a time, so that what was stored and
    what was made of it are not both in memory.
    """
    if read_all(file).is_gguf:
        return _read_gguf(file, names, dtype)
    wanted, scales = list(names), storage_of(file).scales
    found: dict[str, torch.Tensor] = {}
    left = list(wanted)
    while left:
        with safe_open(file, "pt") as opened:
            copied = 0
            while left and copied < MAPPED:
                name = left.pop()
                tensor = opened.get_tensor(name)
                scale = opened.get_tensor(scales[name]) if name in scales else None
                found[name] = scaled(tensor, scale).to(dtype) if scale is not None else tensor.to(dtype)
                copied += 0 if found[name] is tensor else tensor.numel() * tensor.element_size()
    return {name: found[name] for name in wanted}


def scaled(weight: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """Return weight x scale in float32; the scale is one number, one a row, or one a block of both sides.

    Raises:
        ValueError: a scale is not a finite number.
    """
    factor = scale.to(torch.float32)
    if not torch.isfinite(factor).all():
        raise ValueError("a scale of the quantised weights is not a finite number")
    values = weight.to(torch.float32)
    if factor.numel() == 1:
        return values * factor.reshape(())
    if factor.shape[0] == weight.shape[0] and factor.numel() == weight.shape[0]:
        return values * factor.reshape(-1, *[1] * (weight.dim() - 1))
    for axis in (0, 1):
        block = -(-weight.shape[axis] // factor.shape[axis])
        factor = factor.repeat_interleave(block, dim=axis).narrow(axis, 0, weight.shape[axis])
    return values * factor


def _read_gguf(file: Path, names: Iterable[str], dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Quantised matrices stay as they are stored; everything else becomes a plain tensor in `dtype`."""
    tensors = read_all(file).tensors
    found = {}
    for name in names:
        found[name] = _gguf_tensor(file, tensors[name], dtype)
        load_watch.copied(tensors[name].bytes)
    return found


def _gguf_tensor(file: Path, tensor: Tensor, dtype: torch.dtype) -> torch.Tensor:
    if tensor.dtype in UNQUANTISED:
        stored, kind = _PLAIN[tensor.dtype]
        values = np.fromfile(file, stored, tensor.values, offset=tensor.offset)
        return torch.from_numpy(values).view(kind).reshape(tensor.shape).to(dtype)
    import gguf
    from diffusers.quantizers.gguf.utils import GGUFParameter, dequantize_gguf_tensor

    width = tensor.bytes // max(1, tensor.values // tensor.shape[-1])
    data = torch.from_numpy(np.fromfile(file, np.uint8, tensor.bytes, offset=tensor.offset))
    parameter = GGUFParameter(
        data.reshape(*tensor.shape[:-1], width), quant_type=gguf.GGMLQuantizationType[tensor.dtype]
    )
    if len(tensor.shape) != 2:
        return torch.as_tensor(dequantize_gguf_tensor(parameter)).to(dtype)
    return parameter


def is_quantised(tensor: Any) -> bool:
    """Return True for a matrix that stays as a GGUF file stores it."""
    return getattr(tensor, "quant_type", None) is not None


def dequantised(tensor: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Return the plain tensor of one that a GGUF file stores quantised; any other as it is."""
    if not is_quantised(tensor):
        return tensor
    from diffusers.quantizers.gguf.utils import dequantize_gguf_tensor

    return torch.as_tensor(dequantize_gguf_tensor(tensor)).to(dtype)


def rows(tensor: torch.Tensor, part: int, parts: int) -> torch.Tensor:
    """Return one of several equal parts of a matrix by rows; a quantised one stays so, since its blocks lie within rows."""
    count = tensor.shape[0] // parts
    if not is_quantised(tensor):
        return tensor.narrow(0, part * count, count)
    from diffusers.quantizers.gguf.utils import GGUFParameter

    return GGUFParameter(tensor.as_tensor().narrow(0, part * count, count), quant_type=tensor.quant_type)  # type: ignore[attr-defined]


def unused_inputs(weights: Mapping[str, torch.Tensor], model: torch.nn.Module) -> list[str]:
    """Return the names of tensors that are in none of the model's weights, by where they lie in memory."""
    used = sorted(tensor.data_ptr() for tensor in model.state_dict().values())
    pointers = np.array(used, dtype=np.int64)

    def is_used(tensor: torch.Tensor) -> bool:
        begin = tensor.data_ptr()
        index = int(np.searchsorted(pointers, begin))
        return index < len(pointers) and pointers[index] < begin + max(1, tensor.numel() * tensor.element_size())

    return [name for name, tensor in weights.items() if tensor.numel() and not is_used(tensor)]
