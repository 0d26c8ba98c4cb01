"""Users and hidden collections on the pages, in both languages."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from core.config.loader import load_settings
from core.storage import passwords
from core.types import AnnotationChange, HistoryQuery, SubmitOptions, Viewer
from tests.ui.conftest import all_text, use
from tests.ui.page_studio import PageStudio
from ui import resources
from ui.state import session

SECRET = "open sea"
BERT, ANNA = Viewer("user:bert", False, True), Viewer("user:anna", True, True)


@pytest.fixture
def seen_by(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Viewer], PageStudio]:
    """Return what lets the pages be seen by a viewer; passwords are hashed quickly."""
    monkeypatch.setattr(passwords, "LOG_N", 5)
    monkeypatch.setattr(passwords, "P", 1)

    def viewed(language: str, viewer: Viewer) -> PageStudio:
        studio = use(monkeypatch, PageStudio(tmp_path, load_settings(overrides={"ui.language": language})))
        monkeypatch.setattr(resources, "studio", lambda: studio.seen_by(viewer))
        monkeypatch.setattr(session, "owner", lambda: viewer.client)
        monkeypatch.setattr(session, "is_admin", lambda: viewer.admin)
        return studio

    return viewed


@pytest.mark.parametrize(("language", "words"), [("en", "locked again in 10 min"), ("zh", "10 分钟后重新锁定")])
def test_a_collection_is_hidden_unlocked_and_locked(
    seen_by: Callable[[str, Viewer], PageStudio], open_page: Callable[..., AppTest], language: str, words: str
) -> None:
    viewer = Viewer("page:1")
    studio = seen_by(language, viewer)
    records = studio.fill_history(4)
    studio.history.change((records[0].id,), AnnotationChange(add_collections=("Coast",)))
    page = open_page("history", lang=language)

    def act(button: str, password: str) -> None:
        page.text_input(key="hidden_name").set_value("Coast")
        page.text_input(key="hidden_password").set_value(password)
        page.button(key=button).click().run()

    page.session_state["hidden_menu"] = True
    page.run()
    act("hidden_hide", SECRET)
    history = studio.seen_by(viewer).history
    assert records[0].id not in history.ids(HistoryQuery()) and not page.error
    assert page.text_input(key="hidden_password").value == "", "the password is not kept"
    act("hidden_unlock", "open sky")
    assert records[0].id not in history.ids(HistoryQuery())
    assert page.text_input(key="hidden_name").value == "Coast", "nor is the name lost"
    act("hidden_unlock", SECRET)
    assert records[0].id in history.ids(HistoryQuery()) and words in all_text(page)
    page.button(key="hidden_lock").click().run()
    assert records[0].id not in history.ids(HistoryQuery()) and words not in all_text(page)


@pytest.mark.parametrize(("language", "words"), [("en", "Job of bert"), ("zh", "bert 的任务")])
def test_an_admin_sees_that_others_have_jobs_and_not_what_they_show(
    seen_by: Callable[[str, Viewer], PageStudio], open_page: Callable[..., AppTest], language: str, words: str
) -> None:
    studio = seen_by(language, ANNA)
    request = studio.requests.new({"prompt": "a secret lighthouse"})
    job = studio.queue.submit(request, SubmitOptions(client="user:bert"))
    page = open_page("queue", lang=language)
    assert words in all_text(page) and "secret" not in all_text(page)
    page.button(key=f"cancel_{job.id}").click().run()
    assert studio.queue.get(job.id).state == "cancelled"


def test_a_user_pauses_own_jobs_only_and_sees_the_own_use(
    seen_by: Callable[[str, Viewer], PageStudio], open_page: Callable[..., AppTest]
) -> None:
    studio = seen_by("en", BERT)
    other = studio.queue.submit(studio.requests.new({"prompt": "a secret lighthouse"}), SubmitOptions(client="user:anna"))
    own = studio.queue.submit(studio.requests.new({"prompt": "mine"}), SubmitOptions(client="user:bert"))
    page = open_page("queue")
    assert page.button(key="pause_all").disabled and "lighthouse" not in all_text(page)
    assert not [button for button in page.button if other.id in (button.key or "")]
    page.button(key=f"top_{own.id}").click().run()
    assert studio.queue.get(own.id).position == 2, "a user's job does not pass those of others"
    assert "Your use" in all_text(open_page("system"))
