"""What a request will cost: on which memory tier it runs, whether it fits, and what would fit if not."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import pytest

from core.config.loader import PROJECT_ROOT, load_settings
from core.errors import UnavailableError
from core.inference.load_choices import Hardware, cpu
from core.inference.workload import ModelSize, size_of_model, workload
from core.models.catalog import Catalog
from core.models.families import FAMILIES
from core.studio import estimates, hardware
from core.studio.estimates import Estimates
from core.studio.hardware import ComputeDevice, DeviceReader
from core.types import WorkerStatus
from tests.ui.page_studio import PageStudio

GIB = 2**30
CONFIG = {"dim": 3840, "n_layers": 30, "n_refiner_layers": 2}
TURBO = ModelSize({"text_encoder": 4_020_000_000, "transformer": 6_154_908_736, "vae": 83_819_683}, config=CONFIG)


@pytest.fixture
def studio(tmp_path):
    settings = load_settings(overrides={"output.directory": str(tmp_path)})
    made = PageStudio(tmp_path, settings)
    made.requests._catalog = made.catalog = Catalog(PROJECT_ROOT / "configs")
    made.estimates = Estimates(settings, made.catalog, made.history, made.worker)
    yield made
    made.close()


@pytest.fixture
def gpu(monkeypatch):
    """A GPU with so many GB free, and Z-Image-Turbo as the model."""
    monkeypatch.setattr(estimates, "size_of_model", lambda info: TURBO)
    monkeypatch.setattr("core.inference.load_choices.find_spec", lambda name: name)

    def use(free, host=64):
        device = ComputeDevice(Hardware("cuda", True, capability=(8, 9)), "NVIDIA GPU", int(free * GIB), host * GIB)
        monkeypatch.setattr(DeviceReader, "read", lambda *asked: device)

    return use


def estimate(studio, **values):
    options = {"generation.width": 1024, "generation.height": 1024, **values}
    request = studio.requests.new({"generation.prompt": "a red house", **options})
    return studio.estimates.of(request)


@pytest.mark.parametrize(("free", "tier"), [(23, "24gb"), (15, "16gb"), (7.4, "8gb"), (3.2, "4gb")])
def test_the_tier_of_the_gpu_is_told_with_its_reason(studio, gpu, free, tier):
    gpu(free)
    found = estimate(studio)
    assert (found.tier, found.fits, found.measured) == (tier, True, 0)
    assert found.vram_mb * 10**6 <= free * GIB and "GB free" in found.reasons[0]["en"]
    assert found.ram_mb > 10_000 or tier in ("24gb", "8gb"), "what is offloaded waits in the machine's own memory"


def test_what_does_not_fit_says_what_would(studio, gpu):
    gpu(11)
    found = estimate(studio, **{"memory.tier": "24gb"})
    assert not found.fits and found.tier == "24gb"
    assert "would fit" in found.reasons[-1]["en"] and "memory.tier = 12gb" in found.reasons[-1]["en"]
    assert "可以放下" in found.reasons[-1]["zh"]
    gpu(3)
    small = estimate(studio, **{"memory.tier": "4gb", "memory.offload": "model"})
    assert not small.fits and "memory.tier = 4gb" not in small.reasons[-1]["en"]


def test_offloaded_weights_need_the_machines_own_memory(studio, gpu):
    gpu(15, host=16)
    found = estimate(studio)
    assert not found.fits and "RAM" in found.reasons[-1]["en"]


def test_a_tier_that_is_impossible_here_is_refused_as_by_the_worker(studio, monkeypatch):
    monkeypatch.setattr(DeviceReader, "read", lambda *asked: ComputeDevice(cpu(), "CPU", 8 * GIB, 8 * GIB))
    with pytest.raises(UnavailableError):
        estimate(studio, **{"memory.quantization": "fp8"})


def test_images_teach_time_and_memory(studio, monkeypatch):
    monkeypatch.setattr(DeviceReader, "read", lambda *asked: ComputeDevice(cpu(), "CPU", 8 * GIB, 8 * GIB))
    size = {"generation.width": 256, "generation.height": 256}
    before = estimate(studio, **size)
    assert before.seconds is None and before.measured == 0
    request = replace(studio.requests.new({"generation.prompt": "x", **size}), seed=1)
    studio.history.generated(request)
    after = estimate(studio, **size, **{"generation.num_images": 3})
    assert after.seconds == pytest.approx(0.08 + 3 * (1.9 + 0.21)), "one prompt is encoded once"
    monkeypatch.setattr(studio.worker, "status", lambda: WorkerStatus(state="idle", model="demo"))
    assert estimate(studio, **size).load_seconds == 0.0


def test_estimates_of_the_computed_speed_come_before_the_first_image(studio, gpu, monkeypatch):
    gpu(23)
    monkeypatch.setattr(DeviceReader, "speed", lambda *asked: 200e12)
    found = estimate(studio)
    steps, rest = 8 * 56.6, 3.9 + 10.5  # TFLOP
    assert found.seconds == pytest.approx((steps + rest) / 200, rel=0.1)


def test_work_of_the_published_models_is_as_counted():
    turbo, sdxl, sd15 = (
        FAMILIES[name] for name in ("ZImagePipeline", "StableDiffusionXLPipeline", "StableDiffusionPipeline")
    )
    counted = [
        (turbo, 6_154_908_736, CONFIG, 1024, 56.6),
        (turbo, 6_154_908_736, CONFIG, 2048, 321.0),
        (sdxl, 2_567_463_684, {}, 1024, 6.76),
        (sd15, 859_520_964, {}, 512, 0.803),
        (sd15, 859_520_964, {}, 1024, 4.67),
    ]
    for family, parameters, config, side, tera in counted:
        assert family.step_flops(parameters, config, side * side) / 1e12 == pytest.approx(tera, rel=0.1)


def test_hires_fix_and_guidance_are_counted(studio):
    info = studio.catalog.find("demo")
    size = size_of_model(info)
    values = {"generation.prompt": "x", "generation.width": 512, "generation.height": 512}
    plain = workload(studio.requests.new(values), info, size)
    twice = workload(studio.requests.new({**values, "generation.cfg_scale": 2.0}), info, size)
    assert twice.operations["steps"] == 2 * plain.operations["steps"]
    both = workload(studio.requests.new({**values, "hires.enabled": True}), info, size)
    assert both.operations["decode"] > plain.operations["decode"] and both.pixels == 512 * 512


def test_an_estimate_is_plain_json(studio, gpu):
    gpu(23)
    found = json.loads(json.dumps(asdict(estimate(studio))))
    assert {"seconds", "vram_mb", "ram_mb", "disk_mb", "fits", "tier", "reasons"} <= set(found)


# -- the device --------------------------------------------------------------------------------------------------------


def test_an_nvidia_gpu_is_read_from_its_driver(monkeypatch, tmp_path):
    answers = {"name": "NVIDIA GeForce RTX 4060, 8.9, 6000, 8188", "pid": "41, 900\n77, 1500"}
    monkeypatch.setattr(hardware, "nvidia_smi", lambda query, _: answers["pid" if "pid" in query else "name"])
    monkeypatch.setattr(hardware, "_torch_version", lambda: "2.13.0+cu130")
    found = DeviceReader(tmp_path).read("auto", 77, 2 * GIB)
    assert (found.hardware, found.free) == (Hardware("cuda", True, capability=(8, 9)), 7500 * 2**20)
    assert DeviceReader(tmp_path).read("cpu", None, 0).hardware.device == "cpu"
    monkeypatch.setattr(hardware, "_torch_version", lambda: "2.13.0+cpu")
    assert DeviceReader(tmp_path).read("auto", None, 0).hardware.device == "cpu", "PyTorch cannot use it"


def test_the_speed_is_measured_once(monkeypatch, tmp_path):
    runs = []

    def run(command, **settings):
        runs.append(command[-2:])
        return type("Ended", (), {"stdout": "4e11\n"})

    monkeypatch.setattr(hardware.subprocess, "run", run)
    device = ComputeDevice(cpu(), "CPU", GIB, GIB)
    for _ in range(2):
        assert DeviceReader(tmp_path).speed(device, "bfloat16", wait=True) == hardware.EFFICIENCY * 4e11
    assert runs == [["cpu", "bfloat16"]]
    assert DeviceReader(tmp_path).speed(device, "float32", wait=True) and len(runs) == 2
