"""Locate each part of a model: in a diffusers folder, in a single file that holds it among others, or in a file of its own.

The files are checked by their headers: every weight that the part must have is there, and no tensor is left over unexplained.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from core.models.entries import PREVIEW
from core.models.families import FAMILIES
from core.models.families.base import CONTROLNET, read_config
from core.models.identify import (
    COMFYUI,
    DECODER_ALONE,
    DIFFUSERS,
    ORIGINAL,
    TEXT_ENCODER,
    TRANSFORMER,
    TRANSFORMERS,
    Component,
)
from core.models.single_file import contents_of, is_network, look_into, network_names, storage_of
from core.models.validation import (
    check_config,
    check_index,
    check_weights,
    choose_variants,
    family_of,
    files_of_part,
    problem,
    read_json,
)
from core.models.weight_files import GGUF, BadFile, file_state, read_all
from core.types import ModelInfo

Parts = tuple[tuple[str, Path], ...]  # part -> its own file or folder
Files = tuple[Path, Path | None, Path | None, Parts]  # what the model is, its base, its frame, parts that are elsewhere


@dataclass(frozen=True)
class Source:
    """Where a part is read from. `path`: the part's diffusers folder, or a file; `component`: its place in the file."""

    path: Path
    component: Component | None = None
    variant: str = ""  # of a folder


def files_of(info: ModelInfo) -> Files:
    """Return where the parts of a model come from, as `sources` takes it."""
    parts = tuple((part, Path(path)) for part, path in info.parts.items())
    return (
        Path(info.path or ""),
        Path(info.base) if info.base else None,
        Path(info.frame) if info.frame else None,
        parts,
    )


def skeleton_of(path: Path, base: Path | None = None, frame: Path | None = None, parts: Parts = ()) -> Path:
    """Return the folder with configurations, tokenizer and scheduler."""
    return frame or base or path


def sources(path: Path, base: Path | None = None, frame: Path | None = None, parts: Parts = ()) -> dict[str, Source]:
    """Return the source of each part that has weights; a part of its own wins over the file, the file over the base.

    Raises:
        ModelFileError: a part has no weights anywhere.
    """
    skeleton, whole = skeleton_of(path, base, frame), base or path
    found: dict[str, Source] = {}
    for file in (whole, path):
        if file.is_file():
            found |= _in_file(file)
    if is_network(path):
        found[CONTROLNET] = Source(path)
    found |= {part: source_of(place, part) for part, place in parts}
    family = FAMILIES[_pipeline(path, skeleton)]
    rest = [part for part in family.weighty if part not in found]
    if rest:
        variants = choose_variants(skeleton, rest, path.name)
        found |= {part: _in_folder(skeleton / part, part, variants[part], path.name) for part in rest}
    return {part: found[part] for part in family.weighty}


def _pipeline(path: Path, skeleton: Path) -> str:
    if path.is_file() or is_network(path):
        return look_into(path, path.name).pipeline
    return str(read_json(skeleton, "model_index.json", path.name).get("_class_name"))


def _in_file(file: Path) -> dict[str, Source]:
    single = look_into(file, file.name)
    return {part: Source(file, single.components[part]) for part in single.parts}


def source_of(place: Path, part: str) -> Source:
    """Return the source of a part in a folder or file of its own; ModelFileError when that part is not in it."""
    if place.is_dir():
        return _in_folder(place, part, choose_variants(place, ("",), place.name)[""], place.name)
    check_weights(place, place.name, place.name)
    found = next((one for one in contents_of(place).components if one.part == part), None)
    if found is None:
        raise problem(place.name, place.name, "part_absent", part=part)
    if found.family == DECODER_ALONE:
        raise problem(place.name, place.name, "decoder_alone")
    return Source(place, found)


def check_part(place: Path, part: str) -> None:
    """Raise ModelFileError unless a part lies there: one of a model, or a tiny VAE for previews."""
    if part == PREVIEW:
        check_tiny_vae(place)
    else:
        source_of(place, part)


def check_tiny_vae(folder: Path) -> None:
    """Raise ModelFileError unless a folder holds an AutoencoderTiny: its configuration, and whole weights in safetensors."""
    config = check_config(folder, "config.json", folder.name)
    if config.get("_class_name") != "AutoencoderTiny":
        raise problem(folder.name, "config.json", "part_absent", part="AutoencoderTiny")
    for name in files_of_part(folder, "", choose_variants(folder, ("",), folder.name)[""], folder.name):
        check_weights(folder / name, name, folder.name)


def _in_folder(folder: Path, part: str, variant: str, model: str) -> Source:
    """Return a part's folder, or its file when that has ComfyUI's or the authors' names, which the libraries don't read there."""
    files = files_of_part(folder, "", variant, model)
    if len(files) == 1:
        check_weights(folder / files[0], files[0], model)
        found = next((one for one in contents_of(folder / files[0]).components if one.part == part), None)
        if found is not None and found.layout in (COMFYUI, ORIGINAL):
            return Source(folder / files[0], found)
    return Source(folder, variant=variant)


def files_of_source(source: Source, part: str) -> list[Path]:
    """Return the weight files that a part is read from."""
    if source.path.is_file():
        return [source.path]
    if part == CONTROLNET and is_network(source.path):
        return [source.path / name for name in network_names(source.path, source.path.name)]
    return [source.path / name for name in files_of_part(source.path, "", source.variant, source.path.name)]


def weights_by_part(
    path: Path, base: Path | None = None, frame: Path | None = None, parts: Parts = ()
) -> list[tuple[str, Path]]:
    """Return each weight file that the model is read from, with its part; a file of several parts is named once for each."""
    return [
        (part, file)
        for part, source in sources(path, base, frame, parts).items()
        for file in files_of_source(source, part)
    ]


def gguf_in(folder: Path) -> Path | None:
    """Return the transformer of a diffusers folder as GGUF, if it lies beside the other weights."""
    return next(iter(sorted((folder / "transformer").glob(f"*{GGUF}"))), None)


# -- how large it is ---------------------------------------------------------------------------------------------------


def count_parameters(
    path: Path, base: Path | None = None, frame: Path | None = None, parts: Parts = ()
) -> dict[str, int]:
    """Return the parameters of each part of a checked model, by the headers of its weights: their dtype does not matter."""
    found = {}
    for part, source in sources(path, base, frame, parts).items():
        prefix = source.component.prefix if source.component else ""
        found[part] = sum(_counted(file, prefix, file_state(file))[0] for file in files_of_source(source, part))
    return found


def stored_bytes(path: Path, base: Path | None = None, frame: Path | None = None, parts: Parts = ()) -> dict[str, int]:
    """Return the bytes of the parts that stay as they are stored: those out of GGUF files."""
    found = {}
    for part, source in sources(path, base, frame, parts).items():
        if source.path.is_file() and read_all(source.path).is_gguf and part in (TRANSFORMER, TEXT_ENCODER):
            found[part] = _counted(
                source.path, source.component.prefix if source.component else "", file_state(source.path)
            )[1]
    return found


def stored_sizes(path: Path, base: Path | None = None, frame: Path | None = None, parts: Parts = ()) -> dict[str, int]:
    """Return the bytes of each part of a checked model as its files store it."""
    return {
        part: sum(
            _counted(file, source.component.prefix if source.component else "", file_state(file))[1]
            for file in files_of_source(source, part)
        )
        for part, source in sources(path, base, frame, parts).items()
    }


@lru_cache(maxsize=256)
def _counted(file: Path, prefix: str, _unchanged: tuple[int, int]) -> tuple[int, int]:
    """Return values and bytes of the tensors whose names begin so; scales and markers are no parameters."""
    unused = storage_of(file).unused
    own = [tensor for name, tensor in read_all(file).tensors.items() if name.startswith(prefix) and name not in unused]
    return sum(tensor.values for tensor in own), sum(tensor.bytes for tensor in own)


# -- whether all weights are there -------------------------------------------------------------------------------------


def check_sources(
    model: str, path: Path, base: Path | None = None, frame: Path | None = None, parts: Parts = ()
) -> None:
    """Raise ModelFileError when a file lacks weights of its part, has them in other shapes, or has tensors nobody explains."""
    skeleton = skeleton_of(path, base, frame)
    for part, source in sources(path, base, frame, parts).items():
        for file in files_of_source(source, part):
            check_weights(file, file.name, model)
            if source.component is None:
                _check_folder_storage(source.path, file, model)
        if source.component is not None:
            check_component(source, skeleton, model)
        elif part != CONTROLNET:
            check_index(source.path, source.variant, model)
            _check_folder_names(source, part, skeleton, model)


def _check_folder_storage(folder: Path, file: Path, model: str) -> None:
    """Check that weights of a folder that names no quantisation are stored in a way that can be read."""
    if "quantization_config" in read_json(folder, "config.json", model):
        return
    try:
        storage_of(file)
    except BadFile as bad:
        raise problem(model, file.name, bad.kind, **bad.values) from None


def _check_folder_names(source: Source, part: str, skeleton: Path, model: str) -> None:
    """Compare a folder's weights with its configuration, where the names of its class are known and nothing is quantised."""
    config, family = read_json(source.path, "config.json", model), family_of(skeleton, model)
    layout = TRANSFORMERS if family.parts[part].library == "transformers" else DIFFUSERS
    component = Component(part, family.label, "", layout)
    try:
        wanted = family.expected_weights(component, config)
    except (KeyError, TypeError, ValueError, ZeroDivisionError):  # the library has defaults for what is not written
        return
    if wanted is None or "quantization_config" in config:
        return
    files = files_of_source(source, part)
    names = {name.removeprefix("model.") for file in files for name in read_all(file).tensors}
    held = {target for name in names for target in family.weight_names(component, name)}
    missing = [name for name in wanted if name not in held]
    if missing:
        words = {"part": part.replace("_", " "), "count": str(len(missing)), "name": missing[0]}
        raise problem(model, f"{part}/{files[0].name}", "weights_missing", **words)


def check_component(source: Source, skeleton: Path, model: str) -> None:
    """Compare a part in a file with the configuration of the skeleton, where the names of its weights are known."""
    component, file = source.component, source.path
    assert component is not None
    try:
        scheme = storage_of(file)
    except BadFile as bad:
        raise problem(model, file.name, bad.kind, **bad.values) from None
    tensors = {
        name.removeprefix(component.prefix): tensor
        for name, tensor in read_all(file).tensors.items()
        if name.startswith(component.prefix) and name not in scheme.unused
    }
    family = family_of(skeleton, model)
    config = read_config(skeleton / component.part / "config.json")
    try:
        wanted = family.expected_weights(component, config) if config else None
    except (KeyError, TypeError, ValueError):
        raise problem(model, f"{component.part}/config.json", "json") from None
    if wanted is None:
        return
    held = []
    for name, tensor in tensors.items():
        targets = family.weight_names(component, name)
        shape = (
            (tensor.shape[0] // len(targets), *tensor.shape[1:]) if len(targets) > 1 and tensor.shape else tensor.shape
        )
        held += [(target, name, shape) for target in targets]
    _compare(wanted, held, component, file, model)


def _compare(
    wanted: Mapping[str, tuple[int, ...]],
    held: list[tuple[str, str, tuple[int, ...]]],
    component: Component,
    file: Path,
    model: str,
) -> None:
    part = component.part.replace("_", " ")
    names = {target for target, _, _ in held}
    missing = [name for name in wanted if name not in names]
    if missing:
        raise problem(model, file.name, "weights_missing", part=part, count=str(len(missing)), name=missing[0])
    weights = {*wanted, *(name for target, name, _ in held if target in wanted)}  # by the names of the class and of the file
    near = weights | {name.rpartition(".")[0] for name in weights}  # what is named after these may change what they mean
    unknown = [
        name
        for target, name, _ in held
        if target not in wanted and near & {target.rpartition(".")[0], name.rpartition(".")[0]}
    ]
    if unknown:
        raise problem(model, file.name, "weights_unknown", part=part, count=str(len(unknown)), name=unknown[0])
    for target, name, shape in held:
        if target in wanted and _sides(shape) != _sides(wanted[target]):
            values = {"part": part, "name": name, "value": str(list(shape)), "allowed": str(list(wanted[target]))}
            raise problem(model, file.name, "weights_shape", **values)


def _sides(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return a shape without sides of 1, which stable-diffusion.cpp leaves out."""
    return tuple(side for side in shape if side != 1)
