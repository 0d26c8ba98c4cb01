"""The settings of PyTorch's CUDA allocator, which reads them from the environment when it starts, and never again."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from core.config.schema import AUTO

VARIABLE = "PYTORCH_CUDA_ALLOC_CONF"


def settings(values: Mapping[str, Any], given: str = "", platform: str = sys.platform) -> str:
    """Such as "expandable_segments:True,max_split_size_mb:128"; "" leaves all to PyTorch.

    `given` is what the variable holds already: who sets it by hand means it, and it wins.
    """
    if given:
        return given
    wanted = values["memory.expandable_segments"]
    expand = platform == "linux" if wanted == AUTO else wanted == "on"
    parts = {"expandable_segments": "True"} if expand else {}
    if values["memory.max_split_size_mb"] != AUTO:
        parts["max_split_size_mb"] = str(values["memory.max_split_size_mb"])
    return ",".join(f"{name}:{value}" for name, value in parts.items())
