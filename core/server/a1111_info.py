"""Serve the lists that A1111's clients request when they start. A missing route stops some of them; an empty list does not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psutil
from fastapi import FastAPI

from core.config.samplers import SAMPLERS, SCHEDULES, Schedule
from core.config.schema import AUTO
from core.server.a1111_request import UPSCALERS
from core.studio import Studio
from core.types import ModelInfo

_EMPTY_LISTS = (  # what A1111 lists and this studio has none of
    "sd-vae", "sd-modules", "hypernetworks", "face-restorers", "prompt-styles", "realesrgan-models",
    "latent-upscale-modes", "script-info", "extensions",
)  # fmt: skip


def upscaler_names(studio: Studio) -> list[str]:
    """Return the names of the upscalers, as A1111's clients know them: filters with a capital, networks by their own."""
    networks = [name for name in studio.requests.upscaler_names() if name not in UPSCALERS.values()]
    return ["None", *(name.capitalize() for name in UPSCALERS), *networks]


def add_facts(app: FastAPI, get_studio: Callable[[], Studio]) -> None:
    """Add the routes that list."""
    _add_empty(app, get_studio)

    @app.get("/loras")
    def loras() -> Any:
        """List the LoRAs, as they are named in a prompt: <lora:name:weight>."""
        return [
            {"name": lora.name, "alias": lora.name, "path": lora.name, "metadata": {}}
            for lora in get_studio().models.loras()
        ]

    @app.get("/sd-models")
    def models(every: bool = False) -> Any:
        """List the models that can be used now; with `every=true` the others as well, each with its `problem`."""
        return [_model(model) for model in get_studio().catalog.models() if every or model.problem is None]

    @app.get("/samplers")
    def samplers() -> Any:
        """List the samplers; which of them a model has, `start.py samplers` says."""
        return [
            {"name": one.name, "aliases": [one.id, *one.aliases.split()], "options": {}} for one in SAMPLERS.values()
        ]

    @app.get("/schedulers")
    def schedulers() -> Any:
        """List the noise schedules."""
        return [
            {
                "name": one.id,
                "label": one.name,
                "aliases": list(one.aliases),
                "default_rho": -1.0,
                "need_inner_model": False,
            }
            for one in (Schedule(AUTO, "Automatic", None), *SCHEDULES.values())
        ]

    @app.get("/upscalers")
    def upscalers() -> Any:
        """List the upscalers of hires fix and of extra-single-image."""
        return [
            {"name": name, "model_name": None, "model_path": None, "model_url": None, "scale": 4.0}
            for name in upscaler_names(get_studio())
        ]

    @app.get("/cmd-flags")
    def flags() -> Any:
        """Return the flags of A1111 that have a meaning here, with their true values."""
        settings = get_studio().settings
        return {
            "api": True,
            "nowebui": False,
            "listen": settings.server.host not in ("127.0.0.1", "localhost", "::1"),
            "port": settings.server.port,
            "cors_allow_origins": ",".join(settings.server.cors_origins) or None,
            "medvram": settings.memory.low_vram,
            "lowvram": False,
            "gradio_auth": None,
            "api_auth": None,
            "api_server_stop": False,
        }

    @app.get("/memory")
    def memory() -> Any:
        """Return bytes of this machine and of the worker."""
        machine = psutil.virtual_memory()
        used = get_studio().worker.status().memory_bytes
        ram = {"free": machine.available, "used": machine.total - machine.available, "total": machine.total}
        return {"ram": {**ram, "worker": used}, "cuda": {"error": "not measured here"}}


def _add_empty(app: FastAPI, get_studio: Callable[[], Studio]) -> None:
    def nothing() -> list[Any]:
        """List nothing: this studio has none."""
        return []

    for name in _EMPTY_LISTS:
        app.add_api_route(f"/{name}", nothing, methods=["GET"], operation_id=f"list_{name.replace('-', '_')}")

    @app.get("/scripts")
    def scripts() -> Any:
        """List no scripts: clients ask which extensions there are."""
        return {"txt2img": [], "img2img": []}

    @app.get("/embeddings")
    def embeddings() -> Any:
        """List the textual inversion embeddings; those that can't be used are skipped."""
        usable, skipped = get_studio().models.embeddings()
        loaded = {
            one.name: {"step": None, "sd_checkpoint": None, "sd_checkpoint_name": None, "vectors": one.vectors,
                       "shape": one.widths["text_encoder"]}
            for one in usable
        }  # fmt: skip
        return {"loaded": loaded, "skipped": {name: {} for name in skipped}}


def _model(model: ModelInfo) -> dict[str, Any]:
    """Describe a model. Ids stand in for titles and file names: folders are nobody's business."""
    entry = {
        "title": model.id,
        "model_name": model.id,
        "filename": model.id,
        "hash": None,
        "sha256": None,
        "config": None,
        "usable": model.problem is None,
    }
    return entry | ({"problem": model.problem.message("en")} if model.problem else {})
