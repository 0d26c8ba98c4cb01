"""Act on the buttons of Setup check."""

from __future__ import annotations

from core.errors import StudioError
from core.studio import Studio, self_test
from core.types import SubmitOptions
from ui.actions.input_images import with_control, without_size
from ui.state import current_page as page_state
from ui.state import form as form_state
from ui.state import pages as pages_state
from ui.state import session


def run_step(studio: Studio, step: self_test.Step) -> None:
    """Put a step of the guide into the form and queue its images, with the form's model."""
    page_state.set_errors(())
    form_state.fill_form(step.sets)
    values = {key: value for key, value in form_state.form_values().items() if key not in step.sets}
    try:
        requests = self_test.requests(studio, step, without_size(values))
        jobs = [
            studio.queue.submit(with_control(studio, one), SubmitOptions(client=session.client())) for one in requests
        ]
    except StudioError as error:
        page_state.set_errors([error])
        return
    pages_state.set_guide_run(step.key, [job.id for job in jobs])
