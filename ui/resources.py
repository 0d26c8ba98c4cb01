"""Share what all pages and routes of one process use: the Studio, built once."""

from __future__ import annotations

import os

import streamlit as st

from core.config.loader import load_settings
from core.server import viewer_of
from core.studio import Studio
from core.studio.bootstrap import build_studio


def studio() -> Studio:
    """Return the studio with the rights of whoever looks at the page. Raises as `shared_studio` does."""
    return shared_studio().seen_by(viewer_of(st.context.headers, st.context.cookies))


@st.cache_resource(show_spinner=False)
def shared_studio() -> Studio:
    """Return the studio of this process, its worker started. Raises StudioError when the output folder can't be used.

    An error is not kept: once the folder is put right, the next look at a page finds a studio.
    """
    built = build_studio(load_settings(environment=os.environ))
    built.queue_end.start()
    built.start()
    built.gauges.start()
    built.downloads.resume_interrupted()
    return built
