"""What we write is read by others: sd-parsers, piexif, Pillow and, where it is installed, exiftool."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
from pathlib import Path

import piexif
import piexif.helper
import pytest
from PIL import Image
from sd_parsers import ParserManager

from core.history.importers import read_parameters
from core.storage.infotext import write_infotext
from core.storage.metadata import save_arguments
from core.types import GenerationRequest

FORMATS = ("png", "jpeg", "webp")
NASTY = (
    "a red house", "红色的房子，日落", "بيت أحمر", "👩‍👩‍👧 family", "é è ü ß", "line one\nline two", "tab\there",
    'quotes "here" and \'there\'',
    "back\\slash \\n", "<b>&amp;</b>", "a, b: c, d: e", "(weights:1.2) [from:to:0.5]", "{a|b} __c__", "BREAK AND",
    "trailing space ",
    " leading space", "Steps is a word", "100% of it", "%s {0} $HOME `x`", "x" * 5000, "{\"a\": 1}x", "Ω≈ç√∫",
)  # fmt: skip
CASES = [(format, k) for format in FORMATS for k in range(len(NASTY))]


def written(prompt: str, format: str) -> bytes:
    request = GenerationRequest(prompt, "rain", "demo", 64, 48, 8, 0.0, 42)
    buffer = io.BytesIO()
    arguments = save_arguments(format, write_infotext(request, {}), {"x": 1})
    Image.new("RGB", (64, 48)).save(buffer, format.upper(), **arguments)
    return buffer.getvalue()


@pytest.mark.parametrize(("format", "number"), CASES)
def test_is_read_by_our_own_reader(format: str, number: int) -> None:
    found = read_parameters(io.BytesIO(written(NASTY[number], format)))
    assert found is not None and found.program == "Z Darkroom"
    assert (found.facts.prompt, found.facts.negative_prompt, found.facts.seed) == (NASTY[number], "rain", 42)


@pytest.mark.parametrize("format", ("png", "jpeg"))  # it reads no WebP
def test_is_read_by_sd_parsers(format: str) -> None:
    images = [Image.open(io.BytesIO(written(prompt, format))) for prompt in NASTY]  # kept: it caches by id()
    for prompt, image in zip(NASTY, images, strict=True):
        found = ParserManager().parse(image)
        assert found is not None
        lines = "\n".join(line.strip() for line in prompt.split("\n"))  # A1111's own reader strips lines, too
        assert [one.value.strip() for one in found.prompts] == [lines]
        assert [one.value for one in found.negative_prompts] == ["rain"]


@pytest.mark.parametrize("number", range(len(NASTY)))
def test_is_read_by_pillow_and_piexif(number: int) -> None:
    image = Image.open(io.BytesIO(written(NASTY[number], "png")))
    assert image.info["parameters"].startswith(NASTY[number])
    for format in ("jpeg", "webp"):
        with Image.open(io.BytesIO(written(NASTY[number], format))) as stored:
            comment = piexif.load(stored.info["exif"])["Exif"][piexif.ExifIFD.UserComment]
        assert piexif.helper.UserComment.load(comment).startswith(NASTY[number])


@pytest.mark.skipif(shutil.which("exiftool") is None, reason="exiftool is not installed")
def test_is_read_by_exiftool(tmp_path: Path) -> None:
    for format, number in CASES:
        (tmp_path / f"{number:02}.{format}").write_bytes(written(NASTY[number], format))
    printed = subprocess.run(
        ["exiftool", "-json", "-charset", "utf8", "-b", str(tmp_path)], capture_output=True, check=True
    ).stdout
    for entry in json.loads(printed):
        prompt = NASTY[int(Path(entry["SourceFile"]).stem)]
        text = entry.get("Parameters") or entry.get("UserComment")
        assert str(text).strip().startswith(prompt.strip()), entry["SourceFile"]
