"""Queue what is in the form: an image, a batch, a quick check, or the last one again."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from core.config.options import SCHEMA
from core.config.schema import TakesEffect
from core.errors import StudioError
from core.studio import Studio
from core.studio.diagnostics import Issue
from core.types import GenerationRequest, ImageRecord
from ui import prompts
from ui.actions.form import open_form
from ui.actions.input_images import with_images
from ui.actions.studio_calls import submit
from ui.i18n import t
from ui.state import form as form_state
from ui.state import generate_page as generate_state
from ui.state import generate_page as prompt_help_state
from ui.state import input_images as input_state
from ui.state import session
from ui.state import session as page_state

QUICK_RELOAD = 3.0  # seconds: a reload that took less last time is not asked about
CHECK_SEED = 20_260_101  # marks a quick check, so that F5 still knows one when it sees it


def generate(studio: Studio, changes: Mapping[str, Any] | None = None) -> None:
    """Submit the form, with `changes` by schema key. An error is shown and leaves everything unchanged.

    What brings a prompt of its own, such as the quick check, is generated from that alone.
    """
    values = {**form_state.form_values(), **(changes or {})}
    try:
        from_text = "generation.prompt" in (changes or {})
        request = with_images(studio, studio.requests.expanded(values, t("wildcards.source")), values, from_text)
        request = replace(request, original_prompt=prompt_help_state.original_prompt(values["generation.prompt"] or ""))
    except StudioError as error:
        page_state.set_errors([error])
        return
    seconds = studio.worker.status().load_seconds
    quick = seconds is not None and seconds < QUICK_RELOAD
    if not quick and generate_state.ask_reload(reloads(studio, request), changes or {}):
        return
    if submit(studio, request, generate_state.terms()):
        generate_state.forget_when()


def switch_live(studio: Studio) -> None:
    """Follow the switch of live drafts. A random seed is replaced by a fixed one: each draft would be another image."""
    generate_state.take_live()
    if generate_state.live() and form_state.form_values()["generation.seed"] < 0:
        latest = studio.queue.recent(1)
        form_state.fill_form({"generation.seed": latest[0].request.seed if latest else random.SystemRandom().randrange(2**32)})


def generate_live(studio: Studio, changes: Mapping[str, Any]) -> None:
    """Generate the image of what was moved and has been released; a further move cancels it."""
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in changes.items()}
    before = generate_state.job_id()
    generate(studio, values)
    generate_state.set_live_job(generate_state.job_id() if generate_state.job_id() != before else None)


def single_request(studio: Studio) -> GenerationRequest:
    """Return what the form asks for as one image, with its input images. Raises InputError."""
    values = {**form_state.form_values(), "generation.num_images": 1}
    request = with_images(studio, studio.requests.expanded(values, t("wildcards.source")), values)
    return request.per_image_requests()[0] if request.images else request


def reloads(studio: Studio, request: GenerationRequest) -> dict[str, Any]:
    """Return the options that would make the worker reload its present model, with their present values."""
    worker = studio.worker.status()
    if worker.model != request.model:
        return {}
    return {
        option.key: worker.asked[option.key]
        for option in SCHEMA.request_options()
        if option.takes_effect is TakesEffect.RELOAD
        and option.key in worker.asked
        and worker.asked[option.key] != request.options[option.key]
    }


def reload_now(studio: Studio) -> None:
    """Submit after the question about reloading; the same change is not asked about again."""
    changes = generate_state.agree_reload()
    generate(studio, changes)


def keep_loaded(values: Mapping[str, Any]) -> None:
    """Put the values in effect back into the form."""
    generate_state.drop_reload()
    form_state.fill_form(values)


def submit_batch(studio: Studio, given: bytes | str, source: str) -> None:
    """Queue the images of a file or of pasted prompts as one job; the form says what they have in common."""
    try:
        values = form_state.form_values()
        request = with_images(studio, studio.requests.new_batch(given, values, source), values)
    except StudioError as error:
        page_state.set_errors([error])
        return
    if submit(studio, request, generate_state.terms()):
        generate_state.forget_when()


def quick_check(studio: Studio) -> None:
    """Queue a fixed prompt and seed with the present settings, to see whether they work."""
    library = prompts.library_for(form_state.form_value("model.id"), studio.settings.configs / "prompts")
    words = library.samples[0].text["en"] if library else "a house"
    generate(studio, {"generation.prompt": words, "generation.seed": CHECK_SEED, "generation.num_images": 1})


def is_check(request: GenerationRequest) -> bool:
    """Return True for a request that the quick check queued."""
    return request.seed == CHECK_SEED and request.num_images == 1


def use_parameters(record: ImageRecord) -> None:
    """Put everything that made the image into the form, with its own template where it had one."""
    form_state.fill_form_from(record.request)
    if record.request.template:
        form_state.fill_form({"generation.prompt": record.request.template})
    if record.request.original_prompt:
        prompt_help_state.take_prompt(record.request.original_prompt, record.request.template or record.request.prompt)
    if record.request.negative_template:
        form_state.fill_form({"generation.negative_prompt": record.request.negative_template})
    input_state.set_sources_of(record.request)


def hires(studio: Studio, record: ImageRecord) -> None:
    """Generate the image again, twice as large: same prompt and seed, with Hires. fix."""
    request = record.request
    options = {**request.options, "hires.enabled": True, "hires.scale": 2.0}
    larger = replace(request, width=2 * request.width, height=2 * request.height, options=options)
    submit(studio, larger)


def use_sample(studio: Studio, sample: prompts.Sample) -> None:
    """Put prompt and seed of a sample card into the form and queue it, without a source image."""
    input_state.remove_sources()
    form_state.fill_form({"generation.prompt": sample.text[session.language()], "generation.seed": -1})
    generate(studio, {"generation.seed": sample.seed})


def run_again(studio: Studio, request: GenerationRequest, cure: Mapping[str, Any] | None = None) -> None:
    """Submit a failed request again, with the option that cures it."""
    submit(studio, replace(request, options={**request.options, **(cure or {})}))


def cure(studio: Studio, fault: Issue) -> None:
    """Put the cure into the form, and run again what had the fault."""
    open_form(studio)
    form_state.fill_form(fault.cure)
    again = fault.cured()
    if again is not None:
        submit(studio, again)
