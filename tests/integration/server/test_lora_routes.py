"""LoRAs over HTTP: listed, shown, ordered by the option or in the prompt, refused before anything is queued."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import torch
from PIL import Image, PngImagePlugin
from safetensors.torch import save_file

from tests.integration.server.live import Served


@pytest.fixture(scope="module")
def folder(served: Served) -> Path:
    """Two files of the user's: one for the embedded model, one for SDXL."""
    folder = served.studio.settings.output_directory / "models" / "loras"
    folder.mkdir(parents=True, exist_ok=True)
    name = "transformer.layers.0.attention.to_q"
    pair = {f"{name}.lora_A.weight": torch.zeros(2, 240), f"{name}.lora_B.weight": torch.zeros(240, 2)}
    save_file(pair, folder / "mine.safetensors")
    Image.new("RGB", (8, 8)).save(folder / "mine.png")
    name = "unet.mid_block.attentions.0.transformer_blocks.0.attn2.to_k"
    pair = {f"{name}.lora_A.weight": torch.zeros(2, 2048), f"{name}.lora_B.weight": torch.zeros(1280, 2)}
    save_file(pair, folder / "xl.safetensors")
    return folder


@pytest.fixture
def http(served: Served, folder: Path) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=served.url, timeout=60) as client:
        yield client


def test_capabilities_list_them_with_what_they_fit(http: httpx.Client) -> None:
    found = {lora["name"]: lora for lora in http.get("/api/v1/capabilities").json()["loras"]}
    assert found["mine"]["fits"] == ["demo"] and found["xl"]["fits"] == ["sdxl", "sdxl-canny"]
    assert len(found["mine"]["digest"]) == 64 and found["mine"]["preview"] and "path" not in found["mine"]
    assert {"name": "mine", "alias": "mine", "path": "mine", "metadata": {}} in http.get("/sdapi/v1/loras").json()


def test_previews_are_served_by_name(http: httpx.Client) -> None:
    image = http.get("/api/v1/loras/mine/preview")
    assert image.status_code == 200 and image.headers["content-type"] == "image/webp"
    assert http.get("/api/v1/loras/xl/preview").status_code == 404
    for name in ("nothing", "..%2Fmine", "%2e%2e"):
        assert http.get(f"/api/v1/loras/{name}/preview").status_code in (404, 422)


@pytest.mark.parametrize("order", [{"lora.use": ["mine:0.5"]}, {"prompt": "a house <lora:mine:0.5>"}])
def test_an_order_may_name_one(http: httpx.Client, order: dict) -> None:
    answer = http.post("/api/v1/jobs", json={"prompt": "a house", "width": 64, "height": 64, **order})
    assert answer.status_code == 202, answer.text
    assert answer.json()["request"]["options"]["lora.use"] == order.get("lora.use", [])


@pytest.mark.parametrize(
    ("order", "words"),
    [
        ({"lora.use": ["mne"]}, "the nearest is mine"),
        ({"prompt": "a house <lora:mne:1>"}, "the nearest is mine"),
        ({"prompts": ["a house", "a car <lora:mne:1>"]}, "row 2"),
        ({"lora.use": ["xl:1"]}, "another model"),
        ({"lora.use": ["mine:9"]}, "name:weight"),
        ({"lora.use": [1]}, "list of texts"),
        ({"prompt": "<lora:mine:1>"}, "characters"),
    ],
)
def test_what_cannot_be_used_is_not_queued(http: httpx.Client, served: Served, order: dict, words: str) -> None:
    before = len(served.studio.queue.recent(200))
    given = {"width": 64, "height": 64, **order}
    answer = http.post("/api/v1/jobs", json=given if "prompts" in given else {"prompt": "a house", **given})
    assert answer.status_code == 422 and words in answer.json()["error"]["en"], answer.text
    assert str(served.studio.settings.output_directory) not in answer.text
    assert len(served.studio.queue.recent(200)) == before


def test_a_image_from_elsewhere_finds_the_lora_under_the_name_that_it_has_here(served: Served, folder: Path) -> None:
    digest = served.studio.lora_files.digests("mine")[1]
    line = f'Steps: 8, Sampler: Euler, CFG scale: 1, Seed: 7, Size: 64x64, Lora hashes: "theirs: {digest[:12]}", Version: v1'
    chunks = PngImagePlugin.PngInfo()
    chunks.add_text("parameters", f"a house <lora:theirs:0.4><lora:unknown:1>\n{line}")
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64)).save(buffer, "PNG", pnginfo=chunks)
    found = served.studio.images.read_parameters(buffer.getvalue())
    assert found is not None and found.values["lora.use"] == ("mine:0.4", "unknown:1")
