"""Say what any file or folder of weights is, without loading it: kind, family, layout, dtype, parts, size, use."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from core.errors import EmbeddingError, ModelError, ModelFileError
from core.models import embedding_library, lora_library, upscaler_library
from core.models.catalog import Catalog
from core.models.controlnet_library import PREPROCESSOR_FOLDER
from core.models.identify import Contents
from core.models.model_folders import models_in
from core.models.model_paths import PREVIEWS, size_of
from core.models.part_sources import files_of, sources
from core.models.single_file import contents_of, is_network, itself, storage_of
from core.models.validation import problem, read_json, unread_weights
from core.models.weight_files import SAFETENSORS, BadFile, Header, read_all
from core.types import ModelInfo

YES, NO, NEEDS = "yes", "no", "needs"
_DTYPES = {"F64": "fp64", "F32": "fp32", "F16": "fp16", "BF16": "bf16", "F8_E4M3": "fp8_e4m3fn", "F8_E5M2": "fp8_e5m2",
           "I8": "int8", "U8": "uint8"}  # fmt: skip
_NEEDS = ("base", "frame", "lacks", "parts", "part_alone", "download", "gguf_package", "outside")  # what could be added
_ENDINGS = ("unfinished", "rename")  # kinds of problems
_BROKEN = {
    "lfs": "git lfs pointer",
    "web_page": "web page",
    "json_answer": "error message in JSON",
    "text_answer": "message in place of a file",
    "archive": "archive",
    "empty": "empty file",
    "pickle": "pickle",
    "truncated": "cut file",
    "longer": "damaged file",
    "gguf": "damaged GGUF file",
    "header": "not a weight file",
    "quantisation": "GGUF file",
}


@dataclass(frozen=True)
class Description:
    """What a file or folder is. `parts`: those of a model that are in it; `size` in bytes; `use`: "yes", "no: why" or
    "needs: what"; `acts_on`: of a LoRA, "12 of 56 layers" for a model."""

    path: str
    kind: str
    family: str | None
    layout: str | None
    dtype: str | None
    parts: tuple[str, ...]
    size: int
    use: str
    acts_on: str | None = None

    @property
    def recognised(self) -> bool:
        """Return True if the file was recognised."""
        return self.kind not in ("unknown", "folder")

    def as_json(self) -> dict[str, Any]:
        """Return the description with its documented keys; `acts_on` of a LoRA alone."""
        found = {**asdict(self), "parts": list(self.parts)}
        if self.kind != "lora":
            del found["acts_on"]
        return found


def describe(path: Path, catalog: Catalog, lora_for: ModelInfo | None = None) -> Description:
    """Return what lies at an existing path; `lora_for` is the model that a LoRA is compared with. Raises OSError."""
    if path.is_dir():
        alone = itself(path)
        return _folder(path, catalog) if alone == path else describe(alone, catalog, lora_for)
    try:
        header = read_all(path)
        contents = contents_of(path)
    except BadFile as bad:
        known = catalog.find(str(path)).problem
        if getattr(known, "kind", "") not in _ENDINGS:  # what is in the file says more than its ending
            known = problem(path.name, path.name, bad.kind, **bad.values)
        use = f"{NO}: {_words(known or ModelError(), path.name)}"
        kind = (
            "lora" if bad.kind == "quantisation" and "lora" in path.name.lower() else _BROKEN.get(bad.kind, "unknown")
        )
        return Description(str(path), kind, None, None, None, (), path.stat().st_size, use)
    if contents.kind == "lora":
        return _lora(path, lora_for)
    parts = tuple(dict.fromkeys(component.part for component in contents.components))
    return Description(
        path=str(path),
        kind=contents.kind,
        family=contents.family or None,
        layout=_layout(contents, header),
        dtype=_dtype(path, header),
        parts=parts,
        size=path.stat().st_size,
        use=_use(path, contents, catalog),
    )


def _layout(contents: Contents, header: Header) -> str | None:
    if header.is_gguf:
        architecture = header.metadata.get("general.architecture")
        suffix = f" ({architecture})" if isinstance(architecture, str) and architecture else ""
        return f"GGUF{suffix}, {contents.layout} names" if contents.layout else f"GGUF{suffix}"
    prefix = contents.components[0].prefix if contents.components else ""
    return f"{contents.layout}, prefix {prefix}" if prefix and contents.layout else contents.layout or None


def _dtype(path: Path, header: Header) -> str | None:
    """Return the dtype that most bytes have; the scheme where weights have scales or can't be read."""
    counted: Counter[str] = Counter()
    for tensor in header.tensors.values():
        counted[tensor.dtype] += tensor.bytes
    if not counted:
        return None
    most = counted.most_common(1)[0][0]
    try:
        scaled = storage_of(path).scales
    except BadFile as bad:
        return bad.values.get("scheme") or _DTYPES.get(most, most)
    if scaled:
        most = Counter(header.tensors[weight].dtype for weight in scaled).most_common(1)[0][0]
    return f"{_DTYPES.get(most, most)}{' scaled' if scaled else ''}"


def _use(path: Path, contents: Contents, catalog: Catalog) -> str:
    if contents.kind == "embedding":
        try:
            embedding_library.read(path)
        except EmbeddingError as error:
            return f"{NO}: {_words(error, path.name)}"
        return f"{YES}: put it into the folder {embedding_library.FOLDER}"
    if contents.kind == "upscaler" and path.suffix.lower() == SAFETENSORS:
        extra = "" if contents.family.endswith("compact") or find_spec("spandrel") else "; it needs pip install spandrel"
        return f"{YES if not extra else NEEDS}: put it into the folder {upscaler_library.FOLDER}{extra}"
    refused = catalog.find(str(path)).problem
    return YES if refused is None else _with_reason(refused, path.name)


def _with_reason(problem: Exception, name: str) -> str:
    reason = _words(problem, name)
    kind = getattr(problem, "kind", "")
    return f"{NEEDS if kind in _NEEDS else NO}: {reason}"


def _words(problem: Exception, name: str) -> str:
    """The reason in an error; with the file that it is about, where that is not `name` itself."""
    values = getattr(problem, "values", {})
    problems, file = values.get("problem"), str(values.get("file", ""))
    if not isinstance(problems, dict):
        return str(problem)
    return f"{file}: {problems['en']}" if file and not file.startswith("/") and file != name else str(problems["en"])


def _lora(path: Path, model: ModelInfo | None) -> Description:
    """As the LoRA library says it."""
    found = lora_library.describe(path, model)
    acts_on = found["acts_on"]
    acting = f"{acts_on[0]} of {acts_on[1]} layers" if acts_on and model is not None else None
    use = found["use"] if found["use"] == YES else f"{NO}: {found['use']}"
    family, layout, dtype = found["family"], found["layout"], found["dtype"]
    return Description(str(path), "lora", family, layout, dtype, (), path.stat().st_size, use, acting)


# -- folders -----------------------------------------------------------------------------------------------------------


def _folder(path: Path, catalog: Catalog) -> Description:
    size = size_of(path)
    if (path / "model_index.json").exists() or is_network(path):
        return _model_folder(path, catalog, size)
    if (path / "config.json").is_file():
        return _part_folder(path, size)
    found = tuple(models_in(path))
    if found:
        names = tuple(one.relative_to(path).as_posix() for one in found)
        use = f"{YES}: name it in models.folders"
        return Description(str(path), "folder of models", None, None, None, names, size, use)
    missing = _words(catalog.find(str(path)).problem or ModelError(), path.name)
    return Description(str(path), "folder", None, None, None, (), size, f"{NO}: {missing}")


def _model_folder(path: Path, catalog: Catalog, size: int) -> Description:
    info = catalog.find(str(path))
    kind = "controlnet" if is_network(path) else "model"
    parts: tuple[str, ...] = ()
    dtypes: list[str] = []
    try:
        held = sources(*files_of(info)) if info.problem is None else {}
        own = {part: source for part, source in held.items() if path in (source.path, *source.path.parents)}
        parts = tuple(own)
        for source in own.values():
            files = [source.path] if source.path.is_file() else sorted(source.path.glob("*.safetensors"))
            dtypes += [stored for file in files if (stored := _dtype(file, read_all(file)))]
    except (ModelFileError, BadFile, OSError):
        pass
    unread = unread_weights(path)
    use = YES if info.problem is None else _with_reason(info.problem, path.name)
    layout = f"diffusers folder (not read: {', '.join(unread[:3])})" if unread else "diffusers folder"
    dtype = ", ".join(dict.fromkeys(dtypes)) or None
    return Description(str(path), kind, _label(info), layout, dtype, parts, size, use)


def _label(info: ModelInfo) -> str | None:
    from core.models.families import FAMILIES

    family = FAMILIES.get(info.pipeline)
    return family.label if family is not None and os.path.exists(info.path or "") else None


def _part_folder(path: Path, size: int) -> Description:
    """Return a part of a model as the libraries save it."""
    try:
        config = read_json(path, "config.json", path.name)
    except ModelFileError as error:
        return Description(str(path), "unknown", None, None, None, (), size, f"{NO}: {_words(error, path.name)}")
    name = str(
        config.get("_class_name") or next(iter(config.get("architectures") or []), "") or config.get("model_type", "")
    )
    kind = next((kind for word, kind in _CLASSES.items() if word in name), "unknown")
    if kind in _FOLDERS:
        use = f"{YES}: put it into the folder {_FOLDERS[kind]}"
        return Description(str(path), kind, name, "folder of the library", None, (), size, use)
    if kind in ("unknown", "image encoder"):
        return Description(str(path), kind, name or None, None, None, (), size, f"{NO}: it is no part of a model that can be used")
    part = kind.replace(" ", "_")
    use = f"{NEEDS}: the other parts; name this folder as {part} under `parts` of an entry in configs/models"
    return Description(str(path), kind, name or None, "diffusers folder of one part", None, (part,), size, use)


_CLASSES = {  # a word of a class's name -> what it is
    "AutoencoderTiny": "tiny vae", "Autoencoder": "vae", "ControlNet": "controlnet", "DepthAnything": "depth estimator",
    "depth_anything": "depth estimator", "Vision": "image encoder", "Siglip": "image encoder", "SafetyChecker": "image encoder",
    "Transformer2D": "transformer", "Transformer3D": "transformer", "UNet": "unet", "CLIPText": "text encoder",
    "CLIPModel": "text encoder", "ForCausalLM": "text encoder", "Qwen": "text encoder", "T5": "text encoder",
    "Gemma": "text encoder", "Llama": "text encoder", "qwen": "text encoder",
}  # fmt: skip
_FOLDERS = {"tiny vae": PREVIEWS, "depth estimator": PREPROCESSOR_FOLDER}  # in the folder of models
