"""Say why a LoRA file can't be used, or acts in part, in both languages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from core.config.lora_syntax import FORBIDDEN
from core.i18n import localize
from core.models.lora_match import Match
from core.models.lora_metadata import LoraHeader
from core.models.validation import PROBLEMS as MODEL_PROBLEMS
from core.types import LoraInfo, ModelInfo

NAMED_LAYERS = 3  # in a sentence; then "(+N)"

_NO_SAFETENSORS = localize("inference.lora_problems.no_safetensors")
PROBLEMS: Mapping[str, Mapping[str, str]] = {
    **{name: MODEL_PROBLEMS[name] for name in ("truncated", "longer", "pickle")},
    **dict.fromkeys(("header", "gguf", "quantisation"), _NO_SAFETENSORS),
    "missing": localize("inference.lora_problems.problems.missing"),
    "tensors": localize("inference.lora_problems.problems.tensors"),
    "algorithm": localize("inference.lora_problems.problems.algorithm"),
    "foreign": localize("inference.lora_problems.problems.foreign"),
    "family": localize("inference.lora_problems.problems.family"),
    "large": localize("inference.lora_problems.problems.large"),
    "notes": localize("inference.lora_problems.problems.notes"),
    "link": localize("inference.lora_problems.problems.link"),
    "name": localize("inference.lora_problems.problems.name", forbidden=FORBIDDEN),
    "twice": localize("inference.lora_problems.problems.twice"),
    "shipped": localize("inference.lora_problems.problems.shipped"),
}


_WHAT_ZH = {  # what a file is, in Chinese
    "a textual inversion embedding": "文本反转嵌入（embedding）", "an SD control LoRA": "SD 的 control LoRA",
    "a ControlNet": " ControlNet", "an IP-Adapter": " IP-Adapter", "a hypernetwork": "超网络（hypernetwork）",
    "a VAE": " VAE", "a text encoder": "文本编码器", "an upscaler": "放大模型", "a normalisation layer": "归一化层",
    "a bias": "偏置", "replaced weights": "替换的权重", "?": "未知",
}  # fmt: skip


def problem_text(kind: str, what: str = "") -> Mapping[str, str]:
    said = PROBLEMS.get(kind, PROBLEMS["header"])
    chinese = ", ".join(_WHAT_ZH.get(one, one) for one in what.split(", "))
    return {"en": said["en"].replace("{what}", what), "zh": said["zh"].replace("{what}", chinese)}


def foreign_problem(info: LoraInfo, model: ModelInfo) -> Mapping[str, str]:
    made = f"{info.kind or '?'} {info.width or ''}".strip()
    wanted = f"{model.lora_kind} {model.width or ''}".strip()
    return localize("inference.lora_problems.it_was_made_for_another_model", made=made, id=model.id, wanted=wanted)


def unmatched_problem(matched: Match, model: ModelInfo) -> Mapping[str, str] | None:
    """Return why a LoRA can't act on a network: a layer of another shape, or no layer at all; None when it can."""
    if matched.misshapen:
        layer = matched.misshapen[0]
        return localize("inference.lora_problems.its_layer_has_another_shape_than", layer=layer, id=model.id)
    if not matched.acting and not matched.unknown:
        return localize(
            "inference.lora_problems.has_none_of_its_layers_choose", id=model.id, missing=_named(matched.missing)
        )
    return None


def parts_reason(header: LoraHeader, matched: Match) -> Mapping[str, str]:
    """Return the sentence about a LoRA that acts in part: how many layers, and what is left out."""
    count = f"{len(matched.acting)} of {matched.total + len(header.unread)} layers"
    counted = f"{matched.total + len(header.unread)} 层中的 {len(matched.acting)} 层"
    english, chinese = [], []
    if matched.missing:
        english.append(f"the model lacks {_named(matched.missing)}")
        chinese.append(f"模型没有 {_named(matched.missing)}")
    for what in sorted(set(header.unread.values())):
        layers = tuple(name for name, one in header.unread.items() if one == what)
        english.append(f"not read ({what}): {_named(layers)}")
        chinese.append(f"未读取（{_WHAT_ZH.get(what, what)}）：{_named(layers)}")
    if header.embeddings:
        english.append(f"the embeddings in the file are not used: {', '.join(header.embeddings)}")
        chinese.append(f"文件中的嵌入未使用：{', '.join(header.embeddings)}")
    return localize(
        "inference.lora_problems.acts_on",
        count=count,
        english="; ".join(english),
        counted=counted,
        chinese="；".join(chinese),
    )


def _named(layers: Sequence[str]) -> str:
    first = ", ".join(name[:100] for name in layers[:NAMED_LAYERS])
    return f"{first} (+{len(layers) - NAMED_LAYERS})" if len(layers) > NAMED_LAYERS else first
