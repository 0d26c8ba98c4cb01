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

import diffusers
import psutil
import torch
import transformers
from diffusers import ZImagePipeline

from core import __version__
from core.config.schema import AUTO
from core.errors import ModelLoadError
from core.model import memory, offload, quantization, tensorrt, tiers
from core.model.checks import check_folder, count_parameters
from core.model.preview import Previewer, load_previewer
from core.types import Decision, ModelInfo

log = logging.getLogger(__name__)

DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}
RELOAD_OPTIONS = (  # a change of these loads the model again
    "model.device",
    "model.dtype",
    "memory.low_vram",
    "memory.profile",
    "memory.quantization",
    "memory.offload",
    "memory.reserved_mb",
    "tensorrt.enabled",
)


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
    plan: tiers.Plan  # how it is held in memory
    blocks: Path | None = None  # the folder of what is offloaded to disk


class NoRoomError(torch.OutOfMemoryError):
    """Out of memory while the weights were read or moved, at this tier."""

    def __init__(self, tier: str, device: str) -> None:
        super().__init__(f"loading at tier {tier} on {device}")
        self.tier, self.device = tier, device


def load_model(info: ModelInfo, options: Mapping[str, Any], failed: str | None = None) -> LoadedModel:
    """Check the folder, choose device, dtype and tier, read the weights. ModelError when that fails.

    `failed` is the tier that ran out of memory: the next one below is taken.
    """
    began = time.perf_counter()
    folder = Path(info.path or "")
    check_folder(folder, info.id)
    wanted = (
        "cpu" if options["memory.profile"] == "cpu" and options["model.device"] == AUTO else options["model.device"]
    )
    device = choose_device(wanted, info.id)
    dtype = choose_dtype(options["model.dtype"], str(device.effective), folder)
    machine = memory.machine(str(device.effective), folder)
    plan = tiers.choose(options, machine, count_parameters(folder), info.default_width * info.default_height, failed)
    memory.reserve(str(device.effective), options["memory.reserved_mb"])
    try:
        pipeline = _read_pipeline(info.id, folder, DTYPES[str(dtype.effective)], plan.tier.quantization)
        blocks = _place(pipeline, str(device.effective), plan.tier, options)
    except torch.OutOfMemoryError as error:
        raise NoRoomError(plan.tier.name, str(device.effective)) from error
    seconds = time.perf_counter() - began
    log.info("%s loaded in %.1f s: %s, %s", info.id, seconds, device.effective, dtype.effective)
    return LoadedModel(
        model=info.id,
        info=info,
        device=str(device.effective),
        dtype=str(dtype.effective),
        pipeline=pipeline,
        previewer=load_previewer(folder),
        fingerprint=fingerprint(folder),
        load_seconds=seconds,
        decisions=(*(choice for choice in (device, dtype) if choice.requested == AUTO), *plan.decisions),
        versions=versions(),
        plan=plan,
        blocks=blocks,
    )


def _silence_libraries() -> None:
    """Their progress bars would stand in the middle of ours, and in the log."""
    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.disable_progress_bar()


def _read_pipeline(model: str, folder: Path, dtype: torch.dtype, kind: str = "none") -> Any:
    _silence_libraries()
    try:
        ready = {"transformer": quantization.read_gguf(folder, dtype)} if kind == "gguf" else {}
        pipeline = ZImagePipeline.from_pretrained(
            folder, dtype=dtype, use_safetensors=True, local_files_only=True, trust_remote_code=False, **ready
        )
    except torch.OutOfMemoryError:  # a RuntimeError, too
        raise
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, AttributeError) as error:  # what diffusers raises
        log.exception("loading %s failed", model)
        raise ModelLoadError(model=model, detail=f"{type(error).__name__}: {error}"[:300]) from error
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def _place(pipeline: Any, device: str, tier: tiers.Tier, options: Mapping[str, Any]) -> Path | None:
    """Quantised and moved as the tier says."""
    if options["tensorrt.enabled"]:
        tensorrt.apply(pipeline.transformer, device)
    quantization.apply(pipeline, tier.quantization)
    return offload.place(pipeline, device, tier.offload)


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


def choose_dtype(requested: str, device: str, folder: Path) -> Decision:
    """auto: bfloat16 on cards that have it; on the CPU float32 when the weights fit the free memory, else bfloat16."""
    if requested != AUTO:
        return Decision("model.dtype", requested, requested, _ASKED)
    if device == "cuda" and torch.cuda.is_bf16_supported():
        return Decision("model.dtype", AUTO, "bfloat16", _DTYPE_REASONS["card"])
    if device != "cpu":
        return Decision("model.dtype", AUTO, "float32", _DTYPE_REASONS["no_bf16"])
    if 2 * weight_bytes(folder) < psutil.virtual_memory().available:  # stored in 16 bits, 32 in memory
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


def weight_bytes(folder: Path) -> int:
    """Bytes of all safetensors files of the model."""
    return sum(path.stat().st_size for path in folder.rglob("*.safetensors"))


def fingerprint(folder: Path) -> str:
    """10 hex digits over names, sizes and first 64 KiB (the header) of the weight files: tells revisions apart in milliseconds."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.safetensors")):
        digest.update(f"{path.relative_to(folder).as_posix()} {path.stat().st_size}\n".encode())
        with path.open("rb") as file:
            digest.update(file.read(65536))
    return digest.hexdigest()[:10]


def versions() -> dict[str, str]:
    """The libraries that decide a picture's pixels, and the studio's own version."""
    return {"zdarkroom": __version__, **{name: version(name) for name in ("torch", "diffusers", "transformers")}}
