"""Say why a LoRA file can't be used, or acts in part, in both languages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from core.config.lora_syntax import FORBIDDEN
from core.i18n import LANGUAGES, catalogue, fill, localize
from core.models.families import FAMILIES
from core.models.lora_match import Match
from core.models.lora_metadata import LoraHeader
from core.models.validation import PROBLEMS as MODEL_PROBLEMS
from core.types import LoraInfo, ModelInfo

NAMED_LAYERS = 3  # in a sentence; then "(+N)"
_BETWEEN = {"en": "; ", "zh": "；"}  # two details of a sentence

_KNOWN = ", ".join(family.label for family in FAMILIES.values() if family.plain is None)
_NO_SAFETENSORS = localize("models.lora_problems.no_safetensors")
_SHARED = (  # of any weight file
    "truncated", "longer", "pickle", "empty", "lfs", "web_page", "json_answer", "text_answer", "archive",
)  # fmt: skip
PROBLEMS: Mapping[str, Mapping[str, str]] = {
    **{name: MODEL_PROBLEMS[name] for name in _SHARED},
    **dict.fromkeys(("header", "gguf", "quantisation"), _NO_SAFETENSORS),
    "missing": localize("models.lora_problems.problems.missing"),
    "tensors": localize("models.lora_problems.problems.tensors"),
    "algorithm": localize("models.lora_problems.problems.algorithm"),
    "foreign": localize("models.lora_problems.problems.foreign"),
    "family": localize("models.lora_problems.problems.family", known=_KNOWN, what="{what}"),
    "large": localize("models.lora_problems.problems.large"),
    "notes": localize("models.lora_problems.problems.notes"),
    "link": localize("models.lora_problems.problems.link"),
    "name": localize("models.lora_problems.problems.name", forbidden=FORBIDDEN),
    "twice": localize("models.lora_problems.problems.twice"),
    "shipped": localize("models.lora_problems.problems.shipped"),
}


def problem_text(kind: str, what: str = "") -> Mapping[str, str]:
    """Return why a file can't be used, by a kind of BadFile; `what` names what it is instead."""
    text = PROBLEMS.get(kind, PROBLEMS["header"])
    return {
        language: fill(text[language], language, {"what": what_text(what)}) if what else text[language]
        for language in text
    }


def what_text(what: str) -> Mapping[str, str]:
    """Return the words for what a file or a layer is: names of families and algorithms stay as they are."""
    known = catalogue(LANGUAGES[0])
    keys = [f"models.lora_problems.what.{one}" for one in what.split(", ")]
    return {
        language: ", ".join(catalogue(language)[key] if key in known else key.rpartition(".what.")[2] for key in keys)
        for language in LANGUAGES
    }


def foreign_problem(info: LoraInfo, model: ModelInfo) -> Mapping[str, str]:
    """Return why a LoRA of another family or width can't be used with a model."""
    made = f"{info.kind or '?'} {info.width or ''}".strip()
    wanted = f"{model.lora_kind} {model.width or ''}".strip()
    return localize("models.lora_problems.it_was_made_for_another_model", made=made, id=model.id, wanted=wanted)


def unmatched_problem(matched: Match, model: ModelInfo) -> Mapping[str, str] | None:
    """Return why a LoRA can't act on a network: a layer of another shape, or no layer at all; None when it can."""
    if matched.misshapen:
        layer = matched.misshapen[0]
        return localize("models.lora_problems.its_layer_has_another_shape_than", layer=layer, id=model.id)
    if not matched.acting and not matched.unknown:
        return localize(
            "models.lora_problems.has_none_of_its_layers_choose", id=model.id, missing=_named(matched.missing)
        )
    return None


def parts_reason(header: LoraHeader, matched: Match) -> Mapping[str, str]:
    """Return the sentence about a LoRA that acts in part: how many layers, and what is left out."""
    details = [localize("models.lora_problems.lacks", layers=_named(matched.missing))] if matched.missing else []
    for what in sorted(set(header.unread.values())):
        layers = [name for name, one in header.unread.items() if one == what]
        details.append(localize("models.lora_problems.not_read", what=what_text(what), layers=_named(layers)))
    if header.embeddings:
        details.append(localize("models.lora_problems.embeddings", names=", ".join(header.embeddings)))
    joined = {language: _BETWEEN[language].join(one[language] for one in details) for language in LANGUAGES}
    total = matched.total + len(header.unread)
    return localize("models.lora_problems.acts_on", acting=len(matched.acting), total=total, details=joined)


def _named(layers: Sequence[str]) -> str:
    first = ", ".join(name[:100] for name in layers[:NAMED_LAYERS])
    return f"{first} (+{len(layers) - NAMED_LAYERS})" if len(layers) > NAMED_LAYERS else first
