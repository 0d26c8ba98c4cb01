"""Compiled blocks: once for all sizes and prompts, undone without loss, and plain ones where nothing can be compiled."""

import numpy as np
import pytest
import torch._inductor.config as inductor

from core.inference import torch_compile
from core.types import Phase
from tests.options import measured

SIZE = {"width": 64, "height": 64, "num_inference_steps": 1}
ON = {"compile.enabled": True}


def pixels(generator, request):
    return np.asarray(generator.generate(request).images[0].image).astype(int)


def choice_of(image):
    return next(c for c in image.decisions if c.option == "compile.enabled")


@pytest.fixture
def unloaded(generator):
    """What a planted compiler made must not serve the next test."""
    generator.unload()
    yield
    generator.unload()


@pytest.fixture
def tracing_only(monkeypatch, unloaded):
    """Graphs are made and counted as ever, but run as they are: the C++ compiler takes a minute."""
    monkeypatch.setitem(torch_compile.MODES, "default", {"backend": "eager"})


@pytest.mark.option("compile.enabled")
@pytest.mark.slow
def test_no_size_and_no_prompt_compiles_again(generator, request_of, tracing_only):
    plain = [pixels(generator, request_of(**{**SIZE, **fields})) for fields in UNLIKE]
    seen = []
    generator.generate(request_of(changed=ON, **SIZE), on_progress=seen.append)
    steps = [p.detail for p in seen if p.phase is Phase.LOADING and "torch.compile" in p.detail]
    assert steps == ["torch.compile 1 / 1"], "with guidance there are three, see below"
    graphs = torch_compile.graphs()
    for fields, right in zip(UNLIKE, plain, strict=True):
        image = generator.generate(request_of(changed=ON, **{**SIZE, **fields})).images[0]
        assert image.effective["compile.enabled"] is True and "compiled in" in choice_of(image).reason["en"]
        assert np.array_equal(np.asarray(image.image).astype(int), right)
        assert torch_compile.graphs() == graphs, fields
    block = generator.loaded.pipeline.transformer.layers[0]
    assert np.array_equal(pixels(generator, request_of(**{**SIZE, **UNLIKE[0]})), plain[0])
    assert block._compiled_call_impl is None, "off again"
    generator.generate(request_of(changed=ON, **SIZE))
    assert block._compiled_call_impl is not None and torch_compile.graphs() == graphs, "and on again at once"
    measured(
        "compile.enabled", "one warm-up, then other sizes and prompts: no graph was made again; off and on at once"
    )


UNLIKE = [
    {"width": 96, "height": 176},
    {"prompt": "a blue car, night, " * 12, "width": 128},
]
GUIDED = [
    {"cfg_scale": 3.0},
    {"cfg_scale": 2.0, "negative_prompt": "red, " * 30, "height": 160},
    {"cfg_scale": 4.0, "prompt": "a blue car, night, " * 12, "width": 96},
]


def test_without_a_compiler_images_are_made_all_the_same(generator, request_of, monkeypatch, unloaded):
    plain = pixels(generator, request_of(**SIZE))
    monkeypatch.setattr(torch_compile, "has_triton", lambda: False)
    with inductor.patch({"cpp.cxx": ("no-such-compiler",)}):
        image = generator.generate(request_of(changed=ON, **SIZE)).images[0]
    assert choice_of(image).effective is False and image.effective["compile.enabled"] is False
    assert "no C++ compiler" in choice_of(image).reason["en"] or "Triton" in choice_of(image).reason["en"]
    assert np.array_equal(np.asarray(image.image).astype(int), plain)


def test_a_compiler_that_fails_is_not_asked_twice(generator, request_of, monkeypatch, unloaded):
    asked = []

    def broken(graph, inputs):
        asked.append(1)
        raise RuntimeError("planted")

    monkeypatch.setitem(torch_compile.MODES, "default", {"backend": broken})
    plain = pixels(generator, request_of(**SIZE))
    for _ in range(2):
        image = generator.generate(request_of(changed=ON, **SIZE)).images[0]
        assert choice_of(image).effective is False and "planted" in choice_of(image).reason["en"]
        assert image.effective["performance.real_rope"] == "never"
        assert np.array_equal(np.asarray(image.image).astype(int), plain)
    assert len(asked) == 1


@pytest.mark.option("compile.mode", "compile.fullgraph")
def test_mode_and_full_graph_are_handed_on(generator, request_of, monkeypatch, unloaded):
    generator.generate(request_of(**SIZE))
    transformer = generator.loaded.pipeline.transformer
    handed = []
    monkeypatch.setattr(type(transformer), "compile_repeated_blocks", lambda self, **given: handed.append(given))
    generator.generate(request_of(changed={**ON, "compile.mode": "max-autotune", "compile.fullgraph": True}, **SIZE))
    generator.generate(request_of(changed=ON, **SIZE))
    assert handed == [
        {"mode": "max-autotune-no-cudagraphs", "fullgraph": True, "dynamic": True},
        {"mode": "default", "fullgraph": False, "dynamic": True},
    ]
    measured("compile.mode", "max-autotune: handed to the compiler as max-autotune-no-cudagraphs")
    measured("compile.fullgraph", "true: handed to the compiler; each block of the transformer is one graph")


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_compiled_for_real(generator, request_of, unloaded):
    """With the C++ compiler (or Triton): to 2 of 255, and again without a second compilation."""
    missing = torch_compile.problem("cpu")
    if missing:
        pytest.skip(missing["en"])
    seen = []
    for cases in (UNLIKE, GUIDED):
        generator.generate(request_of(changed=ON, **SIZE, **GUIDED[0] if cases is GUIDED else {}), seen.append)
        graphs = torch_compile.graphs()
        for fields in cases:
            plain = pixels(generator, request_of(**{**SIZE, **fields}))
            assert np.abs(pixels(generator, request_of(changed=ON, **{**SIZE, **fields})) - plain).max() <= 2
        assert torch_compile.graphs() == graphs
    steps = [p.detail.split()[-3] for p in seen if "torch.compile" in p.detail]
    assert steps == ["1", "1", "2", "3"]
