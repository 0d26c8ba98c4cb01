"""Number formats of each part, float16 without overflow, and the ladder that repairs a broken image."""

import numpy as np
import pytest
import torch
from diffusers import ZImagePipeline

from core.errors import CorruptImageError
from core.inference import load_choices, precision
from core.models.families.z_image import backend
from tests.models.conftest import WEIGHTS
from tests.options import measured

STEPS = 3


def pixels(image):
    return np.asarray(image.image).astype(int)


@pytest.fixture
def poison(generator, monkeypatch):
    """Break what a component of the loaded model gives, as long as it computes in one of `dtypes`."""

    def plant(request, component, dtypes, value=float("nan"), call=None):
        generator.generate(request)  # so that it is loaded as the request wants it
        made = {"transformer": "ZImageTransformer2DModel", "vae": "Decoder", "text_encoder": "Qwen3Model"}[component]
        module = generator.loaded.pipeline.components[component]
        module = module.decoder if component == "vae" else module
        kind, calls = type(module), []
        assert kind.__name__ == made
        true_forward = kind.forward

        def forward(self, *args, **kwargs):
            result = true_forward(self, *args, **kwargs)
            calls.append(1)
            if next(self.parameters()).dtype not in dtypes or call not in (None, len(calls)):
                return result
            if component == "transformer":
                return ([image * value for image in result[0]],)
            if component == "vae":
                return torch.full_like(result, value)
            result.hidden_states = tuple(state * value for state in result.hidden_states)
            return result

        monkeypatch.setattr(kind, "forward", forward)
        generator.loaded.texts.clear()

    yield plant
    monkeypatch.undo()
    generator.unload()  # a poisoned model must not serve the next test


def small(request_of, **changed):
    return request_of(changed=changed, width=64, height=64, num_inference_steps=STEPS)


@pytest.mark.by_default("transformer")
@pytest.mark.option("text_encoder.dtype", "transformer.dtype", "vae.dtype")
@pytest.mark.parametrize("part", ["text_encoder", "transformer", "vae"])
def test_each_part_has_its_own_precision(generator, request_of, part):
    image = generator.generate(small(request_of, **{"model.dtype": "float32", f"{part}.dtype": "bfloat16"})).images[0]
    for component in load_choices.COMPONENTS:
        wanted = "bfloat16" if component == part else "float32"
        assert generator.loaded.pipeline.components[component].dtype is precision.DTYPES[wanted]
        assert image.effective[f"{component}.dtype"] == wanted
    plain = generator.generate(small(request_of, **{"model.dtype": "float32"})).images[0]
    gap = np.abs(pixels(image) - pixels(plain))
    assert gap.max() > 0
    measured(f"{part}.dtype", f"bfloat16 in this part alone moves pixels by {gap.mean():.2f}/255, {gap.max()} at most")


@pytest.mark.by_default("2")
@pytest.mark.parametrize("step", range(1, STEPS + 1))
def test_nan_of_a_step_is_repaired_by_the_whole_job_in_float32(generator, request_of, poison, step):
    request = small(request_of, **{"model.dtype": "bfloat16"})
    poison(request, "transformer", [torch.bfloat16], call=step)
    image = generator.generate(request).images[0]
    assert image.effective["model.dtype"] == "float32"
    choice = next(c for c in image.decisions if c.option == "model.dtype")
    assert f"transformer gave NaN or Inf at step {step}" in choice.reason["en"]
    right = generator.generate(small(request_of, **{"model.dtype": "float32"})).images[0]
    assert np.array_equal(pixels(image), pixels(right))


@pytest.mark.slow
def test_nan_of_the_text_encoder_is_repaired_too(generator, request_of, poison):
    request = small(request_of, **{"model.dtype": "bfloat16"})
    poison(request, "text_encoder", [torch.bfloat16])
    image = generator.generate(request).images[0]
    assert "text_encoder gave NaN or Inf at step 0" in str([c.reason["en"] for c in image.decisions])


@pytest.mark.by_default("black")
@pytest.mark.parametrize("value", [float("nan"), -1.0], ids=["nan", "black"])
def test_a_broken_decoding_is_done_again_in_float32(generator, request_of, poison, value):
    request = small(request_of, **{"model.dtype": "bfloat16"})
    poison(request, "vae", [torch.bfloat16], value)
    image = generator.generate(request).images[0]
    assert image.effective["vae.dtype"] == "float32"
    assert image.effective["transformer.dtype"] == "bfloat16", "the steps are not done again"
    assert any("decoded again" in c.reason["en"] for c in image.decisions)
    assert generator.loaded.pipeline.vae.dtype is torch.bfloat16, "and it is as it was"


def test_only_what_is_missing_is_made_again(generator, request_of, poison):
    request = request_of(
        changed={"model.dtype": "bfloat16"}, width=64, height=64, num_inference_steps=STEPS, num_images=2
    )
    single = small(request_of, **{"model.dtype": "bfloat16"})
    poison(single, "transformer", [torch.bfloat16], call=STEPS + 1)  # the first step of the second image
    kept = []
    generator.generate(request, on_image=kept.append)
    assert [image.request.seed for image in kept] == [7, 8]
    assert [image.effective["model.dtype"] for image in kept] == ["bfloat16", "float32"]


@pytest.mark.parametrize(
    ("part", "value", "step", "cure"),
    [
        pytest.param("text_encoder", float("nan"), 0, "get this component's weights again", marks=pytest.mark.slow),
        ("transformer", float("inf"), 1, "get this component's weights again"),
        pytest.param("vae", float("nan"), STEPS, "get this component's weights again", marks=pytest.mark.slow),
        ("vae", -1.0, STEPS, "change the prompt"),
    ],
)
@pytest.mark.by_default("transformer-inf-1-get this component's weights again")
def test_what_no_precision_repairs_fails_with_step_component_and_cure(
    generator, request_of, poison, part, value, step, cure
):
    poison(small(request_of), part, list(precision.DTYPES.values()), value)
    with pytest.raises(CorruptImageError, match=f"The {part} gave .* at step {step};.*{cure}") as failed:
        generator.generate(small(request_of, **{"model.dtype": "bfloat16"}))
    assert "float32 下也是如此" in failed.value.message("zh")


@pytest.mark.option("precision.auto_retry")
def test_without_retry_and_without_memory_it_fails_at_once(generator, request_of, poison, monkeypatch):
    request = small(request_of, **{"model.dtype": "bfloat16"})
    poison(request, "transformer", [torch.bfloat16])
    with pytest.raises(CorruptImageError, match=r"Enable precision\.auto_retry, or"):
        generator.generate(small(request_of, **{"model.dtype": "bfloat16", "precision.auto_retry": False}))
    monkeypatch.setattr("core.inference.precision_fallback.fits", lambda *_: False)
    with pytest.raises(CorruptImageError, match="does not fit the free memory"):
        generator.generate(request)
    measured(
        "precision.auto_retry",
        f"NaN planted at each of {STEPS} steps: true draws the float32 image, false fails naming the step",
    )


def test_the_ladder_goes_up_only():
    half = dict.fromkeys(load_choices.COMPONENTS, "float16") | {"vae": "float32"}
    brain = precision.next_dtypes(half, has_bfloat16=True)
    assert brain == {"text_encoder": "bfloat16", "transformer": "bfloat16", "vae": "float32"}
    full = dict.fromkeys(load_choices.COMPONENTS, "float32")
    assert precision.next_dtypes(half, has_bfloat16=False) == precision.next_dtypes(brain, True) == full
    assert precision.next_dtypes(full, True) is None


# -- float16 -------------------------------------------------------------------------------------------------------


def loud(pipeline, factor):
    """The same model with feed-forwards that are `factor` times as large: the RMS norm behind each takes it out again."""
    for block in pipeline.transformer.modules():
        if type(block).__name__ == "ZImageTransformerBlock":
            block.feed_forward.w2.weight.data *= factor


def generate(pipeline):
    pipeline.set_progress_bar_config(disable=True)
    return np.asarray(
        pipeline(
            "a red house, day", width=128, height=128, num_inference_steps=4, guidance_scale=0.0,
            generator=torch.Generator().manual_seed(7), output_type="np",
        ).images[0]
    )  # fmt: skip


def load(dtype):
    return ZImagePipeline.from_pretrained(WEIGHTS, dtype={"transformer": dtype, "default": torch.float32})


def test_float16_keeps_the_image_where_plain_float16_loses_it():
    """Against bfloat16, with activations of 1e6 (the real model is said to reach 9e5): 2 of 255 in the mean over all pixels."""
    brain, half = load(torch.bfloat16), load(torch.float16)
    largest = []
    for block in brain.transformer.layers:
        block.feed_forward.register_forward_hook(lambda module, given, out: largest.append(out.abs().max().item()))
    generate(brain)
    factor = 1e6 / max(largest)
    for pipeline in (brain, half):
        loud(pipeline, factor)
    right = generate(brain)
    assert max(largest) > 9e5
    plain = generate(half)
    assert not np.isfinite(plain).all() or np.ptp(plain) < 0.01, "else this test proves nothing"
    backend.fit(half.transformer)
    assert np.abs(generate(half) - right).mean() * 255 < 2


@pytest.mark.slow
def test_float16_of_values_that_do_not_overflow_stays_close():
    """Against float32: 0.2 of 255 in the mean (bfloat16: 0.45)."""
    half = load(torch.float16)
    backend.fit(half.transformer)
    assert np.abs(generate(half) - generate(load(torch.float32))).mean() * 255 < 0.2


def test_float16_is_fitted_and_leaves_the_vae_in_float32(generator, request_of):
    image = generator.generate(small(request_of, **{"model.dtype": "float16"})).images[0]
    assert image.effective["transformer.dtype"] == "float16"
    assert image.effective["vae.dtype"] == "float32"
    block = generator.loaded.pipeline.transformer.layers[0]
    assert block.feed_forward._forward_silu_gating is backend._shrunken_gate
