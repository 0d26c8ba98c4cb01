"""Build one complete request from values by schema key."""

from __future__ import annotations

import io
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from PIL import Image

from core.batch import expand as batch
from core.batch.prompt_table import read_rows
from core.batch.templates import is_template
from core.batch.wildcard_files import WildcardFiles
from core.config.cfg import CFG, GUIDANCE, as_cfg
from core.config.control_units import KEY as UNITS
from core.config.control_units import MODES, UNION_TYPES, ControlUnit, read_units, role_of
from core.config.loader import Settings, data_folder
from core.config.lora_syntax import lora_specs_of
from core.config.options import FIELDS, SCHEMA
from core.config.schema import AUTO
from core.config.typed_settings import Options
from core.errors import InputCombinationError, OptionError
from core.history import used_files
from core.i18n import localize
from core.inference import hires, inpaint
from core.inference.control_maps import control_map, estimator_of_pages
from core.inference.controlnet import MISSING, check_control, check_images, own_unit
from core.inference.detection import FOLDER as DETECTORS
from core.inference.detection import KEY as DETECTOR
from core.inference.detection import NONE as NO_DETECTOR
from core.inference.detection import detect, detectors, painted_boxes
from core.inference.img2img import fitted, laid
from core.inference.resolution import SMALLEST_SIDE, fitting_size, size_to_render
from core.models.catalog import Catalog
from core.models.controlnet_library import PREPROCESSOR_FOLDER, ControlNetLibrary, DepthLibrary, PoseLibrary
from core.models.embedding_library import EmbeddingLibrary
from core.models.families import FAMILIES
from core.models.lora_library import LoraLibrary
from core.models.token_counter import TokenCount, count_tokens
from core.models.upscaler_library import EMBEDDED, FILTERS, UpscalerLibrary
from core.remote.catalog import RemoteCatalog, RemoteLoras
from core.storage.input_images import InputImages
from core.studio import request_checks
from core.types import (
    CFG_OFF,
    CONTROL,
    CONTROLS,
    IMAGE,
    MASK,
    REFERENCES,
    GenerationRequest,
    InputSources,
    ModelInfo,
    cfg_of,
)

SIZE_KEYS = ("generation.width", "generation.height")
UPSCALER_KEYS = ("hires.upscaler", "upscale.method")


class RequestBuilder:
    """Build requests over the settings and the models' defaults."""

    def __init__(
        self,
        settings: Settings,
        catalog: Catalog | RemoteCatalog,
        loras: LoraLibrary | RemoteLoras,
        input_images: InputImages,
        models: Path,
        embeddings: EmbeddingLibrary | None = None,
        upscalers: UpscalerLibrary | None = None,
        controlnets: ControlNetLibrary | None = None,
    ) -> None:
        """Keep the parts. `models` is the folder of models.

        The libraries that may be None are so with a remote studio, which checks its own.
        """
        self._settings = settings
        self._catalog = catalog
        self._loras = loras
        self._embeddings = embeddings
        self._upscalers = upscalers
        self._controlnets = controlnets
        self._models = models
        self._depths = DepthLibrary(models / PREPROCESSOR_FOLDER)
        self._poses = PoseLibrary(models / PREPROCESSOR_FOLDER)
        self._input_images = input_images

    def new(self, values: Mapping[str, Any] | None = None, source: str = "form") -> GenerationRequest:
        """Return a complete, checked request: `values` (by key or alias) over the settings over the model's defaults.

        Raises:
            InputError: names `source` and the first value that can't be used.
        """
        given = SCHEMA.checked(values or {}, source)
        merged = {**self._settings.values, **given}
        return build(merged, given, self._catalog.find(Options(merged).model.id), source)

    def expanded(self, values: Mapping[str, Any], source: str) -> GenerationRequest:
        """Return the request of `values` as `new` does, with templates in its prompts expanded by the seed of each image.

        Raises BatchError naming what can't be expanded.
        """
        request = self.new(values, source)
        if not (is_template(request.prompt) or is_template(request.negative_prompt)):
            return request
        row = {"prompt": request.prompt, "negative_prompt": request.negative_prompt}
        return self.new_batch([row], {**values, "generation.seed": request.seed}, source)

    def new_batch(
        self,
        given: bytes | str | Sequence[Any],
        values: Mapping[str, Any] | None = None,
        source: str = "batch",
        most: int | None = None,
        check: Callable[[GenerationRequest], None] = lambda single: None,
    ) -> GenerationRequest:
        """Return one request of many images: one for each line of a text, row of a CSV file or entry of a list.

        `values` are as for `new` and fill what a row leaves out. Wildcards are expanded here, with the seeds of the
        images. `check` is called for each image, `most` is the limit of callers over HTTP. `source` is the name of the
        file, or of where the rows come from.

        Raises:
            BatchError: names every row that can't be used.
        """
        base = with_seed(self.new(values))
        model = self._catalog.find(base.model)
        if model.problem is not None:
            raise model.problem
        model = self._controlled(model, base)

        def check_image(single: GenerationRequest) -> None:
            self.check_single(single, model, source)
            check(single)

        own = self._settings.batch.max_images
        limit = (most, "service.max_batch") if most is not None and most < own else (own, "batch.max_images")
        return batch.build(
            base, read_rows(given, source), self._wildcard_files(), limit, check_image, source, model.cfg_offset
        )

    def count_tokens(self, model_id: str, prompt: str, options: Mapping[str, Any]) -> TokenCount | None:
        """Count the tokens of a prompt; None where the model's tokenizer is not on this machine."""
        return count_tokens(self._catalog.find(model_id), prompt, options)

    def wildcards(self) -> tuple[str, ...]:
        """Return the names that a batch can use as __name__."""
        return self._wildcard_files().names()

    def _wildcard_files(self) -> WildcardFiles:
        shipped = self._settings.configs / "prompts" / "wildcards"
        return WildcardFiles(shipped, data_folder() / self._settings.batch.wildcards)

    def with_inputs(
        self, request: GenerationRequest, sources: InputSources, values: Mapping[str, Any]
    ) -> GenerationRequest:
        """Return the request with the input images of `sources`. `values` are those that it was made of, see `new`.

        Where neither they nor the settings give a size, it is that of the image with what is added around it, or, where that is
        too large for the model and generated as a whole, its aspect ratio at the model's own area. An edit by instruction has the
        size of its image up to the longest side that the model generates.

        Raises:
            InputCombinationError: an input image does not exist or does not fit.
        """
        request = replace(request, inputs=dict(sources.inputs), parent=sources.parent)
        given = SCHEMA.checked(values, "request")
        merged = {**self._settings.values, **given}
        model = self._controlled(self._catalog.find(request.model), request)
        request_checks.check_inputs(request, model, self._input_images.size)
        if IMAGE not in request.inputs:
            return request
        upscaled = Options(request.options).upscale.mode != request_checks.OFF
        if upscaled and not given.keys() & set(SIZE_KEYS):
            return _enlarged(request, self._input_images.size(request.inputs[IMAGE]))
        if any(merged[key] != AUTO for key in SIZE_KEYS):
            return self._detected(request)
        native = model.default_width * model.default_height
        own = self._input_images.size(request.inputs[IMAGE])
        size = inpaint.extended_size(own, request.options)
        edits = model.edits and min(size) >= SMALLEST_SIDE  # an edit has the size of its source
        keeps_scale = (size != own or edits) and max(size) <= model.max_side  # what is extended, stays as it is
        if not (keeps_scale or inpaint.is_partial(request)):
            size = fitting_size(size, native, model.size_multiple, model.max_side)
        return self._detected(replace(request, width=size[0], height=size[1]))

    def _detected(self, request: GenerationRequest) -> GenerationRequest:
        """Return the request with the boxes that its detector finds in the source image in place of the detector.

        Raises OptionError for boxes or a mask beside a detector, and where it can't be used or finds nothing.
        """
        options = Options(request.options)
        name = options[DETECTOR]
        if name == NO_DETECTOR:
            return request
        if options.inpaint.boxes or MASK in request.inputs:
            raise OptionError(source="request", key=DETECTOR, value=name, allowed=_ALONE)
        size = request.width, request.height
        boxes = self.detected_boxes(request.inputs[IMAGE], size, name, options.inpaint.detector_confidence)
        return replace(request, options={**options, DETECTOR: NO_DETECTOR, "inpaint.boxes": boxes})

    def detectors(self) -> Sequence[str]:
        """Return the names of the detector files of this machine."""
        return list(detectors(self._models / DETECTORS))

    def detected_boxes(self, digest: str, size: tuple[int, int], name: str, confidence: float) -> tuple[str, ...]:
        """Return what a detector finds in a stored image, in pixels of a file of `size`. Raises OptionError."""
        image = fitted(self._input_images.read(digest), size)
        return tuple(map(str, detect(image, name, self._models / DETECTORS, confidence)))

    def painted_boxes(self, digest: str, size: tuple[int, int]) -> tuple[str, ...]:
        """Return a box around each part that is painted in a stored mask, in pixels of a file of `size`."""
        return tuple(map(str, painted_boxes(fitted(self._input_images.read(digest), size))))

    def references(self, digests: Sequence[str]) -> Mapping[str, str]:
        """Return the roles of further images of an edit. Raises InputCombinationError for more than there are."""
        if len(digests) > len(REFERENCES):
            problem = request_checks.problem("too_many", value=str(len(digests)), most=str(len(REFERENCES)))
            raise InputCombinationError(role=REFERENCES[0], problem=problem)
        return dict(zip(REFERENCES, digests, strict=False))

    def upscaled(
        self, digest: str, values: Mapping[str, Any], made_by: GenerationRequest | None = None, parent: str = ""
    ) -> GenerationRequest:
        """Return the request that upscales a stored input image; `values` are those of `upscale.*`, and what else is given.

        `made_by` is the request that the image was made by, for its prompt and its model where that can be used; `parent` its id.

        Raises:
            InputError: a value can't be used.
        """
        known = {model.id for model in self._catalog.models() if model.problem is None}
        own = {} if made_by is None else {
            "generation.prompt": made_by.prompt,
            "generation.negative_prompt": made_by.negative_prompt,
            "generation.seed": made_by.seed,
            **({"model.id": made_by.model} if made_by.model in known else {}),
        }  # fmt: skip
        given = {"upscale.mode": hires.ENLARGE, **own, **values}
        return self.with_inputs(self.new(given), InputSources({IMAGE: digest}, parent), values)

    def file_hash(self, kind: str, name: str) -> str | None:
        """Return the hash that a file of a kind has now, as records have it; None where it is not known here.

        Raises InputError or OSError when the file is gone.
        """
        libraries: Mapping[str, Any] = {
            used_files.LORA: self._loras, used_files.EMBEDDING: self._embeddings, used_files.CONTROLNET: self._controlnets,
            used_files.PREPROCESSOR: self._depths, used_files.UPSCALER: self._upscalers,
        }  # fmt: skip
        library = libraries[kind]
        digest: str | None = None if library is None else library.file_hash(name)
        return digest and digest[: used_files.DIGITS] if kind == used_files.UPSCALER else digest

    def lora_with_hash(self, digest: str) -> str | None:
        """Return the name of a usable LoRA here whose file has this SHA-256; None when there is none."""
        names = (info.name for info in self._loras.all() if info.problem is None)
        return next((name for name in names if self._loras.file_hash(name) == digest), None)

    def upscaler_names(self) -> Sequence[str]:
        """Return the upscalers of this machine; without its files where another studio generates."""
        return (*FILTERS, *EMBEDDED) if self._upscalers is None else self._upscalers.names()

    def steps_run(self, request: GenerationRequest) -> int:
        """Return the number of denoising steps for each image of a complete request, over all its passes."""
        model = self._controlled(self._catalog.find(request.model), request)
        return hires.all_steps(request, model.pipeline, IMAGE in request.inputs)

    def control_image(self, request: GenerationRequest, position: int = 0) -> bytes:
        """Return, as PNG, what a ControlNet of the request sees at the rendered size: its own, or that of the unit at `position`.

        Raises:
            NotFoundError: the control image does not exist any more.
            InputError: options contradict each other, or there is no image, or no model for the map.
        """
        info = self._catalog.find(request.model)
        if CONTROL in info.inputs:
            check_control(request.options, "form")
            unit, position = own_unit(request.options, 1.0), 0
        else:
            unit = read_units(request.options.get(UNITS, ()), "form")[position]
        role = role_of(unit, position, request.inputs)
        if role is None:
            check_images(request.options, request.inputs)
            raise InputCombinationError(role=CONTROL, problem=MISSING)
        size, resize = (request.width, request.height), not request.options["force_original_resolution"]
        with Image.open(self._input_images.file(request.inputs[role])) as stored:
            image = laid(stored.convert("RGB"), size, size_to_render(info, request), resize)
        return _as_png(control_map(image, unit, estimator_of_pages(self._depths, self._poses)))

    def preprocessed(self, data: bytes, unit: ControlUnit) -> bytes:
        """Return, as PNG, what the preprocessor of a unit makes of an image file. Raises InputImageError, ControlNetError."""
        image = self._input_images.read(self._input_images.keep(data, "controlnet"))
        return _as_png(control_map(image, unit, estimator_of_pages(self._depths, self._poses)))

    def controlnets(self, model: ModelInfo) -> Sequence[str]:
        """Return the names of the ControlNets that fit a model; none where another studio generates."""
        return [] if self._controlnets is None else [info.name for info in self._controlnets.fitting(model)]

    def controlnet_folder(self) -> str:
        """Return the folder where ControlNets belong; "" where another studio generates."""
        return "" if self._controlnets is None else str(self._controlnets.folder)

    def controlnet_weight(self, model: ModelInfo) -> float:
        """Return the weight of ControlNets that is used for a model's family where none is set."""
        uses = [
            family.controlnet for family in FAMILIES.values() if family.plain == model.pipeline and family.controlnet
        ]
        return uses[0].scale if uses else 1.0

    def all_controlnets(self) -> Sequence[str]:
        """Return the names of the ControlNets of this machine."""
        return [] if self._controlnets is None else [info.name for info in self._controlnets.all()]

    def union_types(self, name: str) -> Sequence[str]:
        """Return the types that a ControlNet must be told; none but for a Union."""
        if self._controlnets is None:
            return ()
        use = self._controlnets.find(name).family.controlnet
        return tuple(UNION_TYPES) if use is not None and use.union else ()

    def control_modes(self, name: str) -> Sequence[str]:
        """Return the control modes that a ControlNet can act in; none for Unions and for Z-Image."""
        if self._controlnets is None:
            return ()
        use = self._controlnets.find(name).family.controlnet
        return MODES if use is not None and use.modes else ()

    def _controlled(self, model: ModelInfo, request: GenerationRequest) -> ModelInfo:
        """Return the model as the ControlNets of the request have it. Raises ControlNetError."""
        if self._controlnets is not None:
            return self._controlnets.controlled(model, request.options)
        return replace(model, inputs=(*CONTROLS, *model.inputs)) if request.options.get(UNITS) else model

    def prepare(self, request: GenerationRequest) -> GenerationRequest:
        """Return the request as it is queued: checked, and seed -1 replaced by a random one.

        Raises:
            InputError: a field, a LoRA, an embedding or an input image can't be used.
            ModelFileError: the model can't be used.
        """
        model = self._controlled(self._catalog.find(request.model), request)
        request = _with_tile(request, model)
        per_image = request.per_image_requests() if request.images else (request,)
        for single in per_image:
            self.check_single(single, model)
        if self._embeddings is not None:
            texts = dict.fromkeys(text for single in per_image for text in (single.prompt, single.negative_prompt))
            self._embeddings.named_in(tuple(texts), model.pipeline)
        request_checks.check_inputs(request, model, self._input_images.size)
        if self._upscalers is not None:
            for key in UPSCALER_KEYS:
                self._upscalers.check(request.options.get(key, AUTO), key)
        return with_seed(request)

    def check_single(self, request: GenerationRequest, model: ModelInfo, source: str = "request") -> None:
        """Raise InputError for a field of one image's request, or a LoRA, that can't be used with the model."""
        request_checks.check(request, model, source)
        self._loras.check(lora_specs_of(request, source), model)


def _as_png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def build(selected: Mapping[str, Any], given: Mapping[str, Any], model: ModelInfo, source: str) -> GenerationRequest:
    """Return the request of `selected`, a value for every key; auto becomes the model's value.

    `given` came with the request.
    """
    return GenerationRequest(
        prompt=Options(selected).generation.prompt,
        negative_prompt=Options(selected).generation.negative_prompt,
        model=model.id,
        width=_resolved(Options(selected).generation.width, model.default_width),
        height=_resolved(Options(selected).generation.height, model.default_height),
        num_inference_steps=_resolved(Options(selected).generation.num_inference_steps, model.default_steps),
        cfg_scale=_cfg_scale(selected, as_cfg(given, model.cfg_offset, source), model),
        seed=Options(selected).generation.seed,
        num_images=Options(selected).generation.num_images,
        options={option.key: selected[option.key] for option in SCHEMA.request_options()},
    )


def with_seed(request: GenerationRequest) -> GenerationRequest:
    """Replace -1 by a real seed. The template is kept only if it gives the prompt with the image's own seed."""
    seed = request.seed if request.seed >= 0 else random.SystemRandom().randrange(2**32)
    resolved = bool(request.images) or (seed == request.seed and request.num_images == 1)
    if not resolved:
        request = replace(request, template="", negative_template="")
    return replace(request, seed=seed)


def _with_tile(request: GenerationRequest, model: ModelInfo) -> GenerationRequest:
    """Return the request with the model's own size as the tile of upscaling where that is open."""
    if request.options.get("upscale.mode") != hires.DETAIL or request.options.get("upscale.tile", AUTO) != AUTO:
        return request
    tile = min(model.default_width, model.default_height)
    return replace(request, options={**request.options, "upscale.tile": tile})


def _enlarged(request: GenerationRequest, size: tuple[int, int]) -> GenerationRequest:
    """Return the request with `size` times `upscale.by`."""
    width, height = (max(1, round(side * Options(request.options).upscale.by)) for side in size)
    return replace(request, width=width, height=height)


def with_values(request: GenerationRequest, values: Mapping[str, Any]) -> GenerationRequest:
    """Return `request` with values by schema key, each checked; of the two names of the CFG scale only `cfg_scale`."""
    checked = SCHEMA.checked(values, "sweep")
    own = {key.removeprefix("generation."): value for key, value in checked.items() if key in FIELDS}
    options = {key: value for key, value in checked.items() if key not in FIELDS}
    if "seed" in own:
        request = replace(request, template="", negative_template="")
    return replace(request, **own, options={**request.options, **options}, num_images=1)


_ALONE = localize("studio.request_builder.detector_alone")


def _resolved(value: Any, default: Any) -> Any:
    return default if value == AUTO else value


def _cfg_scale(selected: Mapping[str, Any], given: Mapping[str, Any], model: ModelInfo) -> float:
    """Return the CFG scale of the request: what was given with it, else the settings' own, else the model's default.

    `given` has no guidance_scale any more, see as_cfg. Of the settings' two names guidance_scale wins.
    """
    asked = given.get(CFG, AUTO)
    if asked == AUTO and selected[GUIDANCE] != AUTO:
        return cfg_of(selected[GUIDANCE], model.cfg_offset)
    cfg = selected[CFG] if asked == AUTO else asked
    return model.default_cfg_scale if cfg == AUTO else max(CFG_OFF, float(cfg))
