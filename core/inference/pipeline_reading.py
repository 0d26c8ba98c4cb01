"""Read a pipeline into memory: from a diffusers folder of any family, a single file, a ControlNet, or single parts."""

from __future__ import annotations

import json
import logging
import lzma
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers

from core.errors import ModelFileError
from core.i18n import localize
from core.inference.part_reading import account, read_part
from core.inference.weight_checks import check_values
from core.models.families import FAMILIES, backend_of
from core.models.families.base import CONTROLNET, Family
from core.models.part_sources import Source, check_sources, files_of, skeleton_of, sources
from core.models.single_file import check_frame, look_into, network_variant
from core.models.validation import check_folder, problem, read_json
from core.models.weight_files import read_all
from core.types import ModelInfo

_LACKS_GGUF = localize("inference.pipeline_reading.lacks_gguf")

_LIKE = {
    "unet": "transformer",
    CONTROLNET: "transformer",
    "text_encoder_2": "text_encoder",
    "siglip": "text_encoder",  # it encodes source images for the transformer
}  # part -> the one whose options it has
_RULES = {"use_safetensors": True, "local_files_only": True, "trust_remote_code": False}
PACKED_TOKENIZER = "tokenizer.json.xz"
_BOM = b"\xef\xbb\xbf"


def option_part(part: str) -> str:
    """Return the component whose options a part of any family follows: text_encoder, transformer or vae."""
    return _LIKE.get(part, part)


def check_model(info: ModelInfo) -> None:
    """Check everything that can be known of the files before memory is allocated; ModelFileError."""
    path, base, frame, parts = files_of(info)
    skeleton = skeleton_of(path, base, frame)
    if frame is None:
        check_folder(skeleton, info.id, tuple(info.parts))
    else:
        pipeline = look_into(base or path, info.id).pipeline
        check_frame(frame, pipeline, tuple(sources(path, base, frame, parts)), info.id)
    if base:
        look_into(path, info.id)
    check_sources(info.id, path, base, frame, parts)
    for source in sources(path, base, frame, parts).values():
        if source.path.is_file() and read_all(source.path).is_gguf and find_spec("gguf") is None:
            raise ModelFileError(model=info.id, file=source.path.name, problem=_LACKS_GGUF)


def read_pipeline(
    info: ModelInfo,
    dtypes: Mapping[str, torch.dtype],
    notes: list[str] | None = None,
    prepared: Callable[[str], Any | None] = lambda part: None,
) -> Any:
    """Return the pipeline on the CPU; `dtypes` of text_encoder, transformer (or U-Net) and vae.

    Only the libraries' own classes, only safetensors and GGUF, nothing from the network. Tensors that nothing uses are added to
    `notes`. `prepared` returns a part that is read otherwise, or None.

    Raises:
        ModelFileError: weights are missing or not understood.
    """
    silence_libraries()
    family = FAMILIES[info.pipeline]
    files = files_of(info)
    kind = getattr(diffusers, family.pipeline)
    given = dict.fromkeys(part for part in family.unused if part in kind._optional_components)
    unused: list[str] = notes if notes is not None else []
    with _readable(skeleton_of(*files[:3]), family) as skeleton:
        parts: dict[str, Any] = {}
        for part, source in sources(*files).items():
            dtype = dtypes[option_part(part)]
            if (ready := prepared(part)) is not None:
                parts[part] = ready
            elif part == CONTROLNET:
                config = read_json(skeleton, f"{family.denoiser}/config.json", info.id)
                parts[part] = read_network(source.path, info.pipeline, config, dtype, info.id, unused, source.variant)
            else:
                parts[part] = read_part(part, _moved(source, files, skeleton), skeleton, dtype, unused)
        parts |= backend_of(info.pipeline).parts_of(skeleton)
        if (skeleton / "tokenizer" / PACKED_TOKENIZER).is_file():
            parts["tokenizer"] = packed_tokenizer(skeleton / "tokenizer")
        pipeline = kind.from_pretrained(skeleton, **parts, **given, **family.arguments, **_RULES)
    _set_prediction(pipeline, family, files[1] or files[0])
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def packed_tokenizer(folder: Path) -> Any:
    """Return a tokenizer whose vocabulary is shipped compressed."""
    import tokenizers

    text = lzma.decompress((folder / PACKED_TOKENIZER).read_bytes()).decode("utf-8")
    config = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    arguments = {key: value for key, value in config.items() if key not in ("tokenizer_class", "added_tokens_decoder")}
    return transformers.Qwen2TokenizerFast(tokenizer_object=tokenizers.Tokenizer.from_str(text), **arguments)


def read_denoiser(pipeline: str, path: Path, base: str, dtype: torch.dtype) -> Any:
    """Return a transformer or U-Net out of a single file, of the shape that the folder `base` has."""
    part = FAMILIES[pipeline].denoiser
    return read_part(part, Source(path, look_into(path, path.name).components[part]), Path(base), dtype, [])


# -- configurations ----------------------------------------------------------------------------------------------------


@contextmanager
def _readable(folder: Path, family: Family | None = None) -> Iterator[Path]:
    """Yield a readable folder: a copy with links where JSON begins with a byte order mark or names classes that stand for any."""
    marked = [path for path in folder.rglob("*.json") if path.is_file() and path.open("rb").read(3) == _BOM]
    index = folder / "model_index.json"
    renamed = _own_classes(index, family) if index.is_file() and family is not None else {}
    if not marked and not renamed:
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="zdarkroom-view-") as name:
        view = Path(name)
        for path in folder.rglob("*"):
            target = view / path.relative_to(folder)
            if path.is_dir():
                target.mkdir(parents=True, exist_ok=True)
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            if path.suffix == ".json":
                target.write_bytes(path.read_bytes().removeprefix(_BOM))
            else:
                _link(path.resolve(), target)
        if renamed:
            told = json.loads((view / "model_index.json").read_text(encoding="utf-8"))
            (view / "model_index.json").write_text(json.dumps(told | renamed), encoding="utf-8")
        yield view


def _own_classes(index: Path, family: Family) -> dict[str, list[str]]:
    """Return the family's own class for each part of which the folder names one that stands for any."""
    told = json.loads(index.read_bytes().removeprefix(_BOM))
    named = {name: part for name, part in family.parts.items() if told.get(name) in [[part.library, one] for one in part.generic]}
    return {name: [part.library, part.classes[0]] for name, part in named.items()}


def _link(path: Path, target: Path) -> None:
    try:
        os.symlink(path, target)
    except OSError:  # Windows without the right to make links
        shutil.copyfile(path, target)


def _moved(source: Source, files: Any, skeleton: Path) -> Source:
    """Return a source in the folder itself, in the readable copy of it."""
    folder = skeleton_of(*files[:3])
    if folder == skeleton or folder not in source.path.parents or source.component is not None:
        return source
    return Source(skeleton / source.path.relative_to(folder), variant=source.variant)


def _set_prediction(pipeline: Any, family: Family, file: Path) -> None:
    """Follow what a checkpoint says of its scheduler, such as velocity prediction."""
    changed = dict(family.scheduler_changes(read_all(file))) if file.is_file() else {}
    if changed:
        kind = getattr(diffusers, changed.pop("_class_name", type(pipeline.scheduler).__name__))
        plain = kind is not type(pipeline.scheduler)
        pipeline.scheduler = kind(**changed) if plain else kind.from_config(pipeline.scheduler.config, **changed)


# -- ControlNets -------------------------------------------------------------------------------------------------------


def read_network(
    path: Path, pipeline: str, denoiser: Mapping[str, Any], dtype: torch.dtype, model: str, notes: list[str],
    variant: str | None = None,
) -> Any:  # fmt: skip
    """Read a ControlNet for `pipeline` from its folder, or from a single file whose configuration its family makes.

    `denoiser` is the configuration of the transformer or U-Net. `variant` None is the smallest that the folder has.
    Tensors that nothing uses are added to `notes`. Raises ModelFileError.
    """
    if path.is_dir():
        kind = getattr(diffusers, FAMILIES[pipeline].parts[CONTROLNET].classes[0])
        with _readable(path) as folder:
            arguments = {
                "variant": (network_variant(path, model) if variant is None else variant) or None,
                "dtype": dtype,
                "use_safetensors": True,
                "local_files_only": True,
            }
            made, found = kind.from_pretrained(folder, output_loading_info=True, **arguments)
        account(CONTROLNET, path, found["missing_keys"], found["unexpected_keys"], _names_of(made), notes)
        check_values(CONTROLNET, path, made)
        return made
    network = backend_of(pipeline).network_from_file(path, denoiser, dtype, notes)
    if network is None:
        raise problem(model, path.name, "places")
    check_values(CONTROLNET, path, network)
    return network


def _names_of(made: Any) -> set[str]:
    """Return its modules by name; the whole only when it has weights of its own, not those of the base that lie beside it."""
    whole = next(made.parameters(recurse=False), None) is not None
    return {name for name, _ in made.named_modules() if name or whole}


def silence_libraries() -> None:
    """Keep the libraries' progress bars and warnings out of the terminal and of our own log."""
    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.disable_progress_bar()
    # The pipelines warn of a cut prompt with its words; what people write does not belong into a log, and the record says it.
    logging.getLogger("diffusers.pipelines").setLevel(logging.ERROR)
    # It warns of each change of precision, of parts that have nothing to keep in float32, too.
    logging.getLogger("diffusers.models.modeling_utils").setLevel(logging.ERROR)
    for folder in {family.folder for family in FAMILIES.values()}:
        logging.getLogger(f"diffusers.pipelines.{folder}").setLevel(logging.ERROR)
