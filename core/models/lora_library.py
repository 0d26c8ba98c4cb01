"""List the LoRA files in the user's folder and the shipped ones; each is judged by its header before anything is loaded."""

from __future__ import annotations

import difflib
import hashlib
import io
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from PIL import Image

from core.config.loader import PROJECT_ROOT, Settings
from core.config.lora_syntax import FORBIDDEN, LoraSpec
from core.config.schema import AUTO
from core.errors import LoraFileError, NotWritableError, UnknownLoraError
from core.i18n import localize
from core.models.families import FAMILIES
from core.models.lora_match import Match, match, try_network
from core.models.lora_metadata import LoraHeader, read_lora
from core.models.model_paths import places_of
from core.models.single_file import files_of
from core.models.validation import PROBLEMS as MODEL_PROBLEMS
from core.models.weight_files import SAFETENSORS, BadFile
from core.types import LoraInfo, ModelInfo

SHIPPED = PROJECT_ROOT / "core" / "demo" / "lora"
FOLDER = "loras"  # in the folder of models
DIGESTS = ".digests.json"  # in the user's folder: what was hashed is not hashed again at the next start
IMAGES = (".webp", ".png", ".jpg", ".jpeg", ".preview.png", ".preview.webp", ".preview.jpg", ".preview.jpeg")
BLOCK = 1 << 20  # bytes
AT_ONCE = 4_000_000  # bytes; larger files are hashed when they are first used, not when they are listed
ENDINGS = (SAFETENSORS, ".pt", ".ckpt", ".bin", ".pth", ".gguf")
PREVIEW_SIDE = 512  # px
PREVIEW_PIXELS = 40_000_000  # an image with more is not decoded
NAMED_LAYERS = 3  # in a sentence; then "and N more"

_NO_SAFETENSORS = localize("models.lora_library.no_safetensors")
PROBLEMS: Mapping[str, Mapping[str, str]] = {
    **{name: MODEL_PROBLEMS[name] for name in ("truncated", "longer", "pickle")},
    **dict.fromkeys(("header", "gguf", "quantisation"), _NO_SAFETENSORS),
    "missing": localize("models.lora_library.problems.missing"),
    "tensors": localize("models.lora_library.problems.tensors"),
    "algorithm": localize("models.lora_library.problems.algorithm"),
    "foreign": localize("models.lora_library.problems.foreign"),
    "family": localize("models.lora_library.problems.family"),
    "large": localize("models.lora_library.problems.large"),
    "notes": localize("models.lora_library.problems.notes"),
    "link": localize("models.lora_library.problems.link"),
    "name": localize("models.lora_library.problems.name", forbidden=FORBIDDEN),
    "twice": localize("models.lora_library.problems.twice"),
    "shipped": localize("models.lora_library.problems.shipped"),
}


_WHAT_ZH = {  # what a file is, in Chinese
    "a textual inversion embedding": "文本反转嵌入（embedding）", "an SD control LoRA": "SD 的 control LoRA",
    "a ControlNet": " ControlNet", "an IP-Adapter": " IP-Adapter", "a hypernetwork": "超网络（hypernetwork）",
    "a VAE": " VAE", "a text encoder": "文本编码器", "an upscaler": "放大模型", "a normalisation layer": "归一化层",
    "a bias": "偏置", "replaced weights": "替换的权重", "?": "未知",
}  # fmt: skip


class LoraLibrary:
    """The user's folder, with its subfolders, and the shipped one. Folders are read at each call; headers are cached by change."""

    def __init__(self, folder: Path, shipped: Path = SHIPPED) -> None:
        self.folder = folder
        self._shipped = shipped
        self._digests = Digests(folder / DIGESTS)

    def all(self) -> Sequence[LoraInfo]:
        """Return every file by name, the shipped ones last; of two of one name the second has a problem."""
        found: dict[str, LoraInfo] = {}
        listed: list[LoraInfo] = []
        for path in self._files():
            info = self._info(path)
            listed.append(_with_problem(info, "twice") if info.name in found else info)
            found.setdefault(info.name, info)
        return listed

    def find(self, name: str) -> LoraInfo:
        """Return the LoRA of that name. Raises UnknownLoraError naming the nearest."""
        return self._info(self._path(name))

    def _path(self, name: str) -> Path:
        paths = {path.stem: path for path in reversed(self._files())}
        if name not in paths:
            close = difflib.get_close_matches(name, paths, n=1, cutoff=0.0)
            raise UnknownLoraError(value=name[:100], nearest=close[0] if close else "-")
        return paths[name]

    def header(self, name: str) -> LoraHeader:
        """Return what the file's header says. Raises UnknownLoraError or LoraFileError."""
        info = self.find(name)
        if info.problem is not None:
            raise info.problem
        return _header(Path(info.path or ""))

    def check(self, uses: Sequence[LoraSpec], model: ModelInfo) -> None:
        """Raise UnknownLoraError or LoraFileError for the first that can't be used with this model. No memory is taken."""
        for use in uses:
            info = self.find(use.name)
            if info.problem is not None:
                raise info.problem
            if not info.fits(model):
                raise LoraFileError(name=info.name, problem=_foreign(info, model))
            self._check_layers(info, model)

    def _check_layers(self, info: LoraInfo, model: ModelInfo) -> None:
        """Match the layers with those that the model's files will give; without them the loaded model decides."""
        matched = acts_on(Path(info.path or ""), model)
        if matched is None:
            return
        problem = unmatched_problem(_header(Path(info.path or "")), matched, model)
        if problem is not None:
            raise LoraFileError(name=info.name, problem=problem)

    def digests(self, name: str) -> tuple[str, str]:
        """The SHA-256 of the file, and that of its tensors alone; computed now if they have not been."""
        return self._digests.of(Path(self.find(name).path or ""))

    def file_hash(self, name: str) -> str | None:
        """Return the SHA-256 of the file, computed now if it has not been. UnknownLoraError when there is none."""
        return self.digests(name)[0]

    def named(self, name: str, digest: str) -> str:
        """The name here of a LoRA that goes by `name` elsewhere: of the file whose tensors' hash begins with `digest`.

        A name that is known here stays, and one that nothing here has.
        """
        if not digest or any(path.stem == name for path in self._files()):
            return name
        good = [info for info in self.all() if info.problem is None]
        return next((info.name for info in good if self.digests(info.name)[1].startswith(digest.lower())), name)

    def preview(self, name: str) -> bytes | None:
        """Return the image beside the file as WebP, decoded and at most 512 pixels wide; None without one that can be decoded."""
        path = self._image(self._path(name))
        try:
            return _thumbnail(path, _stamp(path)) if path is not None else None
        except OSError:
            return None

    def remove(self, name: str) -> None:
        """Delete the user's own file and the picture beside it; LoraFileError for a shipped one."""
        info = self.find(name)
        if not info.own:
            raise LoraFileError(name=name, problem=PROBLEMS["shipped"])
        path = Path(info.path or "")
        image = self._image(path)
        try:
            path.unlink()
            if image is not None:
                image.unlink()
        except OSError as error:
            raise NotWritableError(path=path) from error

    def _files(self) -> list[Path]:
        found = []
        for folder in (self.folder, self._shipped):
            for parent, folders, names in os.walk(folder, onerror=None):
                folders[:] = sorted(name for name in folders if not name.startswith("."))
                found += [
                    Path(parent, name) for name in names if name.lower().endswith(ENDINGS) and not name.startswith("._")
                ]
        return sorted(
            (path for path in found if path.is_file()), key=lambda path: (self._shipped in path.parents, path)
        )

    def _inside(self, path: Path) -> bool:
        """Return False for a link that leads out of the folder that it lies in."""
        folder = self._shipped if self._shipped in path.parents else self.folder
        return path.resolve().is_relative_to(folder.resolve())

    def _image(self, path: Path) -> Path | None:
        beside = (path.with_suffix(end) for end in IMAGES)
        return next((found for found in beside if found.is_file() and self._inside(found)), None)

    def _info(self, path: Path) -> LoraInfo:
        try:
            size = path.stat().st_size
        except OSError:
            return _with_problem(LoraInfo(path.stem, str(path)), "missing")
        own = self._shipped not in path.parents
        plain = LoraInfo(path.stem, str(path), size, preview=self._image(path) is not None, own=own)
        if any(mark in path.stem for mark in FORBIDDEN):
            return _with_problem(plain, "name")
        if not self._inside(path):
            return _with_problem(plain, "link")
        try:
            header = _header(path)
        except BadFile as bad:
            return _with_problem(plain, bad.kind, getattr(bad, "what", ""))
        digests = self._digests.of(path) if size <= AT_ONCE else self._digests.known(path)
        info = replace(
            plain,
            kind=header.kind,
            width=header.width,
            rank=header.rank,
            digest=digests[0] if digests else None,
            family=header.family or "",
            layout=header.layout,
            algorithm=", ".join(header.algorithms),
            dtype=header.dtype,
            triggers=header.triggers,
            title=header.title,
        )
        return info if header.kind else _with_problem(info, "family", header.family or "?")


def lora_files(settings: Settings) -> LoraLibrary:
    """As the settings say where."""
    wanted = str(settings["lora.folder"])
    return LoraLibrary(
        places_of(settings).store / FOLDER if wanted == AUTO else PROJECT_ROOT / Path(wanted).expanduser()
    )


class Digests:
    """Two SHA-256 by file, of the whole and of what follows the header, kept in a JSON file while the LoRA stays as it is."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._read: tuple[str, dict[str, object]] = ("", {})  # what was read, with the file's stamp

    def of(self, path: Path) -> tuple[str, str]:
        """Computed now if they have not been."""
        digests = self.known(path)
        if digests is None:
            digests = _hash(path)
            self._keep(path, digests)
        return digests

    def known(self, path: Path) -> tuple[str, str] | None:
        """Only if they have been computed."""
        kept = self._kept().get(str(path))
        if not isinstance(kept, list) or len(kept) != 3 or kept[0] != _stamp(path):
            return None
        return str(kept[1]), str(kept[2])

    def _kept(self) -> dict[str, object]:
        try:
            stamp = _stamp(self._file)
            if stamp != self._read[0]:
                data = json.loads(self._file.read_text(encoding="utf-8"))
                self._read = (stamp, data if isinstance(data, dict) else {})
        except (OSError, ValueError, RecursionError):
            return {}
        return self._read[1]

    def _keep(self, path: Path, digests: tuple[str, str]) -> None:
        """What can't be written is computed again next time."""
        kept = {name: value for name, value in self._kept().items() if os.path.exists(name)}
        temporary = self._file.with_suffix(f".{os.getpid()}")
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_text(json.dumps({**kept, str(path): [_stamp(path), *digests]}), encoding="utf-8")
            temporary.replace(self._file)
        except OSError:
            return


def _stamp(path: Path) -> str:
    stat = path.stat()
    return f"{stat.st_size} {stat.st_mtime_ns}"


def _hash(path: Path) -> tuple[str, str]:
    """Of the whole file, and of what follows a safetensors header: read once."""
    whole, tensors = hashlib.sha256(), hashlib.sha256()
    with path.open("rb") as file:
        length = file.read(8)
        header = file.read(int.from_bytes(length, "little"))
        whole.update(length + header)
        while block := file.read(BLOCK):
            whole.update(block)
            tensors.update(block)
    return whole.hexdigest(), tensors.hexdigest()


def _header(path: Path) -> LoraHeader:
    """Return the header, read once for as long as the file stays as it is. Raises BadFile."""
    try:
        found = _kept_header(path, _stamp(path))
    except OSError:
        raise BadFile("missing") from None
    if isinstance(found, BadFile):
        raise found
    return found


@lru_cache(maxsize=4096)
def _kept_header(path: Path, stamp: str) -> LoraHeader | BadFile:
    try:
        return read_lora(path)
    except BadFile as bad:
        return bad


@lru_cache(maxsize=256)
def _thumbnail(path: Path, stamp: str) -> bytes | None:
    """Return an image file decoded and encoded anew: nothing else of the file is given away."""
    try:
        with Image.open(path, formats=("PNG", "JPEG", "WEBP")) as image:
            if image.width * image.height > PREVIEW_PIXELS:
                return None
            image.thumbnail((PREVIEW_SIDE, PREVIEW_SIDE))
            target = io.BytesIO()
            image.convert("RGB").save(target, "WEBP", quality=85)
            return target.getvalue()
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None


def acts_on(path: Path, model: ModelInfo) -> Match | None:
    """Return where a LoRA file acts in a model, by the headers of both; None when the model's files can't tell. Raises BadFile."""
    if model.path is None or model.problem is not None or model.pipeline not in FAMILIES:
        return None
    network = try_network(files_of(model), model.pipeline)
    return match(_header(path), network, model.pipeline) if network else None


def describe(path: Path, model: ModelInfo | None = None) -> dict[str, Any]:
    """Return what a LoRA file is, without loading it.

    `use` is "yes" or the reason against it, in English; `acts_on` is [layers that act, layers in the file] with a model, else None.
    """
    try:
        header = _header(path)
    except BadFile as bad:
        reason = _problem(bad.kind, getattr(bad, "what", ""))
        return {"kind": "lora", "family": None, "layout": None, "dtype": None, "size": _size_of(path), "use": reason["en"],
                "acts_on": None}  # fmt: skip
    use = "yes" if header.kind else _problem("family", header.family or "?")["en"]
    matched = acts_on(path, model) if model is not None and header.kind else None
    if model is not None and matched is not None:
        problem = unmatched_problem(header, matched, model)
        use = problem["en"] if problem else use
    return {
        "kind": "lora",
        "family": header.family,
        "layout": header.layout,
        "algorithm": ", ".join(header.algorithms),
        "dtype": header.dtype,
        "rank": header.rank,
        "size": _size_of(path),
        "triggers": list(header.triggers),
        "use": use,
        "acts_on": [len(matched.acting) + len(matched.unknown), matched.total + len(header.unread)]
        if matched
        else None,
    }


def _size_of(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _problem(kind: str, what: str = "") -> Mapping[str, str]:
    said = PROBLEMS.get(kind, PROBLEMS["header"])
    chinese = ", ".join(_WHAT_ZH.get(one, one) for one in what.split(", "))
    return {"en": said["en"].replace("{what}", what), "zh": said["zh"].replace("{what}", chinese)}


def _with_problem(info: LoraInfo, kind: str, what: str = "") -> LoraInfo:
    return replace(info, problem=LoraFileError(name=info.name, problem=_problem(kind, what)))


def _foreign(info: LoraInfo, model: ModelInfo) -> Mapping[str, str]:
    made = f"{info.kind or '?'} {info.width or ''}".strip()
    wanted = f"{model.lora_kind} {model.width or ''}".strip()
    return localize("models.lora_library.it_was_made_for_another_model", made=made, id=model.id, wanted=wanted)


def unmatched_problem(header: LoraHeader, matched: Match, model: ModelInfo) -> Mapping[str, str] | None:
    """Return why a LoRA can't act on a network: a layer of another shape, or no layer at all; None when it can."""
    if matched.misshapen:
        layer = matched.misshapen[0]
        return localize("models.lora_library.its_layer_has_another_shape_than", layer=layer, id=model.id)
    if not matched.acting and not matched.unknown:
        return localize(
            "models.lora_library.has_none_of_its_layers_choose", id=model.id, missing=_named(matched.missing)
        )
    return None


def parts_reason(header: LoraHeader, matched: Match) -> Mapping[str, str]:
    """Return the sentence about a LoRA that acts in part: how many layers, and what is left out."""
    count = f"{len(matched.acting)} of {matched.total + len(header.unread)} layers"
    counted = f"{matched.total + len(header.unread)} 层中的 {len(matched.acting)} 层"
    english, chinese = [], []
    if matched.missing:
        english.append(f"the model lacks {_named(matched.missing)}")
        chinese.append(f"模型没有 {_named(matched.missing)}")
    for what in sorted(set(header.unread.values())):
        layers = tuple(name for name, one in header.unread.items() if one == what)
        english.append(f"not read ({what}): {_named(layers)}")
        chinese.append(f"未读取（{_WHAT_ZH.get(what, what)}）：{_named(layers)}")
    if header.embeddings:
        english.append(f"the embeddings in the file are not used: {', '.join(header.embeddings)}")
        chinese.append(f"文件中的嵌入未使用：{', '.join(header.embeddings)}")
    return localize(
        "models.lora_library.acts_on",
        count=count,
        english="; ".join(english),
        counted=counted,
        chinese="；".join(chinese),
    )


def _named(layers: Sequence[str]) -> str:
    first = ", ".join(name[:100] for name in layers[:NAMED_LAYERS])
    return f"{first} (+{len(layers) - NAMED_LAYERS})" if len(layers) > NAMED_LAYERS else first
