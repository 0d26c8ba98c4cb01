"""A model that cannot be used."""

from __future__ import annotations

from core.errors.base import StudioError
from core.errors.inputs import InputError


class ModelError(StudioError):
    """A model that cannot be used."""


class UnknownModelError(ModelError, InputError):
    """Neither a catalogue entry nor a folder."""


class ModelFileError(ModelError, InputError):
    """A file of the model is missing, truncated or unsafe; `problem` says which, and the cure.

    `kind`: the reason's key in `core.models.validation.PROBLEMS`, for those that decide by it.
    """

    kind = ""


class ModelLoadError(ModelError):
    """The files are there, loading failed."""


class UnavailableError(ModelError, InputError):
    """An option asks for what this machine does not have; `reason` says what is missing."""


class UnknownLoraError(ModelError, InputError):
    """No file of that name in the folders of LoRAs; `nearest` looks most like it."""


class LoraFileError(ModelError, InputError):
    """A LoRA that can't be used, or not with this model; `problem` says why, and the cure."""


class EmbeddingError(ModelError, InputError):
    """A textual inversion embedding that can't be used, or not with this model; `problem` says why, and the cure."""


class DownloadError(ModelError):
    """A hub did not give the model, or gave something else; `problem` says which, and the cure."""
