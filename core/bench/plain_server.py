"""Serve plain diffusers behind FastAPI, without queue, history or progress: what `bench overhead --http` compares with.

    python -m core.bench.plain_server FOLDER DTYPE PORT WHERE

POST / takes prompt, width, height, num_inference_steps, guidance_scale and seed, and answers {"image": base64 of a PNG}. WHERE
says which thread the pipeline runs in. "thread": one of FastAPI's, as in the shortest server that one would write. "main": the
main thread, as in the app's worker; in others, glibc gives each large tensor back to the system at once, which costs an image
of 256 px half of its time again.
"""

from __future__ import annotations

import base64
import io
import queue
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

import torch
import uvicorn
from diffusers import DiffusionPipeline
from fastapi import FastAPI

CALLS = queue.SimpleQueue[tuple[dict[str, Any], Future[dict[str, str]]]]()  # for the main thread


def create_app(generate: Callable[[dict[str, Any]], dict[str, str]], in_main: bool) -> FastAPI:
    """Return the app that answers with what `generate` returns, one image at a time; called by `work` if `in_main`."""
    app, guard = FastAPI(), threading.Lock()

    @app.post("/")
    def answer(body: dict[str, Any]) -> dict[str, str]:
        """Generate one image."""
        if in_main:
            future = Future[dict[str, str]]()
            CALLS.put((body, future))
            return future.result()
        with guard:
            return generate(body)

    return app


def work(generate: Callable[[dict[str, Any]], dict[str, str]]) -> None:
    """Answer calls in this thread until the process ends."""
    while True:
        body, future = CALLS.get()
        future.set_result(generate(body))


def serve(folder: str, dtype: str, port: int, in_main: bool) -> None:
    """Serve the diffusers folder of a model until the process ends."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    pipeline = DiffusionPipeline.from_pretrained(folder, torch_dtype=getattr(torch, dtype)).to(device)
    pipeline.set_progress_bar_config(disable=True)

    def generate(body: dict[str, Any]) -> dict[str, str]:
        seed = torch.Generator().manual_seed(body.pop("seed"))
        file = io.BytesIO()
        pipeline(**body, generator=seed).images[0].save(file, "PNG")
        return {"image": base64.b64encode(file.getvalue()).decode()}

    server = uvicorn.Server(
        uvicorn.Config(create_app(generate, in_main), host="127.0.0.1", port=port, log_level="warning")
    )
    if not in_main:
        server.run()
        return
    threading.Thread(target=server.run, daemon=True).start()
    work(generate)


if __name__ == "__main__":
    serve(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4] == "main")
