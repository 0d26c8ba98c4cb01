"""What A1111's dialect tells without making anything: loras, sd-models, samplers, schedulers, scripts, png-info, memory.

What this module does not know: orders, jobs.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import psutil
from fastapi import FastAPI
from pydantic import BaseModel

from core.entrypoints.api.uploads import from_base64
from core.storage.metadata import read_metadata
from core.studio import Studio

SAMPLER, SCHEDULE = "Euler", "Simple"


class PictureFile(BaseModel):
    """The body of png-info."""

    image: str


def add_facts(app: FastAPI, get_studio: Callable[[], Studio]) -> None:
    """Add the routes that tell."""

    @app.get("/loras")
    def loras() -> Any:
        """The LoRAs, as they are named in a prompt: <lora:name:weight>."""
        return [
            {"name": lora.name, "alias": lora.name, "path": lora.name, "metadata": {}}
            for lora in get_studio().models.loras()
        ]

    @app.get("/sd-models")
    def models() -> Any:
        """The catalogue. Ids stand in for titles and file names: folders are nobody's business."""
        return [
            {
                "title": model.id,
                "model_name": model.id,
                "filename": model.id,
                "hash": None,
                "sha256": None,
                "config": None,
            }
            for model in get_studio().catalog.models()
        ]

    @app.get("/samplers")
    def samplers() -> Any:
        """The one there is: Z-Image is a flow model, its schedule goes with it."""
        return [{"name": SAMPLER, "aliases": ["euler", "k_euler"], "options": {}}]

    @app.get("/schedulers")
    def schedulers() -> Any:
        """The one there is."""
        return [{"name": "simple", "label": SCHEDULE, "aliases": [], "default_rho": -1.0, "need_inner_model": False}]

    @app.get("/scripts")
    def scripts() -> Any:
        """None: clients ask at their start which extensions there are."""
        return {"txt2img": [], "img2img": []}

    @app.post("/png-info")
    def png_info(file: PictureFile) -> Any:
        """The parameters that a picture file carries."""
        data = from_base64(file.image, "image")
        found = read_metadata(io.BytesIO(data))
        words = (found.parameters if found else None) or ""
        return {"info": words, "items": {"parameters": words} if words else {}, "parameters": {}}

    @app.get("/memory")
    def memory() -> Any:
        """Bytes of this machine and of the worker."""
        machine = psutil.virtual_memory()
        used = get_studio().worker.status().memory_bytes
        ram = {"free": machine.available, "used": machine.total - machine.available, "total": machine.total}
        return {"ram": {**ram, "worker": used}, "cuda": {"error": "not measured here"}}
