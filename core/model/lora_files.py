"""The LoRA files that there are: the user's folder and what is shipped, each judged by its header, and by content.

What this module does not know: torch, how a LoRA acts.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

from core.config.layers import PROJECT_ROOT, Settings
from core.config.loras import FORBIDDEN, LoraUse
from core.config.schema import AUTO
from core.errors import LoraFileError, NotWritableError, UnknownLoraError
from core.model.checks import PROBLEMS as MODEL_PROBLEMS
from core.model.formats import SAFETENSORS, BadFile
from core.model.lora_headers import Header, misfit, read_lora
from core.model.places import places_of
from core.model.single import files_of
from core.types import LoraInfo, ModelInfo

SHIPPED = PROJECT_ROOT / "core" / "demo" / "lora"
FOLDER = "loras"  # in the folder of models
DIGESTS = ".digests.json"  # in the user's folder: what was hashed is not hashed again at the next start
PICTURES = (".webp", ".png", ".jpg", ".jpeg", ".preview.png", ".preview.webp")  # of the file's own name, beside it
BLOCK = 1 << 20  # bytes
AT_ONCE = 64_000_000  # bytes; larger files are hashed when they are first used, not when they are listed

_NO_SAFETENSORS = {
    "en": "this is not a safetensors file; get the LoRA in the safetensors format",
    "zh": "这不是 safetensors 文件；请使用 safetensors 格式的 LoRA",
}
PROBLEMS: Mapping[str, Mapping[str, str]] = {
    **{name: MODEL_PROBLEMS[name] for name in ("truncated", "longer", "pickle")},
    **dict.fromkeys(("header", "gguf", "quantisation"), _NO_SAFETENSORS),
    "missing": {"en": "the file is gone; copy it again", "zh": "文件已不存在；请重新复制"},
    "tensors": {
        "en": "its tensors are no pairs of LoRA matrices; get the LoRA itself, not a whole model",
        "zh": "其中的张量不是成对的 LoRA 矩阵；请使用 LoRA 文件，而不是整个模型",
    },
    "other": {
        "en": "it is a LoKr, LoHa or DoRA, which this studio does not read; get a plain LoRA",
        "zh": "它是 LoKr、LoHa 或 DoRA，本程序无法读取；请使用普通 LoRA",
    },
    "notes": {
        "en": "its notes ask for more than a LoRA needs, which could change the model itself; get it from another source",
        "zh": "其附注的要求超出 LoRA 所需，可能改动模型本身；请从其他来源获取",
    },
    "name": {
        "en": f"a name must not have any of {FORBIDDEN} in it; rename the file",
        "zh": f"名称中不能有 {FORBIDDEN} 中的字符；请重命名文件",
    },
    "twice": {
        "en": "another file has the same name, and that one is used; rename one of them",
        "zh": "另有同名文件，使用的是那一个；请重命名其一",
    },
    "shipped": {
        "en": "it belongs to the program and is not removed",
        "zh": "它是程序自带的，不能移除",
    },
}


class LoraFiles:
    """Over the user's folder, with what lies below it, and the shipped one. Read at each call: files come and go."""

    def __init__(self, folder: Path, shipped: Path = SHIPPED) -> None:
        self.folder = folder
        self._shipped = shipped
        self._digests = Digests(folder / DIGESTS)

    def all(self) -> Sequence[LoraInfo]:
        """Every file by name, the shipped ones last; of two of one name the second has a problem."""
        found: list[LoraInfo] = []
        for path in self._files():
            info = self._info(path)
            if any(other.name == info.name for other in found):
                info = _with_problem(info, "twice")
            found.append(info)
        return found

    def find(self, name: str) -> LoraInfo:
        """The LoRA of that name; UnknownLoraError naming the nearest."""
        paths = {path.stem: path for path in reversed(self._files())}
        if name not in paths:
            close = difflib.get_close_matches(name, paths, n=1, cutoff=0.0)
            raise UnknownLoraError(came=name[:100], nearest=close[0] if close else "-")
        return self._info(paths[name])

    def check(self, uses: Sequence[LoraUse], model: ModelInfo) -> None:
        """Raise UnknownLoraError or LoraFileError for the first that can't be used with this model. No memory is taken."""
        for use in uses:
            info = self.find(use.name)
            if info.problem is not None:
                raise info.problem
            if not info.fits(model):
                raise LoraFileError(name=info.name, problem=_foreign(info, model))
            self._check_layers(info, model)

    def _check_layers(self, info: LoraInfo, model: ModelInfo) -> None:
        """Layer by layer, against the headers of the model's own files, where they are on this machine."""
        if info.path is None or model.path is None or model.problem is not None:
            return
        layer = misfit(_header(Path(info.path)), files_of(model))
        if layer is not None:
            raise LoraFileError(name=info.name, problem=_misfit(layer, model))

    def digests(self, name: str) -> tuple[str, str]:
        """The SHA-256 of the file, and that of its tensors alone; computed now if they have not been."""
        return self._digests.of(Path(self.find(name).path or ""))

    def named(self, name: str, digest: str) -> str:
        """The name here of a LoRA that goes by `name` elsewhere: of the file whose tensors' hash begins with `digest`.

        A name that is known here stays, and one that nothing here has.
        """
        found = self.all()
        if not digest or any(info.name == name for info in found):
            return name
        good = [info for info in found if info.problem is None]
        return next((info.name for info in good if self.digests(info.name)[1].startswith(digest.lower())), name)

    def preview(self, name: str) -> Path | None:
        """The picture beside the file."""
        return _picture(Path(self.find(name).path or ""))

    def remove(self, name: str) -> None:
        """Delete the user's own file and the picture beside it; LoraFileError for a shipped one."""
        info = self.find(name)
        if not info.own:
            raise LoraFileError(name=name, problem=PROBLEMS["shipped"])
        path = Path(info.path or "")
        picture = _picture(path)
        try:
            path.unlink()
            if picture is not None:
                picture.unlink()
        except OSError as error:
            raise NotWritableError(path=path) from error

    def _files(self) -> list[Path]:
        return [
            path
            for folder in (self.folder, self._shipped)
            for path in sorted(folder.rglob("*"))
            if path.suffix.lower() in (SAFETENSORS, ".pt", ".ckpt", ".bin", ".pth") and path.is_file()
        ]

    def _info(self, path: Path) -> LoraInfo:
        size = path.stat().st_size
        own = self._shipped not in path.parents
        plain = LoraInfo(path.stem, str(path), size, preview=_picture(path) is not None, own=own)
        if any(mark in path.stem for mark in FORBIDDEN):
            return _with_problem(plain, "name")
        try:
            header = _header(path)
        except BadFile as bad:
            return _with_problem(plain, bad.kind)
        digests = self._digests.of(path) if size <= AT_ONCE else self._digests.known(path)
        digest = digests[0] if digests else None
        facts = {"kind": header.kind, "width": header.width, "rank": header.rank, "digest": digest}
        return LoraInfo(**{**vars(plain), **facts})


def lora_files(settings: Settings) -> LoraFiles:
    """As the settings say where."""
    wanted = str(settings["lora.folder"])
    return LoraFiles(places_of(settings).store / FOLDER if wanted == AUTO else PROJECT_ROOT / Path(wanted).expanduser())


class Digests:
    """Two SHA-256 by file, of the whole and of what follows the header, kept in a JSON file while the LoRA stays as it is."""

    def __init__(self, file: Path) -> None:
        self._file = file

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
            data = json.loads(self._file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return data if isinstance(data, dict) else {}

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


def _header(path: Path) -> Header:
    """Read once for as long as the file stays as it is; BadFile."""
    try:
        return _kept_header(path, _stamp(path))
    except OSError:
        raise BadFile("missing") from None


@lru_cache(maxsize=512)
def _kept_header(path: Path, stamp: str) -> Header:
    return read_lora(path)


def _picture(path: Path) -> Path | None:
    return next((found for end in PICTURES if (found := path.with_suffix(end)).is_file()), None)


def _with_problem(info: LoraInfo, kind: str) -> LoraInfo:
    return LoraInfo(**{**vars(info), "problem": LoraFileError(name=info.name, problem=PROBLEMS[kind])})


def _foreign(info: LoraInfo, model: ModelInfo) -> Mapping[str, str]:
    made = f"{info.kind or '?'} {info.width or ''}".strip()
    wanted = f"{model.lora_kind} {model.width or ''}".strip()
    return {
        "en": f"it was made for another model ({made}; {model.id} is {wanted}); choose a model that it fits, or another LoRA",
        "zh": f"它是为其他模型制作的（{made}；{model.id} 为 {wanted}）；请选择与之匹配的模型，或换一个 LoRA",
    }


def _misfit(layer: str, model: ModelInfo) -> Mapping[str, str]:
    if not layer:
        return {
            "en": f"{model.id} has none of its layers; choose a model that it fits, or another LoRA",
            "zh": f"{model.id} 没有它所作用的任何层；请选择与之匹配的模型，或换一个 LoRA",
        }
    return {
        "en": f"its layer {layer} has another shape than that of {model.id}; choose a model that it fits, or another LoRA",
        "zh": f"其中的层 {layer} 与 {model.id} 的形状不同；请选择与之匹配的模型，或换一个 LoRA",
    }
