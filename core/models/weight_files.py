"""The two formats that weights are read from, judged by their headers alone: safetensors and GGUF. And what a pickle looks like.

A header says how long its file must be: a cut or padded file is found in milliseconds, before any memory is taken.
"""

from __future__ import annotations

import io
import json
import math
import pickletools
import struct
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

SAFETENSORS, GGUF = ".safetensors", ".gguf"
LONGEST_HEADER = 100_000_000  # bytes; the safetensors format's own limit
MOST_ENTRIES = 1_000_000  # tensors or keys of a GGUF file; real ones have thousands
ALIGNMENT = 32  # of a GGUF file's data, unless it names another

_BYTES_OF = {
    "F64": 8, "I64": 8, "U64": 8, "F32": 4, "I32": 4, "U32": 4, "F16": 2, "BF16": 2, "I16": 2, "U16": 2,
    "F8_E4M3": 1, "F8_E5M2": 1, "F8_E8M0": 1, "I8": 1, "U8": 1, "BOOL": 1, "C64": 8,
}  # fmt: skip
# GGML's number of a type -> (values of a block, bytes of a block): those that diffusers can read.
_BLOCKS = {
    0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34), 10: (256, 84),
    11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210), 30: (1, 2),
}  # fmt: skip
_NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}  # GGUF's values
_STRING, _ARRAY = 8, 9


class BadFile(Exception):
    """`kind` is one of core.models.validation.PROBLEMS."""

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind


@dataclass(frozen=True)
class Tensor:
    """Of a header. `shape` as torch has it, in both formats; `bytes` as stored."""

    shape: tuple[int, ...]
    bytes: int


def stamp(path: Path) -> tuple[int, int]:
    """What changes when a file does, so that what was read of it may be kept: time (ns) and size (bytes). Raises OSError."""
    stat = path.stat()
    return stat.st_mtime_ns, stat.st_size


def read_header(path: Path) -> Mapping[str, Tensor]:
    """The tensors of a safetensors or GGUF file by name; BadFile when it is neither, or not as long as it must be."""
    if is_pickle(path):
        raise BadFile("pickle")
    with path.open("rb") as file:
        magic = file.read(4)
        file.seek(0)
        size = path.stat().st_size
        return _gguf(file, size) if magic == b"GGUF" else _safetensors(file, size)


def read_notes(path: Path) -> Mapping[str, str]:
    """The `__metadata__` of a safetensors file whose header `read_header` has found good: texts by name."""
    with path.open("rb") as file:
        header = json.loads(file.read(struct.unpack("<Q", file.read(8))[0]))
    notes = header.get("__metadata__")
    return {str(name): str(text) for name, text in notes.items()} if isinstance(notes, dict) else {}


# -- safetensors -------------------------------------------------------------------------------------------------------


def _safetensors(file: BinaryIO, size: int) -> Mapping[str, Tensor]:
    """8 bytes length, a header in JSON, the tensors' bytes one after the other."""
    start = file.read(8)
    if len(start) < 8:
        raise BadFile("truncated")
    (length,) = struct.unpack("<Q", start)
    if length > LONGEST_HEADER:
        raise BadFile("header")
    if length > size - 8:
        raise BadFile("truncated")
    try:
        header = json.loads(file.read(length))
        entries = {name: _entry(entry) for name, entry in header.items() if name != "__metadata__"}
    except (ValueError, TypeError, KeyError, AttributeError, IndexError):
        raise BadFile("header") from None
    end = 0
    for begin, stop, _tensor in sorted(entries.values(), key=lambda entry: entry[:2]):
        if begin != end:
            raise BadFile("header")  # a gap or an overlap
        end = stop
    if size < 8 + length + end:
        raise BadFile("truncated")
    if size > 8 + length + end:
        raise BadFile("longer")
    return {name: tensor for name, (_begin, _stop, tensor) in entries.items()}


def _entry(entry: Mapping[str, Any]) -> tuple[int, int, Tensor]:
    begin, stop = entry["data_offsets"]
    shape = tuple(int(side) for side in entry["shape"])
    width = _BYTES_OF.get(entry["dtype"])
    if width is not None and stop - begin != width * math.prod(shape):
        raise ValueError(entry)
    return begin, stop, Tensor(shape, stop - begin)


# -- GGUF --------------------------------------------------------------------------------------------------------------


def _gguf(file: BinaryIO, size: int) -> Mapping[str, Tensor]:
    """Magic, version, counts; keys with values; tensors with shape, type and offset; then the data, aligned."""
    try:
        version, tensors, keys = struct.unpack("<IQQ", _exactly(file, 24)[4:])
        if version not in (2, 3) or max(tensors, keys) > MOST_ENTRIES:
            raise BadFile("gguf")
        facts = {_text(file, size): _value(file, size) for _ in range(keys)}
        found = [_described(file, size) for _ in range(tensors)]
    except UnicodeDecodeError:
        raise BadFile("gguf") from None
    alignment = int(facts.get("general.alignment") or ALIGNMENT)
    begin = -(-file.tell() // alignment) * alignment
    if found and size < begin + max(offset + tensor.bytes for _name, offset, tensor in found):
        raise BadFile("truncated")
    return {name: tensor for name, _offset, tensor in found}


def _exactly(file: BinaryIO, count: int) -> bytes:
    data = file.read(count)
    if len(data) < count:
        raise BadFile("truncated")
    return data


def _text(file: BinaryIO, size: int) -> str:
    (length,) = struct.unpack("<Q", _exactly(file, 8))
    if length > size:
        raise BadFile("gguf")
    return _exactly(file, length).decode("utf-8")


def _value(file: BinaryIO, size: int) -> Any:
    (kind,) = struct.unpack("<I", _exactly(file, 4))
    return _value_of(kind, file, size)


def _value_of(kind: int, file: BinaryIO, size: int) -> Any:
    if kind == _STRING:
        return _text(file, size)
    if kind == _ARRAY:
        inner, length = struct.unpack("<IQ", _exactly(file, 12))
        if length > size or inner == _ARRAY:
            raise BadFile("gguf")
        return [_value_of(inner, file, size) for _ in range(length)]
    if kind not in _NUMBERS:
        raise BadFile("gguf")
    layout = f"<{_NUMBERS[kind]}"
    return struct.unpack(layout, _exactly(file, struct.calcsize(layout)))[0]


def _described(file: BinaryIO, size: int) -> tuple[str, int, Tensor]:
    name = _text(file, size)
    (count,) = struct.unpack("<I", _exactly(file, 4))
    if count > 8:
        raise BadFile("gguf")
    sides = struct.unpack(f"<{count}Q", _exactly(file, 8 * count))
    kind, offset = struct.unpack("<IQ", _exactly(file, 12))
    if kind not in _BLOCKS:
        raise BadFile("quantisation")
    values, width = _BLOCKS[kind]
    return name, offset, Tensor(tuple(reversed(sides)), math.prod(sides) // values * width)


# -- pickles -----------------------------------------------------------------------------------------------------------

_HEAD = 65_536
_CALLS = {"GLOBAL", "STACK_GLOBAL", "INST", "REDUCE", "OBJ", "NEWOBJ", "NEWOBJ_EX"}  # what lets a pickle run code


def is_pickle(path: Path) -> bool:
    """By content, whatever the name: a pickle of any protocol, or a zip archive that has one in it, as torch writes."""
    with path.open("rb") as file:
        head = file.read(_HEAD)
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= LONGEST_HEADER:
        return False  # a safetensors header, whose length may look like a pickle's first bytes
    if head.startswith((b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")):
        return True
    if head.startswith(b"PK\x03\x04"):
        return _holds_pickle(path)
    return _calls(head)


def _holds_pickle(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith(".pkl") for name in archive.namelist())
    except (zipfile.BadZipFile, OSError):
        return True  # torch's archives have the directory at their end: a cut one is still a pickle's


def _calls(head: bytes) -> bool:
    """The protocols 0 and 1 have no mark. Their operations are read, not run, up to one that names or calls a function."""
    if head[:1] not in b"(c]}N\x80IKM" or not head:
        return False
    try:
        for operation, _argument, _place in pickletools.genops(io.BytesIO(head)):
            if operation.name in _CALLS:
                return True
    except Exception:  # not a pickle: genops raises whatever its readers meet
        return False
    return False
