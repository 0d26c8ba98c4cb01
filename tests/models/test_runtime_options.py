"""Every option back and forth in one process: plain diffusers' image comes back bit for bit, and memory stays flat."""

import gc
from contextlib import suppress

import numpy as np
import psutil
import pytest

from core.config.options import SCHEMA
from core.config.schema import TakesEffect
from core.errors import UnavailableError
from core.inference import torch_compile
from tests.models.test_exactness import generated_by

SIZE = {"width": 64, "height": 64, "num_inference_steps": 1}
GROWTH = 64 * 2**20  # bytes that caches and the allocator may settle by


def others(option):
    """A value that is not the default."""
    if option.type == "bool":
        return not option.default
    if option.type == "choice":
        return next(value for value in option.choices if value != option.default)
    return option.maximum if option.default != option.maximum else option.minimum


CHANGES = {
    option.key: others(option)
    for option in SCHEMA.request_options()
    if option.implemented
    and option.takes_effect is not TakesEffect.START
    and option.type in ("bool", "choice", "int", "float")
    and option.key != "model.device"
    and not option.key.startswith("upscale.")  # they enlarge an image that is given, and generate none
}


def back_and_forth(generator, request_of, plain, rounds, monkeypatch):
    monkeypatch.setitem(torch_compile.MODES, "default", {"backend": "eager"})  # the C++ compiler takes a minute a graph
    right = np.asarray(generated_by(plain, request_of(**SIZE)))
    process = psutil.Process()
    settled = 0
    for turn in range(rounds):
        for key, value in CHANGES.items():
            with suppress(UnavailableError):  # what this machine lacks, such as TensorRT, is refused and must not stick
                generator.generate(request_of(changed={key: value}, **SIZE))
        image = np.asarray(generator.generate(request_of(**SIZE)).images[0].image)
        assert np.array_equal(image, right), f"after round {turn + 1}"
        gc.collect()
        if turn == rounds // 5:
            settled = process.memory_info().rss
    return process.memory_info().rss - settled


@pytest.mark.slow
def test_every_option_once(generator, request_of, plain, monkeypatch):
    back_and_forth(generator, request_of, plain, 1, monkeypatch)
    generator.unload()


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_every_option_50_times(generator, request_of, plain, monkeypatch):
    grown = back_and_forth(generator, request_of, plain, 50, monkeypatch)
    generator.unload()
    assert grown < GROWTH


def test_a_live_option_acts_on_the_next_image_without_loading(generator, request_of):
    generator.generate(request_of(**SIZE))
    pipeline, began = generator.loaded.pipeline, generator.loaded.load_seconds
    for key in ("transformer.attention_dropout", "performance.refine_once", "vae.enable_tiling"):
        image = generator.generate(request_of(changed={key: CHANGES[key]}, **SIZE)).images[0]
        assert image.effective[key] == generator.loaded.effective[key] == generator.loaded.asked[key] == CHANGES[key]
        assert generator.loaded.pipeline is pipeline and generator.loaded.load_seconds == began
    generator.generate(request_of(changed={"vae.dtype": "bfloat16"}, **SIZE))
    assert generator.loaded.pipeline is not pipeline
    assert generator.loaded.asked["vae.dtype"] == "bfloat16"
