"""Refuse weights that can't be right: numbers that no training makes, and files that changed although nobody replaced them.

A bit that flips within a number leaves another plausible number more often than not: that is noticed by the contents of the
file alone, when it was loaded before, and by `models check --verify`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

import torch

from core.i18n import localize
from core.inference.weight_reading import is_quantised
from core.models.fingerprint import Checksums
from core.models.validation import problem
from core.types import Decision, ModelInfo

LARGEST = 1e6  # of a weight: those of published models stay below a thousand; a flipped exponent gives 1e38
_FLOATS = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
_SCALES = {  # bytes of a GGUF block at which its scales (float16) begin
    "Q4_0": (0,), "Q4_1": (0, 2), "Q5_0": (0,), "Q5_1": (0, 2), "Q8_0": (0,), "Q2_K": (80, 82), "Q3_K": (108,),
    "Q4_K": (0, 2), "Q5_K": (0, 2), "Q6_K": (208,), "IQ4_NL": (0,), "IQ4_XS": (0,),
}  # fmt: skip


def check_values(part: str, file: Path, made: torch.nn.Module) -> None:
    """Raise ModelFileError for a part with a weight that is NaN, infinite or beyond LARGEST.

    In float16 infinity passes: a larger number of the file may have become it, for which there is `precision.auto_retry`.
    """
    for name, tensor in chain(made.named_parameters(), made.named_buffers()):
        for values in _numbers(tensor):
            low, high = (float(one) for one in torch.aminmax(values))
            top = max(abs(low), abs(high))  # NaN where one value is NaN
            overflowed = top == float("inf") and values.dtype == torch.float16 and not is_quantised(tensor)
            if not top <= LARGEST and not overflowed:
                raise problem(file.name, file.name, "weights_values", part=part, name=name, value=f"{top:.3g}")


def _numbers(tensor: torch.Tensor) -> Iterator[torch.Tensor]:
    """Yield the plain numbers of a weight; of one that a GGUF file stores quantised the scales of its blocks."""
    if tensor.is_meta or not tensor.numel():
        return
    if is_quantised(tensor):
        starts = _SCALES.get(tensor.quant_type.name, ())  # type: ignore[attr-defined]
        if starts:
            import gguf

            width = gguf.GGML_QUANT_SIZES[tensor.quant_type][1]  # type: ignore[attr-defined]
            blocks = tensor.detach().as_subclass(torch.Tensor).reshape(-1, width)
            for start in starts:
                yield blocks[:, start : start + 2].contiguous().view(torch.float16)
    elif tensor.dtype in _FLOATS and type(tensor) in (torch.Tensor, torch.nn.Parameter):
        yield tensor.detach()


def replaced(info: ModelInfo, known: Checksums, files: Sequence[Path]) -> tuple[Decision, ...]:
    """Say which weight files of a model are others than at an earlier load.

    Raises ModelFileError for one whose size and time are as they were: nobody has replaced it.
    """
    noticed = known.notice(files)
    for one in noticed:
        if one.quietly:
            raise problem(info.id, one.file.name, "decayed", since=one.since, path=str(one.file))
    return tuple(
        Decision("model.id", info.id, info.id, localize("inference.weight_checks.replaced", file=one.file.name, since=one.since))
        for one in noticed
    )
