"""Names of samplers and schedules, and which models take which."""

from __future__ import annotations

import pytest

from core.config import samplers
from core.config.options import SCHEMA
from core.config.samplers import SAMPLERS, SCHEDULES, check, parse_sampler, parse_schedule, usable
from core.errors import OptionError


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("Euler a", ("euler_ancestral", "auto")),
        ("euler_ancestral", ("euler_ancestral", "auto")),
        ("k_euler_a", ("euler_ancestral", "auto")),
        ("DPM++ 2M Karras", ("dpmpp_2m", "karras")),
        ("DPM++ 2M SDE Exponential", ("dpmpp_2m_sde", "exponential")),
        ("dpmpp_2m_sde_gpu", ("dpmpp_2m_sde", "auto")),
        ("DPM2 a Karras", ("dpm_2_ancestral", "karras")),
        ("dpm_2_a", ("dpm_2_ancestral", "auto")),
        ("PLMS", ("pndm", "auto")),
        ("uni_pc", ("unipc", "auto")),
        ("Automatic", ("auto", "auto")),
        ("Restart", None),
        ("", None),
    ],
)
def test_parse_sampler(name, found):
    assert parse_sampler(name) == found


def test_every_name_leads_to_its_sampler():
    for one in SAMPLERS.values():
        for name in (one.id, one.name, one.name.upper(), *one.aliases.split()):
            assert parse_sampler(name) == (one.id, "auto")
        for schedule in SCHEDULES.values():
            assert parse_sampler(f"{one.name} {schedule.name}") == (one.id, schedule.id)


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("SGM Uniform", "sgm_uniform"),
        ("Karras", "karras"),
        ("automatic", "auto"),
        ("uniform", "normal"),
        ("Turbo", None),
    ],
)
def test_parse_schedule(name, found):
    assert parse_schedule(name) == found


def test_options_read_other_programs_names():
    option = SCHEMA.options["generation.sampler"]
    assert option.check("Euler a", "test") == "euler_ancestral"
    with pytest.raises(OptionError, match="euler_ancestral"):
        option.check("Restart", "test")
    with pytest.raises(OptionError):
        option.check("DPM++ 2M Karras", "test")  # says a schedule, too, which one option can't hold


def test_flow_models_take_the_six_with_all_schedules():
    found = usable("flow")
    assert set(found) == {"euler", "euler_ancestral", "heun", "dpmpp_2m", "unipc", "lcm"}
    assert all(schedules == tuple(SCHEDULES) for schedules in found.values())


@pytest.mark.parametrize(
    ("options", "prediction", "words"),
    [
        ({samplers.SAMPLER: "dpmpp_sde"}, "flow", "allowed: auto, euler, euler_ancestral"),
        ({samplers.SCHEDULE: "simple"}, "diffusion", "allowed: auto, normal, sgm_uniform"),
        ({samplers.SAMPLER: "lcm", samplers.SCHEDULE: "karras"}, "diffusion", "allowed: auto"),
        (
            {samplers.SAMPLER: "euler_ancestral", samplers.SCHEDULE: "beta"},
            "diffusion",
            "allowed: auto, normal, sgm_uniform",
        ),
    ],
)
def test_check_names_what_is_allowed(options, prediction, words):
    with pytest.raises(OptionError, match=words):
        check(options, prediction, "request")


@pytest.mark.parametrize("prediction", ["flow", "diffusion"])
def test_check_accepts_what_is_listed(prediction):
    listed = [(sampler, one) for sampler, schedules in usable(prediction).items() for one in ("auto", *schedules)]
    assert ("euler", "auto") in listed and len(listed) == len(set(listed))
    for sampler, schedule in listed:
        check({samplers.SAMPLER: sampler, samplers.SCHEDULE: schedule}, prediction, "request")
