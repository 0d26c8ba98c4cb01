"""LoRAs on the embedded model and on toys: as plain diffusers has them, swapped without a trace."""

from __future__ import annotations

import gc
import hashlib
import re
from types import SimpleNamespace

import numpy as np
import psutil
import pytest
import torch
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline

from core.config.loader import PROJECT_ROOT
from core.errors import LoraFileError, UnknownLoraError
from core.inference.generator import Generator
from core.models.catalog import Catalog
from core.models.lora_library import LoraLibrary
from core.models.model_paths import ModelPaths
from tests.models import tiny_models
from tests.models.loras import write_lora
from tests.options import measured

SMALL = {"width": 64, "height": 64, "num_inference_steps": 2}
SEEN = 0.14  # a trained model is moved less than random ones by the same numbers


@pytest.fixture(scope="module")
def folder(tmp_path_factory, plain):
    """Two LoRAs for the embedded model, of unlike rank and format, with a name that has a dot."""
    folder = tmp_path_factory.mktemp("loras")
    write_lora(folder / "one.v2.safetensors", plain, 1, scale=SEEN)
    write_lora(folder / "two.safetensors", plain, 2, rank=3, dtype=torch.float16, scale=SEEN)
    return folder


@pytest.fixture(scope="module")
def own(folder):
    return Generator(Catalog(PROJECT_ROOT / "configs", ModelPaths(folder)), loras=LoraLibrary(folder))


def generated(generator, request):
    image = generator.generate(request).images[0]
    return image, np.asarray(image.image).astype(int)


def by_diffusers(pipeline, request, loras, **more):
    """The same LoRAs by plain diffusers; they are taken out again."""
    for k, (file, _) in enumerate(loras):
        pipeline.load_lora_weights(str(file.parent), weight_name=file.name, adapter_name=f"plain{k}")
    if loras:
        pipeline.set_adapters([f"plain{k}" for k in range(len(loras))], [weight for _, weight in loras])
    image = pipeline(
        prompt=request.prompt, width=request.width, height=request.height, num_inference_steps=request.num_inference_steps,
        generator=torch.Generator().manual_seed(request.seed), **more,
    ).images[0]  # fmt: skip
    pipeline.unload_lora_weights()
    return np.asarray(image).astype(int)


@pytest.mark.option("lora.use")
def test_equals_plain_diffusers_at_the_same_weights(own, plain, request_of, folder):
    request = request_of(changed={"lora.use": ("one.v2:0.8", "two:-0.5")}, **SMALL)
    image, mine = generated(own, request)
    theirs = by_diffusers(
        plain, request, [(folder / "one.v2.safetensors", 0.8), (folder / "two.safetensors", -0.5)], guidance_scale=0.0
    )
    assert np.array_equal(mine, theirs)
    _, without = generated(own, request_of(**SMALL))
    assert np.abs(mine - without).mean() > 1
    measured("lora.use", f"two random ones move pixels by {np.abs(mine - without).mean():.1f}/255 on average")
    assert image.effective["lora.use"] == ("one.v2:0.8", "two:-0.5")
    data = (folder / "two.safetensors").read_bytes()
    whole, tensors = (
        hashlib.sha256(part).hexdigest() for part in (data, data[8 + int.from_bytes(data[:8], "little") :])
    )
    kept = {"name": "two", "weight": -0.5, "sha256": whole, "tensors_sha256": tensors, "acts_on": [36, 36]}
    assert image.effective["lora.files"][1] == kept


def test_none_and_weight_0_are_plain_diffusers_bit_for_bit(own, plain, request_of):
    theirs = by_diffusers(plain, request_of(**SMALL), [], guidance_scale=0.0)
    for use in ((), ("one.v2:0",), ("one.v2:0", "two:-0")):
        image, mine = generated(own, request_of(changed={"lora.use": use}, **SMALL))
        assert np.array_equal(mine, theirs)
        assert "lora.files" not in image.effective
        assert not any("lora" in name for name, _ in own.loaded.pipeline.transformer.named_modules())


@pytest.mark.parametrize("swaps", [5, pytest.param(50, marks=pytest.mark.slow)])
def test_swaps_leave_no_trace_and_load_nothing_again(own, request_of, swaps):
    tiny = {**SMALL, "num_inference_steps": 1}
    _, before = generated(own, request_of(**tiny))
    model, layer = own.loaded.pipeline, own.loaded.pipeline.transformer.layers[0].attention.to_q
    ways = [("one.v2:0.5",), ("two:1",), ("one.v2:1", "two:0.3"), ("two:0.3", "one.v2:-1"), ()]
    firsts = [generated(own, request_of(changed={"lora.use": use}, **tiny))[1] for use in ways]
    gc.collect()
    memory, objects = psutil.Process().memory_info().rss, _tensors()
    for k in range(swaps):
        _, again = generated(own, request_of(changed={"lora.use": ways[k % 5]}, **tiny))
        assert np.array_equal(again, firsts[k % 5]), f"swap {k}"
    gc.collect()
    assert _tensors() <= objects, "tensors that are alive"
    assert psutil.Process().memory_info().rss - memory < 40e6
    assert own.loaded.pipeline is model and model.transformer.layers[0].attention.to_q is layer
    assert np.array_equal(generated(own, request_of(**tiny))[1], before)


def _tensors():
    return sum(issubclass(type(one), torch.Tensor) for one in gc.get_objects())


def test_a_tag_in_the_prompt_is_the_option(own, request_of):
    _, by_option = generated(own, request_of(changed={"lora.use": ("two:0.7",)}, **SMALL))
    asked = request_of(prompt="a red house, day <lora:two:0.7>", **SMALL)
    image, by_tag = generated(own, asked)
    assert np.array_equal(by_tag, by_option)
    assert image.request.prompt == asked.prompt, "recorded as it was given"
    (said,) = [one for one in image.decisions if one.option == "lora.use"]
    assert said.effective == ["two:0.7"] and "A1111" in said.reason["en"]


def test_images_of_a_batch_have_each_their_own(own, request_of):
    images = tuple({"prompt": f"a red house, day{tag}"} for tag in (" <lora:two:1>", "", "<lora:one.v2:1>"))
    batch = own.generate(request_of(num_images=3, images=images, **SMALL)).images
    names = [[file["name"] for file in image.effective.get("lora.files", [])] for image in batch]
    assert names == [["two"], [], ["one.v2"]]
    assert np.array_equal(np.asarray(batch[1].image), generated(own, request_of(**SMALL))[1])


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param({"model.dtype": "bfloat16"}, marks=pytest.mark.slow),
        pytest.param({"model.dtype": "float16"}, marks=pytest.mark.slow),
        {"memory.quantization": "int8"},
        pytest.param({"memory.quantization": "int8_dynamic"}, marks=pytest.mark.slow),
        pytest.param({"memory.quantization": "fp8_storage"}, marks=pytest.mark.slow),
        pytest.param({"memory.tier": "8gb", "memory.offload": "group"}, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_however_the_model_is_held_a_lora_acts_and_goes(own, request_of, changed):
    _, before = generated(own, request_of(changed=changed, **SMALL))
    _, full = generated(own, request_of(changed={"lora.use": ("one.v2:1",)}, **SMALL))
    _, plain = generated(own, request_of(**SMALL))
    _, held = generated(own, request_of(changed={**changed, "lora.use": ("one.v2:1",)}, **SMALL))
    _, after = generated(own, request_of(changed=changed, **SMALL))
    assert np.array_equal(before, after)
    wanted, found = full - plain, held - before  # what the LoRA adds, here and in whole float32
    assert np.corrcoef(wanted.ravel(), found.ravel())[0, 1] > 0.9
    assert 0.9 < np.abs(found).mean() / np.abs(wanted).mean() < 1.1


def test_blocks_on_disk_are_refused_with_the_reason(own, request_of):
    changed = {"memory.tier": "4gb", "memory.offload": "disk", "lora.use": ("two:1",)}
    with pytest.raises(LoraFileError, match=r"blocks are on the disk.*memory\.offload"):
        own.generate(request_of(changed=changed, **SMALL))
    own.unload()


def test_with_a_lora_nothing_is_compiled_and_the_record_says_so(own, request_of, monkeypatch):
    monkeypatch.setattr("core.inference.torch_compile._warm_up", lambda *given: pytest.fail("compiled"))
    image, compiled = generated(own, request_of(changed={"compile.enabled": True, "lora.use": ("two:1",)}, **SMALL))
    assert image.effective["compile.enabled"] is False and image.request.options["compile.enabled"] is True
    (said,) = [one for one in image.decisions if one.option == "compile.enabled"]
    assert (said.requested, said.effective) == (True, False) and "LoRA" in said.reason["zh"]
    assert np.array_equal(compiled, generated(own, request_of(changed={"lora.use": ("two:1",)}, **SMALL))[1])


def test_what_cannot_be_used_ends_before_anything_is_loaded(own, request_of, folder):
    own.unload()
    (folder / "cut.safetensors").write_bytes((folder / "two.safetensors").read_bytes()[:-100])
    for use, error in (("nowhere:1", UnknownLoraError), ("cut:1", LoraFileError)):
        for given in ({"changed": {"lora.use": (use,)}}, {"prompt": f"a house <lora:{use}>"}):
            with pytest.raises(error):
                own.generate(request_of(**given, **SMALL))
    assert own.loaded is None
    (folder / "cut.safetensors").unlink()


def test_one_that_breaks_while_it_is_put_in_leaves_the_model_plain(own, request_of, monkeypatch):
    _, before = generated(own, request_of(**SMALL))

    def broken(*given, **more):
        raise RuntimeError("size mismatch")

    with monkeypatch.context() as patch:
        patch.setattr("peft.tuners.lora.LoraLayer.update_layer", broken)
        with pytest.raises(LoraFileError, match="size mismatch"):
            own.generate(request_of(changed={"lora.use": ("one.v2:1", "two:1")}, **SMALL))
    assert own.loaded.adapters == set()
    assert np.array_equal(generated(own, request_of(**SMALL))[1], before)
    assert not np.array_equal(generated(own, request_of(changed={"lora.use": ("one.v2:1",)}, **SMALL))[1], before)


# -- U-Nets ------------------------------------------------------------------------------------------------------------

KINDS = {
    "sd": (tiny_models.stable_diffusion, StableDiffusionPipeline, ("unet", "text_encoder")),
    "sdxl": (tiny_models.stable_diffusion_xl, StableDiffusionXLPipeline, ("unet", "text_encoder", "text_encoder_2")),
}


@pytest.fixture(scope="module", params=KINDS)
def toy(request, tmp_path_factory):
    """A model's folder, plain diffusers over it, a generator, and the folder of its LoRAs."""
    build, kind, parts = KINDS[request.param]
    root = tmp_path_factory.mktemp("toy")
    folder = build(root / "toy")
    plain = kind.from_pretrained(folder, dtype=torch.float32)
    plain.set_progress_bar_config(disable=True)
    loras = root / "loras"
    write_lora(loras / "whole.safetensors", plain, 3, parts=parts)
    write_lora(loras / "net.safetensors", plain, 4)
    own = Generator(Catalog(PROJECT_ROOT / "configs", ModelPaths(root)), loras=LoraLibrary(loras))
    return SimpleNamespace(folder=folder, plain=plain, own=own, loras=loras)


@pytest.mark.by_default("sdxl-0.0", "sd-4.0")
@pytest.mark.parametrize("guidance", [0.0, 4.0])
@pytest.mark.by_default("sdxl-0.0")
def test_a_u_nets_loras_are_plain_diffusers_own(toy, request_of, guidance):
    small = {**SMALL, "model": str(toy.folder), "cfg_scale": guidance + 1, "negative_prompt": "grey"}
    _, before = generated(toy.own, request_of(**small))
    request = request_of(changed={"lora.use": ("whole:0.9", "net:0.4")}, **small)
    _, mine = generated(toy.own, request)
    files = [(toy.loras / "whole.safetensors", 0.9), (toy.loras / "net.safetensors", 0.4)]
    theirs = by_diffusers(toy.plain, request, files, guidance_scale=guidance + 1, negative_prompt="grey")
    assert np.array_equal(mine, theirs) and not np.array_equal(mine, before)
    assert np.array_equal(generated(toy.own, request_of(**small))[1], before)


def test_a_text_encoders_part_is_read_anew(toy, request_of):
    """Images of one job share what was read of their prompt, but not across LoRAs that change the reading."""
    tags = ("<lora:whole:1>", "", "<lora:whole:1>")
    images = tuple({"prompt": f"a house {tag}".strip(), "seed": 7} for tag in tags)
    batch = toy.own.generate(request_of(num_images=3, images=images, model=str(toy.folder), **SMALL)).images
    first, without, third = (np.asarray(image.image) for image in batch)
    assert np.array_equal(first, third) and not np.array_equal(first, without)


def test_another_models_lora_is_an_error_before_the_run(toy, own, request_of, folder):
    (toy.loras / "other.safetensors").write_bytes((folder / "two.safetensors").read_bytes())
    with pytest.raises(LoraFileError, match="another model"):
        toy.own.generate(request_of(model=str(toy.folder), changed={"lora.use": ("other:1",)}, **SMALL))
    assert re.search("unet (32|64)", str(_refusal(toy, request_of)))


def _refusal(toy, request_of):
    try:
        toy.own.generate(request_of(model=str(toy.folder), changed={"lora.use": ("other:1",)}, **SMALL))
    except LoraFileError as error:
        return error
