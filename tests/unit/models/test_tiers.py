"""The tier that a model gets, against the true sizes of Z-Image's components."""

import pytest

from core.config.options import SCHEMA
from core.errors import UnavailableError
from core.inference import memory_tiers

Z_IMAGE = {
    "text_encoder": 4_020_000_000,
    "transformer": 6_154_908_736,
    "vae": 83_819_683,
}  # 8.04, 12.31, 0.17 GB in bf16
PIXELS = 1024 * 1024
GIB = 2**30
LACKING = {"en": "a package is missing", "zh": "缺少软件包"}


def options(**changed):
    return {**SCHEMA.defaults(), **changed}


def machine(free, device="cuda", host=64 * GIB, lacks=()):
    return memory_tiers.DeviceMemory(device, free, host, lambda kind: LACKING if kind in lacks else None)


def selected(free, *, lacks=(), host=64 * GIB, device="cuda", failed=None, **changed):
    return memory_tiers.choose(options(**changed), machine(free, device, host, lacks), Z_IMAGE, PIXELS, failed)


@pytest.mark.option("memory.tier")
@pytest.mark.parametrize(
    ("card", "held"),
    [
        (24, ("24gb", "none", "none", False)),
        (16, ("16gb", "none", "model", False)),
        (12, ("12gb", "int8", "none", True)),
        (8, ("8gb", "int8", "model", True)),
        (6, ("6gb", "nf4", "model", True)),
        (4, ("4gb", "none", "group", True)),
    ],
)
def test_each_card_gets_the_tier_of_its_name(card, held):
    plan = selected(int(card * GIB * 0.93))  # a desktop and the driver take their share
    tier = plan.tier
    assert (tier.name, tier.quantization, tier.offload, tier.tiling) == held
    assert memory_tiers.needed(tier, Z_IMAGE, PIXELS) <= card * GIB * 0.93
    (choice,) = plan.decisions
    assert (choice.option, choice.requested, choice.effective) == ("memory.tier", "auto", held[0])
    assert f"{card * GIB * 0.93 / 1e9:.1f} GB free" in choice.reason["en"]
    assert plan.implied.get("vae.enable_tiling", False) is held[3]


def test_each_tier_needs_less_than_the_one_above():
    needs = [memory_tiers.needed(tier, Z_IMAGE, PIXELS) / 1e9 for tier in memory_tiers.TIERS]
    assert needs == sorted(needs, reverse=True)
    assert needs[0] == pytest.approx(12.31 + 8.04 + 0.17 + 2.15, abs=0.05)
    assert needs[1] == pytest.approx(12.31 + 0.57, abs=0.05)


def test_a_small_model_needs_no_small_tier():
    small = {"text_encoder": 10**6, "transformer": 10**7, "vae": 10**6}
    assert memory_tiers.choose(options(), machine(4 * GIB), small, 256 * 256).tier.name == "24gb"


@pytest.mark.parametrize("asked", ["auto", "12gb"])
def test_fp8_storage_takes_the_place_of_int8_without_its_package(asked):
    plan = selected(int(12 * GIB * 0.93), lacks=("int8", "nf4"), **{"memory.tier": asked})
    assert (plan.tier.name, plan.tier.quantization) == ("12gb", "fp8_storage")
    said = plan.decisions[-1]
    assert (said.option, said.requested, said.effective) == ("memory.quantization", "int8", "fp8_storage")
    assert said.reason == LACKING
    assert memory_tiers.needed(plan.tier, Z_IMAGE, PIXELS) < 12 * GIB * 0.93
    assert selected(int(8 * GIB * 0.93), lacks=("int8", "nf4")).tier.name == "8gb"


def test_a_missing_package_is_said_and_passed_over():
    plan = selected(int(12 * GIB * 0.93), lacks=("int8", "nf4", "fp8_storage"))
    assert plan.tier.name == "4gb"
    assert "Tier 12gb would fit, but a package is missing" in plan.decisions[0].reason["en"]
    assert "缺少软件包" in plan.decisions[0].reason["zh"]


def test_a_tier_that_was_asked_for_is_refused_without_its_package():
    with pytest.raises(UnavailableError, match=r"memory\.tier = 12gb .* a package is missing"):
        selected(24 * GIB, lacks=("int8", "fp8_storage"), **{"memory.tier": "12gb"})
    with pytest.raises(UnavailableError, match=r"memory\.quantization = nf4"):
        selected(24 * GIB, lacks=("nf4",), **{"memory.quantization": "nf4"})
    assert selected(GIB, lacks=("int8",), **{"memory.tier": "12gb", "memory.quantization": "none"}).tier.name == "12gb"


@pytest.mark.option("memory.offload", "memory.quantization")
def test_what_is_set_beside_the_tier_wins():
    plan = selected(4 * GIB, **{"memory.tier": "24gb", "memory.offload": "group", "memory.quantization": "fp8"})
    assert (plan.tier.name, plan.tier.quantization, plan.tier.offload) == ("24gb", "fp8", "group")
    assert plan.decisions == ()


@pytest.mark.option("memory.reserved_mb")
def test_what_is_reserved_counts_as_taken():
    free = int(24 * GIB * 0.93)
    assert selected(free, **{"memory.reserved_mb": 4096}).tier.name == "16gb"


@pytest.mark.option("memory.low_vram")
def test_low_memory_offloads_and_tiles():
    plan = selected(24 * GIB, **{"memory.low_vram": True})
    assert (plan.tier.offload, plan.tier.tiling) == ("model", True)


@pytest.mark.parametrize("asked", ["auto", "24gb"])
def test_out_of_memory_goes_one_tier_lower_and_says_so(asked):
    plan = selected(24 * GIB, failed="24gb", **{"memory.tier": asked, "memory.offload": "none"})
    assert (plan.tier.name, plan.tier.offload) == ("16gb", "model")
    assert (plan.decisions[0].requested, plan.decisions[0].effective) == ("24gb", "16gb")
    assert "out of memory at tier 24gb" in plan.decisions[0].reason["en"]


def test_lower_skips_what_is_missing_and_ends():
    assert selected(24 * GIB, failed="16gb", lacks=("int8", "nf4", "fp8_storage")).tier.name == "4gb"
    assert selected(24 * GIB, failed="12gb", lacks=("int8", "nf4")).tier.quantization == "fp8_storage"
    assert not memory_tiers.has_below("4gb", machine(GIB))
    assert memory_tiers.has_below("6gb", machine(GIB))


def test_blocks_wait_on_the_disk_when_the_machine_is_small():
    plan = selected(3 * GIB, host=8 * GIB)
    assert plan.tier.offload == "disk"
    assert plan.decisions[-1].reason["zh"].endswith("磁盘上")


def test_without_a_card():
    plan = selected(64 * GIB, device="cpu")
    assert (plan.tier.name, plan.tier.offload, plan.tier.tiling) == ("cpu", "none", False)
    small = selected(8 * GIB, device="cpu")
    assert (small.tier.name, small.tier.offload, small.tier.tiling) == ("4gb", "disk", True)
    refused = selected(64 * GIB, device="cpu", **{"memory.offload": "model"})
    assert refused.tier.offload == "none"
    assert "nothing to offload from" in refused.decisions[-1].reason["en"]
    assert memory_tiers.has_below("cpu", machine(GIB, "cpu")) and not memory_tiers.has_below("4gb", machine(GIB, "cpu"))
