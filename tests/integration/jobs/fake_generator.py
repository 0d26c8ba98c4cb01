"""A generator without a model, for the worker's tests: it draws plain images, and fails as its request's options say.

Options: fake.step_seconds, fake.decode_seconds, fake.noise (no plain image), fake.fails (a key of FAILURES; on the second step).
"""

from __future__ import annotations

import io
import itertools
import os
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from PIL import Image

from core.errors import Cancelled, CorruptImageError
from core.types import IMAGE, GeneratedImage, GenerationRequest, GenerationResult, Phase, Progress, ResumeState


class OutOfMemoryError(RuntimeError):
    """Has the name of torch's."""


def _raise(error: BaseException) -> None:
    raise error


FAILURES: dict[str, Callable[[GenerationRequest], None]] = {
    "value": lambda request: _raise(ValueError(f"cannot draw {request.prompt!r}\nsecond line")),
    "memory": lambda request: _raise(MemoryError()),
    "torch memory": lambda request: _raise(OutOfMemoryError("CUDA out of memory")),
    "cpu memory": lambda request: _raise(RuntimeError("DefaultCPUAllocator: not enough memory: you tried to ...")),
    "card": lambda request: _raise(RuntimeError("CUDA error: device-side assert triggered\nmore")),
    "studio": lambda request: _raise(CorruptImageError(component="transformer", value="NaN", step=2)),
    "exit": lambda request: os._exit(3),
    "kill": lambda request: os.kill(os.getpid(), signal.SIGKILL),
    "deaf": lambda request: time.sleep(60),  # a step that hears nothing
}


DEADLY = "STUDIO_TEST_DEADLY"
LOADS = itertools.count(1)  # in this process, whatever generator does them


class FakeGenerator:
    """Keeps a made-up model loaded; its `versions` tell which load of the process it came from."""

    def __init__(self, step_seconds: float = 0.0) -> None:
        self.loaded: Any = None
        self._step_seconds = step_seconds  # where the request does not say

    def load(
        self,
        model: str,
        options: Mapping[str, Any],
        on_progress: Callable[[Progress], None],
        is_cancelled: Callable[[], bool] = lambda: False,
    ) -> None:
        if self.loaded is not None and self.loaded.model == model:
            return
        on_progress(Progress(Phase.LOADING, detail=model))
        versions = {"loads": str(next(LOADS))}
        facts: dict[str, Any] = {"decisions": (), "asked": {}, "effective": {}, "capabilities": ()}
        self.loaded = SimpleNamespace(model=model, device="cpu", load_seconds=0.0, versions=versions, **facts)

    def generate(
        self,
        request: GenerationRequest,
        on_progress: Callable[[Progress], None],
        is_cancelled: Callable[[], bool],
        on_image: Callable[[GeneratedImage], None],
        attempt: ResumeState,
    ) -> GenerationResult:
        self.load(request.model, request.options, on_progress)
        on_progress(Progress(Phase.TEXT, steps=request.num_inference_steps, images=request.num_images))
        for k, single in enumerate(request.per_image_requests(), start=1):
            if k not in attempt.made:
                image = self._draw(single, k, request.num_images, on_progress, is_cancelled)
                on_image(_over(image, attempt.inputs))
        return GenerationResult(())

    def _draw(
        self,
        request: GenerationRequest,
        k: int,
        images: int,
        on_progress: Callable[[Progress], None],
        is_cancelled: Callable[[], bool],
    ) -> GeneratedImage:
        steps = request.num_inference_steps
        began = time.perf_counter()
        for step in range(1, steps + 1):
            time.sleep(request.options.get("fake.step_seconds", self._step_seconds))
            if is_cancelled():
                raise Cancelled
            if step == 2 and "fake.fails" in request.options:
                FAILURES[request.options["fake.fails"]](request)
            on_progress(Progress(Phase.STEPS, step, steps, k, images, preview=_webp(50 * step), preview_step=step))
        on_progress(Progress(Phase.DECODE, steps, steps, k, images))
        time.sleep(request.options.get("fake.decode_seconds", 0.0))
        size = (request.width, request.height)
        plain = Image.new("RGB", size, (request.seed % 256, 40, 80))
        return GeneratedImage(
            image=Image.effect_noise(size, 90).convert("RGB") if request.options.get("fake.noise") else plain,
            request=request,
            rendered_size=size,
            timings={"text": 0.0, "steps": time.perf_counter() - began, "decode": 0.0},
            effective={"model.device": "cpu"},
            place=k,
        )


def _over(generated: GeneratedImage, inputs: Mapping[str, Image.Image]) -> GeneratedImage:
    """Return the input image in the place of the plain one; below it those of other roles, so that tests see what came."""
    whole = generated.image.copy()
    for role, image in inputs.items():
        whole.paste(image.resize(whole.size), (0, 0 if role == IMAGE else whole.height // 2))
    return replace(generated, image=whole)


def _webp(shade: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), (shade, shade, shade)).save(file, "WEBP")
    return file.getvalue()


def build_generator(configs: Path, values: Mapping[str, Any]) -> FakeGenerator:
    return FakeGenerator()


def build_nothing(configs: Path, values: Mapping[str, Any]) -> FakeGenerator:
    raise ImportError("libtorch.so is not there")


def build_killed(configs: Path, values: Mapping[str, Any]) -> FakeGenerator:
    """Dies as a library does that this processor cannot run, as long as the environment says so."""
    if DEADLY in os.environ:
        os.kill(os.getpid(), signal.SIGKILL)
    return FakeGenerator()
