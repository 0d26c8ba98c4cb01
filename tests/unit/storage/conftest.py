"""Images to store, and a history over a real database and real files."""

from __future__ import annotations

import io
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from core.history.store import History
from core.storage.database import Database
from core.types import Decision, GeneratedImage, GenerationRequest

MakeImage = Callable[..., GeneratedImage]


def build_image(size: tuple[int, int] = (64, 64), noise: bool = False, **request: Any) -> GeneratedImage:
    """Return a finished image of `size`; with `noise` one that does not compress."""
    options: Mapping[str, Any] = {"output.format": "png", "output.quality": 92, "output.metadata": True}
    values = {"prompt": "a red house", "seed": 7, **request, "options": {**options, **request.get("options", {})}}
    image = (
        Image.effect_noise(size, 90).convert("RGB") if noise else Image.linear_gradient("L").resize(size).convert("RGB")
    )
    return GeneratedImage(
        image=image,
        request=GenerationRequest(width=size[0], height=size[1], **values),
        rendered_size=(-(-size[0] // 16) * 16, -(-size[1] // 16) * 16),
        timings={"text": 0.25, "steps": 1.5, "decode": 0.125},
        effective={
            "scheduler": "FlowMatchEulerDiscreteScheduler",
            "dtype": "float32",
            "model_hash": "0123456789",
            "versions": {"torch": "2.13.0"},
        },
        decisions=(Decision("model.dtype", "auto", "float32", {"en": "a CPU", "zh": "处理器"}),),
        peak_memory_bytes=123_456_789,
    )


TOLD = "a castle\nSteps: 20, Sampler: Euler a, CFG scale: 4.5, Seed: 77, Size: 64x48, Model: x"


def a1111_image(parameters: str = TOLD) -> bytes:
    """Return a file of another program that tells `parameters`; "" for one that tells nothing."""
    chunks = PngInfo()
    if parameters:
        chunks.add_itxt("parameters", parameters)
    buffer = io.BytesIO()
    Image.linear_gradient("L").resize((64, 48)).convert("RGB").save(buffer, "PNG", pnginfo=chunks)
    return buffer.getvalue()


def mounted(folder: Path, options: str) -> Iterator[Path]:
    """Yield a tmpfs of its own at `folder`; the test is skipped where mounting is not permitted."""
    folder.mkdir()
    try:
        made = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], capture_output=True, text=True
        )
    except FileNotFoundError:
        pytest.skip("no mount command on this system")
    if made.returncode:
        pytest.skip(f"mounting a tmpfs is not permitted here: {made.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture
def make_image() -> MakeImage:
    return build_image


@pytest.fixture
def outputs(tmp_path: Path) -> Path:
    return tmp_path / "outputs"


@pytest.fixture
def database(tmp_path: Path, open_database: Callable[[Path], Database]) -> Iterator[Database]:
    opened = open_database(tmp_path / "data" / "studio.db")
    yield opened
    opened.close()


@pytest.fixture
def history(database: Database, outputs: Path) -> History:
    return History(database, outputs)


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    yield from mounted(tmp_path / "tiny", "size=1m")


@pytest.fixture
def read_only_disk(tmp_path: Path) -> Iterator[Path]:
    yield from mounted(tmp_path / "read_only", "ro,size=1m")


@pytest.fixture
def files_below() -> Callable[[Path], list[str]]:
    """Return every file below a folder, hidden ones too."""
    return lambda folder: sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
