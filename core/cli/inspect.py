"""`inspect FILE...`: print how an image was made, by whatever program, as its metadata says."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from core.cli.console import BAD_INPUT, DONE, complain
from core.errors import ImageFileError
from core.history.image_import import MAX_FILE
from core.history.importers import read_parameters
from core.i18n import localize
from core.types import FoundParameters

FIELDS = ("prompt", "negative_prompt", "seed", "steps", "cfg_scale", "sampler", "width", "height", "model")


def run(arguments: argparse.Namespace, language: str) -> int:
    """Print what each file says; exit code 2 when one of them is no image."""
    results: list[FoundParameters | None] = []
    for name in arguments.files:
        try:
            results.append(inspect_file(Path(name)))
        except ImageFileError as error:
            complain(error, language)
            results.append(None)
            continue
        if not arguments.json:
            _print(name, results[-1], language, len(arguments.files) > 1)
    if arguments.json:
        objects = [None if found is None else as_json(found) for found in results]
        if len(objects) > 1 or objects[0] is not None:
            utf_8 = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
            print(json.dumps(objects[0] if len(objects) == 1 else objects, ensure_ascii=not utf_8, indent=2))
    return BAD_INPUT if None in results else DONE


def inspect_file(path: Path) -> FoundParameters:
    """Return what a file says. Raises ImageFileError when it can't be read or is no image."""
    try:
        if path.stat().st_size > MAX_FILE:
            raise ImageFileError(file=path, detail=f"{path.stat().st_size // 1_000_000} MB > {MAX_FILE // 1_000_000} MB")
        with path.open("rb"):
            pass
    except OSError as error:
        raise ImageFileError(file=path, detail=error.strerror or error) from error
    found = read_parameters(path)
    if found is None:
        raise ImageFileError(file=path, detail=localize("cli.inspect.it_is_not_an_image"))
    return found


def as_json(found: FoundParameters) -> dict[str, Any]:
    """Return the result with the documented keys; null is unknown."""
    return {
        **{name: getattr(found.facts, name) for name in FIELDS},
        "loras": [{"name": lora.name, "weight": lora.weight} for lora in found.facts.loras],
        "program": found.program or None,
        "unused": dict(found.unused),
    }


def _print(name: str, found: FoundParameters | None, language: str, titled: bool) -> None:
    if found is None:
        return
    words = _WORDS[language]
    if titled:
        print(f"== {name}")
    print(f"{words['program']}: {found.program or words['nothing']}")
    for field in FIELDS:
        value = getattr(found.facts, field)
        print(f"{words[field]}: {words['unknown'] if value is None else value}")
    loras = ", ".join(
        lora.name if lora.weight is None else f"{lora.name}:{lora.weight:g}" for lora in found.facts.loras
    )
    print(f"LoRA: {loras or '-'}")
    if found.unused:
        print(f"{words['unused']}:")
        for key, value in found.unused.items():
            print(f"  {key}: {value}")


_WORDS: Mapping[str, Mapping[str, str]] = {
    "en": {
        "program": "Program", "nothing": "unknown (the file says nothing)", "unknown": "unknown", "prompt": "Prompt",
        "negative_prompt": "Negative prompt", "seed": "Seed", "steps": "Steps", "cfg_scale": "CFG scale", "sampler": "Sampler",
        "width": "Width", "height": "Height", "model": "Model", "unused": "Without an equivalent here",
    },
    "zh": {
        "program": "生成程序", "nothing": "未知（文件中没有生成参数）", "unknown": "未知", "prompt": "提示词",
        "negative_prompt": "反向提示词", "seed": "种子", "steps": "步数", "cfg_scale": "CFG", "sampler": "采样器", "width": "宽度",
        "height": "高度", "model": "模型", "unused": "此处没有对应项的内容",
    },
}  # fmt: skip
