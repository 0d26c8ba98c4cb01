"""Find the model of depth maps: a folder of Depth-Anything, as transformers reads it, in the folder `preprocessors`."""

from __future__ import annotations

from pathlib import Path

from core.errors import ControlNetError
from core.i18n import localize
from core.models.families.base import read_config

FOLDER = "preprocessors"  # in the folder of models
TYPE = "depth_anything"  # `model_type` of its config.json


class DepthLibrary:
    """The folder of preprocessors, read at each call."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def find(self) -> Path:
        """Return the first model's folder. Raises ControlNetError with where to put one."""
        for config in sorted(self.folder.glob("*/config.json")) if self.folder.is_dir() else ():
            if read_config(config).get("model_type") == TYPE and list(config.parent.glob("*.safetensors")):
                return config.parent
        raise ControlNetError(name="depth", problem=localize("models.depth_library.none", folder=str(self.folder)))
