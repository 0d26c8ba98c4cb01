"""Keep the input images of the form: a source image with its mask, further ones of an edit, and control images."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from core.types import CONTROL, CONTROLS, IMAGE, MASK, REFERENCES, GenerationRequest, InputSources

_SOURCES = "sources"
_VERSION = "sources_version"
_ORIGINS = "source_origins"  # digest -> the history id of the image that was kept under it
_CONTROL = {role: f"control_image{role.removeprefix(CONTROL)}" for role in CONTROLS}  # role -> session key


def sources() -> InputSources:
    """Return source image and mask by role and digest, and the history id of the source image."""
    found: InputSources = st.session_state.get(_SOURCES) or InputSources()
    return found


def start_from(digest: str, parent: str = "") -> None:
    """Set the source image; mask and further images of the previous one are dropped."""
    _remember(digest, parent)
    set_sources(InputSources({IMAGE: digest}, parent))


def set_mask(digest: str) -> None:
    """Set the inpaint mask; "" for none."""
    others = {role: known for role, known in sources().inputs.items() if role != MASK}
    st.session_state[_SOURCES] = InputSources({**others, **({MASK: digest} if digest else {})}, sources().parent)


def edit_images() -> list[str]:
    """Return the digests of the images of an edit in their order: the source image, then further ones."""
    inputs = sources().inputs
    return [inputs[role] for role in (IMAGE, *REFERENCES) if role in inputs]


def set_edit_images(digests: Sequence[str], origin: str = "") -> None:
    """Set the images of an edit in their order, at most four; the mask stays while the first one does.

    `origin` is the history id of the last one, where it has one.
    """
    _remember(digests[-1], origin)
    inputs, parent = sources().inputs, sources().parent
    given = dict(zip((IMAGE, *REFERENCES), digests, strict=False))
    if digests[0] == inputs.get(IMAGE):
        return set_sources(InputSources({**given, **({MASK: inputs[MASK]} if MASK in inputs else {})}, parent))
    set_sources(InputSources(given, st.session_state.get(_ORIGINS, {}).get(digests[0], "")))


def _remember(digest: str, origin: str) -> None:
    known = st.session_state.get(_ORIGINS, {})
    st.session_state[_ORIGINS] = {**known, **({digest: origin} if origin else {})}


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
