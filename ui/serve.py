"""Serve the app: pages and images on one port. Started by `python -m ui.serve` from the project's root.

Telemetry, cross-site protection and theme are in .streamlit/config.toml, the port in configs/ui_config.yaml, who may call
in configs/service_config.yaml.
"""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import anyio.to_thread
import streamlit as st
from starlette.middleware import Middleware
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles
from streamlit.web import bootstrap

from core.config.loader import PROJECT_ROOT, Settings, load_settings
from core.errors import StudioError
from core.server import Keys, gate, health, keep_private, listener, read_binding, service_routes, unknown_paths
from ui import progress_poll, resources
from ui.components import error_card
from ui.i18n import t
from ui.page_head import FrontendFiles, PageHead

WEBSOCKETS: dict[str, Any] = {  # of open pages
    "ws": "websockets-sansio",
    "ws_ping_interval": 30.0,
    "ws_ping_timeout": 30.0,
    "ws_max_size": 32 << 20,  # bytes of one message: a painted mask
    "ws_per_message_deflate": False,
}


@asynccontextmanager
async def _worker_alive(_app: st.App) -> AsyncIterator[None]:
    """Start the worker process with the server, and stop it with it; neither may block the event loop."""
    studio = await anyio.to_thread.run_sync(resources.shared_studio)
    try:
        yield
    finally:
        await anyio.to_thread.run_sync(studio.stop)


def create_app(settings: Settings | None = None) -> st.App:
    """Return the app: pages at /, APIs at /api, /v1 and /sdapi/v1, sample images at /samples, with authentication.

    Raises StudioError where others would be let in and nothing guards the studio.
    """
    keys = Keys(settings := settings or load_settings(environment=os.environ))
    return st.App(
        PROJECT_ROOT / "ui" / "app.py",
        routes=[
            *service_routes(resources.shared_studio),
            progress_poll.route(resources.shared_studio),
            Mount("/samples", app=StaticFiles(directory=PROJECT_ROOT / "ui" / "assets" / "samples")),
        ],
        middleware=[
            gate(keys, read_binding(settings, keys)),
            health(resources.shared_studio, keys),
            unknown_paths(page_paths()),
            Middleware(PageHead, pages=["", *page_paths()]),
            Middleware(FrontendFiles),
        ],
        lifespan=_worker_alive,
        on_script_error=_say_it,
    )


def page_paths() -> list[str]:
    """Return the paths of the pages, as the navigation in app.py names them."""
    return re.findall(r'url_path="([\w-]+)"', (PROJECT_ROOT / "ui" / "app.py").read_text(encoding="utf-8"))


def _say_it(error: Exception) -> bool:
    """Show an error that no page caught as a card, and write its traceback to the log."""
    logging.getLogger(__name__).exception("a page could not be drawn", exc_info=error)
    if isinstance(error, StudioError):
        error_card.render(error, "uncaught")
    else:
        error_card.block(t("error.page_title"), t("error.page_text"))
    return True


def main() -> int:
    """Serve until interrupted. Settings with problems still start the app, and every page shows them; but not settings
    that would let in others and ask nobody who they are."""
    os.chdir(PROJECT_ROOT)  # Streamlit looks for .streamlit/config.toml here
    settings = load_settings(environment=os.environ)
    try:
        binding = read_binding(settings, Keys(settings))
        app = create_app(settings)
    except StudioError as error:
        print(f"{error.message('en')}\n{error.message('zh')}", file=sys.stderr)
        return 2
    keep_private(settings, Keys(settings))
    descriptors = listener.raise_descriptor_limit()
    try:
        listening = listener.listen(binding.address, binding.port)
        resources.shared_studio()  # a database or a store that does not answer ends the start, with one sentence
    except StudioError as error:
        print(f"{error.message('en')}\n{error.message('zh')}", file=sys.stderr)
        return 2
    bootstrap.load_config_options(
        {
            "server.port": binding.port,
            "server.address": binding.address,
            "server.allowedHosts": ["*"]
            if binding.for_others
            else ["127.0.0.1", "localhost"],  # the gate has asked before
            "logger.hideWelcomeMessage": True,  # for it, Streamlit asks a server elsewhere for this network's address
        }
    )
    server = listener.server(app, descriptors, **WEBSOCKETS)
    print(f"Z Darkroom / 造相暗房: {binding.url}", flush=True)
    with suppress(KeyboardInterrupt):  # Ctrl+C is how one closes it; the worker has ended by then
        server.run(sockets=[listening])
    return 0 if server.started else 3


if __name__ == "__main__":
    sys.exit(main())
