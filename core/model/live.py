"""Bring a loaded pipeline to what a request's options say: attention, compilation, and what is saved of the work.

Everything is set from whatever state the request before it left, and taken back by the next: nothing is loaded again.
What this module does not know: rotary scaling, tiles, pictures.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch

from core.config.options import SCHEMA
from core.config.schema import TakesEffect
from core.model import control
from core.model.loader import LoadedModel
from core.model.tuning import attention, backends, compilation, speed
from core.types import Decision, GenerationRequest, Phase, Progress

OnProgress = Callable[[Progress], None]

LIVE_OPTIONS = tuple(
    option.key for option in SCHEMA.request_options() if option.takes_effect is TakesEffect.LIVE and option.built
)


def tune(
    model: LoadedModel, request: GenerationRequest, base: tuple[Decision, ...], on_progress: OnProgress
) -> LoadedModel:
    """The model with attention, compilation and speed as the options say, and what became of each automatic choice.

    `base` are the decisions of loading it. Compiling for the first time takes minutes; `on_progress` is told.
    """
    options, pipeline = request.options, model.pipeline
    compiles = options["compile.enabled"] and compilation.problem(model.device) is None
    plan, decisions = _plan(model, options, compiles)
    _attend(pipeline, plan)
    compiled = _compile(model, request, plan, on_progress)
    if compiles and compiled is not None and not compiled.effective:
        plan, decisions = _plan(model, options, False)
        _attend(pipeline, plan)
    trims, why = speed.trims(options["speed.trim_text"], model.device)
    decisions += tuple(choice for choice in (compiled, why) if choice)
    live = {key: options[key] for key in LIVE_OPTIONS}
    resolved = {
        "transformer.attention_backend": plan.backend,
        "speed.trim_text": "always" if trims else "never",
        "speed.real_rope": "always" if plan.real_rope else "never",
        "compile.enabled": bool(compiled and compiled.effective),
    }
    return replace(
        model,
        plan=plan,
        asked={**model.asked, **live},
        effective={**model.effective, **live, **resolved},
        decisions=(*base, *decisions),
    )


def _attend(pipeline: Any, plan: attention.AttentionPlan) -> None:
    """The plan for every attention of the transformer, and of a ControlNet's own layers."""
    for layers in (pipeline.transformer, control.own_layers(pipeline)):
        if layers is not None:
            attention.apply(layers, plan)


def _plan(
    model: LoadedModel, options: Mapping[str, Any], compiles: bool
) -> tuple[attention.AttentionPlan, tuple[Decision, ...]]:
    real_rope, why = speed.real_rope(options["speed.real_rope"], compiles)
    plan, missing = attention.choose(
        options["transformer.attention_backend"],
        options["transformer.attention_dropout"],
        real_rope,
        backends.shape_of(model.pipeline.transformer, model.device),
    )
    return plan, (*missing, *((why,) if why else ()))


def _compile(
    model: LoadedModel, request: GenerationRequest, plan: attention.AttentionPlan, on_progress: OnProgress
) -> Decision | None:
    guided = request.guidance_scale > 0
    with torch.inference_mode():  # the mode of the pictures: a graph of another mode would not serve them
        return compilation.apply(
            model.pipeline.transformer,
            model.compiled,
            request.options,
            model.device,
            (plan, guided),
            lambda done, of: on_progress(Progress(Phase.LOADING, done, of, detail=f"torch.compile {done + 1} / {of}")),
        )
