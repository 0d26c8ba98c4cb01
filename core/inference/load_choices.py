"""Choose how a model is loaded before torch is there: the options that act on it, its number format, its quantisation.

The loader and the estimate of costs (core.studio.estimates) ask the same functions.
"""

from __future__ import annotations

import platform
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from core.config.options import SCHEMA
from core.config.schema import AUTO
from core.i18n import localize
from core.inference.memory_tiers import FP8_STORAGE
from core.models.part_sources import gguf_in
from core.models.weight_files import read_all
from core.types import Decision, ModelInfo

PACKAGES = {"int8": "torchao", "int8_dynamic": "torchao", "fp8": "torchao", "nf4": "bitsandbytes", "gguf": "gguf"}
FP8_CAPABILITY = (8, 9)  # Ada and newer multiply fp8 in hardware
BF16_CAPABILITY = (8, 0)  # Ampere and newer compute in bfloat16
MACOS_WITH_BF16 = 14  # PyTorch: bfloat16 on Apple's GPUs needs this version
COMPONENTS = ("text_encoder", "transformer", "vae")
TRUE_SIZE = 500_000_000  # parameters of a model whose time and memory count; smaller ones stay exact in float32
_BF16_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}  # in /proc/cpuinfo, of x86 and ARM
_FP16_FLAGS = {"avx512_fp16", "amx_fp16", "asimdhp"}
_CPU_INFO = Path("/proc/cpuinfo")


@dataclass(frozen=True)
class Hardware:
    """What computes: "cuda", "mps" or "cpu"; whether it does so in the 16-bit formats itself; the CUDA capability, if any."""

    device: str
    bfloat16: bool
    float16: bool = True
    capability: tuple[int, int] | None = None


# -- options -----------------------------------------------------------------------------------------------------------


def is_gguf(info: ModelInfo) -> bool:
    """Return True when the model is a single GGUF file."""
    path = Path(info.path or "")
    return path.is_file() and read_all(path).is_gguf


def acting_options(options: Mapping[str, Any], info: ModelInfo) -> tuple[dict[str, Any], tuple[Decision, ...]]:
    """Put options that do nothing for this model at their defaults, and the quantisation at the only one that it can have.

    A model for which quantisation does nothing has none. A GGUF file is quantised as it is.
    """
    key = "memory.quantization"
    acting = {name: SCHEMA.options[name].default if name in info.cannot else value for name, value in options.items()}
    if key not in info.cannot and not is_gguf(info):
        return acting, ()
    only, reason = ("none", info.cannot[key]) if key in info.cannot else ("gguf", _GGUF)
    decisions = () if options[key] in (AUTO, only) else (Decision(key, options[key], only, reason),)
    return {**acting, key: only}, decisions


# -- quantisation ------------------------------------------------------------------------------------------------------


def missing(kind: str, hardware: Hardware, info: ModelInfo | None = None) -> Mapping[str, str] | None:
    """Return what the quantisation `kind` lacks here, by language; None if it can be used. `info` is the model, if known."""
    if info is not None and "memory.quantization" in info.cannot:
        return info.cannot["memory.quantization"]
    if kind == FP8_STORAGE:
        return localize("inference.load_choices.no_fp8_on_mps") if hardware.device == "mps" else None
    package = PACKAGES[kind]
    if find_spec(package) is None:
        return localize("inference.load_choices.needs_the_package_pip_install_r", kind=kind, package=package)
    if kind == "fp8" and (hardware.capability is None or hardware.capability < FP8_CAPABILITY):
        return localize("inference.load_choices.fp8_needs")
    if kind == "nf4" and hardware.device != "cuda":
        return localize("inference.load_choices.nf4_needs")
    if kind == "gguf" and (info is None or not _has_gguf(info)):
        return localize("inference.load_choices.gguf_needs_a_gguf_file_in")
    return None


def _has_gguf(info: ModelInfo) -> bool:
    return is_gguf(info) or gguf_in(Path(info.base or info.path or "")) is not None


# -- number formats ----------------------------------------------------------------------------------------------------


def choose_dtype(requested: str, hardware: Hardware, parameters: int, available: int) -> Decision:
    """Return the number format of a model with so many parameters; `available` is the machine's free memory in bytes.

    auto: bfloat16 on GPUs that compute in it, else float16 (CUDA) or float32 (Apple). On the CPU bfloat16 for models of true
    size where the processor computes in it, else float32 if that fits, else bfloat16.
    """
    device = hardware.device
    if requested != AUTO:
        native = {"float32": True, "bfloat16": hardware.bfloat16, "float16": hardware.float16}[requested]
        reason = _ASKED if native else _reason("imitated", dtype=requested)
        return Decision("model.dtype", requested, requested, reason)
    if device == "cuda":
        selected, why = ("bfloat16", "gpu") if hardware.bfloat16 else ("float16", "old_gpu")
    elif device == "mps":
        selected, why = ("bfloat16", "gpu") if hardware.bfloat16 else ("float32", "no_bf16")
    elif hardware.bfloat16 and parameters >= TRUE_SIZE:
        selected, why = "bfloat16", "cpu_bf16"
    else:
        selected, why = ("float32", "cpu") if 4 * parameters < available else ("bfloat16", "cpu_small")
    return Decision("model.dtype", AUTO, selected, _reason(why))


def wanted_dtypes(options: Mapping[str, Any], whole: str) -> dict[str, str]:
    """Return the dtype of each component: its own option, or `whole` where that is auto.

    With float16 as the whole model's, the VAE takes float32: it is small, and has no clamping.
    """
    default = {"vae": "float32"} if whole == "float16" else {}
    return {
        component: default.get(component, whole)
        if options[f"{component}.dtype"] == AUTO
        else options[f"{component}.dtype"]
        for component in COMPONENTS
    }


def _reason(name: str, **values: str) -> dict[str, str]:
    return localize(f"inference.pipeline_loader.dtype_reasons.{name}", **values)


@cache
def cpu() -> Hardware:
    """Return what the processor computes in itself; neither of the 16-bit formats where that is not known."""
    flags = _cpu_flags()
    return Hardware("cpu", bool(flags & _BF16_FLAGS), bool(flags & _FP16_FLAGS))


def _cpu_flags() -> set[str]:
    if sys.platform == "darwin":
        asked = ["sysctl", "-n", "hw.optional.arm.FEAT_BF16"]
        output = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
        return {"asimdhp", "bf16"} if output == "1" else {"asimdhp"} if platform.machine() == "arm64" else set()
    try:
        text = _CPU_INFO.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return set()
    line = next((line for line in text.splitlines() if line.lower().startswith(("flags", "features"))), "")
    return set(line.split())


def apple_gpu() -> Hardware:
    """Return an Apple GPU; the system decides whether PyTorch may compute in bfloat16 there."""
    major = platform.mac_ver()[0].partition(".")[0]
    return Hardware("mps", major.isdigit() and int(major) >= MACOS_WITH_BF16)


_GGUF = localize("inference.pipeline_loader.gguf")
_ASKED = localize("inference.pipeline_loader.asked")
