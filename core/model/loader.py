"""From a folder to a pipeline on a device, with the reason of each automatic choice.

What this module does not know: requests, jobs, pictures.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
import torch

from core import __version__
from core.config.schema import AUTO
from core.errors import ModelLoadError
from core.model.catalog import weight_files
from core.model.preview import Previewer, load_previewer
from core.model.reading import check_model, read_pipeline
from core.types import Decision, ModelInfo

log = logging.getLogger(__name__)

DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}
RELOAD_OPTIONS = ("model.device", "model.dtype", "memory.low_vram")  # a change of these loads the model again


@dataclass(frozen=True)
class LoadedModel:
    """A pipeline in memory and everything to say about it."""

    model: str
    info: ModelInfo
    device: str
    dtype: str
    pipeline: Any
    previewer: Previewer | None
    fingerprint: str
    load_seconds: float
    decisions: tuple[Decision, ...]
    versions: Mapping[str, str]


def load_model(info: ModelInfo, options: Mapping[str, Any]) -> LoadedModel:
    """Check the folder, choose device and dtype, read the weights. ModelFileError or ModelLoadError when that fails."""
    began = time.perf_counter()
    check_model(info)
    folder = Path(info.base or info.path or "")
    device = choose_device(options["model.device"], info.id)
    dtype = choose_dtype(options["model.dtype"], str(device.effective), info)
    pipeline = _read_pipeline(info, DTYPES[str(dtype.effective)])
    _place(pipeline, str(device.effective), options["memory.low_vram"])
    seconds = time.perf_counter() - began
    log.info("%s loaded in %.1f s: %s, %s", info.id, seconds, device.effective, dtype.effective)
    return LoadedModel(
        model=info.id,
        info=info,
        device=str(device.effective),
        dtype=str(dtype.effective),
        pipeline=pipeline,
        previewer=load_previewer(folder),
        fingerprint=fingerprint(info),
        load_seconds=seconds,
        decisions=tuple(choice for choice in (device, dtype) if choice.requested == AUTO),
        versions=versions(),
    )


def _read_pipeline(info: ModelInfo, dtype: torch.dtype) -> Any:
    try:
        return read_pipeline(info, dtype)
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, AttributeError) as error:  # what diffusers raises
        log.exception("loading %s failed", info.id)
        raise ModelLoadError(model=info.id, detail=f"{type(error).__name__}: {error}"[:300]) from error


def _place(pipeline: Any, device: str, low_vram: bool) -> None:
    """Onto the device, whole; or with low_vram on a card, each component only while it works."""
    if low_vram and device == "cuda":
        pipeline.enable_model_cpu_offload()
    else:
        pipeline.to(device)


def choose_device(requested: str, model: str) -> Decision:
    """auto: CUDA, then Apple's GPU, then the CPU. A device that is asked for and absent is an error, not a fallback."""
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if requested == AUTO:
        chosen = next(name for name, present in there.items() if present)
        return Decision("model.device", AUTO, chosen, _DEVICE_REASONS[chosen])
    if not there[requested]:
        present = ", ".join(name for name, here in there.items() if here)
        raise ModelLoadError(model=model, detail=f"model.device is {requested}, but this machine has only {present}")
    return Decision("model.device", requested, requested, _ASKED)


def choose_dtype(requested: str, device: str, info: ModelInfo) -> Decision:
    """auto: bfloat16 on cards that have it; on the CPU float32 when the weights fit the free memory, else bfloat16."""
    if requested != AUTO:
        return Decision("model.dtype", requested, requested, _ASKED)
    if device == "cuda" and torch.cuda.is_bf16_supported():
        return Decision("model.dtype", AUTO, "bfloat16", _DTYPE_REASONS["card"])
    if device != "cpu":
        return Decision("model.dtype", AUTO, "float32", _DTYPE_REASONS["no_bf16"])
    if 2 * weight_bytes(info) < psutil.virtual_memory().available:  # stored in 16 bits, 32 in memory
        return Decision("model.dtype", AUTO, "float32", _DTYPE_REASONS["cpu"])
    return Decision("model.dtype", AUTO, "bfloat16", _DTYPE_REASONS["cpu_small"])


_ASKED = {"en": "as set", "zh": "按设置"}
_DEVICE_REASONS = {
    "cuda": {"en": "an NVIDIA or AMD card with CUDA or ROCm is present", "zh": "检测到支持 CUDA 或 ROCm 的显卡"},
    "mps": {"en": "an Apple GPU is present", "zh": "检测到苹果 GPU"},
    "cpu": {"en": "no graphics card that PyTorch can use was found", "zh": "未找到 PyTorch 可用的显卡"},
}
_DTYPE_REASONS = {
    "card": {"en": "the card computes in bfloat16", "zh": "显卡支持 bfloat16 计算"},
    "no_bf16": {
        "en": "the device has no bfloat16, and float16 overflows in this model",
        "zh": "设备不支持 bfloat16，而 float16 在此模型中会溢出",
    },
    "cpu": {
        "en": "on the CPU float32 is exact, and the weights fit the free memory",
        "zh": "CPU 上 float32 精确，且权重可放入可用内存",
    },
    "cpu_small": {
        "en": "in float32 the weights would not fit the free memory",
        "zh": "以 float32 加载时权重超出可用内存",
    },
}


def weight_bytes(info: ModelInfo) -> int:
    """Bytes of the weight files that the model is read from."""
    return sum(path.stat().st_size for path in _weights(info))


def fingerprint(info: ModelInfo) -> str:
    """10 hex digits over names, sizes and first 64 KiB (the header) of the weight files: tells revisions apart in milliseconds."""
    digest = hashlib.sha256()
    path = Path(info.path or "")
    for file in _weights(info) if info.base else sorted(path.rglob("*.safetensors")):
        name = file.name if info.base else file.relative_to(path).as_posix()
        digest.update(f"{name} {file.stat().st_size}\n".encode())
        with file.open("rb") as opened:
            digest.update(opened.read(65536))
    return digest.hexdigest()[:10]


def _weights(info: ModelInfo) -> list[Path]:
    return weight_files(Path(info.path or ""), Path(info.base) if info.base else None)


def versions() -> dict[str, str]:
    """The libraries that decide a picture's pixels, and the studio's own version."""
    return {"zdarkroom": __version__, **{name: version(name) for name in ("torch", "diffusers", "transformers")}}
