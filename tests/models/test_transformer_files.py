"""Transformers of FLUX.2 [klein] and Qwen-Image in one file, as their publishers, ComfyUI and GGUF makers name the weights."""

from __future__ import annotations

import re
import shutil

import gguf
import numpy as np
import pytest
import torch
import yaml
from diffusers.loaders.single_file_utils import convert_flux2_transformer_checkpoint_to_diffusers
from diffusers.pipelines.qwenimage import pipeline_qwenimage_edit_plus as edit_plus
from safetensors.torch import load_file, save_file

from core.config.loader import PROJECT_ROOT
from core.inference.generator import Generator
from core.models.catalog import Catalog
from core.models.model_paths import ModelPaths
from core.models.part_sources import count_parameters
from core.types import IMAGE, ResumeState
from tests.models import tiny_models
from tests.models.family_contract import SIZE, pixels, scene
from tests.models.test_families import write_gguf

PREFIX = "model.diffusion_model."
_FLUX = {  # a layer of a block in diffusers' names -> in the publisher's
    "attn.norm_q.weight": "img_attn.norm.query_norm.scale", "attn.norm_k.weight": "img_attn.norm.key_norm.scale",
    "attn.norm_added_q.weight": "txt_attn.norm.query_norm.scale", "attn.norm_added_k.weight": "txt_attn.norm.key_norm.scale",
    "attn.to_out.0.weight": "img_attn.proj.weight", "attn.to_add_out.weight": "txt_attn.proj.weight",
    "ff.linear_in.weight": "img_mlp.0.weight", "ff.linear_out.weight": "img_mlp.2.weight",
    "ff_context.linear_in.weight": "txt_mlp.0.weight", "ff_context.linear_out.weight": "txt_mlp.2.weight",
}  # fmt: skip
_FLUX_SINGLE = {
    "attn.norm_q.weight": "norm.query_norm.scale", "attn.norm_k.weight": "norm.key_norm.scale",
    "attn.to_qkv_mlp_proj.weight": "linear1.weight", "attn.to_out.weight": "linear2.weight",
}  # fmt: skip
_FLUX_OUTER = {
    "x_embedder": "img_in", "context_embedder": "txt_in", "proj_out": "final_layer.linear",
    "time_guidance_embed.timestep_embedder.linear_1": "time_in.in_layer",
    "time_guidance_embed.timestep_embedder.linear_2": "time_in.out_layer",
    "double_stream_modulation_img.linear": "double_stream_modulation_img.lin",
    "double_stream_modulation_txt.linear": "double_stream_modulation_txt.lin",
    "single_stream_modulation.linear": "single_stream_modulation.lin",
}  # fmt: skip


def flux_as_published(state):
    """Return a transformer of diffusers by the publisher's names; diffusers' own conversion gives it back."""
    found = {}
    for name, tensor in state.items():
        block = re.match(r"(single_)?transformer_blocks\.(\d+)\.(.+)$", name)
        if block is None:
            module = name.removesuffix(".weight")
            if module != "norm_out.linear":
                found[f"{_FLUX_OUTER[module]}.weight"] = tensor
        elif new := (_FLUX_SINGLE if block[1] else _FLUX).get(block[3]):
            found[f"{'single' if block[1] else 'double'}_blocks.{block[2]}.{new}"] = tensor
        elif block[3] == "attn.to_q.weight":
            start, target = f"transformer_blocks.{block[2]}.attn", f"double_blocks.{block[2]}"
            for stream, parts in (("img", ("to_q", "to_k", "to_v")), ("txt", ("add_q_proj", "add_k_proj", "add_v_proj"))):
                fused = torch.cat([state[f"{start}.{part}.weight"] for part in parts])
                found[f"{target}.{stream}_attn.qkv.weight"] = fused
    found["final_layer.adaLN_modulation.1.weight"] = torch.cat(state["norm_out.linear.weight"].chunk(2)[::-1])
    again = convert_flux2_transformer_checkpoint_to_diffusers(dict(found))
    assert again.keys() == state.keys() and all(torch.equal(again[name], state[name]) for name in state)
    return found


KINDS = {
    "klein": (lambda folder: tiny_models.flux2_klein(folder, distilled=False), flux_as_published),
    "qwen": (tiny_models.qwen_image, dict),
}


@pytest.fixture(scope="module", params=KINDS)
def model(request, tmp_path_factory):
    """Return (a folder with the catalogue's files and the model `base`, its transformer's weights as they are published)."""
    home = tmp_path_factory.mktemp("home")
    build, published = KINDS[request.param]
    folder = build(home / "base")
    shutil.copytree(PROJECT_ROOT / "configs", home / "configs")
    entry(home, "base", path=str(folder))
    (file,) = (folder / "transformer").glob("*.safetensors")
    state = load_file(file)
    return home, {name: tensor.contiguous() for name, tensor in published(state).items()}


@pytest.fixture(scope="module")
def own(model):
    home, _ = model
    generator = Generator(Catalog(home / "configs", ModelPaths(home / "store", extra=(home,))))
    yield generator
    generator.unload()


def entry(home, name, **keys):
    (home / "configs" / "models" / f"{name}.yaml").write_text(yaml.safe_dump({"id": name, **keys}))


def image_of(own, request_of, name):
    request = request_of(model=name, **SIZE, num_inference_steps=1, negative_prompt="grey")
    return pixels(own.generate(request).images[0].image)


@pytest.mark.by_default("klein-plain")
@pytest.mark.parametrize("prefix", [pytest.param("", id="plain"), pytest.param(PREFIX, id="prefix")])
def test_a_safetensors_file_draws_what_the_folder_draws(model, own, request_of, prefix):
    home, state = model
    file = home / f"single{len(prefix)}.safetensors"
    save_file({prefix + name: tensor for name, tensor in state.items()}, file)
    entry(home, file.stem, path=str(file), base="base")
    info = own._catalog.find(file.stem)
    assert info.problem is None, info.problem.message("en")
    assert count_parameters(file, home / "base") == count_parameters(home / "base")
    assert np.array_equal(image_of(own, request_of, file.stem), image_of(own, request_of, "base"))


@pytest.mark.by_default("qwen")
def test_a_gguf_file_draws_nearly_what_the_folder_draws(model, own, request_of):
    home, state = model
    file = home / "quantised.gguf"
    write_gguf(file, state, gguf.GGMLQuantizationType.Q8_0)
    entry(home, "quantised", path=str(file), base="base")
    image = image_of(own, request_of, "quantised")
    assert own.loaded.held.tier.quantization == "gguf"
    distance = np.abs(image - image_of(own, request_of, "base")).mean()
    assert 0 < distance < 3


@pytest.mark.slow
def test_the_base_decides_that_a_file_edits(tmp_path, request_of, monkeypatch):
    """The transformers of Qwen-Image and of Qwen-Image-Edit have the same names and shapes."""
    monkeypatch.setattr(edit_plus, "VAE_IMAGE_SIZE", 64 * 64)
    monkeypatch.setattr(edit_plus, "CONDITION_IMAGE_SIZE", 64 * 64)
    folder = tiny_models.qwen_image_edit(tmp_path / "base")
    shutil.copytree(PROJECT_ROOT / "configs", tmp_path / "configs")
    (file,) = (folder / "transformer").glob("*.safetensors")
    shutil.copyfile(file, tmp_path / "single.safetensors")
    entry(tmp_path, "base", path=str(folder))
    entry(tmp_path, "single", path=str(tmp_path / "single.safetensors"), base="base")
    own = Generator(Catalog(tmp_path / "configs", ModelPaths(tmp_path / "store", extra=(tmp_path,))))
    info = own._catalog.find("single")
    assert (info.problem, info.pipeline) == (None, "QwenImageEditPlusPipeline")
    images = []
    for name in ("base", "single"):
        request = request_of(model=name, **SIZE, num_inference_steps=1)
        images.append(pixels(own.generate(request, attempt=ResumeState(inputs={IMAGE: scene()})).images[0].image))
    own.unload()
    assert np.array_equal(*images)


@pytest.mark.by_default("klein")
def test_a_weight_that_is_missing_is_named(model, own):
    home, state = model
    file = home / "cut.safetensors"
    lost = next(name for name in sorted(state) if "txt" in name and "mlp" in name)
    save_file({name: tensor for name, tensor in state.items() if name != lost}, file)
    entry(home, "cut", path=str(file), base="base")
    assert "1 weight of the transformer is missing" in own._catalog.find("cut").problem.message("en")
