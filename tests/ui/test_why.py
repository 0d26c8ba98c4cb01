"""Why two images differ, on the page of two images: plan, progress, ranking and strip, in both languages."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from core.config.loader import load_settings
from core.types import JobState
from tests.ui.conftest import all_text, use
from tests.ui.page_studio import PageStudio


@pytest.mark.parametrize(
    ("language", "plan", "ranked"),
    [("en", "Steps: 8 → 6", "mean difference"), ("zh", "采样步数: 8 → 6", "平均差异")],
)
def test_from_the_plan_to_the_ranking(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, open_page: Callable[..., AppTest], language: str, plan: str, ranked: str
) -> None:
    studio = use(monkeypatch, PageStudio(tmp_path, load_settings(overrides={"ui.language": language})))
    request = replace(studio.requests.new({"prompt": "a red house"}), seed=7)
    records = [studio.history.generated(one) for one in (request, replace(request, num_inference_steps=6, seed=9))]
    page = open_page("compare", ids=",".join(record.id for record in records))
    said = all_text(page)
    assert plan in said and "7 → 9" in said
    page.button(key="why_start").click().run()
    jobs = studio.queue.active()
    assert len(jobs) == 3 and {job.request.width for job in jobs} == {request.width}
    assert page.button(key="why_cancel") and not page.error
    for job in jobs:
        studio.queue.finish(job.id)
    page.run()
    said = all_text(page)
    assert ranked in said and {studio.queue.get(job.id).state for job in jobs} == {JobState.DONE}
    assert not [button for button in page.button if button.key == "why_cancel"]
