"""Put LoRAs into a loaded pipeline and take them out again; nothing of the model is loaded again.

Adapters stand beside the layers and change none of their weights: with all of them out, the layers are the same objects as
before. peft, which they are made of, is imported when the first one is asked for.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from core.config.lora_syntax import FILES, KEY, LoraSpec, moved
from core.config.typed_settings import Options
from core.errors import LoraFileError
from core.i18n import localize
from core.inference import lora_weights
from core.inference.pipeline_loader import LoadedModel
from core.models.families import FAMILIES, backend_of
from core.models.lora_library import LoraLibrary
from core.models.lora_match import Match, match, parts_reason, unmatched_problem
from core.models.lora_metadata import LoraHeader
from core.types import Decision, GenerationRequest

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LoraAdapter:
    """One LoRA as it is asked for: its file, which `digest` (SHA-256) tells from others, its weights, and where it acts.

    `tensors_digest` is the SHA-256 of the tensors without the header, by which A1111 and Civitai know it.
    """

    use: LoraSpec
    path: Path
    digest: str
    tensors_digest: str
    header: LoraHeader
    matched: Match

    @property
    def name(self) -> str:
        """Return the name that the user gave."""
        return self.use.name

    @property
    def slot(self) -> str:
        """Return the adapter name for peft, where dots in a file's name would have a meaning."""
        return f"sha_{self.digest[:24]}"

    @property
    def acts_on(self) -> tuple[int, int]:
        """Return (layers that act, layers in the file)."""
        return len(self.matched.acting), self.matched.total + len(self.header.unread)


def wanted(uses: Sequence[LoraSpec], files: LoraLibrary, model: LoadedModel) -> tuple[LoraAdapter, ...]:
    """Return the LoRAs with a weight other than 0, matched with the loaded model.

    Raises UnknownLoraError or LoraFileError.
    """
    acting = [use for use in uses if use.acts]
    if not acting:
        return ()
    files.check(acting, model.info)
    closed = _TENSORRT if model.effective.get("tensorrt.enabled") else _ON_DISK if model.blocks else None
    if closed:
        raise LoraFileError(name=acting[0].name, problem=closed)
    network = lora_weights.network_of(model.pipeline, _parts(model))
    return tuple(_adapter(use, files, model, network) for use in acting)


def _adapter(use: LoraSpec, files: LoraLibrary, model: LoadedModel, network: lora_weights.Network) -> LoraAdapter:
    header = files.header(use.name)
    matched = match(header, network, model.info.pipeline)
    problem = unmatched_problem(matched, model.info)
    if problem is not None:
        raise LoraFileError(name=use.name, problem=problem)
    targets = [(target.part, target.module) for found in matched.acting.values() for target in found]
    nowhere = use.unmatched(targets)
    if nowhere:
        raise LoraFileError(name=use.name, problem=_no_such_part(nowhere[0], targets))
    return LoraAdapter(use, Path(files.find(use.name).path or ""), *files.digests(use.name), header, matched)


def _parts(model: LoadedModel) -> tuple[str, ...]:
    return tuple(part.part for part in FAMILIES[model.info.pipeline].lora.parts)


def apply(model: LoadedModel, adapters: Sequence[LoraAdapter]) -> None:
    """Let exactly these adapters act, in this order; when one can't be loaded, none does. Raises LoraFileError."""
    pipeline, present = model.pipeline, model.adapters
    before = _text_weights(model)
    try:
        _remove(model, keep={adapter.slot for adapter in adapters})
        for adapter in adapters:
            if adapter.slot not in present:
                present.add(adapter.slot)  # before it is there: what fails in the middle is taken out, too
                _load(pipeline, adapter)
        if adapters:
            lora_weights.set_weights(pipeline, _parts(model), {one.slot: one.use.weight_of for one in adapters})
            backend_of(model.info.pipeline).prepare_adapters(pipeline)
    except BaseException:
        _remove(model, keep=set())
        raise
    finally:
        if before != _text_weights(model):
            model.texts.clear()  # prompt embeds that were made with other text encoder weights


def _text_weights(model: LoadedModel) -> tuple[tuple[str, str, float], ...]:
    """Return (layer, adapter, scaling) of every adapter in the text encoders, () for plain ones."""
    if not model.adapters:
        return ()
    found = []
    for part in (part for part in _parts(model) if part.startswith("text_encoder")):
        module = getattr(model.pipeline, part, None)
        for name, layer in module.named_modules() if isinstance(module, torch.nn.Module) else ():
            scaling = getattr(layer, "scaling", None)
            if isinstance(scaling, dict) and hasattr(layer, "active_adapters"):
                found += [
                    (f"{part}.{name}", slot, float(scaling[slot])) for slot in layer.active_adapters if slot in scaling
                ]
    return tuple(found)


def _remove(model: LoadedModel, keep: set[str]) -> None:
    """Remove the adapters that are not in `keep`; without any left, the original layers are back in their places."""
    present = model.adapters
    gone = present - keep
    if gone:
        lora_weights.remove(model.pipeline, _parts(model), gone, everything=gone == present)
    present -= gone


def _load(pipeline: Any, adapter: LoraAdapter) -> None:
    try:
        with warnings.catch_warnings(action="ignore"):  # peft warns of every second adapter
            lora_weights.inject(pipeline, adapter.path, adapter.header.layers, adapter.matched, adapter.slot)
    except torch.OutOfMemoryError:  # a RuntimeError, too
        raise
    except Exception as error:  # whatever the libraries raise becomes one sentence; the log has the rest
        log.exception("the LoRA %s could not be put in", adapter.name)
        detail = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise LoraFileError(name=adapter.name, problem=_refused(detail)) from error


def as_drawn(
    request: GenerationRequest, adapters: Sequence[LoraAdapter]
) -> tuple[GenerationRequest, tuple[Decision, ...]]:
    """Return the request without tags in its prompt and, with adapters, without compiling; and the decisions about it."""
    single, notes = moved(request)
    if not adapters or not Options(single.options).compile.enabled:
        return single, notes
    refused = Decision("compile.enabled", True, False, _COMPILED)
    return replace(single, options={**single.options, "compile.enabled": False}), (*notes, refused)


def described(model: LoadedModel, adapters: Sequence[LoraAdapter], notes: tuple[Decision, ...]) -> LoadedModel:
    """Return the model with what the image's record says of its LoRAs, and a decision for each that acts in part."""
    files = [
        {
            "name": one.name,
            "weight": one.use.weight,
            **({"parts": dict(one.use.parts)} if one.use.parts else {}),
            "sha256": one.digest,
            "tensors_sha256": one.tensors_digest,
            "acts_on": list(one.acts_on),
        }
        for one in adapters
    ]
    acting = {KEY: tuple(str(one.use) for one in adapters), **({FILES: files} if files else {})}
    partly = tuple(_partly(one) for one in adapters if one.acts_on[0] < one.acts_on[1] or one.header.embeddings)
    return replace(model, effective={**model.effective, **acting}, decisions=(*model.decisions, *notes, *partly))


def _partly(adapter: LoraAdapter) -> Decision:
    reason = parts_reason(adapter.header, adapter.matched)
    return Decision(KEY, str(adapter.use), f"{adapter.name}: {adapter.acts_on[0]}/{adapter.acts_on[1]}", reason)


_COMPILED = localize("inference.lora_adapters.compiled")
_TENSORRT = localize("inference.lora_adapters.tensorrt")

_ON_DISK = localize("inference.lora_adapters.on_disk")


def _refused(detail: str) -> Mapping[str, str]:
    return localize("inference.lora_adapters.it_can_t_be_put_into", detail=detail)


def _no_such_part(name: str, targets: Sequence[tuple[str, str]]) -> Mapping[str, str]:
    blocks = sorted({layer.split(".")[0] for part, layer in targets if not part.startswith("text_encoder")})
    texts = ["te"] if any(part.startswith("text_encoder") for part, _ in targets) else []
    known = ", ".join([*(["net"] if blocks else []), *texts, *blocks])
    return localize("inference.lora_adapters.it_does_not_act_on_the", name=name, known=known)
