"""Check a complete request against the options, the model and its input images, before it is queued."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from core.config import samplers
from core.config.boxes import check_boxes
from core.config.control_units import KEY as UNITS
from core.config.lora_syntax import lora_specs_of, split_prompt
from core.config.options import SCHEMA
from core.config.schema import AUTO
from core.config.typed_settings import Options
from core.errors import InputCombinationError, NotFoundError, OptionError, PromptError, UnavailableError
from core.history.record_codec import is_id
from core.i18n import filled, localize
from core.inference import hires, inpaint
from core.inference.controlnet import MISSING, check_control, check_images
from core.inference.detection import KEY as DETECTOR
from core.inference.detection import NONE as NO_DETECTOR
from core.inference.resolution import SMALLEST_SIDE, check_sides
from core.models.families import FAMILIES
from core.storage import content_credentials
from core.storage.content_credentials import KEY as CREDENTIALS
from core.types import CONTROL, IMAGE, MASK, REFERENCES, ROLES, GenerationRequest, ModelInfo

OFF = "off"  # of upscale.mode
REFERENCE_SIDE, REFERENCE_RATIO = 64, 8  # px of the shorter side at least, times the other at most: Flux2KleinPipeline's


def check(request: GenerationRequest, model: ModelInfo, source: str = "request") -> None:
    """Raise InputError when a field is out of range, or ModelFileError when the model can't be used.

    UnavailableError for content credentials without their package: the finished image could not be saved.
    """
    if model.problem is not None:
        raise model.problem
    prompt = SCHEMA.options["generation.prompt"]
    for key in ("prompt", "negative_prompt"):
        length = len(getattr(request, key))
        needed = key == "prompt" and request.options.get("upscale.mode") != hires.ENLARGE
        if length > (prompt.maximum or 0) or (needed and not split_prompt(request.prompt)[0].strip()):
            raise PromptError(key=key, value=length, allowed=f"1 - {prompt.maximum:g}")
    for key in ("width", "height", "num_inference_steps", "cfg_scale", "seed", "num_images"):
        SCHEMA.options[f"generation.{key}"].check(getattr(request, key), source)
    complete = replace(request, options={**_DEFAULTS, **request.options})
    for key, (low, high) in model.bounds.items():
        bound = replace(SCHEMA.options[key], minimum=low, maximum=high, auto=False)
        bound.check(getattr(request, key.removeprefix("generation.")), model.id)
    if not inpaint.is_partial(complete):
        check_sides(request.width, request.height, model.max_side, model.id)
    check_passes(complete, model, source)
    check_inpaint(complete, model, source)
    check_upscale(complete, model, source)
    for key, value in request.options.items():
        SCHEMA.find(key, source).check(value, source)
    if model.pipeline in FAMILIES:  # another studio's server may have newer ones
        samplers.check(request.options, FAMILIES[model.pipeline].prediction, source)
    lora_specs_of(request, source)
    if request.options.get(CREDENTIALS, False) and (reason := content_credentials.problem()) is not None:
        raise UnavailableError(key=CREDENTIALS, value=True, reason=reason)


def check_inputs(request: GenerationRequest, model: ModelInfo, size: Callable[[str], tuple[int, int]]) -> None:
    """Raise InputCombinationError for input images that are not there, do not fit each other, or are not for this model.

    `size` gives (width, height) of a stored image, or raises NotFoundError.
    """
    if request.parent and not is_id(request.parent):
        raise InputCombinationError(role="parent", problem=problem("parent", value=request.parent[:64]))
    sizes = {}
    for role, digest in request.inputs.items():
        if role not in ROLES:
            raise InputCombinationError(role=role[:60], problem=problem("roles", allowed=", ".join(ROLES)))
        if role not in model.inputs:
            name = "one_image" if role in REFERENCES else "model"
            raise InputCombinationError(role=role, problem=problem(name, model=model.id))
        try:
            sizes[role] = size(digest)
        except NotFoundError:
            raise InputCombinationError(role=role, problem=problem("unknown", value=str(digest)[:64])) from None
    complete = replace(request, options={**_DEFAULTS, **request.options})
    if Options(complete.options).upscale.mode == hires.ENLARGE:
        return  # without a model
    family = FAMILIES.get(model.pipeline)
    if complete.options[UNITS]:
        check_images(complete.options, sizes)
    elif CONTROL in model.inputs:
        if CONTROL not in sizes:
            raise InputCombinationError(role=CONTROL, problem=MISSING)
        check_control(complete.options, "request")
    for role in family.needs if family is not None else ():
        if role not in sizes:
            raise InputCombinationError(role=role, problem=problem("needed", model=model.id))
    if MASK in sizes and IMAGE not in sizes:
        raise InputCombinationError(role=MASK, problem=problem("alone"))
    for role in sizes.keys() & set(REFERENCES):
        _check_reference(role, sizes)
    further = [role for role in REFERENCES if role in sizes]
    if family is not None and inpaint.is_masked(complete) and len(further) > family.masked_references:
        reason = problem("masked", model=model.id, value=str(len(further)), most=str(family.masked_references))
        raise InputCombinationError(role=further[-1], problem=reason)
    masked = inpaint.is_masked(complete) or Options(complete.options).upscale.mode == hires.DETAIL  # refused elsewhere
    needs_mask = family is not None and family.img2img is None and MASK in family.inputs and not family.edits
    if IMAGE in sizes and needs_mask and not masked:
        raise InputCombinationError(role=IMAGE, problem=problem("mask", model=model.id))
    if Options(complete.options).inpaint.boxes:
        if IMAGE not in sizes:
            raise InputCombinationError(role=IMAGE, problem=inpaint.NO_IMAGE)
        if MASK in sizes:
            raise InputCombinationError(role=MASK, problem=problem("boxes"))


def _check_reference(role: str, sizes: Mapping[str, tuple[int, int]]) -> None:
    """Raise InputCombinationError for a further image without a first one, and for one that the pipelines do not read."""
    if IMAGE not in sizes:
        raise InputCombinationError(role=role, problem=problem("no_first"))
    width, height = sizes[role]
    if min(width, height) < REFERENCE_SIDE or max(width, height) > REFERENCE_RATIO * min(width, height):
        reason = problem("reference", value=f"{width}x{height}", side=str(REFERENCE_SIDE), ratio=str(REFERENCE_RATIO))
        raise InputCombinationError(role=role, problem=reason)


def check_passes(request: GenerationRequest, model: ModelInfo, source: str = "request") -> None:
    """Raise OptionError for a pass in which not one step would be run, or whose image would be too small."""
    options = Options(request.options)
    for one in hires.of(request):
        key = "hires.denoising_strength" if one.over_last else "img2img.denoising_strength"
        key = "upscale.denoising_strength" if options.upscale.mode == hires.DETAIL else key
        if hires.steps_of(one, model.pipeline, IMAGE in request.inputs) < 1:
            raise OptionError(
                source=source, key=key, value=one.strength, allowed=_enough(one.request.num_inference_steps)
            )
    width, height = hires.base_size(request)
    family = FAMILIES.get(model.pipeline)
    if options.hires.enabled and (IMAGE not in model.inputs or (family is not None and family.img2img is None)):
        raise OptionError(source=source, key="hires.enabled", value=True, allowed=_ONE_PASS)
    if options.hires.enabled and min(width, height) < SMALLEST_SIDE:
        allowed = f"1.25 - {min(request.width, request.height) / SMALLEST_SIDE:g} ({request.width}x{request.height})"
        raise OptionError(source=source, key="hires.scale", value=options.hires.scale, allowed=allowed)


def check_inpaint(request: GenerationRequest, model: ModelInfo, source: str = "request") -> None:
    """Raise OptionError for boxes outside of the image, for parts larger than the model's largest image, and for hires fix."""
    options = Options(request.options)
    check_boxes(options.inpaint.boxes, (request.width, request.height), source)
    if options[DETECTOR] != NO_DETECTOR:  # with a source image its boxes have taken its place
        raise OptionError(source=source, key=DETECTOR, value=options[DETECTOR], allowed=_NO_IMAGE_TO_DETECT)
    if not inpaint.is_partial(request) or options.upscale.mode != OFF:
        return
    if options.hires.enabled:
        raise OptionError(source=source, key="hires.enabled", value=True, allowed=_PARTIAL)
    for key in ("inpaint.render_width", "inpaint.render_height"):
        replace(SCHEMA.options[key], maximum=model.max_side).check(options[key], model.id)


def check_upscale(request: GenerationRequest, model: ModelInfo, source: str = "request") -> None:
    """Raise OptionError for upscaling without a source image, of a part of it, or by a model without img2img."""
    options = Options(request.options)
    mode = options.upscale.mode
    if mode == OFF:
        return
    neutral = replace(request, options={**options, "upscale.mode": OFF})
    family = FAMILIES.get(model.pipeline)
    allowed = None
    if IMAGE not in request.inputs:
        allowed = _NO_SOURCE
    elif options.hires.enabled or inpaint.is_masked(neutral):
        allowed = _UPSCALED
    elif mode == hires.DETAIL and (IMAGE not in model.inputs or (family is not None and family.img2img is None)):
        allowed = _NO_TILES
    if allowed is not None:
        raise OptionError(source=source, key="upscale.mode", value=mode, allowed=allowed)
    tile = options.upscale.tile
    if mode == hires.DETAIL and tile != AUTO:
        replace(SCHEMA.options["upscale.tile"], maximum=model.max_side).check(tile, model.id)
        if options.upscale.tile_overlap > tile // 2:
            allowed = localize("studio.request_builder.half_a_tile", most=tile // 2)
            key = "upscale.tile_overlap"
            raise OptionError(source=source, key=key, value=options[key], allowed=allowed)


def _enough(steps: int) -> dict[str, str]:
    least = f"{1 / steps:.3g}"
    return localize("studio.request_builder.more_than_0_and_about_at", least=least, steps=steps)


_DEFAULTS = {option.key: option.default for option in SCHEMA.request_options()}
_PARTIAL = localize("studio.request_builder.partial")
_NO_IMAGE_TO_DETECT = localize("studio.request_builder.detector_image")
_NO_SOURCE = localize("studio.request_builder.no_source")
_UPSCALED = localize("studio.request_builder.upscaled")
_NO_TILES = localize("studio.request_builder.no_tiles")
_ONE_PASS = localize("studio.request_builder.one_pass")


def problem(name: str, **values: str) -> dict[str, str]:
    """Return a reason of InputCombinationError in every language."""
    return {language: filled(words, values) for language, words in _PROBLEMS[name].items()}


_PROBLEMS = {
    "roles": localize("studio.request_builder.problems.roles"),
    "model": localize("studio.request_builder.problems.model"),
    "parent": localize("studio.request_builder.problems.parent"),
    "unknown": localize("studio.request_builder.problems.unknown"),
    "alone": localize("studio.request_builder.problems.alone"),
    "boxes": localize("studio.request_builder.problems.boxes"),
    "mask": localize("studio.request_builder.problems.mask"),
    "one_image": localize("studio.request_builder.problems.one_image"),
    "masked": localize("studio.request_builder.problems.masked"),
    "needed": localize("studio.request_builder.problems.needed"),
    "no_first": localize("studio.request_builder.problems.no_first"),
    "too_many": localize("studio.request_builder.problems.too_many"),
    "reference": localize("studio.request_builder.problems.reference"),
}
