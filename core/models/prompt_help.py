"""Whether a model's text encoder can write prompts: it must be a whole language model, not only an encoder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from core.i18n import localize
from core.models.families.base import read_config
from core.types import ModelInfo

CLASSES = ("Qwen3Model", "Qwen3ForCausalLM")
SMALLEST = 1024  # width; the smallest Qwen3 that writes text has it


def problem(model: ModelInfo) -> Mapping[str, str] | None:
    """Return why this model's text encoder can't write prompts, read from its configuration; None if it can."""
    if model.problem is not None:
        return localize("models.prompt_help.model")
    folders = [Path(place) for place in (model.parts.get("text_encoder"), model.frame, model.base, model.path) if place]
    files = [file for folder in folders for file in (folder / "text_encoder" / "config.json", folder / "config.json")]
    config = next((found for file in files if (found := read_config(file)) and "hidden_size" in found), {})
    if not set(config.get("architectures") or ()) & set(CLASSES):
        return localize("models.prompt_help.encoder")
    if config.get("hidden_size", 0) < SMALLEST:
        return localize("models.prompt_help.small", width=config.get("hidden_size", 0), least=SMALLEST)
    if "Qwen3ForCausalLM" not in config["architectures"] and not config.get("tie_word_embeddings", False):
        return localize("models.prompt_help.untied")
    return None
