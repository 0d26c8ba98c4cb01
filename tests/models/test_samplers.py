"""Every sampler and schedule is the class of diffusers that it names, bit for bit."""

from __future__ import annotations

import diffusers
import numpy as np
import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, StableDiffusionPipeline

from core.config import samplers
from core.config.loader import PROJECT_ROOT
from core.config.samplers import SAMPLERS, SCHEDULES, usable
from core.errors import OptionError, UnavailableError
from core.inference.generator import build_generator
from core.inference.schedulers import build, predicted, resolved, tapped
from core.types import Phase, ResumeState
from tests.models import tiny_models
from tests.models.family_contract import pixels, scene
from tests.options import measured

FLOW = [(sampler, schedule) for sampler in usable("flow") for schedule in SCHEDULES]
DIFFUSION = [  # each sampler once, and each schedule once for each way that a class reads it
    *((sampler, schedules[-1] if schedules else "auto") for sampler, schedules in usable("diffusion").items()),
    *(("euler", schedule) for schedule in ("auto", "normal", "sgm_uniform", "karras", "exponential")),
    *(("dpmpp_2m", schedule) for schedule in ("sgm_uniform", "karras")),
]
FLAGS = {"karras": "use_karras_sigmas", "exponential": "use_exponential_sigmas", "beta": "use_beta_sigmas"}
STEPS = 5


def model(sample: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
    """A velocity that bends with sample and time."""
    return torch.sin(3 * sample) * 0.3 + sample * 0.2 - float(timestep) / 2000


def sigmas_of(own, schedule):
    """What FlowMatchEulerDiscreteScheduler makes of a schedule, by its own flags and by sigmas."""
    base = FlowMatchEulerDiscreteScheduler.from_config(
        own.config, **({FLAGS[schedule]: True} if schedule in FLAGS else {})
    )
    given = {
        "normal": np.linspace(1, 1 / 1000, STEPS, dtype=np.float32),
        "sgm_uniform": np.linspace(1, 1 / 1000, STEPS + 1, dtype=np.float32)[:-1],
    }.get(schedule, torch.linspace(1.0, 1 / STEPS, STEPS).numpy())
    base.set_timesteps(sigmas=given.tolist())
    return base.sigmas, base.timesteps


def plain_flow(own, sampler, schedule):
    """The class as it comes, with its sigmas set by hand."""
    solver = SAMPLERS[sampler].flow
    plain = getattr(diffusers, solver.cls).from_config(own.config, **solver.arguments)
    sigmas, times = sigmas_of(own, schedule)
    if sampler == "euler_ancestral":
        plain.set_timesteps(sigmas=sigmas.tolist())
    else:
        plain.set_timesteps(STEPS)
    if sampler == "heun":
        sigmas = torch.cat([sigmas[:1], sigmas[1:-1].repeat_interleave(2), sigmas[-1:]])
        times = torch.cat([times[:1], times[1:].repeat_interleave(2)])
    if sampler == "unipc":
        sigmas = sigmas.clamp(max=1 - 1e-6)
        times = sigmas[:-1] * 1000
    plain.sigmas, plain.timesteps = sigmas, times
    return plain


def solved(scheduler, generator):
    sample = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(3))
    scheduler.set_begin_index(0)
    for time in scheduler.timesteps:
        named = {"generator": generator} if "generator" in scheduler.step.__code__.co_varnames else {}
        sample = scheduler.step(model(sample, time), time, sample, return_dict=False, **named)[0]
    return sample


@pytest.mark.parametrize(("sampler", "schedule"), FLOW)
def test_flow_solver_is_diffusers_own(sampler, schedule):
    own = FlowMatchEulerDiscreteScheduler(shift=3.0)
    ours = build(own, {"generation.sampler": sampler, "generation.schedule": schedule}, "flow")
    ours.set_timesteps(sigmas=torch.linspace(1.0, 1 / STEPS, STEPS).tolist(), device="cpu")
    assert len(ours.timesteps) == (2 * STEPS - 1 if sampler == "heun" else STEPS)
    theirs = plain_flow(own, sampler, schedule)
    assert torch.equal(ours.timesteps, theirs.timesteps)
    made = [solved(one, torch.Generator().manual_seed(1)) for one in (ours, theirs)]
    assert torch.equal(*made) and bool(torch.isfinite(made[0]).all())


def test_auto_is_the_models_own_scheduler():
    own = FlowMatchEulerDiscreteScheduler(shift=3.0)
    assert build(own, {}, "flow") is own
    assert resolved(own, {}, "flow") == {"generation.sampler": "euler", "generation.schedule": "simple"}


def test_shift_acts_on_every_solver():
    own = FlowMatchEulerDiscreteScheduler(shift=3.0)
    for sampler in usable("flow"):
        made = build(own, {"generation.sampler": sampler}, "flow", shift=6.0)
        made.set_timesteps(sigmas=[1.0, 0.5], device="cpu")
        assert float(made.sigmas[-2]) == pytest.approx(6 * 0.5 / 3.5)
    own.set_shift(3.0)


@pytest.mark.parametrize("sampler", ["euler", "heun", "dpmpp_2m", "unipc", "lcm", "euler_ancestral"])
def test_predicted_image_is_read_from_a_step(sampler):
    """Of a model that knows the clean image, each step points at exactly that."""
    clean = torch.linspace(-1, 1, 16).reshape(1, 1, 4, 4)
    own = FlowMatchEulerDiscreteScheduler(shift=3.0)
    scheduler = build(own, {"generation.sampler": sampler}, "flow")
    scheduler.set_timesteps(sigmas=torch.linspace(1.0, 1 / STEPS, STEPS).tolist(), device="cpu")
    scheduler.set_begin_index(0)
    sample = torch.randn(1, 1, 4, 4, generator=torch.Generator().manual_seed(3))
    with tapped(scheduler, torch.Generator().manual_seed(0)) as tap:
        for time in scheduler.timesteps:
            sigma = float(time) / 1000
            sample = scheduler.step((sample - clean) / sigma, time, sample, return_dict=False)[0]
            assert torch.allclose(predicted(tap, "flow"), clean, atol=1e-4)


@pytest.mark.parametrize("sampler", usable("diffusion"))
@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
def test_predicted_image_of_a_diffusion_step(sampler, kind):
    clean = torch.linspace(-1, 1, 16).reshape(1, 1, 4, 4)
    own = diffusers.DDIMScheduler(
        prediction_type=kind, beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012
    )
    scheduler = build(own, {"generation.sampler": sampler}, "diffusion")
    scheduler.set_timesteps(STEPS)
    noise = torch.randn(1, 1, 4, 4, generator=torch.Generator().manual_seed(3))
    time = scheduler.timesteps[0]
    sample = scheduler.add_noise(clean, noise, time.reshape(1))
    alpha = float(scheduler.alphas_cumprod[int(time)]) ** 0.5
    if hasattr(scheduler, "sigmas"):
        alpha = float(1 / (1 + scheduler.sigmas[0] ** 2) ** 0.5)
    output = noise if kind == "epsilon" else alpha * noise - (1 - alpha**2) ** 0.5 * clean
    with tapped(scheduler, torch.Generator().manual_seed(0)) as tap:
        scheduler.step(output, time, sample)
        assert torch.allclose(predicted(tap, SAMPLERS[sampler].diffusion.preview), clean, atol=2e-3)


def test_zero_snr_is_refused_where_the_class_has_none():
    own = diffusers.EulerDiscreteScheduler(rescale_betas_zero_snr=True, prediction_type="v_prediction")
    kept = build(own, {"generation.sampler": "dpmpp_2m"}, "diffusion")
    assert kept.config.rescale_betas_zero_snr and kept.config.prediction_type == "v_prediction"
    with pytest.raises(UnavailableError, match="zero terminal SNR"):
        build(own, {"generation.sampler": "heun"}, "diffusion")


# -- through the generator ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def own():
    return build_generator(PROJECT_ROOT / "configs")


def asked(sampler, schedule="auto"):
    return {"generation.sampler": sampler, "generation.schedule": schedule}


@pytest.mark.option("generation.sampler", "generation.schedule")
def test_image_of_a_flow_schedule_is_plain_diffusers(own, plain, request_of):
    before = plain.scheduler
    whole = pixels(own.generate(request_of(width=64, height=64)).images[0].image)
    try:
        for schedule, flag in FLAGS.items():
            plain.scheduler = FlowMatchEulerDiscreteScheduler.from_config(before.config, **{flag: True})
            image = own.generate(request_of(width=64, height=64, changed=asked("auto", schedule))).images[0]
            theirs = plain(
                "a red house, day", width=64, height=64, num_inference_steps=4, guidance_scale=0.0,
                generator=torch.Generator().manual_seed(7),
            ).images[0]  # fmt: skip
            assert np.array_equal(pixels(image.image), pixels(theirs))
            assert image.effective["generation.schedule"] == schedule
            gap = np.abs(pixels(image.image) - whole).mean()
            assert gap > 0
            measured(
                "generation.schedule", f"{schedule}: pixels {gap:.1f}/255 from simple, as plain diffusers generates it"
            )
    finally:
        plain.scheduler = before


@pytest.mark.option("generation.sampler")
def test_samplers_generate_and_batches_agree(own, request_of):
    whole = pixels(own.generate(request_of(width=64, height=64)).images[0].image)
    for sampler in usable("flow"):
        seen = []
        batch = own.generate(request_of(width=64, height=64, num_images=2, changed=asked(sampler)), seen.append).images
        alone = own.generate(request_of(width=64, height=64, seed=8, changed=asked(sampler))).images[0]
        assert np.array_equal(pixels(batch[1].image), pixels(alone.image)), sampler
        assert batch[0].effective["generation.sampler"] == sampler
        assert {one.step for one in seen if one.phase is Phase.STEPS} == {1, 2, 3, 4}, (
            "Heun's two evaluations are one step"
        )
        gap = np.abs(pixels(batch[0].image) - whole).mean()
        assert (gap == 0) == (sampler == "euler"), sampler
        measured("generation.sampler", f"{sampler}: pixels {gap:.1f}/255 from the model's own at 4 steps")
    assert np.array_equal(pixels(own.generate(request_of(width=64, height=64)).images[0].image), whole)


@pytest.mark.by_default("euler", "heun", "dpmpp_2m", "lcm")
@pytest.mark.parametrize("sampler", usable("flow"))
def test_img2img_with_every_sampler(own, request_of, sampler):
    """A weak strength stays near the image: the solver begins in the middle of its sigmas."""
    request = request_of(
        width=64, height=80, num_inference_steps=6, changed={**asked(sampler), "img2img.denoising_strength": 0.2}
    )
    near = own.generate(request, attempt=ResumeState(inputs={"image": scene()})).images[0]
    assert np.abs(pixels(near.image) - pixels(scene())).mean() < 40
    assert near.effective["img2img.steps"] == 2


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    return tiny_models.stable_diffusion(tmp_path_factory.mktemp("samplers") / "toy")


@pytest.fixture(scope="module")
def plain_toy(toy):
    pipeline = StableDiffusionPipeline.from_pretrained(toy, dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline, pipeline.scheduler


SPACINGS = {"normal": {"timestep_spacing": "linspace"}, "sgm_uniform": {"timestep_spacing": "trailing"}}


@pytest.mark.parametrize(("sampler", "schedule"), DIFFUSION)
@pytest.mark.by_default("euler-karras", "dpmpp_2m_sde-beta", "pndm-sgm_uniform", "lcm-auto", "dpm_2_ancestral-beta")
def test_image_of_a_diffusion_sampler_is_plain_diffusers(own, toy, plain_toy, request_of, sampler, schedule):
    pipeline, scheduler = plain_toy
    changes = {FLAGS[schedule]: True} if schedule in FLAGS else SPACINGS.get(schedule, {})
    solver = SAMPLERS[sampler].diffusion
    pipeline.scheduler = getattr(diffusers, solver.cls).from_config(scheduler.config, **solver.arguments, **changes)
    image = own.generate(
        request_of(model=str(toy), width=64, height=64, cfg_scale=3.0, changed=asked(sampler, schedule))
    )
    theirs = pipeline(
        "a red house, day", width=64, height=64, num_inference_steps=4, guidance_scale=3.0,
        generator=torch.Generator().manual_seed(7),
    ).images[0]  # fmt: skip
    assert np.array_equal(pixels(image.images[0].image), pixels(theirs))
    assert image.images[0].effective["scheduler"] == solver.cls


def test_unknown_for_the_model_is_an_error(own, toy, request_of):
    with pytest.raises(OptionError, match="allowed: auto, euler, euler_ancestral"):
        own.generate(request_of(changed=asked("dpmpp_sde")))
    with pytest.raises(OptionError, match=r"generation\.schedule = simple"):
        own.generate(request_of(model=str(toy), width=64, height=64, changed=asked("euler", "simple")))


def test_the_line_of_contributing_makes_a_sampler():
    """What CONTRIBUTING tells to add can be added: the line is read, built and stepped."""
    text = (PROJECT_ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    line = next(line for line in text.split("\n") if line.startswith('Sampler("'))
    added = eval(line.rstrip(","), dict(vars(samplers)))
    assert added.id not in samplers.SAMPLERS
    assert added.diffusion.schedules == ("normal", "sgm_uniform", "karras", "exponential", "beta")
    made = getattr(diffusers, added.diffusion.cls)(**added.diffusion.arguments)
    made.set_timesteps(5)
    sample = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    for time in made.timesteps:
        sample = made.step(sample * 0.1, time, sample, generator=torch.Generator().manual_seed(2)).prev_sample
    assert torch.isfinite(sample).all()
