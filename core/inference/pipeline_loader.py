"""Load a pipeline onto a device, with the reason of each automatic choice."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import torch
from diffusers.hooks import apply_layerwise_casting
from torch import nn

from core.config.options import SCHEMA
from core.config.schema import AUTO, TakesEffect
from core.config.typed_settings import Options
from core.errors import ModelLoadError
from core.i18n import localize
from core.inference import (
    attention,
    load_choices,
    memory,
    memory_tiers,
    offload,
    precision,
    prepared_weights,
    residency,
    text_encoding,
    torch_compile,
)
from core.inference.latent_preview import Previewer, load_previewer, tiny_decoder_of
from core.inference.load_choices import is_gguf
from core.inference.memory_tiers import FP8_STORAGE
from core.inference.pipeline_reading import check_model, option_part, read_denoiser, read_pipeline
from core.inference.prepared_weights import PreparedWeights
from core.inference.residency import repeated_blocks
from core.inference.weight_reading import LoadWatch
from core.models.families import FAMILIES, backend_of
from core.models.fingerprint import fingerprint, gguf_hash, part_hashes, versions, weight_hashes
from core.models.part_sources import count_parameters, files_of, gguf_in, stored_bytes, weights_by_part
from core.models.single_file import look_into
from core.types import Capability, Decision, ModelInfo

log = logging.getLogger(__name__)

DTYPES = precision.DTYPES
RELOAD_OPTIONS = tuple(  # a change of these loads the model again
    option.key
    for option in SCHEMA.request_options()
    if option.takes_effect is TakesEffect.RELOAD and option.implemented
)


@dataclass(frozen=True)
class LoadedModel:
    """A pipeline in memory and its properties.

    `asked`, `effective` and `plan` are as the options were last applied; `texts` and `compiled` fill as the model is used.
    """

    model: str
    info: ModelInfo
    device: str
    dtype: str
    pipeline: Any
    scheduler: Any  # its own, whatever the sampler of the last image was
    previewer: Previewer | None
    tiny_decoder: Any  # an AutoencoderTiny for its latents, or None
    fingerprint: str
    part_hashes: Mapping[str, str]  # over names, sizes and samples, which records of all versions have
    weight_hashes: Mapping[str, str]  # over the contents
    load_seconds: float
    decisions: tuple[Decision, ...]
    versions: Mapping[str, str]
    held: memory_tiers.Plan  # how it is held in memory
    dtypes: Mapping[str, str] = field(default_factory=dict)  # of each component
    capabilities: tuple[Capability, ...] = ()
    asked: Mapping[str, Any] = field(default_factory=dict)
    effective: Mapping[str, Any] = field(default_factory=dict)
    plan: attention.AttentionPlan = field(default_factory=attention.AttentionPlan)
    texts: text_encoding.TextCache = field(default_factory=text_encoding.TextCache)
    compiled: torch_compile.Compiled = field(default_factory=torch_compile.Compiled)
    adapters: set[str] = field(default_factory=set)  # the LoRAs that are in it, by what peft calls them

    blocks: Path | None = None  # the folder of what is offloaded to disk


Read = Callable[[ModelInfo, Mapping[str, torch.dtype]], Any]  # (model, dtype of each component) -> pipeline


class NotEnoughMemoryError(torch.OutOfMemoryError):
    """Out of memory while the weights were read or moved, at this tier."""

    def __init__(self, tier: str, device: str) -> None:
        super().__init__(f"loading at tier {tier} on {device}")
        self.tier, self.device = tier, device


def load_model(
    info: ModelInfo,
    options: Mapping[str, Any],
    failed: str | None = None,
    read: Read | None = None,
    watch: LoadWatch | None = None,
    prepared_in: Path | None = None,
) -> LoadedModel:
    """Check the files, choose device, dtype and tier, read the weights. ModelError when that fails.

    `failed` is the tier that ran out of memory: the next one below is taken. `read` is `read_pipeline` by default. `watch` gets
    how much of the weight files is in memory, and may raise Cancelled. `prepared_in` is the folder of models below which prepared
    weights are kept; None neither reads nor writes any.
    """
    began = time.perf_counter()
    check_model(info)
    files, backend = files_of(info), backend_of(info.pipeline)
    path, base, frame, _ = files
    wanted, changed = load_choices.acting_options(options, info)
    option = Options(wanted)
    on_cpu = option.memory.tier == "cpu" and option.model.device == AUTO
    device = choose_device("cpu" if on_cpu else option.model.device, info.id)
    counted, stored = count_parameters(*files), stored_bytes(*files)
    hardware, available = memory.hardware(str(device.effective)), psutil.virtual_memory().available
    dtype = load_choices.choose_dtype(option.model.dtype, hardware, sum(counted.values()), available)
    dtypes = load_choices.wanted_dtypes(wanted, str(dtype.effective))
    machine = memory.machine(str(device.effective), info)
    pixels = info.default_width * info.default_height
    text_device = choose_text_device(option.text_encoder.device, str(device.effective), info.id)
    free = machine.free - option.memory.reserved_mb * memory_tiers.MEGA
    second = memory_tiers.second_gpu(wanted, counted, pixels, free, memory.other_gpus(str(device.effective)), stored)
    if second is not None:
        text_device, changed = str(second.effective), (*changed, second)
    if text_device is not None:
        counted, stored = without_text_encoders(counted), without_text_encoders(stored)
    held = memory_tiers.choose(wanted, machine, counted, pixels, failed, stored)
    memory.reserve(str(device.effective), option.memory.reserved_mb)
    try:
        notes: list[str] = []
        prepared = None
        if read in (None, read_pipeline):
            prepared = _prepared(info, wanted, dtypes, held.tier, text_device is not None, prepared_in)
            ready = partial(_ready, prepared, str(device.effective) if held.tier.offload == "none" else "cpu", text_device)
            read = partial(read_pipeline, notes=notes, prepared=ready)
        budget = offload.MemoryBudget(
            free,
            partial(memory_tiers.working, held.tier),
            pixels,
        )
        present = prepared.present() if prepared is not None else {}
        weights = [present.get(part, file) for part, file in weights_by_part(*files)]
        with watch.over(weights) if watch is not None else nullcontext():
            pipeline = _read(info, dtypes, held.tier.quantization, read)
            backend.prepare_weights(pipeline, dtypes)
            if option.tensorrt.enabled:
                torch_compile.apply_tensorrt(getattr(pipeline, FAMILIES[info.pipeline].denoiser), str(device.effective))
            quantise(pipeline, held.tier.quantization, dtypes, text_encoder=text_device is None)
            if prepared is not None:
                present = prepared.present()  # without what was damaged
                changed = (*changed, *prepared.decisions(present), *prepared.write(residency.modules(pipeline), watch))
            blocks = offload.place(pipeline, backend, str(device.effective), held.tier.offload, text_device, budget)
    except torch.OutOfMemoryError as error:
        raise NotEnoughMemoryError(held.tier.name, str(device.effective)) from error
    seconds = time.perf_counter() - began
    log.info("%s loaded in %.1f s: %s, %s", info.id, seconds, device.effective, dtype.effective)
    return LoadedModel(
        model=info.id,
        info=info,
        device=str(device.effective),
        dtype=str(dtype.effective),
        pipeline=pipeline,
        scheduler=pipeline.scheduler,
        previewer=load_previewer(frame or base or path),
        tiny_decoder=tiny_decoder_of(frame or base or path, str(device.effective)),
        fingerprint=fingerprint(*files),
        part_hashes=part_hashes(*files),
        weight_hashes=weight_hashes(*files) | (gguf_hash(path, base) if held.tier.quantization == "gguf" else {}),
        load_seconds=seconds,
        decisions=(
            *(choice for choice in (device, dtype) if choice.requested == AUTO or choice.reason != _ASKED),
            *changed,
            *held.decisions,
            *_held_parts(pipeline),
            *_unused(info, notes),
        ),
        versions=versions(),
        dtypes=dtypes,
        asked={key: options[key] for key in RELOAD_OPTIONS},
        effective={
            **{key: options[key] for key in RELOAD_OPTIONS},
            "model.device": str(device.effective),
            "text_encoder.device": text_device or str(device.effective),
            "model.dtype": str(dtype.effective),
            **{f"{component}.dtype": used for component, used in dtypes.items()},
            **held.implied,
        },
        capabilities=backend.capabilities(pipeline, str(device.effective)),
        held=held,
        blocks=blocks,
    )


def _held_parts(pipeline: Any) -> tuple[Decision, ...]:
    """Say which parts stay on the device, where they are moved one by one."""
    parts = residency.of(pipeline)
    return () if parts is None else (Decision("memory.offload", "model", "model", parts.reason()),)


def _unused(info: ModelInfo, notes: Sequence[str]) -> tuple[Decision, ...]:
    """Say which tensors of the files nothing uses."""
    if not notes:
        return ()
    log.warning("%s: %d tensors are not used: %s", info.id, len(notes), ", ".join(notes[:20]))
    shown = ", ".join(notes[:3])
    reason = localize("inference.pipeline_loader.tensors_of_the_file_are_not", count=len(notes), shown=shown)
    return (Decision("model.id", info.id, info.id, reason),)


def _read(info: ModelInfo, dtypes: Mapping[str, str], quantised: str, read: Read) -> Any:
    """Return the weights from the disk, in these formats; ModelLoadError when they can't be used."""
    kinds = {component: DTYPES[dtype] for component, dtype in dtypes.items()}
    try:
        pipeline = read(info, kinds)
        if quantised == "gguf" and not is_gguf(info):
            file = gguf_in(Path(info.base or info.path or ""))
            assert file is not None  # else the tier would have been refused
            look_into(file, info.id)
            made = read_denoiser(info.pipeline, file, info.base or info.path or "", kinds["transformer"])
            setattr(pipeline, FAMILIES[info.pipeline].denoiser, made)
        return pipeline
    except torch.OutOfMemoryError:  # a RuntimeError, too
        raise
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, AttributeError) as error:  # what diffusers raises
        log.exception("loading %s failed", info.id)
        raise ModelLoadError(model=info.id, detail=f"{type(error).__name__}: {error}"[:300]) from error


def _prepared(
    info: ModelInfo,
    options: Mapping[str, Any],
    dtypes: Mapping[str, str],
    tier: memory_tiers.Tier,
    apart: bool,
    store: Path | None,
) -> PreparedWeights | None:
    """Return the model's prepared weights in the form of this load; None where none are kept."""
    if store is None or Options(options).tensorrt.enabled:
        return None
    files = files_of(info)
    hashes = weight_hashes(*files)
    forms = prepared_weights.forms_of({part: option_part(part) for part in hashes}, dtypes, tier.quantization, apart)
    return PreparedWeights(store, info.id, files, hashes, forms)


def _ready(prepared: PreparedWeights | None, device: str, text_device: str | None, part: str) -> Any | None:
    """Return a part from its prepared file, if there is one: at once on the device where it stays there."""
    if prepared is None:
        return None
    return prepared.read(part, "cpu" if text_device is not None and part.startswith("text_encoder") else device)


def choose_device(requested: str, model: str) -> Decision:
    """Return the device. auto: CUDA, then Apple's GPU, then the CPU. Raises UnavailableError for an absent device."""
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if requested == AUTO:
        selected = next(name for name, present in there.items() if present)
        return Decision("model.device", AUTO, selected, _DEVICE_REASONS[selected])
    if not there[requested]:
        present = ", ".join(name for name, here in there.items() if here)
        raise ModelLoadError(model=model, detail=f"model.device is {requested}, but this machine has only {present}")
    return Decision("model.device", requested, requested, _ASKED)


def choose_text_device(requested: str, device: str, model: str) -> str | None:
    """Return the device that the text encoders are kept on, None for that of the model. ModelLoadError where it is absent."""
    if requested in (AUTO, device) or (requested == "cuda:0" and device == "cuda"):
        return None
    index = requested.removeprefix("cuda:")
    if requested != "cpu" and int(index) >= torch.cuda.device_count():
        detail = f"text_encoder.device is {requested}, but this machine has {torch.cuda.device_count()} CUDA devices"
        raise ModelLoadError(model=model, detail=detail)
    return requested


def without_text_encoders(by_part: Mapping[str, int]) -> dict[str, int]:
    """Return figures by part without those of the text encoders."""
    return {part: count for part, count in by_part.items() if not part.startswith("text_encoder")}


def fits(info: ModelInfo, dtypes: Mapping[str, str], device: str) -> bool:
    """Return True if the weights in these formats fit the memory that is free after unloading the present ones."""
    there = torch.cuda.mem_get_info()[1] if device == "cuda" else psutil.virtual_memory().available
    files = weights_by_part(*files_of(info))
    needed = sum(
        file.stat().st_size * (2 if dtypes[option_part(part)] == "float32" else 1) for part, file in files
    )  # stored in 16 bits
    return needed < there


_ASKED = localize("inference.pipeline_loader.asked")
_DEVICE_REASONS = {
    "cuda": localize("inference.pipeline_loader.device_reasons.cuda"),
    "mps": localize("inference.pipeline_loader.device_reasons.mps"),
    "cpu": localize("inference.pipeline_loader.device_reasons.cpu"),
}


STORED = torch.float8_e4m3fn  # 1 byte a weight
_KEPT = ("norm", "adaLN_modulation", "lora_")  # layers, by a part of their names, that stay as they were


def quantise(pipeline: Any, kind: str, dtypes: Mapping[str, str], text_encoder: bool = True) -> None:
    """Quantise the transformer and, unless it is kept apart, the text encoder in place. GGUF was quantised when it was read.

    What comes quantised from a prepared file stays as it is.
    """
    if kind in ("none", "gguf"):
        return
    for name in ("text_encoder", "transformer") if text_encoder else ("transformer",):
        for block in repeated_blocks(getattr(pipeline, name)):
            if kind == FP8_STORAGE:
                _to_fp8_storage(block, DTYPES[dtypes[name]])
            elif kind == "nf4":
                _to_nf4(block)
            elif not any(prepared_weights.is_by_torchao(weight) for weight in block.parameters()):
                _by_torchao(block, kind)


def _to_fp8_storage(block: nn.Module, compute: torch.dtype) -> None:
    """Keep weights in fp8 and cast each layer's to `compute` while it works (diffusers' layerwise casting)."""
    apply_layerwise_casting(block, STORED, compute, skip_modules_pattern=_KEPT)


def _by_torchao(block: nn.Module, kind: str) -> None:
    from torchao.quantization import (
        Float8DynamicActivationFloat8WeightConfig,
        Int8DynamicActivationInt8WeightConfig,
        Int8WeightOnlyConfig,
        PerRow,
        quantize_,
    )

    configs = {
        "int8": Int8WeightOnlyConfig,
        "int8_dynamic": Int8DynamicActivationInt8WeightConfig,
        "fp8": partial(Float8DynamicActivationFloat8WeightConfig, PerRow()),
    }
    quantize_(block, configs[kind]())


def _to_nf4(module: nn.Module) -> None:
    """Replace linear layers by 4-bit ones; their weights are quantised when they reach the GPU."""
    import bitsandbytes

    for name, child in list(module.named_children()):
        if type(child) is not nn.Linear:
            _to_nf4(child)
            continue
        small = bitsandbytes.nn.Linear4bit(
            child.in_features,
            child.out_features,
            child.bias is not None,
            compute_dtype=child.weight.dtype,
            quant_type="nf4",
        )
        small.weight = bitsandbytes.nn.Params4bit(child.weight.data, requires_grad=False, quant_type="nf4")
        small.bias = child.bias
        setattr(module, name, small.to("cuda"))
