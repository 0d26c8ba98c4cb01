"""The service as clients meet it: a server on a free port of this machine, a real queue and worker, plain images."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette

from core.jobs.supervisor import WorkerSupervisor
from core.server import Keys, gate, listener, read_binding, service_routes, unknown_paths
from core.studio import Studio, bootstrap
from core.types import GenerationRequest
from tests.integration.jobs.harness import FAKE, make_settings, wait_for


class Served:
    """A running service: its studio, its address, and options that reach the fake generator with each request."""

    def __init__(self, studio: Studio, port: int, fakes: dict[str, Any]) -> None:
        self.studio = studio
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.fakes = fakes


def _with_options(request: GenerationRequest, options: dict[str, Any]) -> GenerationRequest:
    return replace(request, options={**request.options, **options})


def _without_fakes(request: GenerationRequest) -> GenerationRequest:
    """Return the request without options of the fake generator, which adds them itself."""
    return replace(request, options={k: v for k, v in request.options.items() if not k.startswith("fake.")})


@contextmanager
def serving(folder: Path, **values: Any) -> Iterator[Served]:
    """Everything but the model is real; `values` are settings by schema key."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bootstrap, "WorkerSupervisor", partial(WorkerSupervisor, generator=FAKE))
        studio = bootstrap.build_studio(make_settings(folder, **values))
    fakes: dict[str, Any] = {}
    queue: Any = studio.queue
    prepare = queue.prepare
    queue.prepare = lambda request: _with_options(prepare(_without_fakes(request)), fakes)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = replace(studio.settings, values={**studio.settings.values, "server.port": port})
    keys = Keys(settings)
    app = Starlette(
        routes=service_routes(lambda: studio), middleware=[gate(keys, read_binding(settings, keys)), unknown_paths([])]
    )
    listening = listener.listen("127.0.0.1", port)
    server = listener.server(app, 4096, log_level="warning", lifespan="off")
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    studio.start()
    thread.start()
    try:
        wait_for(lambda: server.started)
        yield Served(studio, port, fakes)
    finally:
        server.should_exit = True
        thread.join()
        studio.stop()
