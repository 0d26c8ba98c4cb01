"""The pages over a real studio whose worker is the test."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, cast

import pytest
from streamlit.components.v2 import manifest_scanner
from streamlit.runtime.state.safe_session_state import SafeSessionState
from streamlit.testing.v1 import AppTest, app_test, local_script_runner
from streamlit.util import calc_hash

from core.config.loader import PROJECT_ROOT, load_settings
from tests.ui.page_studio import PageStudio
from ui import resources
from ui.components import accordions

APP = PROJECT_ROOT / "ui" / "app.py"
_STUDIOS: list[PageStudio] = []  # those of the present test
SECONDS = 30  # a page takes a tenth of a second; the machine may be busy


@pytest.fixture(scope="session", autouse=True)
def packages_looked_through_once() -> Iterator[None]:
    """For each page that is opened, Streamlit reads what every installed package says of itself: longer than drawing it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(manifest_scanner, "scan_component_manifests", cache(manifest_scanner.scan_component_manifests))
        yield


class StateView(Mapping[str, Any]):
    """What `SafeSessionState.filtered_state` returns, read key by key."""

    def __init__(self, safe: SafeSessionState) -> None:
        self._safe = safe

    def __contains__(self, key: object) -> bool:
        return key in self._safe._state

    def __getitem__(self, key: str) -> Any:
        return self._safe._state[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._safe._state.filtered_state)

    def __len__(self) -> int:
        return len(self._safe._state.filtered_state)


@pytest.fixture(scope="session", autouse=True)
def scripts_compiled_once() -> Iterator[None]:
    """Streamlit compiles the script of the page for each run of an AppTest; a server does so once."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (app_test, local_script_runner):
            patch.setattr(module, "ScriptCache", cache(module.ScriptCache))
        yield


@pytest.fixture(scope="session", autouse=True)
def state_not_copied() -> Iterator[None]:
    """For each field that is drawn, Streamlit copies the whole state to look for one key: a quarter of the Generate page's time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SafeSessionState, "filtered_state", property(StateView))
        yield


@pytest.fixture
def studio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PageStudio:
    """Return a studio with an empty history; English unless a test says otherwise."""
    return use(monkeypatch, PageStudio(tmp_path, load_settings(overrides={"ui.language": "en"})))


@pytest.fixture(autouse=True)
def studios_closed() -> Iterator[None]:
    """Close the databases of the test's studios."""
    yield
    while _STUDIOS:
        _STUDIOS.pop().close()


def use(monkeypatch: pytest.MonkeyPatch, studio: PageStudio) -> PageStudio:
    """Make it the one that the pages get."""
    monkeypatch.setattr(resources, "studio", lambda: studio)
    _STUDIOS.append(studio)
    return studio


@pytest.fixture
def open_page(studio: PageStudio) -> Callable[..., AppTest]:
    """Open a page of the app as a browser would, with the address's parameters; accordions are open, with all options."""

    def opened(page: str = "", **parameters: str) -> AppTest:
        test = AppTest.from_file(str(APP), default_timeout=SECONDS)
        test.session_state["sections_open"] = frozenset(section.name for section in accordions.SECTIONS)
        test.session_state["option_level"] = "expert"
        for name, value in parameters.items():
            test.query_params[name] = value
        if page not in ("", "generate"):  # as by its address: the Generate page, which takes the longest, is not drawn before it
            test._page_hash = calc_hash(page)
        test.run()
        assert not test.exception, test.exception
        return test

    return opened


def component_data(test: AppTest, name: str) -> list[dict[str, Any]]:
    """Return what each element of this kind of ours was given."""
    protos = [element.proto for element in test.get("bidi_component")]
    return [
        json.loads(proto.mixed.json or proto.json) for proto in protos if proto.component_name == f"darkroom_{name}"
    ]


def all_text(test: AppTest) -> str:
    """Everything that is said on the page."""
    kinds = ("text", "caption", "markdown", "code", "subheader", "info", "warning", "error", "success", "html")
    said = [str(getattr(element, "value", "") or element.body) for kind in kinds for element in cast(Sequence[Any], test.get(kind))]
    labels = [
        element.label
        for kind in ("button", "text_area", "number_input", "selectbox", "toggle")
        for element in cast(Sequence[Any], test.get(kind))
    ]
    return "\n".join(said + labels)
