"""Every published layout of LoRA acts by exactly what its file says, on every layer, or is refused by name."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional

from core.config.loader import PROJECT_ROOT
from core.config.lora_syntax import LoraSpec
from core.config.options import SCHEMA
from core.errors import LoraFileError
from core.inference import lora_adapters
from core.inference.pipeline_loader import load_model
from core.models.catalog import Catalog
from core.models.families import FAMILIES
from core.models.lora_library import LoraLibrary, describe
from core.models.lora_match import match
from core.models.model_paths import ModelPaths
from tests.layouts.loras import HEADERS, LAYOUTS, Source, table, write
from tests.models import originals, tiny_models

BUILD = {"z_image": tiny_models.z_image, "sdxl": tiny_models.stable_diffusion_xl, "sd": tiny_models.stable_diffusion}
PARTS = ("transformer", "unet", "text_encoder", "text_encoder_2")


@pytest.fixture(scope="module")
def toy(request, tmp_path_factory):
    """A loaded toy of each family, with the folder of its LoRAs and the matrices that all of them hold."""
    root = tmp_path_factory.mktemp(request.param)
    folder = BUILD[request.param](root / "toy")
    info = Catalog(PROJECT_ROOT / "configs", ModelPaths(root)).find(str(folder))
    model = load_model(info, {option.key: option.default for option in SCHEMA.options.values()})
    layers = {(part, name): layer for part in PARTS for name, layer in _layers(getattr(model.pipeline, part, None))}
    source = Source(request.param, {key: layer.weight.detach() for key, layer in layers.items()})
    (root / "loras").mkdir()
    files = LoraLibrary(root / "loras", root / "none")
    return SimpleNamespace(family=request.param, model=model, info=info, source=source, files=files, plain=layers)


def _layers(module):
    for name, layer in module.named_modules() if isinstance(module, nn.Module) else ():
        if isinstance(layer, (nn.Linear, nn.Conv2d)) and "base_layer" not in name and "lora_" not in name:
            yield name, layer


def _change(
    layer: nn.Module, plain: nn.Module, weight: torch.Tensor, delta: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """What the layer gives beyond the plain one for random inputs, and what it must give."""
    dice = torch.Generator().manual_seed(1)
    if isinstance(plain, nn.Conv2d):
        inputs = torch.randn(2, weight.shape[1], 8, 8, generator=dice)
        wanted = functional.conv2d(inputs, delta, stride=plain.stride, padding=plain.padding)
    else:
        inputs = torch.randn(3, weight.shape[1], generator=dice)
        wanted = functional.linear(inputs, delta)
    return layer(inputs) - plain(inputs), wanted


@torch.no_grad()
def check_acts(toy, name: str, weight: float = 1.0, image: bool = False) -> None:
    deltas = write(name, toy.source, toy.files.folder)
    wanted = lora_adapters.wanted([LoraSpec(name, weight)], toy.files, toy.model)
    lora_adapters.apply(toy.model, wanted)
    try:
        acting = {
            (part, layer)
            for part in PARTS
            for layer, module in getattr(toy.model.pipeline, part, nn.Module()).named_modules()
            if getattr(module, "lora_A", None)
        }
        assert acting == set(deltas)
        assert wanted[0].acts_on[0] == wanted[0].acts_on[1], "all layers of the file act"
        for (part, layer), delta in deltas.items():
            module = getattr(toy.model.pipeline, part).get_submodule(layer)
            found, expected = _change(module, toy.plain[part, layer], toy.source.weights[part, layer], delta * weight)
            size = expected.abs().max()
            assert (found - expected).abs().max() < 0.02 * size + 1e-4, (part, layer)
        found_image = rendered(toy) if image else None
    finally:
        lora_adapters.apply(toy.model, ())
    assert all(module is toy.plain[part, layer] for part, layer in deltas
               for module in [getattr(toy.model.pipeline, part).get_submodule(layer)])  # fmt: skip
    if found_image is not None:
        plain_image = rendered(toy)
        with added(toy, deltas, weight):
            expected = rendered(toy)
        effect = (expected - plain_image).abs().max()
        assert effect > 0 and (found_image - expected).abs().max() < 0.02 * effect + 1e-4


def rendered(toy) -> torch.Tensor:
    """A denoised image of two steps, before the VAE."""
    dice, pipeline = torch.Generator().manual_seed(3), toy.model.pipeline
    return pipeline("a red house", height=32, width=32, num_inference_steps=2, guidance_scale=0.0, generator=dice,
                    output_type="latent").images.float()  # fmt: skip


@contextmanager
def added(toy, deltas, weight: float) -> Iterator[None]:
    """The plain model with what a LoRA adds in its own weights."""
    kept = {key: toy.plain[key].weight.data.clone() for key in deltas}
    try:
        for key, delta in deltas.items():
            toy.plain[key].weight.data += delta * weight
        yield
    finally:
        for key, before in kept.items():
            toy.plain[key].weight.data.copy_(before)


@pytest.mark.parametrize("page", HEADERS)
def test_documented(page: str) -> None:
    """Both pages list the layouts that are tested."""
    assert table(page) in (PROJECT_ROOT / "docs" / page).read_text(encoding="utf-8")


@pytest.mark.parametrize("family", BUILD)
def test_there_are_enough_layouts(family: str) -> None:
    assert len(LAYOUTS) >= 60 and any(layout.family == family for layout in LAYOUTS.values())


QUICK = ("z-diffusers", "z-comfyui-fused", "z-text-encoder-kohya", "z-dora", "xl-old-processor", "xl-tucker", "xl-full",
         "sd-old-text-encoder")  # fmt: skip
ACTING = [
    pytest.param(layout.family, name, marks=() if name in QUICK else pytest.mark.slow) for name, layout in LAYOUTS.items()
]


@pytest.mark.parametrize(("toy", "name"), ACTING, indirect=["toy"])
@pytest.mark.by_default("z_image-z-comfyui-fused", "z_image-z-dora", "sdxl-xl-tucker", "sd-sd-old-text-encoder")
def test_layout_acts_on_every_layer(toy, name: str) -> None:
    check_acts(toy, name)


@pytest.mark.slow
@pytest.mark.parametrize(("toy", "name"), [(layout.family, name) for name, layout in LAYOUTS.items()], indirect=["toy"])
def test_image_of_each_layout_is_that_of_the_changed_weights(toy, name: str) -> None:
    check_acts(toy, name, image=True)


# Those of QUICK and SCALED have each algorithm and each way to name layers; the others are read by their headers by default, too.
SCALED = ["z-lokr-low-rank", "z-kohya-fused", "xl-loha", "xl-kohya-texts", "sd-kohya"]


@pytest.mark.by_default("z_image-z-lokr-low-rank", "sdxl-xl-loha", "sd-sd-kohya")
@pytest.mark.parametrize(("toy", "name"), [(LAYOUTS[name].family, name) for name in SCALED], indirect=["toy"])
@pytest.mark.by_default("z_image-z-lokr-low-rank")
def test_weight_scales_the_delta_and_the_image(toy, name: str) -> None:
    check_acts(toy, name, -0.5, image=True)


each_family = pytest.mark.parametrize("toy", BUILD, indirect=True)


@pytest.mark.by_default("z_image")
@each_family
@torch.no_grad()
def test_adapters_of_several_algorithms_add_up(toy) -> None:
    names = {"z_image": ("z-lokr-ai-toolkit", "z-diffusers", "z-loha"), "sdxl": ("xl-lokr", "xl-kohya-texts", "xl-full"),
             "sd": ("sd-kohya", "sd-diffusers")}[toy.family]  # fmt: skip
    total: dict = {}
    for name in names:
        for key, delta in write(name, toy.source, toy.files.folder).items():
            total[key] = total.get(key, 0) + 0.5 * delta
    lora_adapters.apply(toy.model, lora_adapters.wanted([LoraSpec(name, 0.5) for name in names], toy.files, toy.model))
    for (part, layer), delta in total.items():
        module = getattr(toy.model.pipeline, part).get_submodule(layer)
        found, expected = _change(module, toy.plain[part, layer], toy.source.weights[part, layer], delta)
        assert torch.allclose(found, expected, rtol=1e-3, atol=1e-4), (part, layer)
    lora_adapters.apply(toy.model, lora_adapters.wanted([LoraSpec(names[1], 1.0)], toy.files, toy.model))
    left = {slot for part in PARTS for slot in getattr(getattr(toy.model.pipeline, part, None), "peft_config", {})}
    assert len(left) == 1
    lora_adapters.apply(toy.model, ())


@each_family
def test_described_as_it_acts(toy) -> None:
    name = next(name for name, layout in LAYOUTS.items() if layout.family == toy.family)
    deltas = write(name, toy.source, toy.files.folder)
    told = describe(toy.files.folder / f"{name}.safetensors", toy.info)
    assert told["use"] == "yes" and told["acts_on"] == [len(deltas), len(deltas)]
    assert told["kind"] == "lora" and told["family"] in ("Z-Image", "SD 1.5 or SDXL") and told["dtype"]


@each_family
@pytest.mark.by_default("sdxl")
def test_every_layout_is_matched_by_the_headers_alone(toy) -> None:
    for name, layout in LAYOUTS.items():
        if layout.family == toy.family:
            deltas = write(name, toy.source, toy.files.folder)
            told = describe(toy.files.folder / f"{name}.safetensors", toy.info)
            assert told["use"] == "yes" and told["acts_on"][0] == told["acts_on"][1] and deltas, name


@each_family
def test_a_lora_of_another_family_is_refused(toy) -> None:
    other = {"z_image": "xl-kohya", "sdxl": "z-kohya", "sd": "z-kohya"}[toy.family]
    fake = Source(LAYOUTS[other].family, {("unet", "mid_block.attentions.0.transformer_blocks.0.attn2.to_k"): torch.zeros(16, 99),
        ("transformer", "layers.0.attention.to_q"): torch.zeros(99, 99)})  # fmt: skip
    fake.pairs = {
        key: pair for key, pair in fake.pairs.items() if key[0] == ("unet" if other[0] == "x" else "transformer")
    }
    write(other, fake, toy.files.folder)
    with pytest.raises(LoraFileError, match="another model"):
        lora_adapters.wanted([LoraSpec(other)], toy.files, toy.model)


@each_family
def test_single_files_are_matched_by_their_headers(toy, tmp_path) -> None:
    """In the names that checkpoints and ComfyUI's files have, a LoRA has the same layers to act on."""
    name = {"z_image": "z-all-layers", "sdxl": "xl-kohya-texts", "sd": "sd-kohya"}[toy.family]
    deltas = write(name, toy.source, toy.files.folder)
    header = toy.files.header(name)
    file, folder = tmp_path / "model.safetensors", Path(toy.info.path)
    if toy.family == "z_image":
        one_z_image_file(folder, file)
    else:
        originals.one_file(folder, file)
    part = "transformer" if toy.family == "z_image" else "unet"
    shapes = {
        key.removesuffix(".weight"): tuple(tensor.shape)
        for key, tensor in load_file(file).items()
        if key.endswith(".weight")
    }
    prefix = "model.diffusion_model." if any(key.startswith("model.diffusion_model.") for key in shapes) else ""
    own = {key: shape for key, shape in shapes.items() if key.startswith(prefix)}
    table = FAMILIES[toy.info.pipeline].lora
    matched = match(header, {part: table.parts[0].plain(own)}, toy.info.pipeline)
    assert {target.module for found in matched.acting.values() for target in found} == {
        layer for own_part, layer in deltas if own_part == part
    }
    assert not matched.missing and not matched.misshapen


def one_z_image_file(folder: Path, file: Path) -> None:
    """The transformer in the names that ComfyUI publishes, with query, key and value in one layer."""
    weights = load_file(next((folder / "transformer").glob("*.safetensors")))
    found = {}
    for name, tensor in weights.items():
        if re.search(r"attention\.to_[kv]\.", name):
            continue
        if "attention.to_q." in name:
            tensor = torch.cat([weights[name.replace("to_q", one)] for one in ("to_q", "to_k", "to_v")])
        for own, original in (
            ("attention.to_q", "attention.qkv"), ("attention.to_out.0", "attention.out"), ("all_x_embedder.2-1", "x_embedder"),
            ("all_final_layer.2-1", "final_layer"), ("norm_q", "q_norm"), ("norm_k", "k_norm"),
        ):  # fmt: skip
            name = name.replace(own, original)
        found[f"model.diffusion_model.{name}"] = tensor.contiguous()
    save_file(found, file)
