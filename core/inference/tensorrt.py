"""TensorRT for the transformer's blocks, where everything that it needs is there; else exactly what is missing.

It was never run by the project's own tests, which have no GPU: what is tested is that nothing is pretended.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

from core.errors import UnavailableError
from core.i18n import localize

PACKAGE = "torch_tensorrt"


def missing(device: str) -> Mapping[str, str] | None:
    """Return what is missing, by language; None if TensorRT can be used."""
    lacks = [_lacks_package(), _lacks_card(device)]
    found = [words for words in lacks if words]
    if not found:
        return None
    return {"en": "; ".join(words["en"] for words in found), "zh": "；".join(words["zh"] for words in found)}


def _lacks_package() -> Mapping[str, str] | None:
    """torch_tensorrt is built for one minor version of PyTorch: 2.13 goes with 2.13."""
    wanted = ".".join(torch.__version__.split(".")[:2])
    try:
        present = version(PACKAGE)
    except PackageNotFoundError:
        present = ""
    if present.startswith(f"{wanted}."):
        return None
    there = localize("inference.tensorrt.not", present=present) if present else {"en": "", "zh": ""}
    return localize("inference.tensorrt.the_package_is_needed_pip_install", package=PACKAGE, wanted=wanted, there=there)


def _lacks_card(device: str) -> Mapping[str, str] | None:
    if device == "cuda" and torch.version.cuda is not None:
        return None
    return localize("inference.tensorrt.needs_cuda", device=device)


def apply(transformer: Any, device: str) -> None:
    """Compile the repeated blocks with TensorRT at their first call. Raises UnavailableError with what is missing."""
    lacking = missing(device)
    if lacking:
        raise UnavailableError(key="tensorrt.enabled", value="true", reason=lacking)
    import torch_tensorrt  # noqa: F401  (it registers the backend)

    transformer.compile_repeated_blocks(backend=PACKAGE, dynamic=True)
