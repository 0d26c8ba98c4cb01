"""Have prompts enhanced or translated by the text encoder of a model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core.config.loader import Settings
from core.errors import UnavailableError
from core.jobs.worker_commands import PromptAnswer, PromptCommands
from core.models import prompt_help
from core.models.catalog import Catalog
from core.remote.catalog import RemoteCatalog

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
        return prompt_help.problem(self._catalog.find(model_id))

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
