"""Tiers on the real model: offloading, quantised weights, and what happens when memory runs out."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch

from core.config.loader import PROJECT_ROOT
from core.errors import ModelLoadError, OutOfMemoryError, UnavailableError
from core.inference import load_choices, memory, memory_tiers, offload, residency
from core.inference.generator import build_generator
from core.inference.pipeline_loader import choose_text_device, load_model, without_text_encoders
from core.models.families import backend_of
from tests.options import measured


@pytest.fixture(scope="module")
def request_of(request_of):
    """As small as it can be: what is compared here does not depend on the size."""
    return lambda *given, **fields: request_of(*given, **{"width": 64, "height": 64, "num_inference_steps": 2, **fields})


@pytest.fixture
def fresh():
    """A generator of the test's own: what ran out of memory is remembered."""
    generator = build_generator(PROJECT_ROOT / "configs")
    yield generator
    generator.unload()


def generated(generator, request):
    image = generator.generate(request).images[0]
    return image, np.asarray(image.image).astype(int)


def weight_bytes(module):
    return sum(p.untyped_storage().nbytes() for p in module.parameters())


@pytest.mark.option("memory.offload", "memory.tier")
def test_blocks_on_disk_draw_the_same_image_and_go_with_the_model(generator, request_of):
    _, whole = generated(generator, request_of())
    image, blocks = generated(generator, request_of(changed={"memory.tier": "4gb", "memory.offload": "disk"}))
    folder = generator.loaded.blocks
    files = list(folder.glob("*/*.safetensors"))
    assert {file.parent.name for file in files} == {"text_encoder", "transformer"}
    assert sum(file.stat().st_size for file in files) > 30_000_000
    assert image.effective["memory.offload"] == "disk"
    assert image.effective["vae.enable_tiling"] is True
    assert image.request.options["vae.enable_tiling"] is False, "the request is kept as it was asked"
    assert np.abs(whole - blocks).max() <= 2  # sums of weights at other addresses round otherwise
    measured("memory.offload", f"disk: {len(files)} files, largest difference {np.abs(whole - blocks).max()}/255")
    generated(generator, request_of())
    assert not folder.exists()


def test_blocks_of_a_killed_process_are_removed(tmp_path, monkeypatch):
    monkeypatch.setattr(offload.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setattr(offload.tempfile, "tempdir", str(tmp_path))
    dead, alive = tmp_path / f"{offload.PREFIX}999999999-x", tmp_path / f"{offload.PREFIX}1-x"
    dead.mkdir(), alive.mkdir()
    folder = offload._scratch()
    assert not dead.exists() and alive.exists() and folder.is_dir()


@pytest.mark.option("memory.offload")
def test_parts_offloaded_one_by_one_draw_the_same_image(generator, request_of):
    _, whole = generated(generator, request_of())
    pipeline = generator.loaded.pipeline
    offload.place(
        pipeline, backend_of("ZImagePipeline"), "cpu", "model"
    )  # the mechanics of a card: hooks move each part
    try:
        assert residency.of(pipeline)
        _, parts = generated(generator, request_of())
    finally:
        pipeline.remove_all_hooks()
    assert np.array_equal(whole, parts)


@pytest.mark.slow
def test_offloading_without_a_card_is_refused_with_its_reason(generator, request_of):
    image, _ = generated(generator, request_of(changed={"memory.offload": "group"}))
    assert image.effective["memory.offload"] == "none"
    assert any("nothing to offload from" in choice.reason["en"] for choice in image.decisions)


@pytest.mark.by_default("int8-Int8Tensor-0.35-3")
@pytest.mark.option("memory.quantization")
@pytest.mark.parametrize(
    ("kind", "mark", "most_bytes", "most_distance"),
    [("int8", "Int8Tensor", 0.35, 3), ("int8_dynamic", "Int8Tensor", 0.35, 8), ("fp8_storage", "Parameter", 0.5, 8)],
)
def test_quantised_weights_are_smaller_and_generate_nearly_the_same(
    generator, request_of, kind, mark, most_bytes, most_distance
):
    _, whole = generated(generator, request_of())
    before = weight_bytes(generator.loaded.pipeline.transformer)
    _, small = generated(generator, request_of(changed={"memory.quantization": kind}))
    layer = generator.loaded.pipeline.transformer.layers[0]
    assert mark in {type(p).__name__ for p in layer.parameters()}
    after = sum(stored(p) for p in generator.loaded.pipeline.transformer.parameters())
    assert after < most_bytes * before
    distance = np.abs(whole - small)
    assert 0 < distance.mean() < most_distance
    measured(
        "memory.quantization", f"{kind}: {after / before:.0%} of the bytes, mean difference {distance.mean():.2f}/255"
    )


def test_fp8_storage_keeps_each_weight_in_a_byte_but_norms_and_modulation(generator, request_of):
    generator.generate(request_of(changed={"memory.quantization": "fp8_storage"}))
    pipeline = generator.loaded.pipeline
    layer = dict(pipeline.transformer.layers[0].named_parameters())
    held = {name: weight.dtype for name, weight in layer.items()}
    assert {kind for name, kind in held.items() if "norm" in name or "adaLN" in name} == {torch.float32}
    rest = {name: kind for name, kind in held.items() if "norm" not in name and "adaLN" not in name}
    assert len(rest) >= 7 and set(rest.values()) == {torch.float8_e4m3fn}
    assert pipeline.text_encoder.layers[0].mlp.up_proj.weight.element_size() == 1


@pytest.mark.option("text_encoder.device")
def test_a_text_encoder_kept_apart_gets_its_inputs_and_gives_its_outputs_back(generator, request_of, monkeypatch):
    _, whole = generated(generator, request_of())
    pipeline, sent = generator.loaded.pipeline, []

    def send(value, device):
        sent.append(str(device))
        return value

    monkeypatch.setattr(offload, "send_to_device", send)
    try:
        offload.place(pipeline, backend_of("ZImagePipeline"), "cpu", "none", "cpu:0")
        generator.loaded.texts.clear()
        _, apart = generated(generator, request_of())
    finally:
        generator.unload()
    assert np.array_equal(whole, apart) and sent == ["cpu:0", "cpu:0", "cpu"]
    measured("text_encoder.device", "kept apart on the CPU: the same pixels")


def test_what_a_text_encoder_kept_apart_needs_is_not_counted():
    counted = {"text_encoder": 4 * 10**9, "transformer": 10**6, "vae": 10**6}
    assert choose_text_device("auto", "cuda", "m") is None and choose_text_device("cpu", "cpu", "m") is None
    assert choose_text_device("cpu", "cuda", "m") == "cpu"
    with pytest.raises(ModelLoadError, match=r"text_encoder\.device is cuda:1, but this machine has"):
        choose_text_device("cuda:1", "cuda", "m")
    assert without_text_encoders(counted) == {"transformer": 10**6, "vae": 10**6}


def stored(parameter):
    names = getattr(parameter, "tensor_data_names", None)
    return sum(getattr(parameter, n).nbytes for n in names) if names else parameter.untyped_storage().nbytes()


@pytest.mark.by_default("nf4")
@pytest.mark.parametrize("kind", ["fp8", "nf4", "gguf"])
def test_what_the_cpu_cannot_do_is_refused_by_name(generator, request_of, kind):
    with pytest.raises(UnavailableError, match=rf"memory\.quantization = {kind}") as caught:
        generator.generate(request_of(changed={"memory.quantization": kind}))
    assert kind in caught.value.message("zh")
    assert generator.generate(request_of()).images


def test_a_missing_package_is_named_in_both_languages(monkeypatch):
    monkeypatch.setattr(load_choices, "find_spec", lambda name: None)
    words = load_choices.missing("int8", load_choices.cpu())
    assert "torchao" in words["en"] and "需要软件包 torchao" in words["zh"]


@pytest.mark.option("tensorrt.enabled")
def test_tensorrt_says_what_is_missing(generator, request_of):
    with pytest.raises(UnavailableError, match=r"torch_tensorrt 2\.13 is needed.*; an NVIDIA GPU") as caught:
        generator.generate(request_of(changed={"tensorrt.enabled": True}))
    assert "需要 NVIDIA 显卡" in caught.value.message("zh")
    measured("tensorrt.enabled", "refused where torch_tensorrt or an NVIDIA GPU is missing, naming both")


@pytest.mark.option("memory.tier")
def test_out_of_memory_is_tried_again_one_tier_lower(fresh, request_of, monkeypatch):
    """Planted on the second of two images: the first is kept, the second comes from the lower tier."""
    fresh.generate(request_of(num_inference_steps=1))
    transformer, calls = fresh.loaded.pipeline.transformer, []
    true_forward = transformer.forward

    def forward(*args, **kwargs):
        calls.append(1)
        if len(calls) == 3:
            raise torch.OutOfMemoryError("planted")
        return true_forward(*args, **kwargs)

    monkeypatch.setattr(transformer, "forward", forward)
    first, second = fresh.generate(request_of(num_images=2, num_inference_steps=2)).images
    assert [first.request.seed, second.request.seed] == [7, 8]
    assert first.effective["memory.tier"] == "cpu"
    assert second.effective["memory.tier"] == "4gb"
    measured(
        "memory.tier", "out of memory planted in the second of two images: the first kept, the second at tier 4gb"
    )
    (said,) = [choice for choice in second.decisions if choice.option == "memory.tier"]
    assert (said.requested, said.effective) == ("cpu", "4gb")
    assert "内存不足" in said.reason["zh"]
    pipeline = fresh.loaded.pipeline
    fresh.generate(request_of(num_inference_steps=1))
    assert fresh.loaded.pipeline is pipeline, "the next image does not run into it again"
    fresh.generate(request_of(num_inference_steps=1, changed={"memory.empty_cache": True, "memory.reserved_mb": 1}))
    assert fresh.loaded.held.tier.name == "cpu", "other options, another try"


@pytest.mark.slow
def test_out_of_memory_twice_is_an_error(fresh, request_of, monkeypatch):
    tried = []

    def place(pipeline, backend, device, how, text_device=None, budget=None):
        tried.append(how)
        raise torch.OutOfMemoryError("planted")

    monkeypatch.setattr(offload, "place", place)
    with pytest.raises(OutOfMemoryError, match="64x64"):
        fresh.generate(request_of())
    assert tried == ["none", "disk"]
    monkeypatch.undo()
    assert fresh.generate(request_of(num_inference_steps=1)).images


@pytest.mark.option("memory.empty_cache")
@pytest.mark.skipif(sys.platform != "linux", reason="only there is memory given back by hand")
def test_emptying_gives_memory_back(generator, request_of, monkeypatch):
    kept = [torch.ones(16_000) for _ in range(3000)]  # 190 MB in pieces of 64 KB
    del kept[:-1]
    full = psutil.Process().memory_info().rss
    generator.generate(request_of(num_inference_steps=1, changed={"memory.empty_cache": True}))
    given_back = (full - psutil.Process().memory_info().rss) / 1e6
    assert given_back > 100
    measured("memory.empty_cache", f"{given_back:.0f} MB of 190 MB that were freed in pieces went back to the system")


@pytest.mark.option("memory.reserved_mb")
def test_what_is_reserved_may_not_be_used_on_a_gpu(monkeypatch):
    told = []
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda n: type("Card", (), {"total_memory": 8 * 10**9}))
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", told.append)
    memory.reserve("cuda", 2000)
    memory.reserve("cpu", 2000)
    assert told == [0.75]
    measured("memory.reserved_mb", "2000 on a GPU of 8 GB (planted): PyTorch may use 75%; 4096 of 24 GB: tier 16gb")


def test_the_cpu_tier_needs_no_card(request_of):
    from core.models.catalog import Catalog

    info = Catalog(PROJECT_ROOT / "configs").find("demo")
    loaded = load_model(info, request_of(changed={"memory.tier": "cpu"}).options)
    assert (loaded.device, loaded.held.tier.name) == ("cpu", "cpu")
    assert Path(info.path).is_dir()


OPEN = {"text_encoder.device": "auto", "memory.tier": "auto", "memory.quantization": "auto", "memory.offload": "auto"}
OPEN |= {"memory.low_vram": False}
Z_IMAGE = {"text_encoder": 4_000_000_000, "transformer": 6_150_000_000, "vae": 84_000_000}
TWELVE = 12_000_000_000


@pytest.mark.parametrize(
    ("changed", "free", "others", "gpu"),
    [
        ({}, TWELVE, {"cuda:1": TWELVE, "cuda:2": 10**10}, "cuda:1"),
        ({}, 30 * 10**9, {"cuda:1": TWELVE}, None),  # all of it fits the first
        ({}, TWELVE, {"cuda:1": 8 * 10**9}, None),  # too small for the encoder
        ({}, TWELVE, {}, None),
        ({"memory.quantization": "int8"}, TWELVE, {"cuda:1": TWELVE}, None),  # the user has said how
    ],
)
def test_a_second_gpu_takes_the_text_encoder_where_the_first_is_too_small(changed, free, others, gpu):
    found = memory_tiers.second_gpu({**OPEN, **changed}, Z_IMAGE, 1024 * 1024, free, others)
    assert (found.effective if found else None) == gpu


def test_the_text_encoder_goes_to_the_second_gpu_by_itself(generator, request_of, monkeypatch):
    """With the CPU's memory in place of both."""
    _, whole = generated(generator, request_of())
    generator.unload()
    small = replace(memory.machine("cpu", None), free=10**6)
    monkeypatch.setattr(memory, "machine", lambda *_: small)
    monkeypatch.setattr(memory, "other_gpus", lambda device: {"cpu:0": 10**12})
    monkeypatch.setattr(memory_tiers, "CPU_SMALL", memory_tiers.CPU)
    try:
        image, apart = generated(generator, request_of())
    finally:
        generator.unload()
    assert image.effective["text_encoder.device"] == "cpu:0" and np.array_equal(whole, apart)
    assert any(one.option == "text_encoder.device" and "fits cpu:0" in one.reason["en"] for one in image.decisions)
