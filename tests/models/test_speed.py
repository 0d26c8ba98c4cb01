"""Work that is not done twice, against plain diffusers, bit for bit."""

import copy

import numpy as np
import pytest
import torch
from diffusers import ZImagePipeline

from core.inference import text_encoding
from tests.models.test_exactness import generated_by, same
from tests.options import measured

ALL_OFF = {
    "performance.cache_text": False,
    "performance.trim_text": "never",
    "performance.refine_once": False,
    "performance.real_rope": "never",
}
ONE_ON = [
    {"performance.cache_text": True},
    {"performance.trim_text": "always"},
    {"performance.refine_once": True},
    {"performance.real_rope": "always"},
]


@pytest.fixture
def counted(generator, request_of, monkeypatch):
    """How often a component of the loaded model ran."""
    generator.generate(request_of())
    generator.loaded.texts.clear()
    calls = []

    def watch(module):
        kind, true_forward = type(module), type(module).forward

        def forward(self, *args, **kwargs):
            calls.append(kwargs.get("input_ids"))
            return true_forward(self, *args, **kwargs)

        monkeypatch.setattr(kind, "forward", forward)
        return calls

    return watch


@pytest.mark.parametrize("fields", [{}, {"cfg_scale": 3.0, "negative_prompt": "mountains, " * 20}], ids=["", "guided"])
@pytest.mark.by_default("guided")
def test_each_alone_and_none_equal_plain_diffusers(generator, plain, request_of, fields):
    size = {"width": 64, "height": 64, "num_inference_steps": 2}
    right = generated_by(plain, request_of(**size, **fields))
    for changed in ({}, *ONE_ON):
        request = request_of(changed={**ALL_OFF, **changed}, **size, **fields)
        for _ in range(2 if "performance.cache_text" in changed else 1):
            assert same(generator.generate(request).images[0].image, right), changed


@pytest.mark.option("performance.cache_text")
def test_a_prompt_is_read_once(generator, request_of, counted):
    size = {"width": 64, "height": 64, "num_inference_steps": 1}
    calls = counted(generator.loaded.pipeline.text_encoder)
    for _ in range(3):
        generator.generate(request_of(**size))
    assert len(calls) == 1
    generator.generate(request_of("another", **size))
    generator.generate(request_of(changed={"transformer.max_sequence_length": 64}, **size))
    assert len(calls) == 3
    for _ in range(2):
        generator.generate(request_of(changed={"performance.cache_text": False}, **size))
    assert len(calls) == 5
    measured("performance.cache_text", "three images of a prompt: the encoder ran once; off, once for each")


def test_the_cache_forgets_what_was_not_asked_for_the_longest():
    cache = text_encoding.TextCache()
    for k in range(text_encoding.CACHED_TEXTS):
        cache.put((str(k), 512, True), torch.zeros(1))
    assert cache.get(("0", 512, True)) is not None
    cache.put(("new", 512, True), torch.zeros(1))
    assert cache.get(("1", 512, True)) is None
    assert cache.get(("0", 512, True)) is not None


@pytest.mark.option("performance.trim_text")
def test_padding_is_not_read(generator, request_of, counted):
    size = {"width": 64, "height": 64, "num_inference_steps": 1}
    calls = counted(generator.loaded.pipeline.text_encoder)
    image = generator.generate(request_of(**size)).images[0]
    assert calls[-1].shape == (1, 64)
    assert image.effective["performance.trim_text"] == "always"
    assert any(c.option == "performance.trim_text" and c.requested == "auto" for c in image.decisions)
    generator.generate(request_of(changed={"performance.trim_text": "never"}, **size))
    assert calls[-1].shape == (1, 512)
    measured(
        "performance.trim_text", "a short prompt: 64 tokens encoded, 512 with never; the embeddings are the same bits"
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@torch.inference_mode()
def test_trimmed_embeddings_are_the_same_bits(plain, dtype):
    """Lengths around the multiples, up to what is cut off."""
    encoder = copy.deepcopy(plain.text_encoder).to(dtype)  # a copy: what bfloat16 rounds away does not come back
    pipeline = ZImagePipeline(**{**plain.components, "text_encoder": encoder})
    for words in (0, 20, 45, 60, 120, 600):
        prompt = "red " * words
        assert torch.equal(
            text_encoding.encode(pipeline, prompt, 512, True), text_encoding.encode(pipeline, prompt, 512, False)
        ), words


@pytest.mark.option("performance.refine_once")
def test_the_text_is_refined_once_a_image(generator, request_of, counted):
    size = {"width": 64, "height": 64, "num_inference_steps": 4}
    refiner = generator.loaded.pipeline.transformer.context_refiner
    runs = []
    hook = refiner[0].register_forward_hook(lambda *_: runs.append(1))
    try:
        generator.generate(request_of(**size))
        assert len(runs) == 1
        generator.generate(request_of(changed={"performance.refine_once": False}, **size))
        assert len(runs) == 1 + 4
        measured("performance.refine_once", "four steps: the refiner ran once, four times when off; the same pixels")
        generator.generate(request_of(changed={"transformer.attention_dropout": 0.1}, **size))
        assert len(runs) == 1 + 4 + 4, "with dropout no two steps are alike"
    finally:
        hook.remove()
    assert generator.loaded.pipeline.transformer.context_refiner is refiner


def test_another_input_is_refined_again():
    layer = torch.nn.Identity()
    layer.forward = lambda features, mask, positions: features * 2
    once = text_encoding.RefinedOnce(torch.nn.ModuleList([layer]))
    features, positions, mask = torch.ones(1, 2, 3), torch.ones(1, 2, 1), torch.ones(1, 2, dtype=torch.bool)
    for given in ((features, None, positions), (features.clone(), None, positions.clone())):
        assert torch.equal(once(*given), features * 2)
    assert once.runs == 1
    changes = [(features + 1, None, positions), (features + 1, mask, positions), (features + 1, mask, positions * 2)]
    for runs, given in enumerate(changes, start=2):
        assert torch.equal(once(*given), (features + 1) * 2)
        assert once.runs == runs


@pytest.mark.option("performance.real_rope")
def test_real_rope_is_for_compiled_blocks(generator, request_of):
    assert text_encoding.real_rope("auto", compiled=True)[0] and not text_encoding.real_rope("auto", compiled=False)[0]
    image = generator.generate(request_of(width=64, height=64, num_inference_steps=1)).images[0]
    assert image.effective["performance.real_rope"] == "never"
    always = request_of(changed={"performance.real_rope": "always"}, width=64, height=64, num_inference_steps=1)
    assert generator.generate(always).images[0].effective["performance.real_rope"] == "always"
    assert generator.loaded.plan.real_rope
    measured("performance.real_rope", "always: real arithmetic at work, and the same pixels as plain diffusers")
    assert np.isfinite(np.asarray(image.image)).all()
