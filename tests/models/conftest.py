"""The real classes, on the embedded model."""

import pytest

from core.config.loader import PROJECT_ROOT, load_settings
from core.inference.generator import build_generator
from core.types import GenerationRequest

WEIGHTS = PROJECT_ROOT / "core" / "demo" / "weights"


@pytest.fixture(scope="session")
def generator():
    """One generator for all: what one test leaves behind must not reach the next."""
    return build_generator(PROJECT_ROOT / "configs")


@pytest.fixture(scope="session")
def plain():
    """diffusers as anyone would use it. The dtype is named: by itself it would keep the text encoder in its stored float16.

    One for all, too: a test that has changed a weight of it is told of at the end.
    """
    import torch
    from diffusers import ZImagePipeline

    pipeline = ZImagePipeline.from_pretrained(WEIGHTS, dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    as_read = _sums(pipeline)
    yield pipeline
    assert _sums(pipeline) == as_read


def _sums(pipeline):
    """Of each component's weights; rounding some of them changes it."""
    return {
        name: sum(float(tensor.double().abs().sum()) for tensor in getattr(pipeline, name).state_dict().values())
        for name in ("text_encoder", "transformer", "vae")
    }


@pytest.fixture(scope="session")
def request_of():
    """A complete request: shipped settings, and whatever the test changes."""
    options = load_settings().request_options()

    def make(prompt="a red house, day", changed=None, **fields):
        fields = {"width": 128, "height": 128, "seed": 7, "num_inference_steps": 4, **fields}
        return GenerationRequest(prompt=prompt, options={**options, **(changed or {})}, **fields)

    return make
