"""`models`: list them, LoRAs too, fetch one, add a folder or file of this machine, remove one, say what a file is.

Also what prepared weights there are, and what they and float32 files take of the disk.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.cli.console import BAD_INPUT, DONE, FAILED, SOURCE, STOPPED, complain
from core.config.loader import load_settings
from core.errors import InputError, ModelError, OptionError
from core.i18n import localize
from core.studio import Studio
from core.studio.bootstrap import build_studio
from core.types import Download, ModelInfo

if TYPE_CHECKING:
    from core.models.catalog import Catalog
    from core.models.fingerprint import Checksums, Verified

SOURCES = ("huggingface", "modelscope")
POLL_SECONDS = 0.5
ALL = "all"  # of forget-prepared: every model


class TargetError(InputError):
    """An action without its argument."""


class NoPathError(InputError):
    """A path that does not exist or can't be read."""


def run(arguments: argparse.Namespace, language: str, configs: Path) -> int:
    """Do it; the exit code. Raises StudioError."""
    action, target = arguments.action, arguments.target
    if action not in ("list", "prepared") and not target:
        what = localize("cli.models.a_path") if action in ("add", "check") else localize("cli.models.a_model_s_id")
        raise TargetError(action=action, what=what)
    settings = load_settings(configs, os.environ)
    settings.raise_problems()
    if action == "check":
        paths, model = [target, *arguments.more], arguments.model or settings.model.id
        return check(paths, arguments.json, model, configs, language, arguments.verify)
    studio = build_studio(settings)
    if action == "get":
        return _get(studio, target, arguments, language)
    if action == "add":
        print(studio.catalog.add(target, arguments.id).id)
    elif action == "remove":
        studio.models.remove(target)
    elif action == "prepared":
        _list_prepared(studio, language)
    elif action == "forget-prepared":
        freed = studio.models.remove_prepared(None if target == ALL else target)
        print(localize("cli.models.freed", size=_gigabytes(freed))[language])
    elif action == "shrink":
        return _shrink(studio, target, language)
    else:
        _list(studio, language)
    return DONE


def _list_prepared(studio: Studio, language: str) -> None:
    """Print a line a prepared part, and the disk space of all."""
    files = studio.models.prepared()
    for one in files:
        print(f"{one.model:<22} {one.part:<16} {one.form:<20} {_gigabytes(one.bytes):>9}")
    total = localize("cli.models.prepared", size=_gigabytes(sum(one.bytes for one in files)))
    print((total if files else localize("cli.models.none_prepared"))[language])


def _shrink(studio: Studio, model: str, language: str) -> int:
    """Replace float32 by bfloat16, with a line of progress where somebody watches. Ctrl+C leaves a usable model."""
    watched = sys.stderr.isatty()

    def say(done: int, total: int) -> None:
        if watched:
            print(f"\r\x1b[K{_gigabytes(done)} / {_gigabytes(total)}", end="", file=sys.stderr, flush=True)

    try:
        freed = studio.models.shrink(model, say)
    except KeyboardInterrupt:
        return STOPPED
    finally:
        if watched:
            print(file=sys.stderr)
    print(localize("cli.models.freed", size=_gigabytes(freed))[language])
    return DONE


def check(
    paths: Sequence[str], as_json: bool, model: str, configs: Path, language: str, verify: bool = False
) -> int:
    """Print what each path is, with `verify` also whether its weight files are as they were published or first seen.

    Return 2 if a path does not exist, 1 if one is not recognised or differs.
    """
    from core.models.catalog import Catalog
    from core.models.describe import Description, describe
    from core.models.fingerprint import Checksums, weight_files_in
    from core.models.model_paths import default_places

    catalog = Catalog(configs, default_places(configs))
    known = Checksums(catalog.places.store)
    found: list[Description] = []
    verified: dict[str, list[Verified]] = {}
    missing = False
    for name in paths:
        try:
            found.append(
                describe(Path(os.path.abspath(os.path.expanduser(name))), catalog, _lora_model(catalog, model))
            )
            path = Path(found[-1].path)
            verified[found[-1].path] = [_verified(known, file) for file in weight_files_in(path)] if verify else []
        except OSError as error:
            missing = True
            complain(NoPathError(path=name, detail=error.strerror or str(error)), language)
    if as_json and found:
        told = {path: {"verified": [asdict(one) for one in files]} if verify else {} for path, files in verified.items()}
        objects = [one.as_json() | told[one.path] for one in found]
        print(json.dumps(objects[0] if len(paths) == 1 else objects, ensure_ascii=False, indent=2))
    elif not as_json:
        for one in found:
            _print_description(one.as_json())
            for file in verified[one.path]:
                _print_verified(file, Path(one.path), language)
    good = all(one.recognised and all(file.good for file in verified[one.path]) for one in found)
    return BAD_INPUT if missing else DONE if good else FAILED


def _lora_model(catalog: Catalog, model: str) -> ModelInfo | None:
    try:
        return catalog.find(model)
    except ModelError:
        return None


def _print_description(found: Mapping[str, Any]) -> None:
    facts = [
        found["kind"],
        found["family"],
        found["layout"],
        found["dtype"],
        ", ".join(found["parts"]),
        _size(found["size"]),
    ]
    print(f"{found['path']}\n    {' | '.join(fact for fact in facts if fact)}\n    use: {found['use']}")
    if found.get("acts_on"):
        print(f"    acts on {found['acts_on']}")


def _verified(known: Checksums, file: Path) -> Verified:
    """Read a file whole, which takes seconds a gigabyte, with its name where somebody watches."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{file.name} ({_gigabytes(file.stat().st_size)})", end="", file=sys.stderr, flush=True)
    found = known.verify(file)
    if sys.stderr.isatty():
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)
    return found


def _print_verified(verified: Verified, path: Path, language: str) -> None:
    name = Path(verified.file).name if path.is_file() else Path(verified.file).relative_to(path).as_posix()
    key = verified.result if verified.source is None else f"{verified.result}_{verified.source}"
    print(f"    {name}: {localize(f'cli.models.verified.{key}')[language]}")


def _list(studio: Studio, language: str) -> None:
    """Print a line a model: id, where it is, size, memory, tier, and why it can't be used."""
    words = _WORDS[language]
    for info in studio.catalog.models():
        absent = words["unusable"] if info.path or not info.sources else words["absent"]
        place = words[info.place] if info.problem is None else absent
        size = _gigabytes(info.disk_bytes or info.download_bytes)
        line = f"{info.id:<22} {place:<20} {size:>9} {_gigabytes(info.memory_bytes):>9} {info.tier or '-':>5}"
        print(f"{line}  {info.name[language]}")
        if info.problem is not None and absent == words["unusable"]:
            print(f"{'':<22} {info.problem.message(language)}")
    for problem in studio.catalog.problems():
        complain(problem, language)
    _list_loras(studio, language)


def _list_loras(studio: Studio, language: str) -> None:
    """Print a line a LoRA: name, size, rank, the models that it fits, and why it can't be used."""
    models = studio.catalog.models()
    for lora in studio.models.loras():
        fits = ", ".join(model.id for model in models if lora.problem is None and lora.fits(model)) or "-"
        print(f"{lora.name:<16} {'LoRA':<20} {_size(lora.bytes):>9} {f'r {lora.rank or 0}':>9}        {fits}")
        if lora.problem is not None:
            print(f"{'':<16} {lora.problem.message(language)}")


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.0f} KB"


def _gigabytes(count: int | None) -> str:
    return "-" if not count else f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"


def _get(studio: Studio, model: str, arguments: argparse.Namespace, language: str) -> int:
    """Fetch and wait. Ctrl+C pauses: the next `models get` goes on from there."""
    if arguments.source not in (None, *SOURCES):
        raise OptionError(source=SOURCE, key="--source", value=arguments.source, allowed=", ".join(SOURCES))
    info = studio.catalog.find(model)
    if info.problem is None:
        print(info.path)
        return DONE
    under_way = [download.model for download in studio.models.download(model, arguments.source, arguments.mirror)]
    try:
        ended = [_follow(studio, one, language) for one in under_way]
    except KeyboardInterrupt:
        for one in under_way:
            studio.downloads.pause(one)
        return STOPPED
    for download in ended:
        if download.error is not None:
            return complain(download.error, language)
        if download.state != "done":
            return STOPPED
    found = studio.catalog.find(model)
    if found.problem is not None:
        raise found.problem
    print(found.path)
    return DONE


def _follow(studio: Studio, model: str, language: str) -> Download:
    """Until it is over, with one line of progress where somebody watches."""
    watched = sys.stderr.isatty()
    while True:
        download = next(one for one in studio.downloads.all() if one.model == model)
        if watched:
            print(f"\r\x1b[K{_sentence(download, language)}", end="", file=sys.stderr, flush=True)
        if not download.active:
            if watched:
                print(file=sys.stderr)
            return download
        time.sleep(POLL_SECONDS)


def _sentence(download: Download, language: str) -> str:
    speed = f"{download.speed / 1e6:.1f} MB/s" if download.speed else ""
    left = f"{download.eta_seconds:.0f} s" if download.eta_seconds is not None else ""
    done = f"{_gigabytes(download.done_bytes)} / {_gigabytes(download.total_bytes)}"
    return "  ".join(part for part in (_WORDS[language][download.state], done, speed, left, download.file) if part)


_WORDS = {
    "en": {
        "shipped": "shipped",
        "store": "on disk",
        "huggingface": "Hugging Face cache",
        "modelscope": "ModelScope cache",
        "path": "own path",
        "absent": "not here",
        "unusable": "can't be used",
        "listing": "asking",
        "running": "fetching",
        "checking": "checking",
        "paused": "paused",
        "interrupted": "interrupted",
        "failed": "failed",
        "done": "done",
    },
    "zh": {
        "shipped": "随程序附带",
        "store": "已下载",
        "huggingface": "Hugging Face 缓存",
        "modelscope": "魔搭缓存",
        "path": "自有路径",
        "absent": "未下载",
        "unusable": "无法使用",
        "listing": "查询中",
        "running": "下载中",
        "checking": "校验中",
        "paused": "已暂停",
        "interrupted": "已中断",
        "failed": "失败",
        "done": "完成",
    },
}
