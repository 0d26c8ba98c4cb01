"""Parameters that other programs wrote, from PNG, JPEG and WebP; and garbage, which never raises."""

from __future__ import annotations

import io
import json
import zlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from core.config.control_units import read_unit, read_units, write_unit
from core.history.importers import READERS, read_parameters
from core.storage.metadata import save_arguments
from core.types import FoundParameters, ImageParameters
from tests.examples import examples

PROMPT_KEY = "generation.prompt"
ONLY_SIZE = ImageParameters(width=64, height=48)
PROMPT, NEGATIVE = "红色的房子，日落 (wall:1.2)", "rain, 雨"
USED = {
    "generation.prompt": PROMPT,
    "generation.negative_prompt": NEGATIVE,
    "generation.num_inference_steps": 20,
    "generation.cfg_scale": 4.5,
    "generation.seed": 77,
    "generation.width": 640,
    "generation.height": 384,
}
LINE = "Steps: 20, Sampler: Euler a, Schedule type: Karras, CFG scale: 4.5, Seed: 77, Size: 640x384, Model: some-xl"
A1111 = f"{PROMPT}\nNegative prompt: {NEGATIVE}\n{LINE}, Version: v1.10.1"
FORGE = f"{PROMPT}\nNegative prompt: {NEGATIVE}\n{LINE}, Distilled CFG Scale: 3.5, Version: f2.0.1v1.10.1"
SWARM = {
    "sui_image_params": {"prompt": PROMPT, "negativeprompt": NEGATIVE, "model": "some-xl", "seed": 77, "steps": 20,
                         "cfgscale": 4.5, "width": 640, "height": 384, "sampler": "euler", "swarm_version": "0.9.5"},
    "sui_extra_data": {"date": "2026-03-01"},
}  # fmt: skip
FOOOCUS = {"prompt": PROMPT, "negative_prompt": NEGATIVE, "steps": 20, "guidance_scale": 4.5, "seed": "77",
           "resolution": "(640, 384)", "base_model": "some-xl", "sampler": "euler"}  # fmt: skip
INVOKE = {"positive_prompt": PROMPT, "negative_prompt": NEGATIVE, "steps": 20, "cfg_scale": 4.5, "seed": 77, "width": 640,
          "height": 384, "model": {"name": "some-xl", "hash": "blake3:0"}, "scheduler": "euler", "app_version": "5.0"}  # fmt: skip
COMFY = {
    "3": {"class_type": "KSampler", "inputs": {"seed": ["9", 0], "steps": 20, "cfg": 4.5, "sampler_name": "euler", "denoise": 1.0,
          "positive": ["11", 0], "negative": ["7", 0], "latent_image": ["5", 0], "model": ["4", 0]}},
    "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "some-xl"}},
    "5": {"class_type": "EmptyLatentImage", "inputs": {"width": 640, "height": 384, "batch_size": 1}},
    "6": {"class_type": "CLIPTextEncode", "inputs": {"text": ["8", 0], "clip": ["4", 1]}},
    "7": {"class_type": "CLIPTextEncode", "inputs": {"text": NEGATIVE, "clip": ["4", 1]}},
    "8": {"class_type": "PrimitiveString", "inputs": {"value": PROMPT}},
    "9": {"class_type": "Seed", "inputs": {"seed": 77}},
    "11": {"class_type": "FluxGuidance", "inputs": {"conditioning": ["6", 0], "guidance": 3.5}},
}  # fmt: skip
ADVANCED = {
    "1": {"class_type": "SamplerCustomAdvanced", "inputs": {"noise": ["2", 0], "guider": ["3", 0], "sigmas": ["4", 0],
          "latent_image": ["5", 0]}},
    "2": {"class_type": "RandomNoise", "inputs": {"noise_seed": 77}},
    "3": {"class_type": "CFGGuider", "inputs": {"cfg": 4.5, "positive": ["6", 0], "negative": ["7", 0]}},
    "4": {"class_type": "BasicScheduler", "inputs": {"steps": 20, "scheduler": "simple"}},
    **{key: COMFY[key] for key in ("5", "6", "7", "8")},
    "9": {"class_type": "UNETLoader", "inputs": {"unet_name": "some-xl"}},
}  # fmt: skip


SAMPLED = {  # sampler and schedule of each case
    "a1111": ("euler_ancestral", "karras"),
    "forge": ("euler_ancestral", "karras"),
    "swarm": ("euler", "auto"),
    "fooocus": ("euler", "auto"),
    "invoke": ("euler", "auto"),
    "comfy": ("euler", "auto"),
    "comfy advanced": ("", "simple"),
}


def dumped(data: Any) -> str:
    return json.dumps(data, ensure_ascii=False)


CASES: dict[str, tuple[str, dict[str, str], set[str]]] = {
    "a1111": ("A1111", {"parameters": A1111}, {"Model"}),
    "forge": ("Forge", {"parameters": FORGE}, {"Distilled CFG Scale", "Model"}),
    "swarm": ("SwarmUI", {"parameters": dumped(SWARM)}, {"model", "sui_extra_data"}),
    "fooocus": ("Fooocus", {"parameters": dumped(FOOOCUS)}, {"base_model"}),
    "invoke": ("InvokeAI", {"invokeai_metadata": dumped(INVOKE)}, {"model"}),
    "comfy": ("ComfyUI", {"prompt": dumped(COMFY), "workflow": "{}"}, {"ckpt_name", "workflow"}),
    "comfy advanced": ("ComfyUI", {"prompt": dumped(ADVANCED)}, {"unet_name"}),
}


def png(texts: dict[str, str]) -> io.BytesIO:
    chunks = PngImagePlugin.PngInfo()
    for name, words in texts.items():
        chunks.add_itxt(name, words)
    buffer = io.BytesIO()
    Image.new("RGB", (64, 48)).save(buffer, "PNG", pnginfo=chunks)
    return buffer


def other(format: str, texts: dict[str, str]) -> io.BytesIO:
    """As the programs write JPEG and WebP: the UserComment, or fields of EXIF that say what they are."""
    buffer, image = io.BytesIO(), Image.new("RGB", (64, 48))
    if "parameters" in texts:
        image.save(buffer, format, **save_arguments(format.lower(), texts["parameters"], {}))
    else:
        exif = Image.Exif()
        for tag, (name, words) in zip((0x0110, 0x010F), texts.items(), strict=False):
            exif[tag] = f"{name}:{json.dumps(json.loads(words))}"  # EXIF text is ASCII
        image.save(buffer, format, exif=exif)
    return buffer


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("case", CASES)
def test_what_a_program_wrote_is_read(case: str, format: str) -> None:
    program, texts, unused = CASES[case]
    found = read_parameters(png(texts) if format == "PNG" else other(format, texts))
    assert found is not None and found.program == program
    sampled = {key: value for key, value in found.values.items() if key not in USED}
    assert {key: value for key, value in found.values.items() if key in USED} == USED
    assert sampled == {
        f"generation.{key}": value for key, value in zip(("sampler", "schedule"), SAMPLED[case], strict=True) if value
    }
    assert unused <= set(found.unused)


def test_our_own_is_read_exactly() -> None:
    requested = {"prompt": PROMPT, "negative_prompt": "", "model": "demo", "width": 640, "height": 384, "seed": 7,
                 "num_inference_steps": 8, "guidance_scale": 1.5, "num_images": 1,
                 "options": {"vae.enable_tiling": True}}  # fmt: skip
    for format in ("png", "jpeg", "webp"):
        buffer = io.BytesIO()
        record = {"format": "zdarkroom", "version": 1, "requested": requested}
        Image.new("RGB", (8, 8)).save(buffer, format.upper(), **save_arguments(format, A1111, record))
        found = read_parameters(buffer)
        assert found is not None and found.program == "Z Darkroom" and found.unused == {}
        assert found.values["vae.enable_tiling"] is True and found.values["generation.cfg_scale"] == 2.5


def test_a_value_that_cannot_be_used_is_listed() -> None:
    found = read_parameters(png({"parameters": "x\nSteps: 9000, CFG scale: nan, Seed: -5, Size: 9x9, Model: m"}))
    assert found is not None and found.values == {"generation.prompt": "x"}
    assert found.unused["generation.num_inference_steps"] == "9000" and "generation.cfg_scale" in found.unused


def test_a_image_that_says_nothing_has_its_size() -> None:
    found = read_parameters(png({}))
    assert found == FoundParameters("", {"generation.width": 64, "generation.height": 48}, {}, ONLY_SIZE)
    assert read_parameters(io.BytesIO(b"no image")) is None


def test_a_graph_that_goes_in_circles_ends() -> None:
    loop = {"1": {"class_type": "KSampler", "inputs": {"positive": ["2", 0], "seed": ["2", 0], "latent_image": ["2", 0]}},
            "2": {"class_type": "X", "inputs": {"text": ["2", 0], "value": ["2", 0], "samples": ["2", 0]}}}  # fmt: skip
    found = read_parameters(png({"prompt": dumped(loop)}))
    assert found is not None and found.program == "ComfyUI" and found.values == {}


NAMES = ("parameters", "prompt", "workflow", "invokeai_metadata", "sd-metadata", "zdarkroom", "Comment")
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
WORDS = st.sampled_from(
    ["class_type", "inputs", "KSampler", "positive", "text", "seed", "1", "2", "sui_image_params", "prompt", "image", "base_model",
     "requested", "options", "format", "zdarkroom", "steps", "resolution", "guider", "sigmas", "latent_image", "noise"]
)  # fmt: skip
TREES = st.recursive(
    SCALARS | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=5),
    max_leaves=25,
)


@settings(max_examples=examples(400))
@given(st.dictionaries(st.sampled_from(NAMES), TREES.map(json.dumps) | st.text(max_size=200), max_size=3))
def test_any_text_is_read_without_an_error(texts: dict[str, str]) -> None:
    """Each reader alone as well: what one raises must be among what `read_parameters` expects."""
    for reader in READERS:
        try:
            found = reader(texts)
        except (ValueError, TypeError, KeyError, AttributeError, IndexError, OverflowError, RecursionError):
            continue
        assert found is None or all(isinstance(value, str) for value in found.unused.values())


@settings(max_examples=examples(150))
@given(data=st.data())
def test_cut_and_damaged_files_never_raise(data: st.DataObject) -> None:
    _, texts, _ = CASES[data.draw(st.sampled_from(sorted(CASES)))]
    format = data.draw(st.sampled_from(["PNG", "JPEG", "WEBP"]))
    good = bytearray((png(texts) if format == "PNG" else other(format, texts)).getvalue())
    for _ in range(data.draw(st.integers(0, 6))):
        good[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    found = read_parameters(io.BytesIO(bytes(good[: data.draw(st.integers(0, len(good)))])))
    assert found is None or isinstance(found, FoundParameters)


@settings(max_examples=200)
@given(st.binary(max_size=400), st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF\0\0\0\0WEBPVP8 "]))
def test_random_bytes_never_raise(data: bytes, start: bytes) -> None:
    found = read_parameters(io.BytesIO(start + data))
    assert found is None or isinstance(found, FoundParameters)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "words", ["[" * 200_000, '{"a":' * 100_000, '{"prompt": ' + "9" * 5000 + "}", '{"1": {"inputs": 5}}']
)
def test_deep_and_strange_json_is_no_trouble(name: str, words: str) -> None:
    assert read_parameters(png({name: words})) is not None


def chunk(kind: bytes, data: bytes) -> bytes:
    return len(data).to_bytes(4) + kind + data + zlib.crc32(kind + data).to_bytes(4)


FIFTY = 50 << 20


def test_a_chunk_of_fifty_megabytes_and_a_bomb() -> None:
    """They are read past: the image is known by its size, as one that says nothing, and a good chunk beside is read."""
    plain, size = png({}).getvalue(), {"generation.width": 64, "generation.height": 48}
    for name in (b"parameters", b"zdarkroom"):
        found = read_parameters(io.BytesIO(plain[:33] + chunk(b"tEXt", name + b"\0" + b"a" * FIFTY) + plain[33:]))
        assert found == FoundParameters("", size, {}, ONLY_SIZE), name
    bomb = chunk(b"zTXt", b"parameters\0\0" + zlib.compress(b"a" * FIFTY))
    found = read_parameters(io.BytesIO(plain[:33] + bomb + plain[33:]))
    assert found is None or found.values.get(PROMPT_KEY, "") == ""
    good = png({"parameters": A1111}).getvalue()
    found = read_parameters(io.BytesIO(good[:33] + chunk(b"tEXt", b"prompt\0" + b"a" * FIFTY) + good[33:]))
    assert found is not None and {key: found.values[key] for key in USED} == USED


@pytest.mark.parametrize(
    "words", [b"a" * FIFTY, b'{"a":' * (FIFTY // 5), b"[" * FIFTY], ids=["text", "objects", "lists"]
)
@pytest.mark.by_default("lists")
def test_fifty_megabytes_in_a_webp(words: bytes) -> None:
    """EXIF of a WebP has no limit of its own, as that of a JPEG has."""
    exif = Image.Exif()
    exif[0x0110] = "prompt:" + words.decode()
    buffer = io.BytesIO()
    Image.new("RGB", (64, 48)).save(buffer, "WEBP", exif=exif)
    found = read_parameters(buffer)
    assert found is not None and found.program == ""


def test_loras_in_the_prompt_become_the_option_and_their_hashes_are_kept() -> None:
    line = LINE + ', Lora hashes: "ink: 0123456789ab", Version: v1.10.1'
    found = read_parameters(png({"parameters": f"a house, <lora:ink:0.6>, snow<lora:neon:1>\n{line}"}))
    assert found is not None
    assert (found.values[PROMPT_KEY], found.values["lora.use"]) == ("a house, snow", ("ink:0.6", "neon:1"))
    assert found.unused["Lora hashes"] == "ink: 0123456789ab"
    twice = read_parameters(png({"parameters": f"a house <lora:ink:0.6:0.6>\n{LINE}"}))
    assert twice is not None and twice.values["lora.use"] == ("ink:0.6",), "the same weight for the text encoders"
    odd = read_parameters(png({"parameters": f"a house <lora:ink:0.6:0.4>\n{LINE}"}))
    assert odd is not None and odd.values[PROMPT_KEY] == "a house"
    assert odd.values["lora.use"] == ("ink:0.4:te=0.6",), "A1111 writes the text encoders' weight first"


def lora_node(file: str, model: str, strength: float, clip: float | None = None) -> dict[str, Any]:
    kind = "LoraLoaderModelOnly" if clip is None else "LoraLoader"
    inputs = {"lora_name": file, "strength_model": strength, "model": [model, 0]}
    return {"class_type": kind, "inputs": inputs if clip is None else {**inputs, "strength_clip": clip}}


def with_loras(**nodes: Any) -> dict[str, Any]:
    """ComfyUI's graph with these nodes between the model and the sampler, whose model is the last one's."""
    sampler = next(key for key, node in COMFY.items() if node["class_type"].startswith("KSampler"))
    inputs = {**COMFY[sampler]["inputs"], "model": [list(nodes)[-1], 0]}
    return {**COMFY, **nodes, sampler: {**COMFY[sampler], "inputs": inputs}}


def test_comfyuis_loras_become_the_option() -> None:
    nodes = {
        "a": lora_node("styles\\ink print.safetensors", "4", 0.75, 0.75),
        "b": lora_node("neon.safetensors", "a", -0.5),
    }
    found = read_parameters(png({"prompt": dumped(with_loras(**nodes))}))
    assert found is not None and found.values["lora.use"] == ("ink print:0.75", "neon:-0.5")
    assert "lora_name" not in found.unused
    aside = {**with_loras(a=nodes["a"]), "c": lora_node("unused.safetensors", "4", 1.0)}
    found = read_parameters(png({"prompt": dumped(aside)}))
    assert found is not None and found.values["lora.use"] == ("ink print:0.75",), "the other is not on the way"
    apart = read_parameters(png({"prompt": dumped(with_loras(a=lora_node("ink.safetensors", "4", 0.7, 0.2)))}))
    assert apart is not None and "lora.use" not in apart.values and apart.unused["lora_name"] == "ink.safetensors"
    ring = read_parameters(png({"prompt": dumped(with_loras(a=lora_node("ink.safetensors", "a", 1.0)))}))
    assert ring is not None and ring.values["lora.use"] == ("ink:1",), "named once"


@pytest.mark.parametrize("loras", [
    [{"model": {"key": "k", "hash": "h", "name": "ink", "base": "sdxl", "type": "lora"}, "weight": 0.75}],
    [{"lora": {"model_name": "ink", "base_model": "sdxl"}, "weight": 0.75}],
])  # fmt: skip
def test_invokeais_loras_become_the_option(loras: list[Any]) -> None:
    data = {"positive_prompt": "a house", "loras": loras}
    found = read_parameters(png({"invokeai_metadata": dumped(data)}))
    assert found is not None and found.values["lora.use"] == ("ink:0.75",) and "loras" not in found.unused


@pytest.mark.parametrize(
    "loras", ["ink", [1], [{"model": {"name": "a,b"}}], [{"model": {"name": "a"}, "weight": 99}], [{"model": 3}]]
)
def test_what_the_option_has_no_word_for_is_listed(loras: Any) -> None:
    found = read_parameters(png({"invokeai_metadata": dumped({"positive_prompt": "a house", "loras": loras})}))
    assert found is not None and "lora.use" not in found.values and "loras" in found.unused


UNIT = (
    "Module: canny, Model: canny-xl [d14c016b], Weight: 0.8, Resize Mode: Crop and Resize, Processor Res: 512, Threshold A: 50, "
    "Threshold B: 150, Guidance Start: 0.1, Guidance End: 0.6, Pixel Perfect: True, Control Mode: My prompt is more important, "
    "Hr Option: Both, Save Detected Map: True"
)
ENUMS = (
    "Module: none, Model: union, Weight: 1, Resize Mode: ResizeMode.INNER_FIT, Guidance Start: 0, Guidance End: 1, "
    "Control Mode: ControlMode.BALANCED, Hr Option: HiResFixOption.BOTH, Union Control Type: ControlNetUnionControlType.OPENPOSE"
)
EMPTY = "Module: none, Model: a, Guidance Start: 0.7, Guidance End: 0.2"
OLD = (
    "preprocessor: canny, model: canny-sd [fef5e48e], weight: 1, starting/ending: (0, 0.5), resize mode: Crop and Resize, "
    "pixel perfect: False, control mode: Balanced, preprocessor params: (512, 100, 180)"
)


@pytest.mark.parametrize(
    ("text", "unit", "rest"),
    [
        (UNIT, "canny-xl:0.8:preprocessor=canny:low=50:high=150:start=0.1:end=0.6:mode=prompt", None),
        (ENUMS, "union:1:type=pose", None),
        (OLD, "canny-sd:1:preprocessor=canny:high=180:end=0.5", None),
        ("Module: openpose_full, Model: pose, Weight: 1", "pose:1", "Module: openpose_full"),
        ("Module: openpose, Model: pose, Weight: 1", "pose:1:preprocessor=pose", None),
        ("Module: tile_resample, Model: t, Weight: 1, Threshold A: 4", "t:1:preprocessor=tile:rate=4", None),
        ("Module: canny, Model: None", None, "Module: canny, Model: None"),
        (EMPTY, None, EMPTY),
    ],
    ids=["A1111", "newer", "older", "no preprocessor", "pose", "tile", "none", "unusable"],
)  # fmt: skip
def test_controlnet_units_of_the_extension(text: str, unit: str | None, rest: str | None) -> None:
    found = read_parameters(png({"parameters": f'{A1111}, ControlNet 0: "{text}"'}))
    assert found is not None
    assert found.values.get("controlnet.units") == ((unit,) if unit else None)
    assert found.unused.get("ControlNet 0") == rest


def test_controlnet_units_are_written_as_they_are_read() -> None:
    texts = ("a:0.5:preprocessor=canny:low=20:high=60:start=0.1:end=0.9:mode=control", "b:1:preprocessor=tile:rate=3")
    written = [write_unit(unit) for unit in read_units(texts, "test")]
    assert [read_unit(text) for text in written] == [(unit, "") for unit in read_units(texts, "test")]
