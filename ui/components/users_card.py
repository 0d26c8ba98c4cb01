"""Show users on the System page: one's own use and quota; for admins how much each user has, never what it shows."""

from __future__ import annotations

from urllib.parse import unquote

import streamlit as st

from core.studio import Studio
from core.types import USER_CLIENT, Usage
from ui import formats
from ui.i18n import t


def draw(studio: Studio) -> None:
    """Draw the card; nothing where there are no users."""
    viewer, usage = studio.viewer, studio.usage
    if not viewer.private:
        return
    with st.container(border=True, key="users_card"):
        st.subheader(t("users.title") if viewer.admin else t("users.own"))
        if viewer.admin:
            st.caption(t("users.counts_only"))
            shown = {unquote(name.removeprefix(USER_CLIENT)): use for name, use in usage.all().items()}
            st.table([{t("users.name"): name, **_row(use)} for name, use in shown.items()] or [{t("users.name"): "–"}])
        else:
            st.table([_row(usage.own(), usage.quota.images_per_hour, usage.quota.megapixels_per_hour, usage.quota.disk_mb)])


def _row(use: Usage, images: int = 0, megapixels: int = 0, disk_mb: int = 0) -> dict[str, str]:
    return {
        t("users.images"): str(use.images),
        t("users.disk"): _of(formats.size_of(use.disk_bytes), formats.size_of(disk_mb << 20) if disk_mb else ""),
        t("users.last_hour"): _of(str(use.images_last_hour), str(images) if images else ""),
        t("users.megapixels"): _of(f"{use.megapixels_last_hour:g}", str(megapixels) if megapixels else ""),
    }


def _of(used: str, allowed: str) -> str:
    return f"{used} / {allowed}" if allowed else used
