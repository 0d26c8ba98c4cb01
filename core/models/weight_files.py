"""Read the headers of safetensors and GGUF files, and recognise files that are neither.

A header states how long its file must be, so a cut or padded file is found in milliseconds, before memory is allocated.
"""

from __future__ import annotations

import json
import math
import mmap
import os
import pickletools
import re
import struct
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import Any

SAFETENSORS, GGUF = ".safetensors", ".gguf"
LONGEST_HEADER = 100_000_000  # bytes; the safetensors format's own limit
MOST_ENTRIES = 1_000_000  # tensors or keys of a GGUF file; real ones have thousands
ALIGNMENT = 32  # bytes, of a GGUF file's data unless the file states another

BYTES_OF_DTYPE = {
    "F64": 8, "I64": 8, "U64": 8, "F32": 4, "I32": 4, "U32": 4, "F16": 2, "BF16": 2, "I16": 2, "U16": 2,
    "F8_E4M3": 1, "F8_E5M2": 1, "F8_E8M0": 1, "I8": 1, "U8": 1, "BOOL": 1, "C64": 8,
}  # fmt: skip
# GGML's type number -> (name, values of a block, bytes of a block); the types that diffusers can dequantise.
_GGML_TYPES = {
    0: ("F32", 1, 4), 1: ("F16", 1, 2), 2: ("Q4_0", 32, 18), 3: ("Q4_1", 32, 20), 6: ("Q5_0", 32, 22), 7: ("Q5_1", 32, 24),
    8: ("Q8_0", 32, 34), 10: ("Q2_K", 256, 84), 11: ("Q3_K", 256, 110), 12: ("Q4_K", 256, 144), 13: ("Q5_K", 256, 176),
    14: ("Q6_K", 256, 210), 20: ("IQ4_NL", 32, 18), 23: ("IQ4_XS", 256, 136), 30: ("BF16", 1, 2),
}  # fmt: skip
UNQUANTISED = ("F64", "F32", "F16", "BF16")
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}  # GGUF's values
_STRING, _ARRAY = 8, 9
_SHORT_ARRAY = 64  # values of an array that are kept; longer ones, such as vocabularies, are skipped


class BadFile(Exception):
    """An unusable weight file. `kind` is one of core.models.validation.PROBLEMS, `values` fill its placeholders."""

    def __init__(self, kind: str, **values: str) -> None:
        super().__init__(kind)
        self.kind = kind
        self.values = values


@dataclass(frozen=True)
class Tensor:
    """A tensor of a header. `shape` in torch's order; `bytes` as stored; `offset` from the start of the file."""

    shape: tuple[int, ...]
    bytes: int
    dtype: str = ""
    offset: int = 0

    @property
    def values(self) -> int:
        """Return the number of values."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Header:
    """The header of a weight file. `metadata`: texts of safetensors, or short values of GGUF."""

    tensors: Mapping[str, Tensor]
    metadata: Mapping[str, Any]
    is_gguf: bool = False


def file_state(path: Path) -> tuple[int, int]:
    """Return modification time (ns) and size (bytes): equal while what was read of a file may be kept. Raises OSError."""
    stat = path.stat()
    return stat.st_mtime_ns, stat.st_size


def folder_state(folder: Path) -> tuple[tuple[str, int, int], ...]:
    """Return name, time (ns) and size (bytes) of all that lies in a folder and in its folders.

    Equal while what was read of them may be kept. Raises OSError.
    """
    found = []
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        held = sorted(os.scandir(entry.path), key=lambda one: one.name) if entry.is_dir() else []
        for one in (entry, *held):
            stat = one.stat()
            found.append((one.path, stat.st_mtime_ns, stat.st_size))
    return tuple(found)


def read_header(path: Path) -> Mapping[str, Tensor]:
    """Return the tensors of a safetensors or GGUF file by name.

    Raises:
        BadFile: the file is neither, or not as long as its header says.
    """
    return read_all(path).tensors


def read_notes(path: Path) -> Mapping[str, str]:
    """Return the `__metadata__` of a safetensors file, or the short values of a GGUF header, as texts."""
    return {str(name): str(text) for name, text in read_all(path).metadata.items()}


def read_all(path: Path) -> Header:
    """Return the whole header, from memory while the file stays as it is; raises as `read_header` does, and OSError."""
    return _read(path, file_state(path))


@lru_cache(maxsize=256)  # a large header takes 50 ms, and pages ask at each rerun
def _read(path: Path, _unchanged: tuple[int, int]) -> Header:
    size = path.stat().st_size
    if size == 0:
        raise BadFile("empty")
    with path.open("rb") as file:
        head = file.read(1024)
    _refuse_stand_ins(head)
    if head[:4] == b"GGUF":
        return _gguf(path, size)
    if is_pickle(path):
        raise BadFile("pickle")
    _refuse_archives(head)
    if size <= len(head):
        _refuse_messages(head)
    return _safetensors(path, size)


def read_bytes(path: Path, tensor: Tensor) -> bytes:
    """Return the stored bytes of one small tensor."""
    with path.open("rb") as file:
        file.seek(tensor.offset)
        return file.read(tensor.bytes)


# -- files that stand where weights should be --------------------------------------------------------------------------


def _refuse_stand_ins(head: bytes) -> None:
    """Raise BadFile for a Git LFS pointer, a saved web page, and the JSON of a refused download."""
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if text.startswith(b"version https://git-lfs.github.com/spec/"):
        raise BadFile("lfs")
    if text[:1] == b"<" and any(
        mark in text[:512].lower() for mark in (b"<!doctype", b"<html", b"<head", b"<?xml", b"<body")
    ):
        raise BadFile("web_page")
    if text[:1] == b"{" or (text[:1] == b"[" and text[1:2] in b'"{['):  # eight bytes of length precede a real header
        raise BadFile("json_answer")


_ARCHIVES = (b"PK\x03\x04", b"\x1f\x8b", b"7z\xbc\xaf\x27\x1c", b"Rar!\x1a\x07", b"BZh", b"\xfd7zXZ\x00")


def _refuse_archives(head: bytes) -> None:
    if head.startswith(_ARCHIVES):
        raise BadFile("archive")


def _refuse_messages(text: bytes) -> None:
    """Raise BadFile for a short text, such as "Entry not found" or "Invalid username or password."."""
    if b"GGUF".startswith(text[:4]):  # a GGUF that was cut
        return
    try:
        letters = text.decode("utf-8")
    except UnicodeDecodeError:
        return
    if all(letter.isprintable() or letter.isspace() for letter in letters):
        raise BadFile("text_answer")


# -- safetensors -------------------------------------------------------------------------------------------------------


def _safetensors(path: Path, size: int) -> Header:
    """Read 8 bytes of length, a header in JSON, then the tensors' bytes one after the other."""
    with path.open("rb") as file:
        start = file.read(8)
        if len(start) < 8:
            raise BadFile("truncated")
        (length,) = struct.unpack("<Q", start)
        first = file.read(1)
        if length > LONGEST_HEADER or (first and first != b"{"):
            raise BadFile("header")
        if length > size - 8:
            raise BadFile("truncated")
        text = first + file.read(length - 1)
    try:
        header = json.loads(text.decode("utf-8"))
        entries = {name: _entry(entry, 8 + length) for name, entry in header.items() if name != "__metadata__"}
    except (ValueError, TypeError, KeyError, AttributeError, IndexError, RecursionError):
        raise BadFile("header") from None
    end = 8 + length
    for tensor in sorted(entries.values(), key=lambda tensor: (tensor.offset, tensor.bytes)):
        if tensor.offset != end:
            raise BadFile("header")  # a gap or an overlap
        end += tensor.bytes
    if size < end:
        raise BadFile("truncated")
    if size > end:
        raise BadFile("longer")
    notes = header.get("__metadata__")
    return Header(entries, notes if isinstance(notes, dict) else {})


def _entry(entry: Mapping[str, Any], data: int) -> Tensor:
    begin, stop = entry["data_offsets"]
    shape = tuple(entry["shape"])
    dtype = entry["dtype"]
    if not all(type(number) is int and number >= 0 for number in (begin, stop, *shape)) or not isinstance(dtype, str):
        raise ValueError(entry)
    width = BYTES_OF_DTYPE.get(dtype)
    if stop < begin or (width is not None and stop - begin != width * math.prod(shape)):
        raise ValueError(entry)
    return Tensor(shape, stop - begin, dtype, data + begin)


# -- GGUF --------------------------------------------------------------------------------------------------------------


def _gguf(path: Path, size: int) -> Header:
    """Read magic, version and counts, the keys with their values, the tensors' descriptions, then the aligned data.

    Not by gguf.GGUFReader: it makes an array of each of a vocabulary's 300,000 texts, which takes seconds, and does not compare
    the length of the file with the header.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        cursor = _Cursor(data, size)
        try:
            cursor.skip(4)
            version, count, keys = cursor.unpack("<IQQ")
            if version not in (2, 3) or max(count, keys) > MOST_ENTRIES:
                raise BadFile("gguf")
            facts = {cursor.text(): cursor.value() for _ in range(keys)}
            found = [_described(cursor) for _ in range(count)]
        except (UnicodeDecodeError, RecursionError):
            raise BadFile("gguf") from None
        end = cursor.place
    alignment = facts.get("general.alignment", ALIGNMENT)
    if not isinstance(alignment, int) or not 0 < alignment <= 2**20 or len({name for name, _ in found}) != len(found):
        raise BadFile("gguf")
    begin = -(-end // alignment) * alignment
    tensors = {name: Tensor(one.shape, one.bytes, one.dtype, begin + one.offset) for name, one in found}
    if any(tensor.offset + tensor.bytes > size for tensor in tensors.values()):
        raise BadFile("truncated")
    _refuse_overlaps(tensors)
    return Header(tensors, facts, is_gguf=True)


def _refuse_overlaps(tensors: Mapping[str, Tensor]) -> None:
    end = 0
    for tensor in sorted(tensors.values(), key=lambda tensor: tensor.offset):
        if tensor.offset < end:
            raise BadFile("gguf")
        end = tensor.offset + tensor.bytes


class _Cursor:
    """A place in a mapped file; BadFile where it would leave the file."""

    def __init__(self, data: mmap.mmap, size: int) -> None:
        self._data, self._size, self.place = data, size, 0

    def skip(self, count: int) -> int:
        """Move on, and return where it was."""
        before = self.place
        if count > self._size - before:
            raise BadFile("truncated")
        self.place += count
        return before

    def unpack(self, layout: str) -> tuple[Any, ...]:
        return struct.unpack_from(layout, self._data, self.skip(struct.calcsize(layout)))

    def text(self) -> str:
        (length,) = self.unpack("<Q")
        if length > self._size:
            raise BadFile("gguf")
        begin = self.skip(length)
        return self._data[begin : begin + length].decode("utf-8")

    def value(self) -> Any:
        """Return a number or text, a list of few of them, or None for a longer list."""
        (kind,) = self.unpack("<I")
        return self._value(kind)

    def _value(self, kind: int) -> Any:
        if kind == _STRING:
            return self.text()
        if kind == _ARRAY:
            inner, length = self.unpack("<IQ")
            if length > self._size or inner == _ARRAY:
                raise BadFile("gguf")
            if length <= _SHORT_ARRAY:
                return [self._value(inner) for _ in range(length)]
            return self._skip_values(inner, length)
        if kind not in _SCALARS:
            raise BadFile("gguf")
        return self.unpack(f"<{_SCALARS[kind]}")[0]

    def _skip_values(self, kind: int, length: int) -> None:
        if kind in _SCALARS:
            self.skip(length * struct.calcsize(f"<{_SCALARS[kind]}"))
            return
        if kind != _STRING:
            raise BadFile("gguf")
        for _ in range(length):
            self.skip(self.unpack("<Q")[0])


def _described(cursor: _Cursor) -> tuple[str, Tensor]:
    """Return a tensor with its offset from the beginning of the data."""
    name = cursor.text()
    (count,) = cursor.unpack("<I")
    if count > 8:
        raise BadFile("gguf")
    sides = cursor.unpack(f"<{count}Q")
    kind, offset = cursor.unpack("<IQ")
    if kind not in _GGML_TYPES:
        raise BadFile("quantisation")
    dtype, values, width = _GGML_TYPES[kind]
    if math.prod(sides) > 2**40 or (sides and sides[0] % values):
        raise BadFile("gguf")
    return name, Tensor(tuple(reversed(sides)), math.prod(sides) // values * width, dtype, offset)


_PICKLE_BYTES = 4_000_000  # bytes of a file that are followed: the calls of torch's own pickles come within some hundred
_PICKLE_CALLS = {"REDUCE", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "BUILD"}  # what lets a pickle run code
_PICKLE_NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)* [A-Za-z_]\w*(\.[A-Za-z_]\w*)*")  # "module function"


def is_pickle(path: Path) -> bool:
    """Return True for a pickle of any protocol and for a zip archive that holds one, as torch writes them."""
    with path.open("rb") as file:
        head = file.read(9)
        if head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= LONGEST_HEADER:
            return False  # a safetensors header, whose length may look like a pickle's first bytes
        head += file.read(_PICKLE_BYTES)
    if head.startswith(b"PK\x03\x04"):
        return _holds_pickle(path, head)
    return is_pickle_data(head)


def _holds_pickle(path: Path, head: bytes) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith(".pkl") for name in archive.namelist())
    except (zipfile.BadZipFile, OSError, ValueError):
        return b".pkl" in head  # cut: its directory stood at the end


def is_pickle_data(data: bytes) -> bool:
    """Return True when the operations up to a STOP, or to the first call, are those of a pickle that builds something.

    Nothing is unpickled: the operations are read and their effect on the stack is followed, up to one that calls a function. How a
    file begins is not enough, since a text may begin as a pickle does.
    """
    marked = data[:1] == b"\x80" and data[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05")
    stack: list[object] = []
    done = 0
    try:
        for operation, argument, _place in pickletools.genops(BytesIO(data)):
            if operation.name in ("GLOBAL", "INST") and not _PICKLE_NAME.fullmatch(str(argument)):
                return False
            _apply(operation, stack)
            done += 1
            if operation.name in _PICKLE_CALLS:
                return True
            if operation.name == "STOP":
                return done > 2 or marked
    except Exception:  # not a pickle, or a cut one: genops raises whatever its readers meet
        return marked and done > 2
    return False


def _apply(operation: pickletools.OpcodeInfo, stack: list[object]) -> None:
    """Follow one operation's effect on the stack; IndexError or ValueError where a pickle would fail."""
    before = operation.stack_before
    if pickletools.markobject in before or (operation.name == "POP" and stack and stack[-1] is pickletools.markobject):
        while stack.pop() is not pickletools.markobject:
            pass
        before = before[: before.index(pickletools.markobject)] if pickletools.markobject in before else []
    for _ in before:
        if stack.pop() is pickletools.markobject:
            raise ValueError("a mark where a value is needed")
    stack.extend(operation.stack_after)
