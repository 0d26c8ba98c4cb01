"""Recognise pickles by what their operations do, not by how they begin: a text may begin as one does.

Nothing is unpickled. The operations are read and their effect on the stack is followed, up to one that calls a function.
"""

from __future__ import annotations

import pickletools
import re
import zipfile
from io import BytesIO
from pathlib import Path

_LARGEST = 4_000_000  # bytes of a file that are followed: the calls of torch's own pickles come within some hundred
_CALLS = {"REDUCE", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "BUILD"}  # what lets a pickle run code
_NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)* [A-Za-z_]\w*(\.[A-Za-z_]\w*)*")  # "module function"
_HEADER_LIMIT = 100_000_000


def is_pickle(path: Path) -> bool:
    """Return True for a pickle of any protocol and for a zip archive that holds one, as torch writes them."""
    with path.open("rb") as file:
        head = file.read(_LARGEST)
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= _HEADER_LIMIT:
        return False  # a safetensors header, whose length may look like a pickle's first bytes
    if head.startswith(b"PK\x03\x04"):
        return _holds_pickle(path, head)
    return builds(head)


def _holds_pickle(path: Path, head: bytes) -> bool:
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith(".pkl") for name in archive.namelist())
    except (zipfile.BadZipFile, OSError, ValueError):
        return b".pkl" in head  # cut: its directory stood at the end


def builds(data: bytes) -> bool:
    """Return True when the operations up to a STOP, or to the first call, are those of a pickle that builds something."""
    marked = data[:1] == b"\x80" and data[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05")
    stack: list[object] = []
    done = 0
    try:
        for operation, argument, _place in pickletools.genops(BytesIO(data)):
            if operation.name in ("GLOBAL", "INST") and not _NAME.fullmatch(str(argument)):
                return False
            _apply(operation, stack)
            done += 1
            if operation.name in _CALLS:
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
