"""Put the ControlNets of a request beside a loaded model, and take them out again; the model itself is not loaded again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import diffusers
import torch
from PIL import Image

from core.config.control_units import FILES, POSE, PREPROCESSOR_FILES, units_of
from core.errors import ControlNetError
from core.i18n import localize
from core.inference import precision
from core.inference.control_maps import pose_map
from core.inference.depth_map import DepthEstimator
from core.inference.pipeline_loader import LoadedModel
from core.inference.pipeline_reading import read_network
from core.models.catalog import Catalog
from core.models.controlnet_library import (
    PREPROCESSOR_FOLDER,
    ControlNetInfo,
    ControlNetLibrary,
    DepthLibrary,
    PoseLibrary,
)
from core.models.families import backend_of
from core.models.fingerprint import contents_hash


@dataclass(frozen=True)
class _Kept:
    """A network in memory and what it was read for."""

    path: Path
    place: tuple[str, str]  # device and dtype
    network: Any
    digest: str


class EstimatedMaps:
    """Make depth maps and poses by the models of this machine; `used` says for the record which ones did."""

    def __init__(self, folder: Path, device: str) -> None:
        self._depths, self._poses = DepthLibrary(folder), PoseLibrary(folder)
        self._device = device
        self._files: dict[str, str] = {}

    @property
    def used(self) -> dict[str, Any]:
        """Return name and hash of each model that made a map."""
        files = [{"name": name, "hash": digest} for name, digest in self._files.items()]
        return {PREPROCESSOR_FILES: files} if files else {}

    def __call__(self, image: Image.Image, kind: str) -> Image.Image:
        """Return the map of an image (RGB). Raises ControlNetError."""
        if kind == POSE:
            file = self._poses.find()
            self._files[file.name] = contents_hash(file)
            return pose_map(image, file)
        folder = self._depths.find()
        self._files[folder.name] = contents_hash(folder)
        try:
            return DepthEstimator(folder, self._device)(image)
        except (OSError, ValueError, RuntimeError) as error:  # what transformers raises for damaged files
            if isinstance(error, torch.OutOfMemoryError):
                raise
            problem = localize("inference.control_maps.failed", detail=str(error)[:200])
            raise ControlNetError(name=folder.name, problem=problem) from error


class ControlNetworks:
    """Reads ControlNets when a request names them, and keeps those of the last one."""

    def __init__(self, catalog: Catalog) -> None:
        self._library = ControlNetLibrary(catalog)
        self._preprocessors = catalog.places.store / PREPROCESSOR_FOLDER
        self._kept: list[_Kept] = []

    def clear(self) -> None:
        """Free the networks."""
        self._kept = []

    def attached(self, model: LoadedModel, options: Mapping[str, Any]) -> LoadedModel:
        """Return the model with the ControlNets of the options in its pipeline; without any the model as it is.

        Raises ControlNetError.
        """
        units = units_of(options)
        if not units:
            self.clear()  # what a model without ControlNets could not use is not kept beside it
            return model
        info = self._library.controlled(model.info, options)
        found = [self._library.find(unit.name) for unit in units]
        family, backend = found[0].family, backend_of(info.pipeline)
        if not backend.keeps_networks_apart and model.held.tier.offload != "none":
            raise ControlNetError(name=found[0].name, problem=localize("inference.control_networks.offloaded"))
        self._kept = self._read(found, model, info.pipeline)
        networks = [next(one.network for one in self._kept if one.path == net.path) for net in found]
        use = family.controlnet
        part = networks[0] if len(networks) == 1 or (use is not None and use.union) else networks
        kind = getattr(diffusers, info.pipeline)
        pipeline = kind(**model.pipeline.components, controlnet=part, **family.arguments)
        pipeline.set_progress_bar_config(disable=True)
        files = [{"name": net.name, "hash": one.digest} for net in found for one in self._kept if one.path == net.path]
        return replace(model, info=info, pipeline=pipeline, effective={**model.effective, FILES: files})

    def estimator(self, device: str) -> EstimatedMaps:
        """Return what makes depth maps and poses; the depth model is read on the device with the first one."""
        return EstimatedMaps(self._preprocessors, device)

    def _read(self, found: Sequence[ControlNetInfo], model: LoadedModel, pipeline: str) -> list[_Kept]:
        """Return the networks in memory, each once: those that were there, and the others from their files."""
        dtype = model.dtypes["transformer"]
        place, read = (model.device, dtype), list[_Kept]()
        for info in dict.fromkeys(found):
            digest = contents_hash(info.path)
            known = next(
                (one for one in self._kept if (one.path, one.place, one.digest) == (info.path, place, digest)), None
            )
            read.append(known or self._from_file(info, model, pipeline, place, digest))
        return read

    def _from_file(
        self, info: ControlNetInfo, model: LoadedModel, pipeline: str, place: tuple[str, str], digest: str
    ) -> _Kept:
        backend = backend_of(pipeline)
        config = dict(getattr(model.pipeline, backend.family.denoiser).config)
        notes: list[str] = []
        network = read_network(info.path, pipeline, config, precision.DTYPES[place[1]], model.model, notes)
        if not backend.fits_denoiser(network, getattr(model.pipeline, backend.family.denoiser)):
            raise ControlNetError(
                name=info.name, problem=localize("inference.control_networks.shape", model=model.model)
            )
        network.eval().requires_grad_(False).to(place[0])
        backend.prepare_network(network, model.dtypes)
        return _Kept(info.path, place, network, digest)
