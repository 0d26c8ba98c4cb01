"""The line near Generate: what the next job will cost."""

from __future__ import annotations

from dataclasses import replace

from core.types import Estimate
from tests.ui.conftest import all_text
from ui.components import generate_foot


def test_the_line_follows_the_form_and_the_past_images(studio, open_page):
    assert generate_foot.cost_words(studio) == "", "nothing is known yet"
    studio.history.generated(replace(studio.requests.new({"generation.prompt": "x"}), seed=1))
    assert generate_foot.cost_words(studio) == "about 2.2 s · 612 MB"
    assert "about 2.2 s · 612 MB" in all_text(open_page())


def test_what_does_not_fit_is_said_with_its_cure(studio, monkeypatch):
    cure = {"en": "Needs 24.0 GB and 8.0 GB are free: memory.tier = 8gb would fit.", "zh": "…"}
    large = Estimate(9.0, 12.0, 24_000, 2_000, 3, False, "24gb", ({"en": "a reason", "zh": "…"}, cure), 4)
    monkeypatch.setattr(studio.estimates, "of", lambda request: large)
    assert generate_foot.cost_words(studio) == f"about 9.0 s · loading 12.0 s · 24.0 GB · {cure['en']}"
