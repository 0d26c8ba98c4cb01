"""Keep the input images of the form: a source image with its mask, further ones of an edit, and control images."""

from __future__ import annotations

from collections.abc import Mapping

import streamlit as st

from core.types import CONTROL, CONTROLS, IMAGE, MASK, REFERENCES, GenerationRequest, InputSources

_SOURCES = "sources"
_VERSION = "sources_version"
_CONTROL = {role: f"control_image{role.removeprefix(CONTROL)}" for role in CONTROLS}  # role -> session key


def sources() -> InputSources:
    """Return source image and mask by role and digest, and the history id of the source image."""
    found: InputSources = st.session_state.get(_SOURCES) or InputSources()
    return found


def start_from(digest: str, parent: str = "") -> None:
    """Set the source image; the mask of the previous one is dropped."""
    set_sources(InputSources({IMAGE: digest}, parent))


def set_mask(digest: str) -> None:
    """Set the inpaint mask; "" for none."""
    others = {role: known for role, known in sources().inputs.items() if role != MASK}
    st.session_state[_SOURCES] = InputSources({**others, **({MASK: digest} if digest else {})}, sources().parent)


def set_references(further: Mapping[str, str]) -> None:
    """Set the further images of an edit, by role and digest; {} for none."""
    others = {role: known for role, known in sources().inputs.items() if role not in REFERENCES}
    st.session_state[_SOURCES] = InputSources({**others, **further}, sources().parent)


def remove_sources() -> None:
    """Remove the source image."""
    set_sources(InputSources())


def set_sources_of(request: GenerationRequest) -> None:
    """Set the input images of this request."""
    set_sources(InputSources({role: digest for role, digest in request.inputs.items() if role not in CONTROLS}, request.parent))
    set_control_inputs(request)


def sources_version() -> int:
    """Return a part of the key of the upload field and the mask editor, which are rendered anew when it changes."""
    return int(st.session_state.get(_VERSION, 0))


def set_sources(found: InputSources) -> None:
    """Use these source images, and render the fields of images anew."""
    st.session_state[_SOURCES] = found
    st.session_state[_VERSION] = sources_version() + 1


def control_inputs() -> dict[str, str]:
    """Return the digests of the control images by role."""
    return {role: digest for role, key in _CONTROL.items() if (digest := st.session_state.get(key, ""))}


def set_control_input(digest: str, role: str = CONTROL) -> None:
    """Put a stored image's digest into the form; "" takes it out."""
    st.session_state[_CONTROL[role]] = digest


def set_control_inputs(request: GenerationRequest) -> None:
    """Use the control images of a request that has any."""
    if any(role in request.inputs for role in CONTROLS):
        for role in CONTROLS:
            set_control_input(request.inputs.get(role, ""), role)
