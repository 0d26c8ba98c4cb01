"""Serve plain diffusers behind FastAPI, without queue, history or progress: what `bench overhead --http` compares with.

    python -m core.bench.plain_server FOLDER DTYPE PORT

POST / takes prompt, width, height, num_inference_steps, guidance_scale and seed, and answers {"image": base64 of a PNG}.
"""

from __future__ import annotations

import asyncio
import base64
import io
import queue
import sys
import threading
from concurrent.futures import Future
from typing import Any

import torch
import uvicorn
from diffusers import DiffusionPipeline
from fastapi import FastAPI


def serve(folder: str, dtype: str, port: int) -> None:
    """Serve the diffusers folder of a model until the process ends; one image at a time.

    The pipeline runs in the main thread, as the app's worker does: in another one, glibc gives each large tensor back to the
    system at once, and an image of 256 px takes half as long again.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    pipeline = DiffusionPipeline.from_pretrained(folder, torch_dtype=getattr(torch, dtype)).to(device)
    pipeline.set_progress_bar_config(disable=True)
    app, calls = FastAPI(), queue.SimpleQueue[tuple[dict[str, Any], Future[dict[str, str]]]]()

    @app.post("/")
    async def generate(body: dict[str, Any]) -> dict[str, str]:
        """Generate one image."""
        answer = Future[dict[str, str]]()
        calls.put((body, answer))
        return await asyncio.wrap_future(answer)

    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_level="warning"))
    threading.Thread(target=server.run, daemon=True).start()
    while True:
        body, answer = calls.get()
        seed = torch.Generator().manual_seed(body.pop("seed"))
        file = io.BytesIO()
        pipeline(**body, generator=seed).images[0].save(file, "PNG")
        answer.set_result({"image": base64.b64encode(file.getvalue()).decode()})


if __name__ == "__main__":
    serve(sys.argv[1], sys.argv[2], int(sys.argv[3]))
