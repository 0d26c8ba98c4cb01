"""Act on the buttons of Setup check."""

from __future__ import annotations

from core.errors import StudioError
from core.studio import Studio, self_test
from core.types import SubmitOptions
from ui import state
from ui.actions.input_images import with_control, without_size


def run_step(studio: Studio, step: self_test.Step) -> None:
    """Put a step of the guide into the form and queue its images, with the form's model."""
    state.set_errors(())
    state.fill_form(step.sets)
    values = {key: value for key, value in state.form_values().items() if key not in step.sets}
    try:
        requests = self_test.requests(studio, step, without_size(values))
        jobs = [
            studio.queue.submit(with_control(studio, one), SubmitOptions(client=state.client())) for one in requests
        ]
    except StudioError as error:
        state.set_errors([error])
        return
    state.set_guide_run(step.key, [job.id for job in jobs])
