"""Presets of admins belong to all users, who use and export them; what a user saves is that user's alone."""

from __future__ import annotations

from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from core.config.loader import load_settings
from core.config.presets import Presets
from ui.state import session


def menu(presets, current):  # type: ignore[no-untyped-def]
    """A page of its own: its source is run alone, without the names of this module."""
    from ui.components import presets_menu

    presets_menu._menu(None, presets, current, True)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("user", "buttons"), [("", {"preset_save", "preset_update", "preset_delete"}), ("user:bert", {"preset_save"})]
)
def test_only_an_admin_changes_shared_presets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, user: str, buttons: set[str]
) -> None:
    settings = load_settings(overrides={"output.directory": str(tmp_path)})
    Presets(settings).save("mine", {"generation.width": 512})
    presets, admin = Presets(settings, user), not user
    monkeypatch.setattr(session, "is_admin", lambda: admin)
    at = AppTest.from_function(menu, args=(presets, "mine")).run(timeout=60)
    assert not at.exception
    assert {button.key for button in at.button} == buttons
    assert len(at.get("download_button")) == 1 and bool(at.caption) is not admin
