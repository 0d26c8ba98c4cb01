"""Serve plain diffusers behind FastAPI, without queue, history or progress: what `bench overhead --http` compares with.

    python -m core.bench.plain_server FOLDER DTYPE PORT

POST / takes prompt, width, height, num_inference_steps, guidance_scale and seed, and answers {"image": base64 of a PNG}.
"""

from __future__ import annotations

import base64
import io
import sys
import threading
from typing import Any

import torch
import uvicorn
from diffusers import DiffusionPipeline
from fastapi import FastAPI


def create_app(folder: str, dtype: str) -> FastAPI:
    """Return the app over the diffusers folder of a model; one image at a time."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    pipeline = DiffusionPipeline.from_pretrained(folder, torch_dtype=getattr(torch, dtype)).to(device)
    pipeline.set_progress_bar_config(disable=True)
    app, guard = FastAPI(), threading.Lock()

    @app.post("/")
    def generate(body: dict[str, Any]) -> dict[str, str]:
        """Generate one image."""
        seed = torch.Generator().manual_seed(body.pop("seed"))
        with guard:
            image = pipeline(**body, generator=seed).images[0]
        file = io.BytesIO()
        image.save(file, "PNG")
        return {"image": base64.b64encode(file.getvalue()).decode()}

    return app


if __name__ == "__main__":
    uvicorn.run(create_app(sys.argv[1], sys.argv[2]), host="127.0.0.1", port=int(sys.argv[3]), log_level="warning")
