"""List the ControlNets of the catalogue and of the folder `controlnet`, and find the models of depth maps and poses."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from core.config.control_units import KEY, NONE, UNION_TYPES, ControlUnit, units_of
from core.errors import ControlNetError, ModelFileError
from core.i18n import localize
from core.models.catalog import Catalog, cannot
from core.models.families import FAMILIES
from core.models.families.base import CONTROLNET, Family, read_config
from core.models.fingerprint import contents_hash
from core.models.identify import Contents
from core.models.model_folders import what_is_in
from core.models.single_file import is_network, look_into
from core.models.weight_files import SAFETENSORS, read_header
from core.types import CONTROLS, IMAGE, MASK, ModelInfo

FOLDERS = ("controlnet", "ControlNet")  # in the folder of models, and in those of other programs
PICKLES = (".pth", ".pt", ".ckpt", ".bin")
UNION_WEIGHT = "task_embedding"  # only ControlNet Union for SDXL has it


@dataclass(frozen=True)
class ControlNetInfo:
    """A ControlNet by name: its folder or file, and the pipeline class of diffusers that runs it."""

    name: str
    path: Path
    pipeline: str

    @property
    def family(self) -> Family:
        """Return the family of models with such a ControlNet."""
        return FAMILIES[self.pipeline]


class ControlNetLibrary:
    """The ControlNets beside a catalogue. Folders are read at each call."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    @property
    def folder(self) -> Path:
        """Return where files belong."""
        return self._catalog.places.store / FOLDERS[0]

    def all(self) -> Sequence[ControlNetInfo]:
        """Return every ControlNet by name, those of the folders first."""
        own = self._in_folders()
        found = {name: info for name, path in own.items() if (info := _described(name, path)) is not None}
        for model in self._catalog.models():
            if model.id not in found and (info := _of_model(model)) is not None:
                found[model.id] = info
        return tuple(found[name] for name in sorted(found, key=str.casefold))

    def fitting(self, model: ModelInfo) -> Sequence[ControlNetInfo]:
        """Return those for a model's family."""
        return tuple(info for info in self.all() if info.family.plain == model.pipeline)

    def find(self, name: str) -> ControlNetInfo:
        """Return the ControlNet of that name. Raises ControlNetError, for pickles with the way to convert them."""
        folders = self._in_folders()
        if name in folders:
            info = _described(name, folders[name])
        elif name in self._catalog.ids():
            info = _of_model(self._catalog.find(name))
        else:
            raise self._unknown(name)
        if info is None:
            raise ControlNetError(name=name, problem=localize("models.controlnet_library.none"))
        return info

    def file_hash(self, name: str) -> str:
        """Return the hash of a ControlNet's contents. Raises ControlNetError."""
        return contents_hash(self.find(name).path)

    def controlled(self, model: ModelInfo, options: Mapping[str, Any]) -> ModelInfo:
        """Return the model as it is with the units of a request: run by the pipeline class for its ControlNets.

        Raises ControlNetError for units that are not there, do not fit the model, or can't be combined.
        """
        units = units_of(options)
        if not units:
            return model
        family = self._checked(units, model).family
        limits = {**model.cannot, **cannot(family, negative_prompt=True)}
        limits.pop(KEY)
        return replace(model, pipeline=family.pipeline, inputs=(*CONTROLS, IMAGE, MASK), cannot=limits)

    def _checked(self, units: Sequence[ControlUnit], model: ModelInfo) -> ControlNetInfo:
        own = FAMILIES.get(model.pipeline)
        if own is not None and own.controlnet is not None:
            raise ControlNetError(name=model.id, problem=localize("models.controlnet_library.own", model=model.id))
        found = [self.find(unit.name) for unit in units]
        for info in found:
            if info.family.plain != model.pipeline:
                made = FAMILIES[info.family.plain or info.pipeline].label
                wanted = FAMILIES[model.pipeline].label if model.pipeline in FAMILIES else model.pipeline
                problem = localize("models.controlnet_library.other_family", made=made, model=model.id, wanted=wanted)
                raise ControlNetError(name=info.name, problem=problem)
        first, use = found[0], found[0].family.controlnet
        assert use is not None  # it has one: `_described` says so
        other = next((info for info in found[1:] if info.pipeline != first.pipeline), None)
        if other is not None:
            problem = localize("models.controlnet_library.mixed", other=first.name)
            raise ControlNetError(name=other.name, problem=problem)
        if len(found) > 1 and not use.several:
            problem = localize("models.controlnet_library.one", family=first.family.label)
            raise ControlNetError(name=found[1].name, problem=problem)
        if use.union:
            _check_union(units, found)
        else:
            _check_plain(units, use.modes)
        return first

    def _in_folders(self) -> dict[str, Path]:
        return {_name(path): path for path in self._candidates() if _is_network(path)}

    def _candidates(self) -> Iterator[Path]:
        for root in (*self._catalog.places.folders, self._catalog.places.store):
            for name in FOLDERS:
                folder = root / name
                if folder.is_dir():
                    yield from sorted(path for path in folder.rglob("*") if not path.name.startswith("."))

    def _unknown(self, name: str) -> ControlNetError:
        pickled = next((path for path in self._candidates() if path.stem == name and path.suffix in PICKLES), None)
        if pickled is not None:
            problem = localize("models.controlnet_library.pickle", file=pickled.name)
            return ControlNetError(name=name, problem=problem)
        names = [info.name for info in self.all()]
        nearest = next(iter(difflib.get_close_matches(name, names, n=1, cutoff=0.0)), "-")
        problem = localize("models.controlnet_library.unknown", nearest=nearest, folder=str(self.folder))
        return ControlNetError(name=name[:100], problem=problem)


def _name(path: Path) -> str:
    return (path.stem if path.is_file() else path.name).replace(":", "-").replace(",", "-")


def _is_network(path: Path) -> bool:
    """Return True for a .safetensors file outside of a ControlNet's folder, and for such a folder."""
    if path.suffix == SAFETENSORS and path.is_file():
        return not (path.parent / "config.json").is_file()
    return is_network(path)


def _of_model(model: ModelInfo) -> ControlNetInfo | None:
    """Return the ControlNet of a catalogue entry, whether or not its base is there."""
    if model.path is None:
        return None
    path = Path(model.path)
    beside = path / CONTROLNET
    return _described(model.id, beside if is_network(beside) else path)


def _described(name: str, path: Path) -> ControlNetInfo | None:
    """Return the ControlNet in a folder or file, None when it holds none of a known family."""
    try:
        if is_network(path):
            return ControlNetInfo(name, path, look_into(path, name).pipeline)
        contents = what_is_in(path) if path.is_file() and path.suffix == SAFETENSORS else None
    except ModelFileError:
        return None
    pipeline = _pipeline_of(contents, path) if contents is not None and contents.kind == CONTROLNET else None
    return ControlNetInfo(name, path, pipeline) if pipeline else None


def _pipeline_of(contents: Contents, path: Path) -> str | None:
    union = any(name.startswith(UNION_WEIGHT) for name in read_header(path))
    for family in FAMILIES.values():
        use, plain = family.controlnet, FAMILIES.get(family.plain or "")
        if use is not None and plain is not None and plain.label == contents.family and use.union == union:
            return family.pipeline
    return None


def _check_union(units: Sequence[ControlUnit], found: Sequence[ControlNetInfo]) -> None:
    """Raise ControlNetError for two Unions at once, a unit without a type, two of one type, and modes."""
    if len({info.path for info in found}) > 1:
        raise ControlNetError(name=found[1].name, problem=localize("models.controlnet_library.two_unions"))
    for index, unit in enumerate(units):
        if not unit.union_type:
            problem = localize("models.controlnet_library.type", types=", ".join(UNION_TYPES), none=NONE)
            raise ControlNetError(name=unit.name, problem=problem)
        if any(other.union_type == unit.union_type for other in units[:index]):
            problem = localize("models.controlnet_library.twice", type=unit.union_type)
            raise ControlNetError(name=unit.name, problem=problem)
    _check_plain([replace(unit, kind="") for unit in units], modes=False)


def _check_plain(units: Sequence[ControlUnit], modes: bool) -> None:
    """Raise ControlNetError for a type where there are none, and for modes that can't be had."""
    for index, unit in enumerate(units):
        if unit.kind:
            raise ControlNetError(name=unit.name, problem=localize("models.controlnet_library.no_type"))
        same = [other.mode for other in units[:index] if other.name == unit.name]
        if any(mode != unit.mode for mode in same):
            raise ControlNetError(name=unit.name, problem=localize("models.controlnet_library.two_modes"))
        if unit.mode != "balanced" and not modes:
            raise ControlNetError(name=unit.name, problem=localize("models.controlnet_library.no_modes"))


PREPROCESSOR_FOLDER = "preprocessors"  # in the folder of models
DEPTH_TYPE = "depth_anything"  # `model_type` of its config.json


class DepthLibrary:
    """The folder of preprocessors, read at each call."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def file_hash(self, name: str) -> str:
        """Return the hash of the contents of the model of that name: a folder, or the file of a pose model. Raises OSError."""
        return contents_hash(self.folder / name)

    def find(self) -> Path:
        """Return the first model's folder. Raises ControlNetError with where to put one."""
        for config in sorted(self.folder.glob("*/config.json")) if self.folder.is_dir() else ():
            if read_config(config).get("model_type") == DEPTH_TYPE and list(config.parent.glob("*.safetensors")):
                return config.parent
        raise ControlNetError(name="depth", problem=localize("models.controlnet_library.no_depth_model", folder=str(self.folder)))


class PoseLibrary:
    """The ONNX files of the folder of preprocessors, which find poses. The folder is read at each call."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def find(self) -> Path:
        """Return the first file. Raises ControlNetError with what belongs there."""
        files = sorted(self.folder.glob("*.onnx")) if self.folder.is_dir() else []
        if not files:
            raise ControlNetError(name="pose", problem=localize("models.controlnet_library.no_pose_model", folder=str(self.folder)))
        return files[0]
