"""Run the setup check in four steps: stability, quality, speed, control. Each sets options, generates and reports."""

from __future__ import annotations

import html

import streamlit as st

from core.config.options import SCHEMA
from core.errors import StudioError
from core.studio import Studio, self_test
from core.types import Job, SubmitOptions
from ui import formats, progress_poll, resources
from ui.actions import form as form_actions
from ui.actions import studio_calls
from ui.actions.input_images import with_control, without_size
from ui.components import custom_components, error_card, job_status
from ui.i18n import localized, t
from ui.state import form as form_state
from ui.state import pages as pages_state
from ui.state import session
from ui.state import session as page_state


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


def page() -> None:
    studio = resources.studio()
    form_actions.open_form(studio)
    for number, error in enumerate(page_state.errors()):
        error_card.render(error, f"guide{number}")
    st.text(t("guide.text"))
    pages_state.keep_guide_in_address()
    runs = {key: studio_calls.known_jobs(studio, ids) for key, ids in pages_state.guide_runs().items()}
    busy = any(job.state.active for jobs in runs.values() for job in jobs)
    with st.grid(2, min_column_width=380, gap="small", key="steps"):
        for number, step in enumerate(self_test.STEPS, start=1):
            with st.container(border=True, key=f"step_{step.key}"):
                _step(studio, number, step, runs.get(step.key, []), busy)


def _step(studio: Studio, number: int, step: self_test.Step, jobs: list[Job], busy: bool) -> None:
    st.subheader(f"{number} · {t(f'guide.{step.key}')}")
    st.text(t(f"guide.{step.key}_text"))
    settings = (t("guide.setting", name=_name(key), value=formats.plain(value)) for key, value in step.sets.items())
    st.caption(formats.literal(" · ".join(settings)))
    if any(job.state.active for job in jobs):
        st.fragment(_running, run_every=job_status.SAFETY_SECONDS)(studio, step, [job.id for job in jobs])
        return
    st.button(
        t("guide.again") if jobs else t("guide.run"),
        key=f"run_{step.key}",
        icon=":material/play_arrow:",
        type="secondary" if jobs else "primary",
        disabled=busy,
        on_click=run_step,
        args=(studio, step),
    )
    if jobs:
        _findings(self_test.judge(studio, step, jobs))


def _name(key: str) -> str:
    """Return the label of an option."""
    return localized(SCHEMA.options[SCHEMA.canonical(key)].label)


def _running(studio: Studio, step: self_test.Step, ids: list[str]) -> None:
    """Rerun when the queue has changed, until the last image of the step has ended."""
    mark = progress_poll.mark(studio.queue.snapshot())
    jobs = studio_calls.known_jobs(studio, ids)
    active = [job for job in jobs if job.state.active]
    if not active:
        st.rerun()
    with st.container(key=f"progress_{step.key}", horizontal=True, vertical_alignment="center"):
        st.text(t("guide.done", done=len(jobs) - len(active), total=len(jobs)), width="content")
        custom_components.pulse(
            mark, job_status.poll_seconds(studio), key="pulse", job=job_status.first_in_work(active)
        )
        st.button(
            t("job.cancel"),
            key=f"cancel_{step.key}",
            on_click=studio_calls.cancel_all,
            args=(studio, [job.id for job in active]),
        )


def _findings(checks: list[self_test.Check]) -> None:
    """As text: an error may quote a path."""
    passed = all(check.passed for check in checks)
    rows = "".join(
        f'<li class="{"yes" if check.passed else "no"}"><b>{html.escape(localized(check.name))}</b> '
        f"{html.escape(localized(check.found))}</li>"
        for check in checks
    )
    st.html(f'<section class="zd-checks"><ul>{rows}</ul></section>')
    if passed:
        st.success(t("guide.passed"), icon=":material/check_circle:")
    else:
        st.error(t("guide.failed"), icon=":material/error:")


page()
