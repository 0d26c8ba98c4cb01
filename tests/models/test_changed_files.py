"""A file that is replaced under the same name: foretold before a rerun, used by it, and named after it. One case for each kind."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from core.config.loader import PROJECT_ROOT, load_settings
from core.demo.compact_upscaler import CompactUpscaler
from core.errors import Cancelled
from core.history import used_files
from core.inference.generator import Generator
from core.models.catalog import Catalog
from core.models.model_paths import PREVIEWS, ModelPaths
from core.studio.bootstrap import build_studio
from core.types import CONTROLS, IMAGE, ImageRecord, Phase, ResumeState
from tests.models import tiny_models
from tests.models.loras import write_lora
from tests.models.originals import one_file
from tests.models.test_control_maps import depth_model
from tests.models.test_families import original_names, write_gguf

SMALL = {"width": 64, "height": 64, "num_inference_steps": 2}
UNITS = tuple(f"net{k}:0.8" for k in range(len(CONTROLS)))
WEIGHTS = "diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A studio without a worker and a generator over the same models, with a file of each kind."""
    root = tmp_path_factory.mktemp("changed")
    store, configs = root / "outputs" / "models", root / "configs"
    shutil.copytree(PROJECT_ROOT / "configs", configs, ignore=shutil.ignore_patterns("*local.yaml"))
    sd, z = tiny_models.stable_diffusion(root / "sd"), tiny_models.z_image(root / "z")
    for kind in ("vae", "text_encoder"):
        shutil.copytree(sd / kind, root / f"own-{kind}")
    one_file(sd, root / "single.safetensors")
    write_gguf(root / "z.gguf", original_names(load_file(z / "transformer" / WEIGHTS)), gguf.GGMLQuantizationType.F32)
    shutil.copytree(z, root / "z8")
    write_gguf(root / "z8" / "transformer" / "own.gguf", original_names(load_file(z / "transformer" / WEIGHTS)),
               gguf.GGMLQuantizationType.F32)  # fmt: skip
    entries = {
        "sd": f"path: {sd}",
        "parts": f"path: {sd}\nparts: {{vae: {root / 'own-vae'}, text_encoder: {root / 'own-text_encoder'}}}",
        "single": f"path: {root / 'single.safetensors'}\nbase: sd",
        "gguf": f"path: {root / 'z.gguf'}\nbase: z",
        "z": f"path: {z}",
        "z8": f"path: {root / 'z8'}",
    }
    for name, text in entries.items():
        (configs / "models" / f"{name}.yaml").write_text(f"id: {name}\n{text}\n")
    for k in range(len(CONTROLS)):
        tiny_models.sd15_network(store / "controlnet" / f"net{k}", seed=k + 1)
    write_lora(store / "loras" / "ink.safetensors", Generator(Catalog(configs, ModelPaths(store)))
               .load("sd", load_settings(configs).request_options(), lambda progress: None).pipeline, 3)  # fmt: skip
    (store / "embeddings").mkdir()
    save_file({"emb_params": torch.randn(2, tiny_models.WIDTH)}, store / "embeddings" / "moody.safetensors")
    (store / "upscalers").mkdir()
    save_file(CompactUpscaler(2, 8, 1).state_dict(), store / "upscalers" / "twice.safetensors")
    depth_model(store / "preprocessors" / "depth")
    overrides = {"output.directory": str(root / "outputs"), "model.device": "cpu"}
    studio = build_studio(load_settings(configs, overrides=overrides))
    return SimpleNamespace(root=root, store=store, studio=studio, own=Generator(studio.catalog))


def scene(side: int) -> Image.Image:
    y, x = np.mgrid[0:side, 0:side]
    checks = np.where((x // 8 + y // 8) % 2, 200, 40)
    return Image.fromarray(np.stack([x * 255 // side, y * 255 // side, checks], -1).astype(np.uint8))


def generated(box: SimpleNamespace, request: Any, inputs: dict[str, Image.Image]) -> ImageRecord:
    """Generate a request by the generator that all cases share, and store its image."""
    (image,) = box.own.generate(request, attempt=ResumeState(inputs=inputs)).images
    return box.studio.history.add(replace(image, request=replace(request, inputs={})), None)


def edit(file: Path) -> None:
    """Change the largest tensor of a safetensors file, or many numbers of another; the size stays, the time moves on."""
    if file.suffix == ".safetensors":
        tensors = load_file(file)
        name = max(tensors, key=lambda key: tensors[key].numel())
        tensors[name] = tensors[name] * -1.5
        save_file(tensors, file.with_suffix(".new"))
        data = file.with_suffix(".new").read_bytes()
        file.with_suffix(".new").unlink()
    else:
        loaded = np.frombuffer(file.read_bytes(), np.uint8).copy()
        loaded[len(loaded) // 2 // 4 * 4 + 2 :: 64] ^= 0x40  # of numbers in float32
        data = loaded.tobytes()
    before = file.stat()
    file.with_suffix(".tmp").write_bytes(data)  # as a download does: another file takes the name
    file.with_suffix(".tmp").replace(file)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns + 1_000_000_000))


HIRES = {"hires.enabled": True, "hires.upscaler": "twice", "hires.scale": 2.0}
ENLARGE = {"upscale.mode": "enlarge", "upscale.method": "twice"}
CONTROLLED = {role: scene(64) for role in CONTROLS}
CASES: dict[str, tuple[dict[str, Any], dict[str, Image.Image], str, tuple[str, str]]] = {
    "lora": ({"lora.use": ("ink:0.9",)}, {}, "outputs/models/loras/ink.safetensors", ("lora", "ink")),
    "embedding": ({}, {}, "outputs/models/embeddings/moody.safetensors", ("embedding", "moody")),
    "upscaler-hires": (HIRES, {}, "outputs/models/upscalers/twice.safetensors", ("upscaler", "twice")),
    "upscaler-enlarge": (ENLARGE, {IMAGE: scene(32)}, "outputs/models/upscalers/twice.safetensors", ("upscaler", "twice")),
    **{
        f"controlnet-{k + 1}-of-4": (
            {"controlnet.units": UNITS}, CONTROLLED, f"outputs/models/controlnet/net{k}/{WEIGHTS}", ("controlnet", f"net{k}"),
        )
        for k in range(len(CONTROLS))
    },
    "depth": (
        {"controlnet.units": ("net0:0.8:preprocessor=depth",)}, {CONTROLS[0]: scene(64)},
        "outputs/models/preprocessors/depth/model.safetensors", ("preprocessor", "depth"),
    ),
    "parts-vae": ({}, {}, f"own-vae/{WEIGHTS}", ("model", "vae")),
    "parts-text_encoder": ({}, {}, "own-text_encoder/model.safetensors", ("model", "text_encoder")),
    "sd-unet": ({}, {}, f"sd/unet/{WEIGHTS}", ("model", "unet")),
    "single": ({}, {}, "single.safetensors", ("model", "unet")),
    "gguf": ({}, {}, "z.gguf", ("model", "transformer")),
    "z8-quantization": ({"memory.quantization": "gguf"}, {}, "z8/transformer/own.gguf", ("model", "transformer.gguf")),
}  # fmt: skip
MODELS = ("parts", "single", "gguf", "z8")


@pytest.mark.by_default("embedding", "controlnet-4-of-4", "parts-vae")
@pytest.mark.parametrize("case", CASES)
@pytest.mark.by_default("controlnet-4-of-4", "parts-vae")
def test_replaced_file_is_told_before_and_after_a_rerun(box: SimpleNamespace, request_of: Callable[..., Any], case: str) -> None:
    options, inputs, file, named = CASES[case]
    model = case.partition("-")[0] if case.startswith(MODELS) else "sd"
    prompt = "a moody house" if case == "embedding" else "a house"
    request = request_of(prompt=prompt, model=model, changed=options, **SMALL)
    before = generated(box, request, inputs)
    reruns = box.studio.reruns
    assert reruns.expected_changes(before.id) == ()
    edit(box.root / file)
    foretold = reruns.expected_changes(before.id)
    assert named in [used_files.named(change.name) for change in foretold]
    assert {used_files.named(change.name)[0] for change in foretold} == {named[0]}
    result = reruns.result(before.id, generated(box, request, inputs).id)
    assert not result.difference.identical, "the new file was used"
    assert result.reasons == foretold


def test_what_decides_no_pixel_is_not_told(box: SimpleNamespace, request_of: Callable[..., Any]) -> None:
    """A tiny decoder makes previews alone; of a detector the boxes are in the request."""
    before = generated(box, request_of(model="sd", **SMALL), {})
    for folder, name in ((PREVIEWS, "taesd/diffusion_pytorch_model.safetensors"), ("detectors", "face.onnx")):
        path = box.store / folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"another file")
    assert box.studio.reruns.expected_changes(before.id) == ()


def test_renamed_weights_are_the_same(box: SimpleNamespace, request_of: Callable[..., Any]) -> None:
    before = generated(box, request_of(model="sd", **SMALL), {})
    folder = box.root / "sd" / "vae"
    (folder / WEIGHTS).rename(folder / "vae.safetensors")
    try:
        assert box.studio.reruns.expected_changes(before.id) == ()
    finally:
        (folder / "vae.safetensors").rename(folder / WEIGHTS)


def test_image_that_was_stopped_begins_again_with_the_new_file(
    box: SimpleNamespace, request_of: Callable[..., Any], tmp_path: Path
) -> None:
    request = request_of(model="sd", changed={"lora.use": ("ink:0.9",)}, **{**SMALL, "num_inference_steps": 4})
    seen: list[int] = []

    def told(progress: Any) -> None:
        if progress.phase is Phase.STEPS:
            seen.append(progress.step)

    attempt = ResumeState("job", (), {}, tmp_path)
    with pytest.raises(Cancelled):
        box.own.generate(request, told, lambda: len(seen) >= 2, attempt=attempt)
    edit(box.store / "loras" / "ink.safetensors")
    (image,) = box.own.generate(request, attempt=attempt).images
    (note,) = [one for one in image.decisions if one.option == "resume.interval"]
    assert note.requested == "lora.ink"
    assert np.array_equal(np.asarray(image.image), np.asarray(box.own.generate(request).images[0].image))
