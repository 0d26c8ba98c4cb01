"""Run the app: title, language, navigation, and errors in the settings."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from core.errors import StudioError
from ui import resources
from ui.components import error_card, header, job_status
from ui.i18n import t
from ui.state import form as form_state
from ui.state import session
from ui.state import session as page_state

ASSETS = Path(__file__).parent / "assets"


def main() -> None:
    """Run the app for one rerun of a browser: set up the page, then run the page of the address."""
    session.choose_language()
    st.set_page_config(
        page_title=t("app.title"),
        page_icon=str(ASSETS / "icon.png"),
        layout="wide",
        menu_items={"About": t("app.about")},
    )
    st.html(ASSETS / "style.css")
    # dialogs and popovers stand outside the element that Streamlit gives its colour scheme to
    st.html(f"<style>:root {{ color-scheme: {st.context.theme.type or 'light dark'}; }}</style>")
    try:
        studio = resources.studio()
    except StudioError as error:  # the output folder can't be used: nothing works, and the card says what to do
        error_card.render(error, "start")
        return
    session.choose_language(studio.settings.ui.language)
    pages = [
        st.Page("views/generate.py", title=t("nav.generate"), icon=":material/photo_camera:", default=True),
        st.Page("views/queue.py", title=t("nav.queue"), icon=":material/format_list_numbered:", url_path="queue"),
        st.Page("views/history.py", title=t("nav.history"), icon=":material/photo_library:", url_path="history"),
        st.Page(
            "views/image_compare.py",
            title=t("nav.compare"),
            icon=":material/compare:",
            url_path="compare",
            visibility="hidden",
        ),
        st.Page(
            "views/sweep_grid.py",
            title=t("nav.sheet"),
            icon=":material/grid_on:",
            url_path="sheet",
            visibility="hidden",
        ),
        st.Page("views/models.py", title=t("nav.models"), icon=":material/deployed_code:", url_path="models"),
        st.Page("views/benchmark.py", title=t("nav.benchmark"), icon=":material/leaderboard:", url_path="comparison"),
        st.Page("views/setup_check.py", title=t("nav.guide"), icon=":material/checklist:", url_path="guide"),
        st.Page("views/system.py", title=t("nav.system"), icon=":material/memory:", url_path="system"),
    ]
    if form_state.has_form():  # what was typed last may come with the click that leads to another page
        form_state.keep_form()
    current = st.navigation(pages, position="top")
    st.set_page_config(page_title=f"{current.title} · {t('app.title')}")
    header.render(studio, current.title, current.url_path)
    job_status.render_countdown(studio)
    header.render_undo_toast(studio)
    error_card.settings_problems(studio.settings.problems)
    page_state.enter_page(current.url_path)
    current.run()


main()
