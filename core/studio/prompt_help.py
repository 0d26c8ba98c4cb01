"""Have prompts enhanced or translated by the text encoder of a model, which must be a whole language model for that."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from core.config.loader import Settings
from core.errors import UnavailableError
from core.i18n import localize
from core.jobs.worker_commands import PromptAnswer, PromptCommands
from core.models.catalog import Catalog
from core.models.families.base import read_config
from core.remote.catalog import RemoteCatalog
from core.types import ModelInfo

ENHANCE, TRANSLATE = TASKS = ("enhance", "translate")


class PromptHelp:
    """The worker writes between two jobs, with the model that generates: nothing else is loaded. Of a remote studio, its worker."""

    def __init__(self, settings: Settings, catalog: Catalog | RemoteCatalog) -> None:
        self._settings = settings
        self._catalog = catalog
        self._commands = PromptCommands(settings.output_directory)
        self._remote = catalog.remote if isinstance(catalog, RemoteCatalog) else None

    def problem(self, model_id: str) -> Mapping[str, str] | None:
        """Return why the model can't write prompts; None if it can."""
        if isinstance(self._catalog, RemoteCatalog):
            return self._catalog.prompt_problem(model_id)
        return encoder_problem(self._catalog.find(model_id))

    def ask(self, task: str, text: str, values: Mapping[str, Any], seed: int) -> str:
        """Ask for a new prompt; return the id of the answer. `values` name the model and how it is loaded.

        Raises UnavailableError with the reason where the model can't.
        """
        model = str(values["model.id"])
        if (reason := self.problem(model)) is not None:
            raise UnavailableError(key="model.id", value=model, reason=reason)
        options = {key: values[key] for key in self._settings.request_options()}
        if self._remote is not None:
            return self._remote.ask_prompt({"task": task, "prompt": text, "model": model, "seed": seed})
        return self._commands.ask(model, options, task, text, seed)

    def answer(self, answer_id: str) -> PromptAnswer:
        """Return what there is of an answer."""
        return (
            PromptAnswer(*self._remote.prompt(answer_id))
            if self._remote is not None
            else self._commands.read(answer_id)
        )

    def cancel(self, answer_id: str) -> None:
        """Stop an answer."""
        if self._remote is not None:
            self._remote.cancel_prompt(answer_id)
        else:
            self._commands.cancel(answer_id)


WRITER_CLASSES = ("Qwen3Model", "Qwen3ForCausalLM")  # of text encoders that are whole language models
MIN_WIDTH = 1024  # width; the smallest Qwen3 that writes text has it


def encoder_problem(model: ModelInfo) -> Mapping[str, str] | None:
    """Return why this model's text encoder can't write prompts, read from its configuration; None if it can."""
    if model.problem is not None:
        return localize("studio.prompt_help.model")
    folders = [Path(place) for place in (model.parts.get("text_encoder"), model.frame, model.base, model.path) if place]
    files = [file for folder in folders for file in (folder / "text_encoder" / "config.json", folder / "config.json")]
    config = next((found for file in files if (found := read_config(file)) and "hidden_size" in found), {})
    if not set(config.get("architectures") or ()) & set(WRITER_CLASSES):
        return localize("studio.prompt_help.encoder")
    if config.get("hidden_size", 0) < MIN_WIDTH:
        return localize("studio.prompt_help.small", width=config.get("hidden_size", 0), least=MIN_WIDTH)
    if "Qwen3ForCausalLM" not in config["architectures"] and not config.get("tie_word_embeddings", False):
        return localize("studio.prompt_help.untied")
    return None
