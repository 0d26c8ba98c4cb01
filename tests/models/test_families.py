"""Every kind of model, on toys of the real classes, through the catalogue and the generator; and single files.

What `FamilyContract` proves of each family by default, too, is slow here.
"""

from __future__ import annotations

import json
import shutil

import gguf
import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from core.config.loader import PROJECT_ROOT
from core.errors import Cancelled, CorruptImageError, ModelFileError
from core.inference import offload, residency
from core.inference.generator import Generator
from core.inference.pipeline_loader import load_model
from core.models.catalog import Catalog
from core.models.families import backend_of
from core.models.model_paths import EMBEDDED, ModelPaths
from core.models.part_sources import count_parameters
from core.types import Phase
from tests.models import tiny_models

KINDS = {
    "StableDiffusionPipeline": (tiny_models.stable_diffusion, StableDiffusionPipeline),
    "StableDiffusionXLPipeline": (tiny_models.stable_diffusion_xl, StableDiffusionXLPipeline),
}


@pytest.fixture(scope="module", params=KINDS)
def toy(request, tmp_path_factory):
    """A folder, and the class that diffusers would open it with."""
    build, kind = KINDS[request.param]
    return build(tmp_path_factory.mktemp("toys") / "toy"), kind


@pytest.fixture(scope="module")
def catalog(tmp_path_factory):
    return Catalog(PROJECT_ROOT / "configs", ModelPaths(tmp_path_factory.mktemp("store")))


@pytest.fixture(scope="module")
def own(catalog):
    """A generator beside the one that other tests share."""
    return Generator(catalog)


def pixels(image):
    return np.asarray(image.image).astype(np.int16)


# -- Stable Diffusion --------------------------------------------------------------------------------------------------


def test_the_catalogue_knows_a_folder(catalog, toy):
    info = catalog.find(str(toy[0]))
    assert info.problem is None
    assert info.pipeline == toy[1].__name__
    assert (info.default_width, info.size_multiple) == (64, 8)


@pytest.mark.slow
@pytest.mark.parametrize("guidance", [0.0, 4.0])
def test_pixels_are_those_of_plain_diffusers(own, toy, request_of, guidance):
    folder, kind = toy
    request = request_of(model=str(folder), width=64, height=72, cfg_scale=guidance + 1, negative_prompt="grey", seed=5)
    mine = own.generate(request).images[0]
    plain = kind.from_pretrained(folder, dtype=torch.float32)
    plain.set_progress_bar_config(disable=True)
    theirs = plain(
        request.prompt, negative_prompt="grey", width=64, height=72, num_inference_steps=4, guidance_scale=guidance + 1,
        generator=torch.Generator().manual_seed(5),
    ).images[0]  # fmt: skip
    assert np.array_equal(pixels(mine), np.asarray(theirs))
    assert mine.effective["model.pipeline"] == kind.__name__
    assert "transformer.use_rope" not in mine.effective


@pytest.mark.slow
def test_each_image_of_a_batch_is_the_one_of_its_seed(own, toy, request_of):
    request = request_of(model=str(toy[0]), width=64, height=64)
    batch = own.generate(request_of(model=str(toy[0]), width=64, height=64, num_images=2)).images
    assert np.array_equal(pixels(batch[0]), pixels(own.generate(request).images[0]))
    assert not np.array_equal(pixels(batch[0]), pixels(batch[1]))


@pytest.mark.slow
def test_steps_are_told_and_a_cancel_ends_them(own, toy, request_of):
    seen = []
    with pytest.raises(Cancelled):
        own.generate(
            request_of(model=str(toy[0]), width=64, height=64),
            on_progress=seen.append,
            is_cancelled=lambda: sum(one.phase is Phase.STEPS for one in seen) >= 2,
        )
    assert max(one.step for one in seen) == 2


@pytest.mark.by_default("StableDiffusionPipeline")
def test_what_does_nothing_here_is_said(own, toy, request_of, capfd):
    request = request_of(
        model=str(toy[0]), width=64, height=64, prompt="word " * 100,
        changed={"transformer.use_rope": False, "generation.prompt_syntax": "off"},
    )  # fmt: skip
    decisions = {decision.option: decision for decision in own.generate(request).images[0].decisions}
    assert "U-Net" in decisions["transformer.use_rope"].reason["en"]
    assert "reads 77" in decisions["generation.prompt"].reason["en"]
    assert "word" not in "".join(capfd.readouterr()), "what people write is not logged"


@pytest.mark.slow
def test_any_size_is_delivered_exactly(own, toy, request_of):
    image = own.generate(request_of(model=str(toy[0]), width=67, height=91)).images[0]
    assert image.image.size == (67, 91)
    assert image.rendered_size == (72, 96)


@pytest.mark.slow
def test_tiled_decoding_is_applied(own, toy, request_of):
    own.generate(request_of(model=str(toy[0]), width=64, height=64, changed={"vae.enable_tiling": True}))
    assert own.loaded.pipeline.vae.use_tiling
    own.generate(request_of(model=str(toy[0]), width=64, height=64))
    assert not own.loaded.pipeline.vae.use_tiling


@pytest.mark.by_default("StableDiffusionPipeline-text_encoder-Embedding-0", "StableDiffusionPipeline-unet-Conv2d-1")
@pytest.mark.parametrize(("part", "kind", "step"), [("text_encoder", "Embedding", 0), ("unet", "Conv2d", 1)])
def test_what_is_not_finite_is_found_in_each_part(own, toy, request_of, part, kind, step):
    request = request_of(model=str(toy[0]), width=64, height=64)
    own.generate(request)
    layer = next(one for one in own.loaded.pipeline.components[part].modules() if type(one).__name__ == kind)
    hook = layer.register_forward_hook(lambda module, given, made: made * float("nan"))
    try:
        with pytest.raises(CorruptImageError, match=f"NaN or Inf at step {step}"):
            own.generate(request)
    finally:
        hook.remove()


@pytest.mark.by_default("StableDiffusionPipeline")
def test_a_broken_decoding_is_done_again_in_float32(own, toy, request_of, monkeypatch):
    request = request_of(model=str(toy[0]), width=64, height=64, changed={"model.dtype": "bfloat16"})
    own.generate(request)
    decoder = type(own.loaded.pipeline.vae.decoder)
    true_forward = decoder.forward

    def forward(self, *args, **kwargs):
        pixels = true_forward(self, *args, **kwargs)
        return pixels * float("nan") if pixels.dtype == torch.bfloat16 else pixels

    monkeypatch.setattr(decoder, "forward", forward)
    image = own.generate(request).images[0]
    assert image.effective["vae.dtype"] == "float32"
    assert any("decoded again" in choice.reason["en"] for choice in image.decisions)
    assert own.loaded.pipeline.vae.dtype is torch.bfloat16, "and it is as it was"


def test_sixteen_bits_are_read_where_both_are_stored(own, tmp_path, request_of):
    folder = tiny_models.stable_diffusion(tmp_path / "toy")
    whole = own.generate(request_of(model=str(folder), width=64, height=64)).images[0]
    half = StableDiffusionPipeline.from_pretrained(folder, dtype=torch.bfloat16)
    half.save_pretrained(folder, variant="bf16")
    for path in folder.glob("*/*.safetensors"):
        if ".bf16." not in path.name:
            path.unlink()  # not written over: the model in memory may still be mapped to it
            path.write_bytes(b"not read")
    image = own.generate(request_of(model=str(folder), width=64, height=64, seed=7, changed={})).images[0]
    assert pixels(image).shape == pixels(whole).shape
    assert own._catalog.find(str(folder)).memory_bytes < 900_000


def test_parameters_are_counted_by_part(own, toy, request_of):
    own.generate(request_of(model=str(toy[0]), width=64, height=64, num_inference_steps=1))
    parts = own.loaded.pipeline.components
    counted = count_parameters(toy[0])
    assert counted == {name: sum(p.numel() for p in parts[name].parameters()) for name in counted}
    assert {"text_encoder", "unet", "vae"} <= set(counted)


@pytest.mark.slow
def test_blocks_on_disk_draw_the_same_image(own, toy, request_of):
    whole = own.generate(request_of(model=str(toy[0]), width=64, height=64)).images[0]
    changed = {"memory.tier": "4gb", "memory.offload": "disk"}
    image = own.generate(request_of(model=str(toy[0]), width=64, height=64, changed=changed)).images[0]
    files = list(own.loaded.blocks.glob("*/*.safetensors"))
    assert {"text_encoder", "unet"} <= {file.parent.name for file in files}
    assert (image.effective["memory.offload"], image.effective["vae.enable_tiling"]) == ("disk", True)
    assert np.abs(pixels(image) - pixels(whole)).max() <= 2


@pytest.mark.slow
def test_parts_offloaded_one_by_one_draw_the_same_image(own, toy, request_of):
    request = request_of(model=str(toy[0]), width=64, height=64)
    whole = pixels(own.generate(request).images[0])
    pipeline = own.loaded.pipeline
    offload.place(
        pipeline, backend_of(own.loaded.info.pipeline), "cpu", "model"
    )  # the mechanics of a card: hooks move each part
    try:
        assert residency.of(pipeline)
        assert np.array_equal(pixels(own.generate(request).images[0]), whole)
    finally:
        pipeline.remove_all_hooks()


@pytest.mark.by_default("StableDiffusionPipeline-asked0", "StableDiffusionPipeline-asked1", "StableDiffusionPipeline-asked2")
@pytest.mark.parametrize("asked", [{"memory.quantization": "int8"}, {"memory.tier": "8gb"}, {"tensorrt.enabled": True}])
def test_a_unet_is_not_quantised_nor_compiled_and_says_so(own, toy, request_of, asked):
    image = own.generate(request_of(model=str(toy[0]), width=64, height=64, changed=asked)).images[0]
    assert own.loaded.held.tier.quantization == "none"
    said = {choice.option: choice.reason["en"] for choice in image.decisions}
    (key,) = asked
    assert key == "memory.tier" or "U-Net" in said[key]
    assert not set(asked) & {"memory.quantization", "tensorrt.enabled"} & set(image.effective)


@pytest.mark.by_default("StableDiffusionPipeline")
def test_a_switch_frees_the_model_before(own, toy, request_of, monkeypatch):
    own.generate(request_of(model=str(toy[0]), width=64, height=64))
    at_load = []
    monkeypatch.setattr(
        "core.inference.generator.load_model", lambda *given: at_load.append(own.loaded) or load_model(*given)
    )
    own.generate(request_of())
    assert at_load == [None]
    assert own.loaded.model == "demo"


# -- safety ------------------------------------------------------------------------------------------------------------


@pytest.mark.by_default("StableDiffusionPipeline")
def test_a_foreign_class_is_refused_before_anything_is_loaded(own, toy, request_of, tmp_path):
    folder = tmp_path / "toy"
    shutil.copytree(toy[0], folder)
    index = json.loads((folder / "model_index.json").read_text())
    index["unet"] = ["unet_of_mine", "MyUNet"]
    (folder / "model_index.json").write_text(json.dumps(index))
    (folder / "unet_of_mine.py").write_text("raise SystemExit('this must never run')")
    own.generate(request_of())
    with pytest.raises(ModelFileError, match="names a class of its own"):
        own.generate(request_of(model=str(folder)))


# -- single files of the embedded model --------------------------------------------------------------------------------


def original_names(state):
    """The embedded transformer under the names that single files have: q, k and v in one tensor, and so on."""
    renamed = {}
    for name, tensor in state.items():
        if ".attention.to_q." in name:
            parts = [state[name.replace("to_q", one)] for one in ("to_q", "to_k", "to_v")]
            renamed[name.replace("to_q", "qkv")] = torch.cat(parts)
        elif ".attention.to_k." not in name and ".attention.to_v." not in name:
            for theirs, original in (
                ("all_final_layer.2-1.", "final_layer."),
                ("all_x_embedder.2-1.", "x_embedder."),
                (".attention.to_out.0.", ".attention.out."),
                (".attention.norm_k.", ".attention.k_norm."),
                (".attention.norm_q.", ".attention.q_norm."),
            ):
                name = name.replace(theirs, original)
            renamed[name] = tensor
    return renamed


@pytest.fixture(scope="module")
def transformer():
    return load_file(EMBEDDED / "transformer" / "diffusion_pytorch_model.safetensors")


@pytest.fixture(scope="module")
def embedded_image(own, request_of):
    return pixels(own.generate(request_of()).images[0])


@pytest.mark.by_default("diffusers")
@pytest.mark.parametrize("naming", ["diffusers", "original", "comfy"])
def test_a_single_safetensors_draws_the_same(own, transformer, embedded_image, request_of, tmp_path, naming):
    state = transformer if naming == "diffusers" else original_names(transformer)
    prefix = "model.diffusion_model." if naming == "comfy" else ""
    file = tmp_path / "single.safetensors"
    save_file({prefix + name: tensor.contiguous() for name, tensor in state.items()}, file)
    info = own._catalog.find(str(file))
    assert (info.problem, info.base) == (None, str(EMBEDDED))
    assert np.array_equal(pixels(own.generate(request_of(model=str(file))).images[0]), embedded_image)


QUANTISED = {"F16": (gguf.GGMLQuantizationType.F16, 0.05), "Q8_0": (gguf.GGMLQuantizationType.Q8_0, 0.5)}


def write_gguf(file, state, kind):
    """Matrices in `kind` where their rows are whole blocks, the rest in float32."""
    writer = gguf.GGUFWriter(file, "lumina2")
    block = gguf.GGML_QUANT_SIZES[kind][0]
    for name, tensor in state.items():
        array = tensor.float().numpy()
        fits = array.ndim == 2 and array.shape[1] % block == 0
        stored = kind if fits else gguf.GGMLQuantizationType.F32
        writer.add_tensor(name, gguf.quants.quantize(array, stored), raw_dtype=stored)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.mark.by_default("Q8_0")
@pytest.mark.parametrize("kind", QUANTISED)
def test_a_gguf_draws_nearly_the_same(own, transformer, embedded_image, request_of, tmp_path, kind):
    file = tmp_path / "single.gguf"
    quantisation, farthest = QUANTISED[kind]
    write_gguf(file, original_names(transformer), quantisation)
    info = own._catalog.find(str(file))
    assert (info.problem, info.base) == (None, str(EMBEDDED))
    image = pixels(own.generate(request_of(model=str(file))).images[0])
    assert own.loaded.held.tier.quantization == "gguf"
    assert count_parameters(file, EMBEDDED) == count_parameters(EMBEDDED)
    distance = float(np.abs(image - embedded_image).mean())
    print(f"{kind}: mean difference {distance:.3f} of 255, {file.stat().st_size} bytes")
    assert distance < farthest


@pytest.mark.slow
def test_a_gguf_is_not_quantised_twice(own, transformer, request_of, tmp_path):
    file = tmp_path / "single.gguf"
    write_gguf(file, original_names(transformer), gguf.GGMLQuantizationType.Q8_0)
    image = own.generate(request_of(model=str(file), changed={"memory.quantization": "int8"})).images[0]
    (said,) = [choice for choice in image.decisions if choice.option == "memory.quantization"]
    assert (said.requested, said.effective) == ("int8", "gguf")
    assert image.effective["memory.quantization"] == "gguf"


def test_a_gguf_beside_the_other_weights_is_the_option(own, transformer, embedded_image, request_of, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(EMBEDDED, folder)
    write_gguf(folder / "transformer" / "q8.gguf", original_names(transformer), gguf.GGMLQuantizationType.Q8_0)
    request = request_of(model=str(folder), changed={"memory.quantization": "gguf"})
    assert 0 < np.abs(pixels(own.generate(request).images[0]) - embedded_image).mean() < 0.5
    (folder / "transformer" / "q8.gguf").write_bytes(b"GGUF cut")
    own.unload()
    with pytest.raises(ModelFileError, match=r"q8\.gguf.*shorter"):
        own.generate(request)


@pytest.mark.parametrize("keep", [3, 20, 2000, -1])
def test_a_cut_gguf_is_refused_by_its_header(own, transformer, tmp_path, keep):
    file = tmp_path / "cut.gguf"
    write_gguf(file, original_names(transformer), gguf.GGMLQuantizationType.Q8_0)
    file.write_bytes(file.read_bytes()[:keep])
    assert "shorter than its header says" in own._catalog.find(str(file)).problem.message("en")


def test_a_single_file_without_a_base_says_what_to_get(tmp_path, transformer, configs):
    (configs / "models" / "demo.yaml").unlink()
    file = tmp_path / "single.safetensors"
    save_file(transformer, file)
    found = Catalog(configs, ModelPaths(tmp_path / "store")).find(str(file))
    assert "download one first" in found.problem.message("en")


def test_another_kind_of_single_file(own, tmp_path):
    save_file({"transformer_blocks.0.weight": torch.ones(2)}, tmp_path / "other.safetensors")
    problem = own._catalog.find(str(tmp_path / "other.safetensors")).problem
    assert "its tensors are those of no known model; a file can be " in problem.message("en")
    assert "SD 1.5 or SDXL or Z-Image" in problem.message("en")
    assert "or a ControlNet for SD 1.5 or SDXL or Z-Image" in problem.message("en")
    with safe_open(tmp_path / "other.safetensors", "pt") as file:
        assert len(file.keys()) == 1


@pytest.mark.parametrize("name", ["weights.bin", "weights.ckpt", "weights.txt"])
def test_other_files_are_no_models(own, tmp_path, name):
    (tmp_path / name).write_bytes(b"anything")
    assert "one .safetensors or one .gguf" in own._catalog.find(str(tmp_path / name)).problem.message("en")
