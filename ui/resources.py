"""What all pages and routes of one process share: the Studio, built once.

What this module does not know: widgets, languages, how the parts of a studio are wired (see core.bootstrap).
"""

from __future__ import annotations

import os

import streamlit as st

from core.bootstrap import build_studio
from core.config.layers import load_settings
from core.studio import Studio


@st.cache_resource(show_spinner=False)
def studio() -> Studio:
    """The one studio of this process, its worker started. A StudioError when the output folder can't be used.

    An error is not kept: once the folder is put right, the next look at a page finds a studio.
    """
    built = build_studio(load_settings(environment=os.environ))
    built.start()
    built.downloads.resume_interrupted()
    return built
