"""Every key of st.session_state and of the address bar, behind functions with types.

The form's values live in one dictionary by schema key, because Streamlit forgets a widget's value when its page is left.
While the Generate page is open each widget has its own key beside it; `keep_form` copies the widgets back.
What this module does not know: how anything looks.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import unquote

import streamlit as st

from core.config.options import SCHEMA
from core.config.schema import AUTO
from core.entrypoints.api import BROWSER_COOKIE, USER_HEADER
from core.errors import LANGUAGES, StudioError
from core.types import Chosen, GenerationRequest, HistoryQuery, JobTerms
from ui.zone import local_zone

_FORM = "form"
_LANGUAGE = "language"
_DEFAULT_LANGUAGE = "default_language"
_JOB = "job"
_SHOWN = "shown_image"
_ERRORS = "errors"
_SELECTED = "selected_image"
_CURSORS = "history_cursors"
_UPWARDS = "history_upwards"
_IMPORTING = "importing"
_ORIGINAL = "original"
_TABLE = "table_choice"
_CHOSEN = "chosen_images"
_SELECTION = "selection_version"
_HISTORY = "history_version"
_VERSION = "yaml_version"
_SLOT_TEXT = "slot_text"
_GUIDE = "guide_runs"
_RELOAD = "reload_question"
_AGREED = "reloads_agreed"
_WIDGET = "w:"
WHEN, UNTIL = "when", "when_until"
WHENS = NOW, HELD, AT_TIME = ("now", "held", "at")

REQUEST_KEYS = tuple(
    f"generation.{name}"
    for name in (
        "prompt",
        "negative_prompt",
        "width",
        "height",
        "num_inference_steps",
        "guidance_scale",
        "seed",
        "num_images",
    )
)


# -- language --------------------------------------------------------------------------------------------------------


def choose_language(configured: str = AUTO) -> None:
    """Once a run: what the viewer chose (kept in the address, so that F5 keeps it), else the setting, else the browser's."""
    asked = st.query_params.get("lang")
    if _LANGUAGE not in st.session_state and asked in LANGUAGES:
        st.session_state[_LANGUAGE] = asked
    browser = (st.context.locale or "").lower()
    fallback = "zh" if browser.startswith("zh") else "en"
    st.session_state[_DEFAULT_LANGUAGE] = configured if configured in LANGUAGES else fallback
    if _LANGUAGE in st.session_state:
        st.query_params["lang"] = st.session_state[_LANGUAGE]


def language() -> str:
    """ "zh" or "en"."""
    return st.session_state.get(_LANGUAGE) or st.session_state.get(_DEFAULT_LANGUAGE, "en")


def set_language(value: str) -> None:
    """The viewer's own choice."""
    st.session_state[_LANGUAGE] = value


# -- who looks -------------------------------------------------------------------------------------------------------


def user() -> str | None:
    """Who is logged in: "" with the token, None where nothing is guarded."""
    name = st.context.headers.get(USER_HEADER)
    return None if name is None else unquote(name)


def client() -> str:
    """Whose jobs these are: the user; else the browser, by a digest of the cookie that came with its first page.

    F5 and other tabs keep it. A user is the same over the service.
    """
    if name := st.context.headers.get(USER_HEADER):
        return f"user:{name}"
    cookie = st.context.cookies.get(BROWSER_COOKIE)
    name = cookie if isinstance(cookie, str) else ""  # none in a page without a browser
    return f"page:{hashlib.sha256(name.encode()).hexdigest()[:16]}"


# -- the form --------------------------------------------------------------------------------------------------------


def widget_key(key: str) -> str:
    """The session key of the widget of a schema key."""
    return _WIDGET + key


def form_keys() -> tuple[str, ...]:
    """All that a request is made of, by schema key."""
    return ("model.id", *REQUEST_KEYS, *(option.key for option in SCHEMA.request_options()))


def form() -> dict[str, Any]:
    """The form's values by schema key, as the widgets hold them now (None: automatic, or a random seed)."""
    kept: dict[str, Any] = st.session_state.setdefault(_FORM, {})
    return {**kept, **{key: st.session_state[widget_key(key)] for key in kept if widget_key(key) in st.session_state}}


def has_form() -> bool:
    """False until the first request of this session has been laid into the form."""
    return bool(st.session_state.get(_FORM))


def fill_form(values: Mapping[str, Any]) -> None:
    """Put `values` (by schema key) into the form and into those of its widgets that are on the page."""
    kept = {**form(), **{key: _for_widget(key, value) for key, value in values.items()}}
    st.session_state[_FORM] = kept
    for key in values:
        if widget_key(key) in st.session_state:
            st.session_state[widget_key(key)] = kept[key]


def fill_form_from(request: GenerationRequest) -> None:
    """Put a whole request into the form, advanced options too."""
    fill_form(request_values(request))


def keep_form() -> None:
    """Copy the widgets' values back before the page may be left."""
    st.session_state[_FORM] = form()


def seed_widget(key: str) -> str:
    """The widget's session key, holding the form's value from its first moment on."""
    name = widget_key(key)
    if name not in st.session_state:
        st.session_state[name] = st.session_state[_FORM].get(key)
    return name


def form_values() -> dict[str, Any]:
    """The form as `Studio.new_request` takes it."""
    return {key: _from_widget(key, value) for key, value in form().items()}


def request_values(request: GenerationRequest) -> dict[str, Any]:
    """A request by schema key: what `new_request` takes and what YAML shows."""
    named = {key: getattr(request, key.removeprefix("generation.")) for key in REQUEST_KEYS}
    return {"model.id": request.model, **named, **request.options}


def _for_widget(key: str, value: Any) -> Any:
    """An empty number field means "auto", and an empty seed a random one."""
    option = SCHEMA.options[key]
    if (value == AUTO and option.type in ("int", "float")) or (key == "generation.seed" and value == -1):
        return None
    if value is None:
        return None
    return float(value) if option.type == "float" else int(value) if option.type == "int" else value


def _from_widget(key: str, value: Any) -> Any:
    if value is None:
        return -1 if key == "generation.seed" else AUTO if SCHEMA.options[key].auto else SCHEMA.options[key].default
    return value


# -- what Generate shows ---------------------------------------------------------------------------------------------


def job_id() -> str | None:
    """The job that this tab watches: F5 forgets the session, but not the address."""
    if _JOB not in st.session_state and "job" in st.query_params:
        st.session_state[_JOB] = st.query_params["job"]
    return st.session_state.get(_JOB)


def watch(job: str | None) -> None:
    """Watch this job from now on; earlier errors and choices are done with."""
    st.session_state[_JOB] = job
    st.session_state[_SHOWN] = None
    set_errors(())


def put_job_in_address() -> None:
    """Changing pages empties the address; this puts the job back."""
    job = st.session_state.get(_JOB)
    if job and st.query_params.get("job") != job:
        st.query_params["job"] = job
    elif not job and "job" in st.query_params:
        del st.query_params["job"]


def shown_image() -> str | None:
    """The picture chosen from the strip; None: the watched job's."""
    return st.session_state.get(_SHOWN)


def show_image(image_id: str | None) -> None:
    st.session_state[_SHOWN] = image_id


def ask_reload(present: Mapping[str, Any], changes: Mapping[str, Any]) -> bool:
    """Keep the question whether to load the model again, unless there is none or it was agreed to before; whether it waits.

    `present`: what would be replaced, by key. `changes`: what the request has that the form has not.
    """
    chosen = _chosen(present)
    if not present or chosen in st.session_state.get(_AGREED, set()):
        drop_reload()
        return False
    st.session_state[_RELOAD] = (chosen, dict(present), dict(changes))
    return True


def reload_question() -> Mapping[str, Any]:
    """What loading again would replace, by key; empty when nothing is asked, or the form has changed since."""
    chosen, present, _ = st.session_state.get(_RELOAD, ((), {}, {}))
    return present if chosen == _chosen(present) else {}


def agree_reload() -> Mapping[str, Any]:
    """Yes to the question, now and later; the changes that waited with it."""
    chosen, _, changes = st.session_state.pop(_RELOAD)
    st.session_state.setdefault(_AGREED, set()).add(chosen)
    return changes


def drop_reload() -> None:
    """The question is done with."""
    st.session_state.pop(_RELOAD, None)


def _chosen(keys: Iterable[str]) -> tuple[tuple[str, str], ...]:
    return tuple((key, str(form().get(key))) for key in sorted(keys))


def errors() -> tuple[StudioError, ...]:
    """What went wrong with the last thing that was asked for."""
    return tuple(StudioError.from_dict(data) for data in st.session_state.get(_ERRORS, ()))


def original() -> str | None:
    """The picture that the watched job makes again."""
    job, image_id = st.session_state.get(_ORIGINAL, (None, None))
    return image_id if job is not None and job == job_id() else None


def set_original(image_id: str) -> None:
    """The job watched now makes this picture again."""
    st.session_state[_ORIGINAL] = (job_id(), image_id)


def set_errors(found: Iterable[StudioError]) -> None:
    st.session_state[_ERRORS] = [error.to_dict() for error in found]


def slot_text() -> str:
    """The words that the prompt library last put into the prompt, so that it can replace them."""
    return str(st.session_state.get(_SLOT_TEXT, ""))


def set_slot_text(words: str) -> None:
    st.session_state[_SLOT_TEXT] = words


def yaml_version() -> int:
    """Part of the key of the YAML field: it is drawn anew, with the present settings, when this number changes."""
    return int(st.session_state.get(_VERSION, 0))


def renew_yaml() -> None:
    st.session_state[_VERSION] = yaml_version() + 1


# -- models ----------------------------------------------------------------------------------------------------------


def model_field(name: str) -> str:
    """The session key of a field on the Models page."""
    return f"models:{name}"


def model_text(name: str) -> str:
    """What stands in that field."""
    return str(st.session_state.get(model_field(name)) or "")


def empty_model_field(name: str) -> None:
    st.session_state[model_field(name)] = ""


# -- when what is asked for next begins ------------------------------------------------------------------------------


def when() -> str:
    """NOW, HELD or AT_TIME: what the viewer chose for the next job."""
    return str(st.session_state.get(WHEN) or NOW)


def terms() -> JobTerms:
    """Whose the next job is, and when it begins."""
    until = st.session_state.get(UNTIL) if when() == AT_TIME else None
    not_before = until.replace(tzinfo=local_zone()) if until else None
    return JobTerms(client=client(), held=when() == HELD, not_before=not_before)


def forget_when() -> None:
    """The choice was for one job: the next one begins at once again."""
    st.session_state[WHEN] = NOW


# -- the guide -------------------------------------------------------------------------------------------------------


def guide_runs() -> dict[str, list[str]]:
    """The jobs of each step that was run, by its key; the address keeps them over F5."""
    if _GUIDE not in st.session_state:
        pairs = [part.partition(":") for part in st.query_params.get("runs", "").split(";") if ":" in part]
        st.session_state[_GUIDE] = {step: ids.split(",") for step, _, ids in pairs}
    runs: dict[str, list[str]] = st.session_state[_GUIDE]
    return runs


def set_guide_run(step: str, jobs: list[str]) -> None:
    st.session_state[_GUIDE] = {**guide_runs(), step: jobs}


def keep_guide_in_address() -> None:
    if guide_runs():
        st.query_params["runs"] = ";".join(f"{step}:{','.join(ids)}" for step, ids in guide_runs().items())


# -- history ---------------------------------------------------------------------------------------------------------


def selected_image() -> str | None:
    """The picture whose detail is open; its id is in the address, so that it can be linked to."""
    if "image" in st.query_params:
        st.session_state[_SELECTED] = st.query_params["image"]
    return st.session_state.get(_SELECTED)


def select_image(image_id: str | None) -> None:
    st.session_state[_SELECTED] = image_id
    if image_id:
        st.query_params["image"] = image_id
    elif "image" in st.query_params:
        del st.query_params["image"]


def chosen() -> Chosen:
    """What is chosen in the gallery or the table, for what is done with many: ids, or all that a question finds."""
    kept: Chosen = st.session_state.get(_CHOSEN, ())
    return kept


def chosen_images() -> tuple[str, ...]:
    """The pictures that were chosen one by one."""
    kept = chosen()
    return () if isinstance(kept, HistoryQuery) else tuple(kept)


def choose_images(ids: Iterable[str], by_page: bool = False) -> None:
    """`by_page`: not by a click in the gallery, which is told, then."""
    st.session_state[_CHOSEN] = tuple(ids)
    if by_page:
        st.session_state[_SELECTION] = selection_version() + 1


def choose_found(query: HistoryQuery) -> None:
    """All that `query` finds, less what is taken out again by clicks in the gallery."""
    st.session_state[_CHOSEN] = query
    st.session_state[_SELECTION] = selection_version() + 1


def click_choice(ids: Iterable[str]) -> None:
    """What the gallery says after a click: the chosen ones, or, while all are chosen, the exceptions."""
    kept = chosen()
    st.session_state[_CHOSEN] = replace(kept, without=tuple(ids)) if isinstance(kept, HistoryQuery) else tuple(ids)


def table_choice(table: str) -> tuple[str, ...]:
    """What was ticked in this table when it was last drawn; another page of it begins with nothing."""
    kept: tuple[str, tuple[str, ...]] = st.session_state.get(_TABLE, ("", ()))
    return kept[1] if kept[0] == table else ()


def set_table_choice(table: str, ids: tuple[str, ...]) -> None:
    """What is ticked in the table is what is chosen."""
    st.session_state[_TABLE] = (table, ids)
    choose_images(ids)


def selection_version() -> int:
    return int(st.session_state.get(_SELECTION, 0))


def history_version() -> int:
    """Changes when pictures were marked or moved, so that the gallery asks again."""
    return int(st.session_state.get(_HISTORY, 0))


def renew_history() -> None:
    st.session_state[_HISTORY] = history_version() + 1


def cursors() -> list[str | None]:
    """The pages gone through, by their cursor; the last is the present one."""
    return st.session_state.setdefault(_CURSORS, [None])


def first_page() -> None:
    """Another filter: start again. Pictures that were chosen one by one stay so; all that the other filter found do not."""
    st.session_state[_CURSORS] = [None]
    if isinstance(chosen(), HistoryQuery):
        choose_images((), by_page=True)


def importing() -> bool:
    """Whether the dialog for pictures from elsewhere is open."""
    return bool(st.session_state.get(_IMPORTING))


def set_importing(value: bool) -> None:
    st.session_state[_IMPORTING] = value


def sorted_upwards() -> bool:
    """Whether the smallest, or the oldest, comes first."""
    return bool(st.session_state.get(_UPWARDS))


def turn_order() -> None:
    st.session_state[_UPWARDS] = not sorted_upwards()
    first_page()


def next_page(cursor: str) -> None:
    cursors().append(cursor)


def previous_page() -> None:
    if len(cursors()) > 1:
        cursors().pop()
