"""Write the parts of a model in the form in which they are used, and read them back, which only maps or copies the file.

Reading float32 that is used as bfloat16 takes twice the bytes, and int8 and fp8 are computed anew at each load; of a prepared part
neither is done. The header of a prepared file holds the part's class and configuration; its tensors are those of the part, bit for
bit, also buffers that the libraries do not save. What torchao has quantised is stored by its own names and descriptions.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import struct
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from accelerate import init_empty_weights
from safetensors import safe_open
from torch import nn

from core.errors import ModelError
from core.i18n import localize
from core.inference.memory_tiers import FP8_STORAGE, GIGA, QUANTISED
from core.inference.weight_checks import check_values
from core.inference.weight_reading import LoadWatch, count_copied, is_quantised
from core.models.families.base import CONTROLNET
from core.models.part_sources import Files, stored_sizes
from core.models.prepared_files import file_of, superseded
from core.models.weight_files import BadFile, read_all
from core.types import Decision

log = logging.getLogger(__name__)

OPTION = "models.prepare"
KINDS = ("none", "int8", "int8_dynamic", "fp8", FP8_STORAGE)  # can be stored: nf4 is made on the GPU, GGUF stays as its file has it
SMALLEST = 1_000_000_000  # bytes of a part as it is stored: reading less takes a second or two
GAIN = 0.75  # times the stored bytes: a form that takes more is not worth its disk space
SPARE = 5_000_000_000  # bytes that stay free on the disk
CHUNK = 16 << 20  # bytes that are written at a time
_NAMES = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.float8_e4m3fn: "F8_E4M3",
    torch.int64: "I64", torch.int32: "I32", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8", torch.bool: "BOOL",
}  # fmt: skip
_LIBRARIES = {"diffusers": diffusers, "transformers": transformers}


@dataclass(frozen=True)
class PreparedWeights:
    """The prepared parts of one model, for the form in which it is loaded now."""

    store: Path
    model: str
    files: Files
    hashes: Mapping[str, str]  # of each part's weights as they are stored
    forms: Mapping[str, str]  # of each part that may be prepared

    def find(self, part: str) -> Path | None:
        """Return the file of a part; None where there is none."""
        file = self._file(part) if part in self.forms else None
        return file if file is not None and file.is_file() else None

    def present(self) -> dict[str, Path]:
        """Return the files of the parts that are prepared."""
        return {part: file for part in self.forms if (file := self.find(part)) is not None}

    def read(self, part: str, device: str = "cpu") -> nn.Module | None:
        """Return a prepared part on `device`; None where there is none, or where its file is damaged: it is then removed."""
        file = self.find(part)
        if file is None:
            return None
        try:
            made = read_part(file, device)
            check_values(part, file, made)
        except (torch.OutOfMemoryError, MemoryError):
            raise
        except (ModelError, BadFile, OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError):
            log.exception("%s can't be used and is removed; the original weights are read", file.name)
            file.unlink(missing_ok=True)
            return None
        return made

    def write(self, modules: Mapping[str, nn.Module], watch: LoadWatch | None) -> tuple[Decision, ...]:
        """Write the parts that are worth it; say which, or why none. A disk that refuses does not fail the load.

        Raises Cancelled; nothing half written stays.
        """
        worth = self._worth(modules)
        total = sum(worth.values())
        if not worth:
            return ()
        self.store.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(self.store).free
        if free < total + SPARE:
            reason = localize("inference.prepared_weights.no_room", needed=(total + SPARE) / GIGA, free=free / GIGA)
            return (Decision(OPTION, "auto", "never", reason),)
        try:
            with watch.counting(total) if watch is not None else nullcontext():
                for part in worth:
                    notes = {"model": self.model, "part": part, "form": self.forms[part]}
                    write_part(self._file(part), modules[part], notes)
        except OSError as error:
            log.exception("the prepared weights of %s could not be written", self.model)
            reason = localize("inference.prepared_weights.not_written", detail=f"{type(error).__name__}: {error}"[:200])
            return (Decision(OPTION, "auto", "never", reason),)
        reason = localize("inference.prepared_weights.written", parts=", ".join(worth), size=total / GIGA)
        return (Decision(OPTION, "auto", "auto", reason),)

    def decisions(self, parts: Mapping[str, Path]) -> tuple[Decision, ...]:
        """Say which parts were read from prepared files."""
        if not parts:
            return ()
        forms = ", ".join(f"{part} ({self.forms[part]})" for part in parts)
        return (Decision(OPTION, "auto", "auto", localize("inference.prepared_weights.read", parts=forms)),)

    def _file(self, part: str) -> Path:
        return file_of(self.store, part, self.forms[part], self.hashes[part])

    def _worth(self, modules: Mapping[str, nn.Module]) -> dict[str, int]:
        """Return the bytes of the parts that are to be written: large ones that take less than as they are stored."""
        stored = stored_sizes(*self.files)
        found = {}
        for part in self.forms:
            module = modules.get(part)
            if (
                module is None
                or stored.get(part, 0) < SMALLEST
                or self.find(part) is not None
                or not _can_store(module)
            ):
                continue
            size = sum(inner.nbytes for _, tensor in _tensors(module) for inner in _inner(tensor))
            if size <= GAIN * stored[part]:
                found[part] = size
        return found


def forms_of(parts: Mapping[str, str], dtypes: Mapping[str, str], kind: str, apart: bool) -> dict[str, str]:
    """Return the form of each part that may be prepared, such as "bfloat16" or "bfloat16-int8"; none for nf4 and GGUF.

    `parts`: the component whose options each part follows. `kind`: the quantization. `apart`: text encoders are not quantised.
    """
    if kind not in KINDS:
        return {}
    quantised = () if kind == "none" else ("transformer",) if apart else QUANTISED
    return {
        part: dtypes[component] + (f"-{kind}" if part in quantised else "")
        for part, component in parts.items()
        if part != CONTROLNET
    }


# -- one file ----------------------------------------------------------------------------------------------------------


def write_part(file: Path, module: nn.Module, notes: Mapping[str, str]) -> None:
    """Write a part atomically, and remove what it supersedes. The watch counts the bytes, and may raise Cancelled."""
    tensors: dict[str, torch.Tensor] = {}
    aliases: dict[str, str] = {}
    quantised: dict[str, Any] = {}
    first: dict[int, str] = {}
    for name, tensor in _tensors(module):
        if (same := first.setdefault(id(tensor), name)) != name:
            aliases[name] = same
        elif is_by_torchao(tensor):
            inner, quantised[name] = _flattened(name, tensor)
            tensors |= inner
        else:
            tensors[name] = tensor
    library = "diffusers" if isinstance(module, diffusers.ModelMixin) else "transformers"
    config = module.to_json_string() if library == "diffusers" else module.config.to_json_string(use_diff=False)  # type: ignore[operator, union-attr]
    told = {
        **notes, "library": library, "class": type(module).__name__, "config": config, "aliases": json.dumps(aliases),
        "quantised": json.dumps(quantised),
    }  # fmt: skip
    file.parent.mkdir(parents=True, exist_ok=True)
    for old in superseded(file):
        old.unlink(missing_ok=True)
    half = file.with_suffix(".part")
    try:
        with half.open("wb") as stream:
            stream.write(_header(tensors, told))
            for tensor in tensors.values():
                data = memoryview(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
                for start in range(0, len(data), CHUNK):
                    count_copied(stream.write(data[start : start + CHUNK]))
            stream.flush()
            os.fsync(stream.fileno())
        half.replace(file)
    finally:
        half.unlink(missing_ok=True)


def _header(tensors: Mapping[str, torch.Tensor], notes: Mapping[str, str]) -> bytes:
    """Return a safetensors header, its length first, padded so that the tensors begin at a multiple of 8 bytes."""
    header: dict[str, Any] = {"__metadata__": dict(notes)}
    end = 0
    for name, tensor in tensors.items():
        begin, end = end, end + tensor.nbytes
        header[name] = {"dtype": _NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [begin, end]}
    words = json.dumps(header).encode()
    words += b" " * (-len(words) % 8)
    return struct.pack("<Q", len(words)) + words


def read_part(file: Path, device: str = "cpu") -> nn.Module:
    """Return the part of a prepared file: mapped on the CPU, on another device copied there without a copy on the host.

    Raises BadFile, OSError, and KeyError or ValueError for a file that was written otherwise.
    """
    header = read_all(file)
    notes, config = header.metadata, json.loads(header.metadata["config"])
    kind: Any = getattr(_LIBRARIES[notes["library"]], notes["class"])
    if nn.Module not in getattr(kind, "__mro__", ()):
        raise ValueError(f"{notes['class']} is no module")
    with init_empty_weights():
        made: Any = (
            kind.from_config(config) if notes["library"] == "diffusers" else kind(kind.config_class.from_dict(config))
        )
    quantised, aliases = json.loads(notes["quantised"]), json.loads(notes["aliases"])
    with safe_open(file, "pt", device=device) as opened:
        found = {name: opened.get_tensor(name) for name in header.tensors}
    for name, told in quantised.items():
        _put(made, name, _unflattened(name, told, found))
    inner = {
        _inner_name(name, key) for name, told in quantised.items() for key in json.loads(told)["_tensor_data_names"]
    }
    for name, tensor in found.items():
        if name not in inner:
            _put(made, name, tensor)
    for name, first in aliases.items():
        _put(made, name, made.get_parameter(first) if first in dict(made.named_parameters()) else found[first])
    missing = [name for name, weight in made.named_parameters() if weight.is_meta]
    if missing:
        raise ValueError(f"no weights for {missing[0]}")
    return made.eval()  # type: ignore[no-any-return]


def _put(made: nn.Module, name: str, tensor: torch.Tensor) -> None:
    path, _, last = name.rpartition(".")
    module = made.get_submodule(path)
    if last in module._buffers:
        module._buffers[last] = tensor
    elif last not in module._parameters:
        raise KeyError(name)
    else:
        kept = isinstance(tensor, nn.Parameter)
        module._parameters[last] = tensor if kept else nn.Parameter(tensor, requires_grad=False)


# -- tensors -----------------------------------------------------------------------------------------------------------


def _tensors(module: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield parameters and buffers by name, shared ones under each of their names."""
    yield from module.named_parameters(remove_duplicate=False)
    yield from module.named_buffers(remove_duplicate=False)


def _can_store(module: nn.Module) -> bool:
    """Return False for what a library has quantised by itself, and for tensors of kinds that are not known."""
    if getattr(module, "hf_quantizer", None) is not None:
        return False
    plain = (torch.Tensor, nn.Parameter)
    return all(
        not is_quantised(tensor)
        and not tensor.is_meta
        and (is_by_torchao(tensor) or (type(tensor) in plain and tensor.dtype in _NAMES))
        for _, tensor in _tensors(module)
    )


def is_by_torchao(tensor: torch.Tensor) -> bool:
    """Return True for a weight that torchao has quantised."""
    return type(tensor.data).__module__.startswith("torchao.")


def _inner(tensor: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Return the plain tensors that hold a weight."""
    if not is_by_torchao(tensor):
        return (tensor,)
    names = tensor.data.__tensor_flatten__()[0]  # type: ignore[attr-defined]
    return tuple(getattr(tensor.data, name) for name in names)


def _inner_name(name: str, key: str) -> str:
    """Return torchao's name for a tensor of a quantised weight."""
    module, _, last = name.rpartition(".")
    return f"{module}._{last}_{key}"


def _flattened(name: str, tensor: torch.Tensor) -> tuple[dict[str, torch.Tensor], str]:
    """Return the plain tensors of a quantised weight by torchao's names, and its description."""
    from torchao.prototype.safetensors.safetensors_support import flatten_tensor_state_dict

    inner, told = flatten_tensor_state_dict({name: tensor.data})  # type: ignore[dict-item]
    return inner, str(told[name])


def _unflattened(name: str, told: str, found: Mapping[str, torch.Tensor]) -> torch.Tensor:
    from torchao.prototype.safetensors.safetensors_support import unflatten_tensor_state_dict

    keys = json.loads(told)["_tensor_data_names"]
    own = {full: found[full] for full in (_inner_name(name, key) for key in keys)}
    made, _ = unflatten_tensor_state_dict(own, {name: told, "tensor_names": json.dumps([name])})
    return made[name]  # type: ignore[no-any-return]
