"""LoRAs into a loaded pipeline and out of it again, by diffusers' own loading; nothing of the model is loaded again.

Adapters stand beside the layers and change none of their weights: with all of them out, the layers are the same objects as
before. peft, which they are made of, is imported when the first one is asked for.
What this module does not know: requests, prompts, where the files come from.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from core.config.loras import FILES, KEY, LoraUse, moved
from core.errors import LoraFileError
from core.model.families import backend_of
from core.model.loader import LoadedModel
from core.model.lora_files import LoraFiles
from core.types import Decision, GenerationRequest

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Adapter:
    """One LoRA as it is asked for: its file, which `digest` (SHA-256) tells from others, and its weight, never 0.

    `tensors_digest` is the SHA-256 of the tensors without the header, by which A1111 and Civitai know it.
    """

    name: str
    path: Path
    digest: str
    tensors_digest: str
    weight: float

    @property
    def slot(self) -> str:
        """What peft calls it: no name of a user's, as dots have a meaning there."""
        return f"sha_{self.digest[:24]}"


def wanted(uses: Sequence[LoraUse], files: LoraFiles, model: LoadedModel) -> tuple[Adapter, ...]:
    """What really acts: those of a weight other than 0, checked against the model. UnknownLoraError or LoraFileError."""
    acting = [use for use in uses if use.weight]
    files.check(acting, model.info)
    closed = _TENSORRT if model.effective.get("tensorrt.enabled") else _ON_DISK if model.blocks else None
    if acting and closed:
        raise LoraFileError(name=acting[0].name, problem=closed)
    return tuple(
        Adapter(use.name, Path(files.find(use.name).path or ""), *files.digests(use.name), use.weight) for use in acting
    )


def apply(model: LoadedModel, adapters: Sequence[Adapter]) -> None:
    """Bring the pipeline to exactly these, in this order. LoraFileError.

    When one can't be put in, none is: the pipeline is plain again.
    """
    pipeline, present = model.pipeline, model.adapters
    try:
        _remove(pipeline, present, keep={adapter.slot for adapter in adapters})
        for adapter in adapters:
            if adapter.slot not in present:
                present.add(adapter.slot)  # before it is there: what fails in the middle is taken out, too
                _load(pipeline, adapter)
        if adapters:
            pipeline.set_adapters([one.slot for one in adapters], [one.weight for one in adapters])
            backend_of(model.info.pipeline).prepare_adapters(pipeline)
    except BaseException:
        _remove(pipeline, present, keep=set())
        raise


def _remove(pipeline: Any, present: set[str], keep: set[str]) -> None:
    """The slots that are not to be kept; without any left, the layers themselves stand where they stood."""
    gone = present - keep
    if gone == present:
        if gone:
            pipeline.unload_lora_weights()
    elif gone:
        pipeline.delete_adapters(sorted(gone))
    present -= gone


def _load(pipeline: Any, adapter: Adapter) -> None:
    logging.getLogger("diffusers.loaders").setLevel(logging.ERROR)  # a LoRA without a text encoder's part is no news
    try:
        with warnings.catch_warnings(action="ignore"):  # peft warns of every second adapter
            pipeline.load_lora_weights(
                str(adapter.path.parent),
                weight_name=adapter.path.name,
                adapter_name=adapter.slot,
                use_safetensors=True,
                local_files_only=True,
            )
    except torch.OutOfMemoryError:  # a RuntimeError, too
        raise
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, AttributeError, ImportError) as error:
        log.exception("the LoRA %s could not be put in", adapter.name)
        detail = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise LoraFileError(name=adapter.name, problem=_refused(detail)) from error


def as_drawn(request: GenerationRequest, adapters: Sequence[Adapter]) -> tuple[GenerationRequest, tuple[Decision, ...]]:
    """A single as it is drawn with these adapters: its prompt without tags, and without compiling; with what to say of it."""
    single, notes = moved(request)
    if not adapters or not single.options["compile.enabled"]:
        return single, notes
    refused = Decision("compile.enabled", True, False, _COMPILED)
    return replace(single, options={**single.options, "compile.enabled": False}), (*notes, refused)


def described(model: LoadedModel, adapters: Sequence[Adapter], notes: tuple[Decision, ...]) -> LoadedModel:
    """The model with what the picture's record says of its adapters."""
    files = [
        {"name": one.name, "weight": one.weight, "sha256": one.digest, "tensors_sha256": one.tensors_digest}
        for one in adapters
    ]
    acting = {KEY: tuple(str(LoraUse(one.name, one.weight)) for one in adapters), **({FILES: files} if files else {})}
    return replace(model, effective={**model.effective, **acting}, decisions=(*model.decisions, *notes))


_COMPILED = {
    "en": "with LoRAs the plain layers are used: compiled ones would be compiled again for each LoRA and each weight",
    "zh": "使用 LoRA 时采用未编译的层：否则每换一个 LoRA 或权重都要重新编译",
}
_TENSORRT = {
    "en": "TensorRT has the layers compiled, and nothing can be added to them; switch tensorrt.enabled off",
    "zh": "TensorRT 已编译各层，无法再添加；请关闭 tensorrt.enabled",
}

_ON_DISK = {
    "en": "the model's blocks lie on the disk, and nothing can be added to them; set memory.offload to group or another",
    "zh": "模型的各层存放在磁盘上，无法再添加；请将 memory.offload 改为 group 或其他值",
}


def _refused(detail: str) -> Mapping[str, str]:
    return {
        "en": f"it can't be put into the loaded model ({detail}); choose another LoRA, or set memory.quantization to none",
        "zh": f"无法加入已加载的模型（{detail}）；请换一个 LoRA，或将 memory.quantization 设为 none",
    }
