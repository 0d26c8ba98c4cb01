"""Say why a download failed and what to do, in both languages."""

from __future__ import annotations

from core.errors import DownloadError
from core.i18n import localize

HUB_NAMES = {"huggingface": "Hugging Face", "modelscope": "ModelScope"}
_PROBLEMS = {
    "network": localize("models.hub.errors.problems.network"),
    "socks": localize("models.hub.errors.problems.socks"),
    "busy": localize("models.hub.errors.problems.busy"),
    "gated": localize("models.hub.errors.problems.gated"),
    "missing": localize("models.hub.errors.problems.missing"),
    "answer": localize("models.hub.errors.problems.answer"),
    "checksum": localize("models.hub.errors.problems.checksum"),
    "safetensors": localize("models.hub.errors.problems.safetensors"),
    "disk": localize("models.hub.errors.problems.disk"),
    "offline": localize("models.hub.errors.problems.offline"),
    "source": localize("models.hub.errors.problems.source"),
    "address": localize("models.hub.errors.problems.address"),
    "mirror": localize("models.hub.errors.problems.mirror"),
    "private": localize("models.hub.errors.problems.private"),
    "ended": localize("models.hub.errors.problems.ended"),
}


def failure(model: str, hub: str, name: str, detail: object = "", variable: str = "") -> DownloadError:
    """Return the error of one of the problems above."""
    words = {lang: text.format(detail=detail, variable=variable) for lang, text in _PROBLEMS[name].items()}
    return DownloadError(model=model, source=HUB_NAMES.get(hub, hub), problem=words)
