"""Compile the transformer's blocks, one by one, with torch.compile or TensorRT: warmed up with progress, undone without loss.

Sizes are dynamic from the first compilation on, so that no image of another size or prompt compiles again. Guidance, which
makes a batch of two, compiles a second time, and a batch of unlike prompts, which needs a mask, a third.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch
import torch._dynamo
from torch._dynamo.utils import counters
from torch._inductor import cpp_builder
from torch.utils._triton import has_triton

from core.config.typed_settings import Options
from core.errors import UnavailableError
from core.i18n import localize
from core.types import Decision

log = logging.getLogger(__name__)

OPTION = "compile.enabled"
MODES: Mapping[str, Mapping[str, str]] = {  # see compile.mode's help
    "default": {"mode": "default"},
    "max-autotune": {"mode": "max-autotune-no-cudagraphs"},
}
GRAPHS_LIMIT = 64  # of one block's code; torch's own 8 would be used up by a few changes of live options

OnWarmUp = Callable[[int, int], None]  # forwards done, and of how many


@dataclass
class Compiled:
    """The compiled parts of a loaded model, kept while compilation is off."""

    calls: dict[Hashable, list[Any]] = field(default_factory=dict)
    warm: dict[Hashable, float] = field(default_factory=dict)  # seconds that it took
    failed: dict[Hashable, Mapping[str, str]] = field(default_factory=dict)


def problem(device: str) -> Mapping[str, str] | None:
    """Return why nothing can be compiled for the device, or None. Looks for the compiler only, without running it."""
    if device == "cuda":
        return None if has_triton() else _REASONS["triton"]
    try:
        cpp_builder.get_cpp_compiler()
    except Exception:  # torch raises its own kinds, which differ between systems
        return _REASONS["cpp"]
    return None


def apply(
    transformer: Any,
    compiled: Compiled,
    options: Mapping[str, Any],
    device: str,
    variant: tuple[Hashable, bool],
    on_warm_up: OnWarmUp,
) -> Decision | None:
    """Compile the blocks, or restore the plain ones. The decision says how long it took, or why it was not done.

    `variant`: what else changes the graphs (the attention's plan), and whether the batch has guidance.
    """
    way = (Options(options).compile.mode, Options(options).compile.fullgraph)
    if not options[OPTION]:
        _switch_off(transformer)
        return None
    key = (way, *variant)
    reason = problem(device) or compiled.failed.get(key)
    if reason is None:
        _switch_on(transformer, compiled, way)
        if key not in compiled.warm:
            reason = _warm_up(transformer, compiled, key, variant[1], device, on_warm_up)
    if reason is not None:
        _switch_off(transformer)
        return Decision(OPTION, True, False, reason)
    return Decision(OPTION, True, True, _took(compiled.warm[key]))


def graphs() -> int:
    """Return how many graphs this process has compiled."""
    return int(counters["stats"]["unique_graphs"])


def _blocks(transformer: Any) -> list[Any]:
    return [module for module in transformer.modules() if type(module).__name__ in transformer._repeated_blocks]


def _switch_off(transformer: Any) -> None:
    for block in _blocks(transformer):
        block._compiled_call_impl = None


def _switch_on(transformer: Any, compiled: Compiled, way: tuple[str, bool]) -> None:
    """As `compile_repeated_blocks` does; calls that were compiled before are used again."""
    if way not in compiled.calls:
        torch._dynamo.config.recompile_limit = GRAPHS_LIMIT
        transformer.compile_repeated_blocks(fullgraph=way[1], dynamic=True, **MODES[way[0]])
        compiled.calls[way] = [block._compiled_call_impl for block in _blocks(transformer)]
    for block, call in zip(_blocks(transformer), compiled.calls[way], strict=True):
        block._compiled_call_impl = call


def _warm_up(
    transformer: Any, compiled: Compiled, key: Hashable, guided: bool, device: str, on_warm_up: OnWarmUp
) -> Mapping[str, str] | None:
    """Run the batches that images have, so that they are compiled now and not in the middle of one; why it failed."""
    batches = [(20,), (20, 20), (20, 40)] if guided else [(20,)]  # lengths of the prompts, in tokens
    began = time.perf_counter()
    try:
        for k, lengths in enumerate(batches):
            on_warm_up(k, len(batches))
            _forward(transformer, lengths, device)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # a compiler's errors are of many kinds; images can be made without it
        log.exception("compiling failed")
        message = " ".join(str(error).strip().split("\n\n")[0].split())[:200]  # what follows is advice for developers
        compiled.failed[key] = _failed(f"{type(error).__name__}: {message}")
        return compiled.failed[key]
    compiled.warm[key] = time.perf_counter() - began
    log.info("compiled in %.1f s, %d graphs", compiled.warm[key], graphs())
    return None


@torch.no_grad()  # as the pipeline runs it: a graph holds for the mode of gradients that it was made in
def _forward(transformer: Any, lengths: tuple[int, ...], device: str) -> None:
    like: dict[str, Any] = {"device": device, "dtype": transformer.dtype}
    width = transformer.config.cap_feat_dim
    transformer(
        [torch.zeros(transformer.in_channels, 1, 12, 20, **like) for _ in lengths],
        torch.full((len(lengths),), 0.5, device=device),
        [torch.ones(length, width, **like) for length in lengths],
        return_dict=False,
    )


_REASONS = {
    "cpp": localize("inference.torch_compile.reasons.cpp"),
    "triton": localize("inference.torch_compile.reasons.triton"),
}


def _failed(detail: str) -> Mapping[str, str]:
    return localize("inference.torch_compile.compiling_failed_so_the_plain_blocks", detail=detail)


def _took(seconds: float) -> Mapping[str, str]:
    return localize("inference.torch_compile.compiled_in_s", seconds=seconds)


TENSORRT_PACKAGE = "torch_tensorrt"


def tensorrt_missing(device: str) -> Mapping[str, str] | None:
    """Return what is missing, by language; None if TensorRT can be used."""
    lacks = [_lacks_package(), _lacks_gpu(device)]
    found = [words for words in lacks if words]
    if not found:
        return None
    return {"en": "; ".join(words["en"] for words in found), "zh": "；".join(words["zh"] for words in found)}


def _lacks_package() -> Mapping[str, str] | None:
    """torch_tensorrt is built for one minor version of PyTorch: 2.13 goes with 2.13."""
    wanted = ".".join(torch.__version__.split(".")[:2])
    try:
        present = version(TENSORRT_PACKAGE)
    except PackageNotFoundError:
        present = ""
    if present.startswith(f"{wanted}."):
        return None
    there = localize("inference.torch_compile.not", present=present) if present else {"en": "", "zh": ""}
    return localize(
        "inference.torch_compile.the_package_is_needed_pip_install",
        package=TENSORRT_PACKAGE,
        wanted=wanted,
        there=there,
    )


def _lacks_gpu(device: str) -> Mapping[str, str] | None:
    if device == "cuda" and torch.version.cuda is not None:
        return None
    return localize("inference.torch_compile.needs_cuda", device=device)


def apply_tensorrt(transformer: Any, device: str) -> None:
    """Compile the repeated blocks with TensorRT at their first call. Raises UnavailableError with what is missing."""
    lacking = tensorrt_missing(device)
    if lacking:
        raise UnavailableError(key="tensorrt.enabled", value="true", reason=lacking)
    import torch_tensorrt  # noqa: F401  (it registers the backend)

    transformer.compile_repeated_blocks(backend=TENSORRT_PACKAGE, dynamic=True)
