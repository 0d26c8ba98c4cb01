"""List the LoRA files in the user's folder and the shipped ones; each is judged by its header before anything is loaded."""

from __future__ import annotations

import difflib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import requests
from PIL import Image

from core.config.loader import PROJECT_ROOT, Settings, data_folder
from core.config.lora_syntax import FORBIDDEN, LoraSpec
from core.config.schema import AUTO
from core.errors import LoraFileError, NotWritableError, UnknownLoraError
from core.i18n import localize
from core.models.families import FAMILIES
from core.models.file_index import FileCache, Found, hashes, scan, state_of_file
from core.models.lora_match import (
    LORA_PROBLEMS,
    Match,
    foreign_problem,
    match,
    problem_text,
    try_network,
    unmatched_problem,
)
from core.models.lora_metadata import LoraHeader, read_lora
from core.models.model_paths import places_of
from core.models.part_sources import files_of
from core.models.weight_files import SAFETENSORS, BadFile
from core.types import LoraInfo, ModelInfo

SHIPPED = PROJECT_ROOT / "core" / "demo" / "lora"
FOLDER = "loras"  # in the folder of models
DIGESTS, INDEX = ".digests.json", ".loras.json"  # in the user's folder: hashes, and what headers say
CIVITAI = ".civitai.json"  # likewise: the trigger words from Civitai
INDEX_VERSION = 2  # of what is kept of a header; another one is read again
AT_ONCE = 4_000_000  # bytes; larger files are hashed when they are first used, not when they are listed
ENDINGS = (SAFETENSORS, ".pt", ".ckpt", ".bin", ".pth", ".gguf")
PREVIEW_SIDE = 512  # px
PREVIEW_PIXELS = 40_000_000  # an image with more is not decoded


class LoraLibrary:
    """The LoRA folder with its subfolders, and the shipped one. Read at each call; headers are cached."""

    def __init__(self, folder: Path, shipped: Path = SHIPPED) -> None:
        self.folder = folder
        self._shipped = shipped
        self._digests = FileCache(folder / DIGESTS)
        self._index = FileCache(folder / INDEX)
        self._trigger_words = FileCache(folder / CIVITAI)

    # -- listing -------------------------------------------------------------------------------------------------------

    def all(self) -> Sequence[LoraInfo]:
        """Return every file by name, the shipped ones last; of two of one name the second has a problem."""
        seen: set[str] = set()
        listed: list[LoraInfo] = []
        for found in self._files():
            info = self._info(found)
            listed.append(_with_problem(info, "twice") if info.name in seen else info)
            seen.add(info.name)
        self._index.flush()
        self._digests.flush()
        return listed

    def find(self, name: str) -> LoraInfo:
        """Return the LoRA of that name. Raises UnknownLoraError naming the nearest."""
        info = self._info(self._found(name))
        self._index.flush()
        self._digests.flush()
        return info

    def _files(self) -> list[Found]:
        return [*scan(self.folder, ENDINGS), *scan(self._shipped, ENDINGS)]

    def _found(self, name: str) -> Found:
        files = {found.path.stem: found for found in reversed(self._files())}
        if name not in files:
            close = difflib.get_close_matches(name, files, n=1, cutoff=0.0)
            raise UnknownLoraError(value=name[:100], nearest=close[0] if close else "-")
        return files[name]

    def _info(self, found: Found) -> LoraInfo:
        path, own = found.path, self._shipped not in found.path.parents
        plain = LoraInfo(path.stem, str(path), found.bytes, preview=found.image is not None, own=own)
        if any(mark in path.stem for mark in FORBIDDEN):
            return _with_problem(plain, "name")
        if found.linked:
            return _with_problem(plain, "link")
        facts = self._facts(found)
        if facts["problem"]:
            return _with_problem(plain, *facts["problem"])
        if found.bytes <= AT_ONCE:
            self._hash(found)
        digests = self._digests.get(path, found.state)
        info = replace(
            plain,
            **{**facts["info"], "triggers": self._triggers(found, facts["info"]["triggers"])},
            digest=digests[0] if digests else None,
        )
        return info if info.kind else _with_problem(info, "family", info.family or "another")

    def _triggers(self, found: Found, own: Sequence[str]) -> tuple[str, ...]:
        """Return the trigger words of the header, then those from Civitai."""
        stored = self._trigger_words.get(found.path, found.state)
        words = [word for word in stored if isinstance(word, str)] if isinstance(stored, list) else []
        return tuple(dict.fromkeys((*own, *words)))

    def _facts(self, found: Found) -> Mapping[str, Any]:
        """Return what the header says as plain values: from the index, or read now."""
        facts = self._index.get(found.path, found.state)
        if isinstance(facts, dict) and facts.get("version") == INDEX_VERSION:
            return facts
        facts = {"version": INDEX_VERSION, "problem": None, "info": {}}
        try:
            header = _header(found.path)
            facts["info"] = {
                "kind": header.kind,
                "width": header.width,
                "rank": header.rank,
                "family": header.family or "",
                "layout": header.layout,
                "algorithm": ", ".join(header.algorithms),
                "dtype": header.dtype,
                "triggers": list(header.triggers),
                "title": header.title,
            }
        except BadFile as bad:
            facts["problem"] = [bad.kind, getattr(bad, "what", "")]
        self._index.put(found.path, found.state, facts)
        return facts

    # -- one file ------------------------------------------------------------------------------------------------------

    def header(self, name: str) -> LoraHeader:
        """Return what the file's header says. Raises UnknownLoraError or LoraFileError."""
        info = self.find(name)
        if info.problem is not None:
            raise info.problem
        try:
            return _header(Path(info.path or ""))
        except BadFile as bad:
            raise LoraFileError(name=name, problem=problem_text(bad.kind, getattr(bad, "what", ""))) from None

    def check(self, uses: Sequence[LoraSpec], model: ModelInfo) -> None:
        """Raise UnknownLoraError or LoraFileError for the first that can't be used with this model. No memory is taken."""
        for use in uses:
            info = self.find(use.name)
            if info.problem is not None:
                raise info.problem
            if not info.fits(model):
                raise LoraFileError(name=info.name, problem=foreign_problem(info, model))
            matched = acts_on(Path(info.path or ""), model)  # without the model's files the loaded model decides
            problem = unmatched_problem(matched, model) if matched is not None else None
            if problem is not None:
                raise LoraFileError(name=info.name, problem=problem)

    def digests(self, name: str) -> tuple[str, str]:
        """Return the SHA-256 of the file, and that of its tensors alone; computed now if they have not been."""
        digests = self._hash(self._found(name))
        self._digests.flush()
        return digests

    def _hash(self, found: Found) -> tuple[str, str]:
        kept = self._digests.get(found.path, found.state)
        if not isinstance(kept, list) or len(kept) != 2:
            kept = list(hashes(found.path))
            self._digests.put(found.path, found.state, kept)
        return str(kept[0]), str(kept[1])

    def look_up(self, name: str) -> Sequence[str]:
        """Ask Civitai for trigger words by the file's hash, keep them, and return them.

        Raises UnknownLoraError, and LoraFileError where Civitai does not know the file or could not be asked.
        """
        found = self._found(name)
        words = trigger_words(name, self.digests(name)[0])
        self._trigger_words.put(found.path, found.state, list(words))
        self._trigger_words.flush()
        return words

    def file_hash(self, name: str) -> str | None:
        """Return the SHA-256 of the file, computed now if it has not been. UnknownLoraError when there is none."""
        return self.digests(name)[0]

    def named(self, name: str, digest: str) -> str:
        """Return the name here of a LoRA that goes by `name` elsewhere: of the file whose tensors' hash begins with `digest`.

        A name that is known here stays, and one that nothing here has.
        """
        if not digest or any(found.path.stem == name for found in self._files()):
            return name
        good = [info for info in self.all() if info.problem is None]
        return next((info.name for info in good if self.digests(info.name)[1].startswith(digest.lower())), name)

    def preview(self, name: str) -> bytes | None:
        """Return the image beside the file as WebP, decoded and at most 512 pixels wide; None without one that can be decoded."""
        image = self._found(name).image
        try:
            return _thumbnail(image, state_of_file(image)) if image is not None else None
        except OSError:
            return None

    def remove(self, name: str) -> None:
        """Delete the user's own file and the image beside it. Raises LoraFileError for a shipped one."""
        found = self._found(name)
        if self._shipped in found.path.parents:
            raise LoraFileError(name=name, problem=LORA_PROBLEMS["shipped"])
        try:
            found.path.unlink()
            if found.image is not None:
                found.image.unlink()
        except OSError as error:
            raise NotWritableError(path=found.path) from error


def lora_files(settings: Settings) -> LoraLibrary:
    """Return the LoRAs of the folder that the settings name."""
    wanted = settings.lora.folder
    return LoraLibrary(
        places_of(settings).store / FOLDER if wanted == AUTO else data_folder() / Path(wanted).expanduser()
    )


def _with_problem(info: LoraInfo, kind: str, what: str = "") -> LoraInfo:
    return replace(info, problem=LoraFileError(name=info.name, problem=problem_text(kind, what)))


def _header(path: Path) -> LoraHeader:
    """Return the header, read once for as long as the file stays as it is. Raises BadFile."""
    try:
        found = _kept_header(path, state_of_file(path))
    except OSError:
        raise BadFile("missing") from None
    if isinstance(found, BadFile):
        raise found
    return found


@lru_cache(maxsize=64)
def _kept_header(path: Path, _unchanged: str) -> LoraHeader | BadFile:
    try:
        return read_lora(path)
    except BadFile as bad:
        return bad


@lru_cache(maxsize=256)
def _thumbnail(path: Path, _unchanged: str) -> bytes | None:
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


# -- what a file is ----------------------------------------------------------------------------------------------------


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
    size = path.stat().st_size if path.is_file() else 0
    try:
        header = _header(path)
    except BadFile as bad:
        reason = problem_text(bad.kind, getattr(bad, "what", ""))["en"]
        return {
            "kind": "lora",
            "family": None,
            "layout": None,
            "dtype": None,
            "size": size,
            "use": reason,
            "acts_on": None,
        }
    use = "yes" if header.kind else problem_text("family", header.family or "another")["en"]
    matched = acts_on(path, model) if model is not None and header.kind else None
    if model is not None and matched is not None:
        problem = unmatched_problem(matched, model)
        use = problem["en"] if problem else use
    acting = len(matched.acting) + len(matched.unknown) if matched else 0
    return {
        "kind": "lora",
        "family": header.family,
        "layout": header.layout,
        "algorithm": ", ".join(header.algorithms),
        "dtype": header.dtype,
        "rank": header.rank,
        "size": size,
        "triggers": list(header.triggers),
        "use": use,
        "acts_on": [acting, matched.total + len(header.unread)] if matched else None,
    }


ADDRESS = "https://civitai.com/api/v1/model-versions/by-hash"
SECONDS = (5, 20)  # to connect, to answer
MOST_BYTES = 2_000_000  # of an answer
MOST_WORDS, LONGEST = 50, 200  # of trigger words; characters of one
CHUNK = 65536  # bytes


def trigger_words(name: str, digest: str) -> Sequence[str]:
    """Return the trigger words that Civitai knows of a file by its SHA-256; empty where it has none.

    Raises:
        LoraFileError: Civitai does not know the file, or could not be asked; `name` is the LoRA's.
    """
    try:
        with requests.get(f"{ADDRESS}/{digest}", timeout=SECONDS, stream=True, allow_redirects=False) as answer:
            if answer.status_code == requests.codes.not_found:
                raise LoraFileError(name=name, problem=localize("models.lora_library.unknown"))
            if answer.status_code != requests.codes.ok:
                raise _failed(name, f"HTTP {answer.status_code}")
            return _words(name, _body(name, answer))
    except requests.RequestException as error:
        raise _failed(name, type(error).__name__) from error


def _body(name: str, answer: requests.Response) -> bytes:
    body = bytearray()
    for chunk in answer.iter_content(CHUNK):
        body += chunk
        if len(body) > MOST_BYTES:
            raise _failed(name, f"> {MOST_BYTES} bytes")
    return bytes(body)


def _words(name: str, body: bytes) -> Sequence[str]:
    try:
        data = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise _failed(name, type(error).__name__) from error
    listed = data.get("trainedWords") if isinstance(data, dict) else None
    if not isinstance(listed, list):
        raise _failed(name, "trainedWords")
    words = (" ".join(word.split())[:LONGEST].strip(" ,") for word in listed if isinstance(word, str))
    return tuple(dict.fromkeys(word for word in words if word))[:MOST_WORDS]


def _failed(name: str, detail: str) -> LoraFileError:
    return LoraFileError(name=name, problem=localize("models.lora_library.failed", detail=detail))
