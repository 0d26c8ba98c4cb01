"""What the guide's buttons do.

What this module does not know: how anything looks.
"""

from __future__ import annotations

from core import recipe
from core.errors import StudioError
from core.studio import Studio
from core.types import JobTerms
from ui import state
from ui.actions.pictures import with_control, without_size


def run_step(studio: Studio, step: recipe.Step) -> None:
    """Put a step of the guide into the form and queue what it draws, with the form's model."""
    state.set_errors(())
    state.fill_form(step.sets)
    values = {key: value for key, value in state.form_values().items() if key not in step.sets}
    try:
        requests = recipe.requests(studio, step, without_size(values))
        jobs = [studio.queue.submit(with_control(studio, one), JobTerms(client=state.client())) for one in requests]
    except StudioError as error:
        state.set_errors([error])
        return
    state.set_guide_run(step.key, [job.id for job in jobs])
