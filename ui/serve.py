"""The app on its port: pages and pictures together. Started by `python -m ui.serve` from the project's root.

The address, telemetry, cross-site protection and theme are in .streamlit/config.toml, the port in configs/ui_config.yaml.
"""

from __future__ import annotations

import logging
import os
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import anyio.to_thread
import streamlit as st
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

from core.config.layers import PROJECT_ROOT, load_settings
from core.entrypoints.api import service_routes
from core.errors import StudioError
from ui import resources
from ui.components import error_card
from ui.i18n import t


@asynccontextmanager
async def _worker_alive(_app: st.App) -> AsyncIterator[None]:
    """The worker process starts with the server and ends with it; neither may block the event loop."""
    try:
        studio = await anyio.to_thread.run_sync(resources.studio)
    except StudioError as error:  # the pages show it, and try again
        print(error, file=sys.stderr)
        studio = None
    try:
        yield
    finally:
        if studio is not None:
            await anyio.to_thread.run_sync(studio.stop)


def create_app() -> st.App:
    """Pages at /, the service at /api, /v1 and /sdapi/v1, shipped sample pictures at /samples."""
    return st.App(
        PROJECT_ROOT / "ui" / "app.py",
        routes=[
            *service_routes(resources.studio),
            Mount("/samples", app=StaticFiles(directory=PROJECT_ROOT / "ui" / "assets" / "samples")),
        ],
        lifespan=_worker_alive,
        on_script_error=_say_it,
    )


def _say_it(error: Exception) -> bool:
    """An error that no page caught: a card instead of a traceback, which goes to the log."""
    logging.getLogger(__name__).exception("a page could not be drawn", exc_info=error)
    if isinstance(error, StudioError):
        error_card.draw(error, "uncaught")
    else:
        error_card.block(t("error.page_title"), t("error.page_text"))
    return True


def main() -> int:
    """Serve until interrupted. Settings with problems still start the app: every page shows them."""
    os.chdir(PROJECT_ROOT)  # Streamlit looks for .streamlit/config.toml here
    port = int(load_settings(environment=os.environ)["ui.port"])
    if not _free(port):
        print(
            f"Port {port} is in use: is the studio already open at http://127.0.0.1:{port} ? "
            f"Close it, or choose another port with ZDARKROOM_UI__PORT={port + 1}.",
            file=sys.stderr,
        )
        return 2
    print(f"Z Darkroom / 造相暗房: http://127.0.0.1:{port}", flush=True)
    with suppress(KeyboardInterrupt):  # Ctrl+C is how one closes it; the worker has ended by then
        create_app().run(config={"server.port": port, "server.address": "127.0.0.1"})
    return 0


def _free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, os.name != "nt")
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


if __name__ == "__main__":
    sys.exit(main())
