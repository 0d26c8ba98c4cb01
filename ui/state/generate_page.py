"""Keep the state of Generate: the watched job, what went wrong, the question before a reload, when the next job begins."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

import streamlit as st

from core.types import SubmitOptions
from ui.formats import local_zone
from ui.state.form import form_value
from ui.state.session import client, set_errors

_JOB = "job"
_SHOWN = "shown_image"
_ORIGINAL = "original"
_RELOAD = "reload_question"
_AGREED = "reloads_agreed"
_SECTIONS = "sections_open"
_SUMMARIES = "_section_summaries"  # name -> what its header says
_TAB = "stage_tab"
_RATIO = "locked_ratio"
_ON_STAGE = "stage_image"
_PRESET = "preset"
_NOTE = "generate_note"

LEVELS = BASIC, ADVANCED, EXPERT = ("basic", "advanced", "expert")
LEVEL = "option_level"
TABS = RESULT, BATCH, MASK, COMPARE = ("result", "batch", "mask", "compare")

LIVE = "live_draft"  # session key of the switch
_LIVE_ON = "live_draft_on"
_LIVE_JOB = "live_job"
LIVE_KEYS = (  # what can be moved for a draft, beside the weights of LoRAs and ControlNets
    "generation.cfg_scale", "scheduler.shift", "cfg.normalization", "cfg.truncation", "img2img.denoising_strength",
    "transformer.rope_factor", "transformer.dype_scale", "transformer.dype_exponent",
    "controlnet.scale", "controlnet.start", "controlnet.end", "generation.variation_strength", "generation.prompt_noise",
)  # fmt: skip


def live() -> bool:
    """Return True while what is moved is to be drawn at once as a draft."""
    return bool(st.session_state.get(_LIVE_ON, False))


def take_live() -> None:
    """Keep what the switch says, over other pages too."""
    st.session_state[_LIVE_ON] = bool(st.session_state[LIVE])


def live_job() -> str | None:
    """Return the job that began when what was moved was released last."""
    return st.session_state.get(_LIVE_JOB)


def set_live_job(job: str | None) -> None:
    """Remember the job of the last release."""
    st.session_state[_LIVE_JOB] = job


def job_id() -> str | None:
    """Return the job that this tab watches; the address keeps it over F5."""
    if _JOB not in st.session_state and "job" in st.query_params:
        st.session_state[_JOB] = st.query_params["job"]
    return st.session_state.get(_JOB)


def watch(job: str | None) -> None:
    """Watch this job from now on; earlier errors and choices are done with."""
    st.session_state[_JOB] = job
    st.session_state[_SHOWN] = None
    set_errors(())


def put_job_in_address() -> None:
    """Put the job into the address again, which changing pages empties."""
    job = st.session_state.get(_JOB)
    if job and st.query_params.get("job") != job:
        st.query_params["job"] = job
    elif not job and "job" in st.query_params:
        del st.query_params["job"]


def shown_image() -> str | None:
    """Return the image selected in the strip; None: the watched job's."""
    return st.session_state.get(_SHOWN)


def show_image(image_id: str | None) -> None:
    st.session_state[_SHOWN] = image_id


def section_key(name: str) -> str:
    """Return the session key of the accordion of that name."""
    return f"section_{name}"


def section_open(name: str) -> bool:
    """Return True if the accordion is open; leaving the page does not close it."""
    return name in st.session_state.get(_SECTIONS, ())


def set_section(name: str, is_open: bool) -> None:
    """Open or close an accordion; one that is opened says anew in its header what is set."""
    if is_open and not section_open(name):
        st.session_state.get(_SUMMARIES, {}).pop(name, None)
    others = st.session_state.get(_SECTIONS, frozenset()) - {name}
    st.session_state[_SECTIONS] = others | {name} if is_open else others


def section_summary(name: str, present: str) -> str:
    """Return what an accordion's header says is set: `present`, or what it said when it was opened, as long as it is open."""
    kept = st.session_state.setdefault(_SUMMARIES, {})
    if not section_open(name):
        kept[name] = present
    return str(kept.setdefault(name, present))


def stage_tab() -> str:
    """Return which tab of the stage was selected: RESULT, BATCH or MASK."""
    return str(st.session_state.get(_TAB) or RESULT)


def set_stage_tab(name: str) -> None:
    st.session_state[_TAB] = name


def stage_image() -> str | None:
    """Return the image that was on the stage when the page was last rendered."""
    return st.session_state.get(_ON_STAGE)


def set_stage_image(image_id: str | None) -> None:
    st.session_state[_ON_STAGE] = image_id


def level() -> str:
    """Return which options are shown: BASIC, ADVANCED or EXPERT."""
    return str(st.session_state.get(LEVEL) or ADVANCED)


def set_level(name: str) -> None:
    st.session_state[LEVEL] = name


def ratio() -> float | None:
    """Return the locked ratio of width to height; None while it is free."""
    return st.session_state.get(_RATIO)


def set_ratio(value: float | None) -> None:
    st.session_state[_RATIO] = value


def preset() -> str:
    """Return the name of the preset that was applied last; "" for none."""
    return str(st.session_state.get(_PRESET, ""))


def set_preset(name: str) -> None:
    st.session_state[_PRESET] = name


def leave_note(words: str) -> None:
    """Have the page say this once when it is opened next: what another page has put into the form, and what not."""
    st.session_state[_NOTE] = words


def take_note() -> str:
    """Return what the page is to say now; "" for nothing."""
    return str(st.session_state.pop(_NOTE, ""))


def original() -> str | None:
    """Return the image that the watched job generates again."""
    job, image_id = st.session_state.get(_ORIGINAL, (None, None))
    return image_id if job is not None and job == job_id() else None


def set_original(image_id: str) -> None:
    """Note the image that the watched job generates again."""
    st.session_state[_ORIGINAL] = (job_id(), image_id)


def ask_reload(present: Mapping[str, Any], changes: Mapping[str, Any]) -> bool:
    """Keep the question whether to load the model again, unless there is none or it was agreed to before; whether it waits.

    `present`: what would be replaced, by key. `changes`: what the request has that the form has not.
    """
    selected = _selected(present)
    if not present or selected in st.session_state.get(_AGREED, set()):
        drop_reload()
        return False
    st.session_state[_RELOAD] = (selected, dict(present), dict(changes))
    return True


def reload_question() -> Mapping[str, Any]:
    """Return the values in effect that reloading would replace, by key; empty without a question."""
    selected, present, _ = st.session_state.get(_RELOAD, ((), {}, {}))
    return present if selected == _selected(present) else {}


def agree_reload() -> Mapping[str, Any]:
    """Agree to reload, now and later; return the changes that waited for it."""
    selected, _, changes = st.session_state.pop(_RELOAD)
    st.session_state.setdefault(_AGREED, set()).add(selected)
    return changes


def drop_reload() -> None:
    """Close the question."""
    st.session_state.pop(_RELOAD, None)


def _selected(keys: Iterable[str]) -> tuple[tuple[str, str], ...]:
    return tuple((key, str(form_value(key))) for key in sorted(keys))


WHEN, UNTIL = "when", "when_until"

WHENS = NOW, HELD, AT_TIME = ("now", "held", "at")


def when() -> str:
    """Return NOW, HELD or AT_TIME, the viewer's choice for the next job."""
    return str(st.session_state.get(WHEN) or NOW)


def keep_when() -> None:
    """Set the widget's value before it is rendered: with a default of its own as well, Streamlit would warn in the log."""
    st.session_state[WHEN] = when()


def terms() -> SubmitOptions:
    """Return client and start time of the next job."""
    until = st.session_state.get(UNTIL) if when() == AT_TIME else None
    not_before = until.replace(tzinfo=local_zone()) if until else None
    return SubmitOptions(client=client(), held=when() == HELD, not_before=not_before)


def forget_when() -> None:
    """Reset the choice, which is for one job."""
    st.session_state[WHEN] = NOW


_SESSION = "draft_session"
_ASKED = "drafts_asked"


def draft_session() -> str:
    """Return a name of this session: the browser gives the forms that it has kept back once to each."""
    return str(st.session_state.setdefault(_SESSION, secrets.token_hex(4)))


def draft_asked(name: str) -> bool:
    """Return True once the browser has given back the form of this name."""
    return name in st.session_state.get(_ASKED, ())


def set_draft_asked(name: str) -> None:
    st.session_state[_ASKED] = {*st.session_state.get(_ASKED, ()), name}


_PROMPT_HELP_ASKED, _TAKEN = "prompt_help_asked", "prompt_help_taken"
ALIKE = 0.5  # a prompt that was edited further than this is a new one


@dataclass(frozen=True)
class PromptHelpRequest:
    """The id of the answer, and the prompt that it is made from."""

    id: str
    original: str


def prompt_help() -> PromptHelpRequest | None:
    """Return what is being written now."""
    found: PromptHelpRequest | None = st.session_state.get(_PROMPT_HELP_ASKED)
    return found


def set_prompt_help(asked: PromptHelpRequest | None) -> None:
    """Begin, or end."""
    st.session_state[_PROMPT_HELP_ASKED] = asked


def take_prompt(original: str, written: str) -> None:
    """Remember that the prompt in the form was written, and from what."""
    st.session_state[_TAKEN] = (original, written)


def forget_original() -> None:
    """Forget the prompt before the enhancement: the present one is the user's own again."""
    st.session_state.pop(_TAKEN, None)


def original_prompt(prompt: str) -> str:
    """Return the user's own prompt that this one was made from; "" for one that is the user's own."""
    original, written = st.session_state.get(_TAKEN, ("", ""))
    alike = bool(written) and SequenceMatcher(None, written, prompt, autojunk=False).ratio() >= ALIKE
    return original if alike else ""
