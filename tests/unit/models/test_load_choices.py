"""What is chosen before weights are read: the number format by the hardware, and what a quantisation lacks there."""

import pytest
import torch

from core.inference import load_choices, vae_tiling, variety
from core.inference.load_choices import Hardware, choose_dtype, missing

LARGE, SMALL = 6_154_908_736, 11_000_000
ROOM = 64 * 2**30
ADA, TURING = Hardware("cuda", True, capability=(8, 9)), Hardware("cuda", False, capability=(7, 5))


@pytest.mark.option("model.dtype")
@pytest.mark.parametrize(
    ("hardware", "parameters", "available", "dtype"),
    [
        (ADA, LARGE, ROOM, "bfloat16"),
        (TURING, LARGE, ROOM, "float16"),
        (Hardware("mps", True), LARGE, ROOM, "bfloat16"),
        (Hardware("mps", False), LARGE, ROOM, "float32"),
        (Hardware("cpu", True), LARGE, ROOM, "bfloat16"),
        (Hardware("cpu", True), SMALL, ROOM, "float32"),
        (Hardware("cpu", False), LARGE, ROOM, "float32"),
        (Hardware("cpu", False), LARGE, ROOM // 4, "bfloat16"),
    ],
)
def test_dtype_follows_the_hardware(hardware, parameters, available, dtype):
    decision = choose_dtype("auto", hardware, parameters, available)
    assert (decision.requested, decision.effective) == ("auto", dtype)
    assert decision.reason["en"] and decision.reason["zh"]


def test_a_format_that_the_processor_converts_is_told():
    plain = choose_dtype("float16", Hardware("cpu", True, float16=True), SMALL, ROOM)
    slow = choose_dtype("float16", Hardware("cpu", True, float16=False), SMALL, ROOM)
    assert plain.effective == slow.effective == "float16"
    assert "does not compute in float16 itself" in slow.reason["en"] and plain.reason != slow.reason


@pytest.mark.parametrize(
    ("line", "formats"),
    [
        ("flags\t\t: fpu avx512f avx512_bf16 avx512_fp16", (True, True)),
        ("flags\t\t: fpu avx2", (False, False)),
        ("Features\t: fp asimd asimdhp bf16", (True, True)),
        ("", (False, False)),
    ],
)
def test_processor_is_read_from_its_flags(tmp_path, monkeypatch, line, formats):
    info = tmp_path / "cpuinfo"
    info.write_text(f"processor\t: 0\n{line}\nprocessor\t: 1\n{line}\n")
    monkeypatch.setattr(load_choices, "_CPU_INFO", info)
    monkeypatch.setattr(load_choices.sys, "platform", "linux")
    found = load_choices.cpu.__wrapped__()
    assert (found.bfloat16, found.float16) == formats


@pytest.mark.parametrize(("version", "native"), [("14.1", True), ("13.6", False), ("", False)])
def test_apple_gpu_has_bfloat16_from_macos_14(monkeypatch, version, native):
    monkeypatch.setattr(load_choices.platform, "mac_ver", lambda: (version, ("", "", ""), "arm64"))
    assert load_choices.apple_gpu() == Hardware("mps", native)


def test_quantisation_lacks_what_the_gpu_cannot_do(monkeypatch):
    monkeypatch.setattr(load_choices, "find_spec", lambda name: name)
    assert missing("fp8", ADA) is None and "sm_89" in missing("fp8", TURING)["en"]
    assert missing("nf4", ADA) is None and "NVIDIA" in missing("nf4", load_choices.cpu())["en"]
    assert "no fp8" in missing("fp8_storage", Hardware("mps", True))["en"]


def test_nothing_asks_an_apple_gpu_for_float64(monkeypatch):
    """Tensors become float64 only after they have come to the CPU, as Apple's GPUs do not have it."""
    brought = set()
    to_cpu, double = torch.Tensor.cpu, torch.Tensor.double

    def cpu(tensor):
        brought.add(id(copy := to_cpu(tensor).clone()))
        kept.append(copy)
        return copy

    def doubled(tensor):
        assert id(tensor) in brought, "float64 on the device"
        return double(tensor)

    kept: list[torch.Tensor] = []
    monkeypatch.setattr(torch.Tensor, "cpu", cpu)
    monkeypatch.setattr(torch.Tensor, "double", doubled)
    first, second = torch.randn(2, 1, 4, 8, 8)
    assert variety.slerp(0.5, first, second).shape == first.shape
    layer = vae_tiling.Layer(torch.empty(4, 4, 8))
    layer.write(0, torch.randn(4, 4, 8))
    layer.affine(torch.nn.GroupNorm(2, 8), torch.device("cpu"))
