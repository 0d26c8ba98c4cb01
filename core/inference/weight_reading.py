"""Read tensors of weight files into memory: converted, scaled or quantised, with progress, and cancellable while they are read."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from safetensors import safe_open
from torch.overrides import TorchFunctionMode

from core.errors import Cancelled
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
        count_copied(tensors[name].bytes)
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


SAMPLE_SECONDS, TELL_SECONDS = 0.02, 0.5
_present: ContextVar[LoadWatch | None] = ContextVar("load_watch", default=None)


class LoadWatch(TorchFunctionMode):
    """Look in between torch's calls, which is where reading can be interrupted without a thread.

    The libraries map weight files into memory, so what has been read is the growth of the mapped pages in memory; they go as soon
    as a tensor was converted or moved to a GPU. What is copied out of a file without a mapping is counted by `count_copied`.
    """

    def __init__(self, on_bytes: Callable[[int, int], None], is_cancelled: Callable[[], bool]) -> None:
        """Call `on_bytes(read, total)`, and ask whether to stop, twice a second."""
        super().__init__()
        self._on_bytes, self._is_cancelled = on_bytes, is_cancelled
        self._process = psutil.Process()
        self._read = self._total = self._mapped = 0
        self._next_sample = self._next_word = 0.0
        self._cancelled = False
        self._counts_mapped = True

    @contextmanager
    def over(self, files: Iterable[Path]) -> Iterator[None]:
        """Watch while these files are read. Raises Cancelled inside."""
        self._read, self._total = 0, sum(file.stat().st_size for file in set(files))
        self._mapped = self._mapped_now()
        token = _present.set(self)
        try:
            with self:
                yield
        except Exception:
            if self._cancelled:  # the libraries make an error of their own of whatever is raised while they read
                raise Cancelled from None
            raise
        finally:
            _present.reset(token)

    @contextmanager
    def counting(self, total: int) -> Iterator[None]:
        """Tell meanwhile of `total` bytes that are written, by `count_copied`, in place of those that are read."""
        before, self._counts_mapped = (self._read, self._total), False
        self._read, self._total = 0, total
        try:
            yield
        finally:
            self._read, self._total = before
            self._mapped, self._counts_mapped = self._mapped_now(), True

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.look()
        return func(*args, **(kwargs or {}))

    def look(self, copied: int = 0) -> None:
        """Count what has been read since the last look, and `copied` bytes; tell it now and then. Raises Cancelled."""
        self._read += copied
        now = time.monotonic()
        if now < self._next_sample:
            return
        self._next_sample = now + SAMPLE_SECONDS
        if self._counts_mapped:
            mapped = self._mapped_now()
            self._read += max(0, mapped - self._mapped)
            self._mapped = mapped
        if now < self._next_word:
            return
        self._next_word = now + TELL_SECONDS
        self._cancelled = self._cancelled or self._is_cancelled()
        if self._cancelled:
            raise Cancelled
        self._on_bytes(min(self._read, self._total), self._total)

    def _mapped_now(self) -> int:
        """Return the bytes of mapped files in memory; where the system does not tell, all memory of the process."""
        memory = self._process.memory_info()
        return int(getattr(memory, "shared", memory.rss))


def count_copied(count: int) -> None:
    """Tell the watch, if there is one, of bytes that were copied out of a file that is not mapped."""
    watch = _present.get()
    if watch is not None:
        watch.look(count)
