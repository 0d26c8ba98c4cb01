"""Call the studio for a page, and show an error as a card without losing anything."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from core.errors import StudioError
from core.studio import Studio
from core.types import GenerationRequest, Job, SubmitOptions
from ui.state import generate_page as generate_state
from ui.state import session
from ui.state import session as page_state


def ask(verb: Callable[..., object], *arguments: object) -> None:
    """Call one of the studio's verbs; a refusal is shown, and the errors before it are done with."""
    page_state.set_errors(())
    try:
        verb(*arguments)
    except StudioError as error:
        page_state.set_errors([error])


def cancel(studio: Studio, job_id: str) -> None:
    ask(studio.queue.cancel, job_id)


def cancel_all(studio: Studio, job_ids: Sequence[str]) -> None:
    for job_id in reversed(job_ids):  # the waiting ones first, so that none of them begins meanwhile
        ask(studio.queue.cancel, job_id)


def submit(studio: Studio, request: GenerationRequest, terms: SubmitOptions | None = None) -> bool:
    """Queue a complete request and watch it on the stage, which the mask gives free."""
    try:
        generate_state.watch(studio.queue.submit(request, terms or SubmitOptions(client=session.client())).id)
    except StudioError as error:
        page_state.set_errors([error])
        return False
    if generate_state.stage_tab() == generate_state.MASK:
        generate_state.set_stage_tab(generate_state.RESULT)
    return True


def known_jobs(studio: Studio, job_ids: Sequence[str]) -> list[Job]:
    """Return the jobs that still exist."""
    found = []
    for job_id in job_ids:
        try:
            found.append(studio.queue.get(job_id))
        except StudioError:
            continue
    return found
