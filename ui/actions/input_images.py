"""Add and remove source and control images: uploaded, sent from the history, or kept from before."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from core.config.boxes import KEY as BOXES
from core.config.boxes import Box, read_boxes
from core.config.control_units import KEY as UNITS
from core.config.control_units import read_units, role_of
from core.errors import StudioError
from core.studio import Studio
from core.types import (
    CONTROL,
    IMAGE,
    MASK,
    REFERENCES,
    GenerationRequest,
    HistoryQuery,
    ImageRecord,
    ImageSelection,
    InputSources,
)
from ui.actions.form import open_form
from ui.actions.studio_calls import submit
from ui.state import form as form_state
from ui.state import generate_page as generate_state
from ui.state import input_images as input_state
from ui.state import session as page_state


def with_images(
    studio: Studio, request: GenerationRequest, values: Mapping[str, Any], from_text: bool = False
) -> GenerationRequest:
    """Return the request of `values` with the form's images: the source image unless `from_text`, and control images."""
    if input_state.sources().inputs and not from_text:
        return studio.requests.with_inputs(request, _all_sources(studio, request), values)
    return with_control(studio, request)


def _all_sources(studio: Studio, request: GenerationRequest) -> InputSources:
    """Return the source image of the form with its mask, and the control images that the request uses."""
    sources = input_state.sources()
    return InputSources(with_control(studio, replace(request, inputs=dict(sources.inputs))).inputs, sources.parent)


def with_control(studio: Studio, request: GenerationRequest) -> GenerationRequest:
    """Return the request with the form's control images that its ControlNets use."""
    given = input_state.control_inputs()
    if CONTROL in studio.catalog.find(request.model).inputs:
        used: set[str | None] = {CONTROL}
    else:
        units = read_units(request.options.get(UNITS, ()), "form")
        used = {role_of(unit, position, {**given, **request.inputs}) for position, unit in enumerate(units)}
    return replace(request, inputs={**request.inputs, **{role: one for role, one in given.items() if role in used}})


def control_request(studio: Studio) -> GenerationRequest:
    """Return the request of the form with the images that its ControlNets may see, for their previews."""
    request = studio.requests.new(form_state.form_values())
    source = {role: digest for role, digest in input_state.sources().inputs.items() if role == IMAGE}
    return with_control(studio, replace(request, inputs=source))


def keep_control(studio: Studio, data: bytes | None, name: str = "", role: str = CONTROL) -> None:
    """Store the image that was given and put it into the form; None takes it out. A refusal is shown."""
    page_state.set_errors(())
    try:
        input_state.set_control_input(studio.input_images.keep(data, name) if data is not None else "", role)
    except StudioError as error:
        page_state.set_errors([error])


def edits(studio: Studio) -> bool:
    """Return True if the form's model edits several images by instruction."""
    if not form_state.has_form():
        return False
    try:
        return studio.catalog.find(form_state.form_value("model.id")).edits
    except StudioError:
        return False


def takes_further(studio: Studio) -> bool:
    """Return True if the form has an edit with room for further images, as its model takes them."""
    return 1 <= len(input_state.edit_images()) <= len(REFERENCES) and edits(studio)


def keep_references(studio: Studio, files: Sequence[tuple[bytes, str]]) -> None:
    """Store further images of an edit, each as (data, name), and put them after those of the form. A refusal is shown."""
    page_state.set_errors(())
    try:
        kept = [studio.input_images.keep(data, name) for data, name in files]
    except StudioError as error:
        page_state.set_errors([error])
        return
    add_references(studio, kept)


def add_references(studio: Studio, digests: Sequence[str], origin: str = "") -> None:
    """Put stored images after those of the edit; `origin` is the history id of a single one. Too many are refused."""
    page_state.set_errors(())
    images = [*input_state.edit_images(), *digests]
    try:
        studio.requests.references(images[1:])
    except StudioError as error:
        page_state.set_errors([error])
        return
    if digests:
        input_state.set_edit_images(images, origin)


def move_up(studio: Studio, position: int) -> None:
    """Swap an image of the edit with the one before it; the first one gives the form its size."""
    images = input_state.edit_images()
    images[position - 1 : position + 1] = reversed(images[position - 1 : position + 1])
    input_state.set_edit_images(images)
    if position == 1:
        fit_size(studio)


def remove_references(positions: Sequence[int]) -> None:
    """Take images out of the edit; position 0 is the source image, which stays."""
    images = input_state.edit_images()
    input_state.set_edit_images([one for position, one in enumerate(images) if position not in positions])


def refer_to(studio: Studio, record: ImageRecord) -> None:
    """Put an image of the history after those of the edit. A refusal is shown."""
    page_state.set_errors(())
    try:
        digest = studio.input_images.keep(studio.history.file(record.id).read_bytes(), record.file)
    except (StudioError, OSError) as error:
        page_state.set_errors([error if isinstance(error, StudioError) else StudioError(detail=error)])
        return
    add_references(studio, [digest], record.id)


def start_from(studio: Studio, data: bytes, name: str, parent: str = "") -> bool:
    """Make this the source image of img2img; the form gets the size that fits it. An unreadable image is reported."""
    page_state.set_errors(())
    try:
        use(studio, studio.input_images.keep(data, name), parent)
    except StudioError as error:
        page_state.set_errors([error])
        return False
    return True


def use(studio: Studio, digest: str, parent: str = "") -> None:
    """Use a stored image as the source image, and show it on the stage for its mask."""
    input_state.start_from(digest, parent)
    generate_state.set_section("img2img", True)
    generate_state.set_stage_tab(generate_state.MASK)
    fit_size(studio)


def fit_size(studio: Studio) -> None:
    """Give the form the size of the source image with what is added to it, as the model can generate it."""
    values = without_size(form_state.form_values())
    with suppress(StudioError):  # a model that takes none: the card says so
        request = studio.requests.new(values)
        request = studio.requests.with_inputs(request, _all_sources(studio, request), values)
        form_state.fill_form({"generation.width": request.width, "generation.height": request.height})


def detect_boxes(studio: Studio, name: str, confidence: float) -> None:
    """Put the boxes that a detector finds in the source image into the form. What it refuses is shown."""
    _take_boxes(studio, lambda size: studio.requests.detected_boxes(input_state.sources().inputs[IMAGE], size, name, confidence))


def boxes_of_mask(studio: Studio) -> None:
    """Turn each painted part of the mask into a box of its own, in place of the mask."""
    if _take_boxes(studio, lambda size: studio.requests.painted_boxes(input_state.sources().inputs[MASK], size)):
        input_state.set_mask("")


def boxes_on_source(size: tuple[int, int]) -> tuple[Box, ...]:
    """Return the form's boxes, which are pixels of the file, in pixels of the source image of `size`."""
    values = form_state.form()
    width, height = int(values["generation.width"]), int(values["generation.height"])
    try:
        boxes = read_boxes(values[BOXES], "form")
    except StudioError:  # typed, and refused with its reason when it is sent
        return ()
    across, down = size[0] / width, size[1] / height
    return tuple(
        Box(round(box.left * across), round(box.top * down), round(box.right * across), round(box.bottom * down)) for box in boxes
    )


def draw_boxes(studio: Studio, boxes: Sequence[Box]) -> None:
    """Put the boxes that were drawn on the source image into the form, with its size; none leave the size as it is."""
    if not _take_boxes(studio, lambda size: tuple(str(box) for box in boxes)):
        form_state.fill_form({BOXES: ()})


def _take_boxes(studio: Studio, find: Callable[[tuple[int, int]], tuple[str, ...]]) -> bool:
    """Put boxes into the form, and give it the size of the source image, which they are pixels of; True when there are any."""
    page_state.set_errors(())
    try:
        size = studio.input_images.size(input_state.sources().inputs[IMAGE])
        boxes = find(size)
    except StudioError as error:
        page_state.set_errors([error])
        return False
    if boxes:
        form_state.fill_form({BOXES: boxes, "generation.width": size[0], "generation.height": size[1]})
    return bool(boxes)


def send_to_form(studio: Studio, record: ImageRecord) -> bool:
    """Make an image of the history the source image, with its prompt."""
    open_form(studio)
    try:
        data = studio.history.file(record.id).read_bytes()
    except (StudioError, OSError) as error:
        page_state.set_errors([error if isinstance(error, StudioError) else StudioError(detail=error)])
        return False
    own = {name: getattr(record.request, name) for name in ("prompt", "negative_prompt")}
    form_state.fill_form({f"generation.{name}": words for name, words in own.items()})
    return start_from(studio, data, record.file, record.id)


def upscale(studio: Studio, record: ImageRecord) -> None:
    """Queue a job that enlarges an image of the history, by the factor and the upscaler of the form."""
    open_form(studio)
    page_state.set_errors(())
    values = {key: form_state.form_values()[key] for key in ("upscale.by", "upscale.method")}
    try:
        digest = studio.input_images.keep(studio.history.file(record.id).read_bytes(), record.file)
        request = studio.requests.upscaled(digest, values, record.request, record.id)
    except (StudioError, OSError) as error:
        page_state.set_errors([error if isinstance(error, StudioError) else StudioError(detail=error)])
        return
    submit(studio, request)


def upscale_all(studio: Studio, selection: ImageSelection) -> None:
    """Queue a job for each selected image that enlarges it, see `upscale`."""
    ids = studio.history.ids(selection) if isinstance(selection, HistoryQuery) else selection
    for image_id in ids:
        upscale(studio, studio.history.get(image_id))
        if page_state.errors():
            return


def steps(studio: Studio) -> tuple[int, int] | None:
    """Return (steps that will run, steps set) of the form; None while its request is invalid."""
    try:
        request = studio.requests.new(form_state.form_values())
        request = studio.requests.with_inputs(request, _all_sources(studio, request), form_state.form_values())
    except StudioError:
        return None
    return studio.requests.steps_run(request), request.num_inference_steps


def without_size(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values without a size: the setup check generates at the model's native size."""
    return {key: value for key, value in values.items() if key not in ("generation.width", "generation.height")}
