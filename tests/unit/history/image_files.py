"""The bytes of small image files with any metadata, and the usual ComfyUI graph, for the cases of `program_images`."""

from __future__ import annotations

import gzip
import io
import json
import struct
import zlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image

SIZE = (64, 48)
LINE = "Steps: 20, Sampler: Euler a, CFG scale: 4.5, Seed: 77, Size: 640x384, Model: some-xl"
INFOTEXT = f"a red house\nNegative prompt: rain\n{LINE}"
FULL = {
    "prompt": "a red house",
    "negative_prompt": "rain",
    "steps": 20,
    "cfg_scale": 4.5,
    "seed": 77,
    "width": 640,
    "height": 384,
}
CHINESE = {**FULL, "prompt": "红色的房子"}


@dataclass(frozen=True)
class Case:
    """A file, the program that wrote it, and what it states. `kind` says in a few words what is special about it."""

    program: str
    kind: str
    data: bytes
    expected: dict[str, Any]
    unused: tuple[str, ...] = ()  # names that must be listed
    listed: tuple[str, ...] = field(default=())  # texts that must occur among what is listed


# -- files -------------------------------------------------------------------------------------------------------------


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def itxt(name: str, text: str, compressed: bool = False) -> bytes:
    body = zlib.compress(text.encode()) if compressed else text.encode()
    return chunk(b"iTXt", name.encode() + b"\0" + bytes([compressed, 0]) + b"\0\0" + body)


def text(name: str, data: bytes) -> bytes:
    return chunk(b"tEXt", name.encode() + b"\0" + data)


def png(*chunks: bytes, after: bool = False, image: Image.Image | None = None) -> bytes:
    buffer = io.BytesIO()
    (image or Image.new("RGB", SIZE)).save(buffer, "PNG")
    plain = buffer.getvalue()
    place = plain.rindex(b"IEND") - 4 if after else 33
    return plain[:place] + b"".join(chunks) + plain[place:]


def tiff(entries: dict[int, tuple[int, bytes]], exif: dict[int, tuple[int, bytes]], order: str = "<") -> bytes:
    """Return two directories as EXIF has them: tag -> (type, bytes)."""

    def directory(at: int, fields: dict[int, tuple[int, bytes]]) -> bytes:
        head, tail = struct.pack(order + "H", len(fields)), b""
        start = at + 2 + 12 * len(fields) + 4
        for tag, (kind, data) in sorted(fields.items()):
            value = data.ljust(4, b"\0") if len(data) <= 4 else struct.pack(order + "I", start + len(tail))
            head += struct.pack(order + "HHI", tag, kind, 1 if kind == 4 else len(data)) + value
            tail += data + b"\0" * (len(data) % 2) if len(data) > 4 else b""
        return head + b"\0\0\0\0" + tail

    if not exif:
        return (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8) + directory(8, entries)
    first = directory(8, {**entries, 0x8769: (4, b"\0\0\0\0")})
    linked = directory(8, {**entries, 0x8769: (4, struct.pack(order + "I", 8 + len(first)))})
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8)
    return head + linked + directory(8 + len(first), exif)


def with_exif(format: str, block: bytes, xmp: bytes = b"", comment: bytes = b"") -> bytes:
    buffer = io.BytesIO()
    extra: dict[str, Any] = {"exif": b"Exif\0\0" + block} if block else {}
    extra |= {"xmp": xmp} if xmp else {}
    extra |= {"comment": comment} if comment else {}
    Image.new("RGB", SIZE).save(buffer, format, **extra)
    return buffer.getvalue()


def commented(data: bytes, format: str = "JPEG", order: str = "<", first: bool = False) -> bytes:
    """Return a file whose EXIF has this user comment, in the Exif directory or in the first one."""
    entry = {0x9286: (7, data)}
    return with_exif(format, tiff(entry if first else {0x010F: (2, b"x\0")}, {} if first else entry, order))


def stealth(payload: str, signature: bytes, mode: str = "RGBA") -> bytes:
    """Return a PNG that hides a text in its lowest bits, column by column."""
    data = payload.encode()
    data = gzip.compress(data) if signature.endswith(b"comp") else data
    bits = np.unpackbits(np.frombuffer(signature + struct.pack(">I", len(data) * 8) + data, np.uint8))
    width, height = 200, 96
    pixels = np.full((height, width, len(mode)), 254, np.uint8)
    plane = pixels[:, :, 3] if mode == "RGBA" else pixels.reshape(height, width * 3)
    flat = np.swapaxes(pixels[:, :, 3:] if mode == "RGBA" else pixels, 0, 1).reshape(-1).copy()
    flat[: len(bits)] |= bits
    shape = (width, height, 1) if mode == "RGBA" else (width, height, 3)
    turned = np.swapaxes(flat.reshape(shape), 0, 1)
    if mode == "RGBA":
        pixels[:, :, 3] = turned[:, :, 0]
    else:
        pixels = turned
    assert plane.shape[0] == height
    return png(image=Image.fromarray(pixels, mode))


def parameters(words: str) -> bytes:
    return png(itxt("parameters", words))


def dumped(data: Any) -> str:
    return json.dumps(data, ensure_ascii=False)


# -- ComfyUI graphs ----------------------------------------------------------------------------------------------------

NODES: dict[str, Any] = {
    "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "xl/some-xl.safetensors"}},
    "5": {"class_type": "EmptyLatentImage", "inputs": {"width": 640, "height": 384, "batch_size": 1}},
    "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "a red house", "clip": ["4", 1]}},
    "7": {"class_type": "CLIPTextEncode", "inputs": {"text": "rain", "clip": ["4", 1]}},
    "3": {"class_type": "KSampler", "inputs": {
        "seed": 77, "steps": 20, "cfg": 4.5, "sampler_name": "euler", "scheduler": "normal", "denoise": 1.0, "model": ["4", 0],
        "positive": ["6", 0], "negative": ["7", 0], "latent_image": ["5", 0]}},
    "90": {"class_type": "VAEDecode", "inputs": {"samples": ["3", 0], "vae": ["4", 2]}},
    "91": {"class_type": "SaveImage", "inputs": {"images": ["90", 0], "filename_prefix": "x"}},
}  # fmt: skip


def node(kind: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": kind, "inputs": inputs}


def graph(sampler: dict[str, Any] | None = None, **nodes: Any) -> dict[str, Any]:
    """Return the usual graph with other inputs of its sampler (None takes one away) and other nodes (n12 is node 12)."""
    inputs = {**NODES["3"]["inputs"], **(sampler or {})}
    inputs = {name: value for name, value in inputs.items() if value is not None}
    changed = {name.lstrip("n"): value for name, value in nodes.items()}
    return {
        key: value
        for key, value in {**NODES, "3": {**NODES["3"], "inputs": inputs}, **changed}.items()
        if value is not None
    }
