"""Small images as other programs write them, made here, with the values that they state.

Each case gives the bytes of a file and what must be read from it. The table in docs/metadata.md is made from these cases.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.unit.history.image_files import (
    CHINESE,
    FULL,
    INFOTEXT,
    LINE,
    NODES,
    Case,
    chunk,
    commented,
    dumped,
    graph,
    itxt,
    node,
    parameters,
    png,
    stealth,
    text,
    tiff,
    with_exif,
)
from tests.unit.history.node_pack_images import NODE_PACKS, SAVED, TEXTS

# -- ComfyUI graphs ----------------------------------------------------------------------------------------------------

CUSTOM = {
    **{key: NODES[key] for key in ("4", "5", "6", "7")},
    "1": node("KSamplerSelect", sampler_name="dpmpp_2m"),
    "2": node("RandomNoise", noise_seed=77),
    "8": node("CFGGuider", cfg=4.5, model=["4", 0], positive=["6", 0], negative=["7", 0]),
    "9": node("BasicScheduler", steps=20, scheduler="simple", denoise=1.0, model=["4", 0]),
    "10": node(
        "SamplerCustomAdvanced",
        noise=["2", 0],
        guider=["8", 0],
        sampler=["1", 0],
        sigmas=["9", 0],
        latent_image=["5", 0],
    ),
}
MODEL = {"model": "some-xl", "loras": []}
GRAPHS: dict[str, tuple[dict[str, Any], dict[str, Any], tuple[str, ...]]] = {
    "a plain graph": (graph(), {**FULL, **MODEL, "sampler": "euler"}, ()),
    "KSamplerSelect first, guider, scheduler": (CUSTOM, {**FULL, "sampler": "dpmpp_2m", "model": "some-xl"}, ()),
    "SplitSigmas between": ({**CUSTOM, "11": node("SplitSigmas", step=5, sigmas=["9", 0]), "10": node(
        "SamplerCustomAdvanced", noise=["2", 0], guider=["8", 0], sampler=["1", 0], sigmas=["11", 1],
        latent_image=["5", 0])}, FULL, ()),
    "written sigmas": ({**CUSTOM, "9": node("ManualSigmas", sigmas="1.0, 0.7, 0.3, 0.0")}, {**FULL, "steps": 3}, ()),
    "a guider without negative": ({**CUSTOM, "8": node("BasicGuider", model=["4", 0], conditioning=["6", 0])},
                                  {**FULL, "negative_prompt": "", "cfg_scale": 1.0}, ()),
    "ConditioningZeroOut": (graph({"negative": ["12", 0]}, n12=node("ConditioningZeroOut", conditioning=["6", 0])),
                            {**FULL, "negative_prompt": ""}, ()),
    "ControlNetApplyAdvanced": (graph({"positive": ["12", 0], "negative": ["12", 1]}, n12=node(
        "ControlNetApplyAdvanced", strength=1.0, positive=["6", 0], negative=["7", 0], control_net=["13", 0])), FULL, ()),
    "an unknown node with both prompts": (graph({"positive": ["12", 1], "negative": ["12", 2]}, n12=node(
        "My Conditioning Tool", model=["4", 0], positive=["6", 0], negative=["7", 0])), FULL, ()),
    "InpaintModelConditioning": (graph({"positive": ["12", 0], "negative": ["12", 1], "latent_image": ["12", 2]}, n12=node(
        "InpaintModelConditioning", positive=["6", 0], negative=["7", 0], pixels=["13", 0]), n13=node("EmptyImage",
        width=640, height=384)), FULL, ()),
    "combined prompts": (graph({"positive": ["12", 0]}, n12=node("ConditioningCombine", conditioning_1=["6", 0],
    conditioning_2=["13", 0]),
        n13=node("CLIPTextEncode", text="snow", clip=["4", 1])), {**FULL, "prompt": "a red house\nsnow"}, ()),
    "an area": (graph({"positive": ["12", 0]}, n12=node("ConditioningCombine", conditioning_1=["6", 0], conditioning_2=["14", 0]),
        n13=node("CLIPTextEncode", text="snow", clip=["4", 1]), n14=node("ConditioningSetArea", conditioning=["13",
        0], width=64, height=64, x=0, y=0, strength=1.0)), {**FULL, "prompt": "a red house\nsnow"}, ()),
    "average of weight 1": (graph({"positive": ["12", 0]}, n12=node("ConditioningAverage", conditioning_to=["6", 0],
        conditioning_from=["7", 0], conditioning_to_strength=1.0)), FULL, ()),
    "GLIGEN": (graph({"positive": ["12", 0]}, n12=node("GLIGENTextboxApply", text="sun", width=64, height=64, x=0, y=0,
        conditioning_to=["6", 0], clip=["4", 1])), FULL, ("sun",)),
    "texts for two encoders": (graph({"positive": ["12", 0]}, n12=node("CLIPTextEncodeFlux", clip_l="red",
    t5xxl="a red house", guidance=3.5,
        clip=["4", 1])), FULL, ("red",)),
    "StringConcatenate": (graph(n6=node("CLIPTextEncode", text=["12", 0], clip=["4", 1]),
    n12=node("StringConcatenate", string_a="a red",
        string_b=["13", 0], delimiter=" "), n13=node("PrimitiveStringMultiline", value="house")), FULL, ()),
    "texts joined by an extension": (graph(n6=node("CLIPTextEncode", text=["12", 0], clip=["4", 1]), n12=node("Text Concatenate",
        delimiter=" ", clean_whitespace="true", text_a=["13", 0], text_b=["14", 0]), n13=node("Text Multiline", text="a red"),
        n14=node("String Literal", string="house")), FULL, ()),
    "StringFunction": (graph(n6=node("CLIPTextEncode", text=["12", 0], clip=["4", 1]),
    n12=node("StringFunction|pysssss", action="append",
        tidy_tags="yes", text_a="a red house", text_b="snow", text_c="")), {**FULL, "prompt": "a red house, snow"}, ()),
    "text replaced": (graph(n6=node("CLIPTextEncode", text=["12", 0], clip=["4", 1]), n12=node("StringReplace",
    string="a blue house",
        find="blue", replace="red")), FULL, ()),
    "ComfySwitchNode": (graph(n6=node("CLIPTextEncode", text=["12", 0], clip=["4", 1]), n12=node("ComfySwitchNode",
    switch=["13", 0],
        on_false="no", on_true="a red house"), n13=node("PrimitiveBoolean", value=True)), FULL, ()),
    "ImpactSwitch": (graph({"positive": ["12", 0]}, n12=node("ImpactSwitch", select=2, input1=["7", 0], input2=["6",
    0])), FULL, ()), "Any Switch": (graph({"model": ["12", 0]}, n12=node("Any Switch (rgthree)", any_01=None, any_02=["4", 0])),
    {**FULL, **MODEL}, ()),
    "wildcards filled in": (graph({"positive": ["12", 2]}, n12=node("ImpactWildcardEncode", wildcard_text="a {red|blue} house",
        populated_text="a red house", mode="populate", seed=5, model=["4", 0], clip=["4", 1])), FULL, ()),
    "a styler of both prompts": (graph(n6=node("CLIPTextEncode", text=["12", 0], clip=["4", 1]),
    n7=node("CLIPTextEncode", text=["12", 1],
        clip=["4", 1]), n12=node("SDXLPromptStyler", text_positive="a red house", text_negative="rain", style="base")), FULL, ()),
    "size and numbers by links": (graph({"seed": ["14", 0], "steps": ["15", 0], "cfg": ["16", 0]}, n5=node("EmptySD3LatentImage",
        width=["12", 0], height=["12", 1], batch_size=1), n12=node("SDXL Resolution", width=640, height=384),
        n14=node("Seed (rgthree)",
        seed=77), n15=node("PrimitiveInt", value=20), n16=node("FloatConstant", value=4.5)), FULL, ()),
    "a size as text": (graph(n5=node("SDXLEmptyLatentSizePicker+", resolution="640x384 (1.67)", batch_size=1)), FULL, ()),
    "a seed beyond 2^63": (graph({"seed": 2**64 - 1}), {**FULL, "seed": 2**64 - 1}, ()),
    "to a pipe": ({**{key: NODES[key] for key in ("4", "5", "6", "7")}, "8": node("ToBasicPipe", model=["4", 0],
    clip=["4", 1], vae=["4", 2],
        positive=["6", 0], negative=["7", 0]), "3": node("ImpactKSamplerBasicPipe", seed=77, steps=20, cfg=4.5,
        sampler_name="euler",
        scheduler="normal", denoise=1.0, basic_pipe=["8", 0], latent_image=["5", 0])}, {**FULL, **MODEL}, ()),
    "from a pipe": (graph({"model": ["13", 0], "positive": ["13", 3], "negative": ["13", 4]}, n12=node("ToBasicPipe",
    model=["4", 0],
        clip=["4", 1], vae=["4", 2], positive=["6", 0], negative=["7", 0]), n13=node("FromBasicPipe", basic_pipe=["12", 0])),
        {**FULL, **MODEL}, ()),
    "rgthree context": (graph({"model": ["13", 1], "positive": ["13", 4], "negative": ["13", 5], "latent_image":
    ["13", 6], "seed": ["13", 8]},
        n12=node("Context (rgthree)", model=["4", 0], positive=["6", 0], negative=["7", 0], latent=["5", 0], seed=77),
        n13=node("Context (rgthree)", base_ctx=["12", 0])), {**FULL, **MODEL}, ()),
    "tinyterra": ({"1": node("ttN pipeLoader_v2", ckpt_name="some-xl.safetensors", vae_name="Baked VAE", clip_skip=-1,
        loras="<lora:ink:0.8>", positive="a red house", negative="rain", empty_latent_width=640, empty_latent_height=384, seed=5),
        "2": node("ttN pipeKSampler_v2", pipe=["1", 0], lora_name="None", lora_strength=1.0, steps=20, cfg=4.5,
        sampler_name="euler",
        scheduler="normal", seed=77)}, {**FULL, "model": "some-xl", "loras": [("ink", 0.8)]}, ()),
    "easy use": ({"1": node("easy fullLoader", ckpt_name="some-xl.safetensors", lora_name="None", resolution="640 x 384",
        empty_latent_width=512, empty_latent_height=512, positive="a red house", negative="rain"), "2": node("easy preSampling",
        pipe=["1", 0], steps=20, cfg=4.5, sampler_name="euler", scheduler="normal", denoise=1, seed=77), "3": node("easy kSampler",
        pipe=["2", 0], image_output="Preview")}, FULL, ()),
    "Efficient Loader": ({"1": node("Efficient Loader", ckpt_name="some-xl.safetensors", vae_name="Baked VAE",
    lora_name="ink.safetensors",
        lora_model_strength=0.8, lora_clip_strength=0.8, positive="a red house", negative="rain", empty_latent_width=640,
        empty_latent_height=384), "2": node("KSampler (Efficient)", seed=77, steps=20, cfg=4.5, sampler_name="euler",
        scheduler="normal",
        denoise=1.0, model=["1", 0], positive=["1", 1], negative=["1", 2], latent_image=["1", 3])},
        {**FULL, "model": "some-xl", "loras": [("ink", 0.8)]}, ()),
    "ClownsharKSampler": ({**{key: NODES[key] for key in ("4", "5", "6", "7")}, "3": node("ClownsharKSampler_Beta", eta=0.5,
        sampler_name="res_2s", scheduler="beta57", steps=20, steps_to_run=-1, denoise=1, cfg=4.5, seed=77, model=["4", 0],
        positive=["6", 0], negative=["7", 0], latent_image=["5", 0])}, {**FULL, "sampler": "res_2s"}, ()),
    "Power Lora Loader": (graph({"model": ["12", 0]}, n12=node("Power Lora Loader (rgthree)", lora_1={"on": True,
    "lora": "a/ink.safetensors",
        "strength": 0.8}, lora_2={"on": False, "lora": "off.safetensors", "strength": 1}, model=["4", 0])),
        {**FULL, "model": "some-xl", "loras": [("ink", 0.8)]}, ()),
    "a stack of LoRAs": (graph({"model": ["13", 0]}, n12=node("CR LoRA Stack", switch_1="On", lora_name_1="ink.pt",
    model_weight_1=0.8,
        clip_weight_1=0.8, switch_2="Off", lora_name_2="off.safetensors", model_weight_2=1.0, clip_weight_2=1.0), n13=node(
        "CR Apply LoRA Stack", model=["4", 0], clip=["4", 1], lora_stack=["12", 0])), {**FULL, "loras": [("ink", 0.8)]}, ()),
    "two LoRAs, one without weight": (graph({"model": ["13", 0]}, n12=node("LoraLoaderModelOnly",
    lora_name="ink.ckpt", strength_model=0.5,
        model=["4", 0]), n13=node("LoraLoader", lora_name="none-of-it.safetensors", strength_model=0, strength_clip=0,
        model=["12", 0])),
        {**FULL, "loras": [("ink", 0.5)]}, ()),
    "a list of LoRAs beside their tags": (graph({"model": ["12", 0]}, n12=node("Lora Loader (LoraManager)", text="<lora:ink:0.8>",
        loras={"__value__": [{"name": "ink", "strength": 0.8, "active": True}, {"name": "off", "strength": 1, "active": False}]},
        model=["4", 0])), {**FULL, "loras": [("ink", 0.8)]}, ()),
    "LoRA Stacker in simple mode": (graph({"model": ["13", 0]}, n12=node("LoRA Stacker", input_mode="simple", lora_count=1,
        lora_name_1="ink.safetensors", lora_wt_1=0.8, model_str_1=1, clip_str_1=1, lora_name_2="no.safetensors",
        lora_wt_2=1), n13=node(
        "Efficient Loader", ckpt_name="some-xl.safetensors", lora_name="None", positive="x", negative="y", lora_stack=["12", 0])),
        {**FULL, "loras": [("ink", 0.8)]}, ()),
    "tags that act": (graph({"model": ["12", 0], "positive": ["12", 1]}, n12=node("Power Prompt (rgthree)",
        prompt="a red house <lora:ink:0.8>", opt_model=["4", 0], opt_clip=["4", 1])), {**FULL, "loras": [("ink", 0.8)]}, ()),
    "embeds of both prompts": ({"1": node("WanVideoSampler", model=["2", 0], text_embeds=["3", 0], image_embeds=["4", 0],
    steps=20, cfg=4.5,
        seed=77, scheduler="unipc"), "2": node("WanVideoModelLoader", model="wan.safetensors"), "3": node("WanVideoTextEncode",
        positive_prompt="a red house", negative_prompt="rain", t5=["9", 0]), "4": node("WanVideoEmptyEmbeds", width=640,
        height=384)},
        {**FULL, "model": "wan"}, ()),
    "a later pass with the smaller id": (graph(n1=node("KSampler", seed=5, steps=10, cfg=4.5, sampler_name="euler",
    scheduler="normal",
        denoise=0.3, model=["4", 0], positive=["6", 0], negative=["7", 0], latent_image=["2", 0]),
        n2=node("LatentUpscaleBy", scale_by=1.5,
        samples=["3", 0]), n90=node("VAEDecode", samples=["1", 0], vae=["4", 2])), FULL, ("seed 5",)),
    "base and refiner": (graph({"seed": None, "noise_seed": 77, "add_noise": "enable", "start_at_step": 0, "end_at_step": 16},
        n20=node("KSamplerAdvanced", add_noise="disable", noise_seed=9, steps=20, cfg=4.5, sampler_name="euler", scheduler="normal",
        model=["21", 0], positive=["6", 0], negative=["7", 0], latent_image=["3", 0]), n21=node("CheckpointLoaderSimple",
        ckpt_name="refiner.safetensors"), n90=node("VAEDecode", samples=["20", 0], vae=["4", 2])), {**FULL, **MODEL}, ("seed 9",)),
    "a detailer behind": (graph(n30=node("FaceDetailer", image=["90", 0], model=["4", 0], clip=["4", 1], vae=["4", 2],
    positive=["31", 0],
        negative=["7", 0], seed=8, steps=12, cfg=5.0, sampler_name="euler", scheduler="normal", denoise=0.4),
        n31=node("CLIPTextEncode",
        text="a face", clip=["4", 1]), n91=node("SaveImage", images=["30", 0], filename_prefix="x")), FULL, ("seed 8", "a face")),
    "a branch that is not saved": (graph(n1=node("KSampler", seed=1, steps=1, cfg=1.0, sampler_name="lcm",
    scheduler="normal", denoise=1.0,
        model=["4", 0], positive=["7", 0], negative=["7", 0], latent_image=["5", 0])), FULL, ()),
    "a node that nobody knows": (graph({"positive": ["12", 0]}, n12=node("Mystery", x=["4", 0], y=["5", 0])),
        {**FULL, "prompt": None}, ("Mystery (#12)",)),
    "a circle": ({"1": node("KSampler", positive=["2", 0], seed=["2", 0], latent_image=["2", 0], steps=3), "2":
    node("X", text=["2", 0],
        value=["2", 0], samples=["2", 0])}, {"prompt": None, "seed": None, "steps": 3}, ()),
    "no sampler at all": ({"1": node("SomeImageService", prompt="a red house", seed=77, model="some-xl")},
        {"prompt": "a red house", "seed": 77, "model": "some-xl"}, ("SomeImageService (#1)",)),
}  # fmt: skip


def workflow(nodes: list[dict[str, Any]], links: list[list[Any]], **more: Any) -> dict[str, Any]:
    return {"nodes": nodes, "links": links, "version": 0.4, **more}


def ui(
    node_id: int, kind: str, widgets: Any = None, inputs: Sequence[Any] = (), outputs: tuple[str, ...] = (), **more: Any
) -> dict[str, Any]:
    """Return a node of the page's format; `inputs` are (name, type, link)."""
    slots = [{"name": name, "type": kind_, "link": link} for name, kind_, link in inputs]
    return {"id": node_id, "type": kind, "inputs": slots, "outputs": [{"name": name, "type": name} for name in outputs],
            **({"widgets_values": widgets} if widgets is not None else {}), **more}  # fmt: skip


UI_NODES = [
    ui(4, "CheckpointLoaderSimple", ["some-xl.safetensors"], outputs=("MODEL", "CLIP", "VAE")),
    ui(5, "EmptyLatentImage", [640, 384, 1], outputs=("LATENT",)),
    ui(6, "CLIPTextEncode", ["a red house"], [("clip", "CLIP", 2)], ("CONDITIONING",)),
    ui(7, "CLIPTextEncode", ["rain"], [("clip", "CLIP", 3)], ("CONDITIONING",)),
    ui(3, "KSampler", [77, "randomize", 20, 4.5, "euler", "normal", 1],
       [("model", "MODEL", 1), ("positive", "CONDITIONING", 4), ("negative", "CONDITIONING", 5), ("latent_image",
       "LATENT", 6)], ("LATENT",)),
]  # fmt: skip
UI_LINKS = [[1, 4, 0, 3, 0, "MODEL"], [2, 4, 1, 6, 0, "CLIP"], [3, 4, 1, 7, 0, "CLIP"], [4, 6, 0, 3, 1, "CONDITIONING"],
            [5, 7, 0, 3, 2, "CONDITIONING"], [6, 5, 0, 3, 3, "LATENT"]]  # fmt: skip


def replaced(link: int, source: list[Any], *nodes: dict[str, Any], links: Sequence[list[Any]] = ()) -> dict[str, Any]:
    """Return the usual workflow, one of whose links comes from elsewhere, through more nodes."""
    changed = [[*one[:1], *source, *one[3:]] if one[0] == link else one for one in UI_LINKS]
    return workflow([*UI_NODES, *nodes], [*changed, *links])


SUBGRAPH = {
    "id": "sub-1", "name": "Prompt and sampler", "inputs": [{"name": "model", "type": "MODEL"}, {"name": "text", "type": "STRING"}],
    "outputs": [{"name": "LATENT", "type": "LATENT"}],
    "nodes": [
        ui(1, "CLIPTextEncode", ["not this"], [("text", "STRING", 13)], ("CONDITIONING",)),
        ui(2, "CLIPTextEncode", ["rain"], [], ("CONDITIONING",)),
        ui(3, "KSampler", [77, "fixed", 20, 4.5, "euler", "normal", 1], [("model", "MODEL", 12), ("positive", "CONDITIONING", 10),
           ("negative", "CONDITIONING", 11), ("latent_image", "LATENT", 14)], ("LATENT",)),
        ui(5, "EmptyLatentImage", [640, 384, 1], outputs=("LATENT",)),
    ],
    "links": [
        {"id": 10, "origin_id": 1, "origin_slot": 0, "target_id": 3, "target_slot": 1, "type": "CONDITIONING"},
        {"id": 11, "origin_id": 2, "origin_slot": 0, "target_id": 3, "target_slot": 2, "type": "CONDITIONING"},
        {"id": 12, "origin_id": -10, "origin_slot": 0, "target_id": 3, "target_slot": 0, "type": "MODEL"},
        {"id": 13, "origin_id": -10, "origin_slot": 1, "target_id": 1, "target_slot": 0, "type": "STRING"},
        {"id": 14, "origin_id": 5, "origin_slot": 0, "target_id": 3, "target_slot": 3, "type": "LATENT"},
        {"id": 15, "origin_id": 3, "origin_slot": 0, "target_id": -20, "target_slot": 0, "type": "LATENT"},
    ],
}  # fmt: skip
IN_SUBGRAPH = workflow(
    [
        ui(4, "UNETLoader", ["some-xl.safetensors", "default"], outputs=("MODEL",)),
        ui(8, "PrimitiveStringMultiline", ["a red house"], outputs=("STRING",)),
        ui(9, "sub-1", [], [("model", "MODEL", 1), ("text", "STRING", 2)], ("LATENT",)),
        ui(10, "VAEDecode", None, [("samples", "LATENT", 3)], ("IMAGE",)),
        ui(11, "SaveImage", ["x"], [("images", "IMAGE", 4)]),
    ],
    [[1, 4, 0, 9, 0, "MODEL"], [2, 8, 0, 9, 1, "STRING"], [3, 9, 0, 10, 0, "LATENT"], [4, 10, 0, 11, 0, "IMAGE"]],
    definitions={"subgraphs": [SUBGRAPH]},
)
PROMOTED = json.loads(json.dumps(IN_SUBGRAPH))
PROMOTED["nodes"][2] = ui(9, "sub-1", ["a red house"], [("model", "MODEL", 1)], ("LATENT",))
PROMOTED["nodes"][2]["inputs"].append({"name": "text", "type": "STRING", "link": None, "widget": {"name": "text"}})

PROXIED = json.loads(
    json.dumps(IN_SUBGRAPH)
)  # as the page's newer versions write it: widgets of the instance and of nodes in it
PROXIED["nodes"][2] = ui(
    9,
    "sub-1",
    ["a red house", None, "fixed", 21],
    [("model", "MODEL", 1)],
    ("LATENT",),
    properties={"proxyWidgets": [["-1", "text"], ["3", "seed"], ["3", "control_after_generate"], ["3", "steps"]]},
)
PROXIED["nodes"][2]["inputs"].insert(0, {"name": "text", "type": "STRING", "link": None, "widget": {"name": "text"}})

WORKFLOWS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "a workflow alone": (workflow(UI_NODES, UI_LINKS), {**FULL, "model": "some-xl", "sampler": "euler"}),
    "a reroute": (replaced(4, [20, 0], ui(20, "Reroute", None, [("", "*", 21)], ("",)), links=[[21, 6, 0, 20, 0, "*"]]), FULL),
    "Set and Get": (replaced(4, [21, 0], ui(20, "SetNode", ["pos"], [("CONDITIONING", "CONDITIONING", 22)], ("*",)),
                             ui(21, "GetNode", ["pos"], [], ("CONDITIONING",)), links=[[22, 6, 0, 20, 0, "CONDITIONING"]]), FULL),
    "a bypassed node": (replaced(1, [20, 0], ui(20, "LoraLoaderModelOnly", ["ink.safetensors", 1.0], [("model",
    "MODEL", 21)], ("MODEL",),
                                                mode=4), links=[[21, 4, 0, 20, 0, "MODEL"]]), {**FULL, "loras": []}),
    "a muted branch": (replaced(5, [20, 0], ui(20, "CLIPTextEncode", ["never"], [], ("CONDITIONING",), mode=2)),
                       {**FULL, "negative_prompt": ""}),
    "a primitive": (workflow(
        [*UI_NODES[:4], {**UI_NODES[4], "inputs": [*UI_NODES[4]["inputs"], {"name": "seed", "type": "INT", "link": 30,
         "widget": {"name": "seed"}}]}, ui(31, "PrimitiveNode", [78, "fixed"], [], ("INT",))], [*UI_LINKS, [30, 31, 0,
         3, 4, "INT"]]),
        {**FULL, "seed": 78}),
    "named widgets of an unknown sampler": (workflow([*UI_NODES[:4], {**UI_NODES[4], "type": "MyKSampler", "inputs": [
        *UI_NODES[4]["inputs"], *({"name": name, "type": "INT", "link": None, "widget": {"name": name}}
                                  for name in ("seed", "steps", "cfg", "sampler_name", "scheduler", "denoise"))]}],
                                  UI_LINKS), FULL),
    "an empty control behind the seed": (workflow([*UI_NODES[:4], {**UI_NODES[4], "type": "KSampler (Efficient)",
    "widgets_values": [
        77, None, 20, 4.5, "euler", "normal", 1, "auto", "true"]}], UI_LINKS), {**FULL, "sampler": "euler"}),
    "widgets as an object": (workflow([*UI_NODES[:4], {**UI_NODES[4], "type": "OtherKSampler", "widgets_values": {
        "seed": 77, "steps": 20, "cfg": 4.5, "sampler_name": "euler", "scheduler": "normal"}}], UI_LINKS), FULL),
    "a subgraph": (IN_SUBGRAPH, {**FULL, "model": "some-xl"}),
    "a subgraph with a promoted text": (PROMOTED, FULL),
    "a subgraph with proxy widgets": (PROXIED, {**FULL, "steps": 21, "model": "some-xl"}),
}  # fmt: skip


# -- other programs ----------------------------------------------------------------------------------------------------

SWARM = {"sui_image_params": {"prompt": "a red house", "negativeprompt": "rain", "model": "xl/some-xl.safetensors",
"seed": 77, "steps": 20,
         "cfgscale": 4.5, "width": 640, "height": 384, "sampler": "euler", "loras": ["qwen/ink"], "loraweights": ["0.8"],
         "swarm_version": "0.9.7"}}  # fmt: skip
FOOOCUS = {"prompt": "a red house", "negative_prompt": "rain", "steps": 20, "guidance_scale": 4.5, "seed": "77", "sampler": "euler",
           "resolution": "(640, 384)", "base_model": "some-xl.safetensors", "loras": [["ink.safetensors", 0.8, "abc"]],
           "metadata_scheme": "fooocus", "version": "Fooocus v2.5.5"}  # fmt: skip
OLD_FOOOCUS = {"Prompt": "a red house", "Negative Prompt": "rain", "Fooocus V2 Expansion": "", "Performance": "Speed", "Steps": 20,
               "Resolution": "(640, 384)", "Guidance Scale": 4.5, "Base Model": "some-xl.safetensors", "Sampler": "euler",
               "Seed": 2**63 - 1, "LoRA 1": "ink.safetensors : 0.8", "Version": "v2.1.865"}  # fmt: skip
RUINED = {"Prompt": "a red house", "Negative": "rain", "steps": 20, "cfg": 4.5, "width": 640, "height": 384, "seed": 77,
          "sampler_name": "euler", "base_model_name": "some-xl.safetensors", "loras": "Loras:<ink.safetensors:0.8>",
          "software": "RuinedFooocus"}  # fmt: skip
INVOKE = {"generation_mode": "sdxl_txt2img", "positive_prompt": "a red house", "negative_prompt": "rain", "steps": 20,
"cfg_scale": 4.5,
          "seed": 77, "width": 640, "height": 384, "scheduler": "euler", "model": {"key": "k", "name": "some-xl", "type": "main"},
          "loras": [{"model": {"key": "k", "name": "ink"}, "weight": 0.8}], "app_version": "5.0"}  # fmt: skip
INVOKE_2 = {"model": "stable diffusion", "model_weights": "some-xl", "app_id": "invoke-ai/InvokeAI", "app_version":
"2.3.0", "image": {
            "prompt": [{"prompt": "a red house [rain]", "weight": 1.0}], "steps": 20, "cfg_scale": 4.5, "width": 640, "height": 384,
            "seed": 77, "type": "txt2img", "sampler": "k_lms"}}  # fmt: skip
NOVELAI = {"prompt": "a red house", "steps": 20, "height": 384, "width": 640, "scale": 4.5, "seed": 77, "sampler": "k_euler",
           "noise_schedule": "karras", "uc": "rain", "v4_prompt": {"caption": {"base_caption": "a red house", "char_captions": [
               {"char_caption": "a girl in red", "centers": []}]}}}  # fmt: skip
DRAW_THINGS = {"c": "a red house", "uc": "rain", "model": "some-xl", "sampler": "Euler A", "scale": 4.5, "seed": 77,
"size": "640x384",
               "steps": 20, "v2": {"loras": [{"file": "ink.ckpt", "weight": 0.8}]}}  # fmt: skip
EASY = {"prompt": "a red house", "negative_prompt": "rain", "seed": 77, "use_stable_diffusion_model": "xl/some-xl",
"sampler_name": "euler",
        "num_inference_steps": 20, "guidance_scale": 4.5, "width": 640, "height": 384, "use_lora_model": "ink",
        "lora_alpha": "0.8"}  # fmt: skip
SPACE = {"prompt": "a red house", "negative_prompt": "rain", "resolution": "640 x 384", "guidance_scale": 4.5,
"num_inference_steps": 20,
         "seed": 77, "sampler": "Euler a", "Model": "some-xl", "use_upscaler": None}  # fmt: skip
STUDIO = {"prompts": [{"text": "a red house", "weight": 1}, {"text": "rain", "weight": -1}], "model": "some-xl",
"sampler": {"id": "0",
          "name": "K_EULER"}, "width": 640, "height": 384, "cfgScale": 4.5, "steps": 20, "seed": 77}  # fmt: skip
XMP = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    '<rdf:Description rdf:about="" xmlns:exif="http://ns.adobe.com/exif/1.0/" xmlns:xmp="http://ns.adobe.com/xap/1.0/" '
    'xmp:CreatorTool="Draw Things"><exif:UserComment><rdf:Alt><rdf:li xml:lang="x-default">{}</rdf:li></rdf:Alt></exif:UserComment>'
    "</rdf:Description></rdf:RDF></x:xmpmeta>"
)
INK = {**FULL, "model": "some-xl", "loras": [("ink", 0.8)]}
CIVITAI = dumped({"6": NODES["6"], "7": NODES["7"], "3": NODES["3"], "5": NODES["5"], "4": NODES["4"], "extra":
{"airs": ["urn:air:sdxl:1"]},
                  "extraMetadata": dumped({"prompt": "a red house", "negativePrompt": "rain", "steps": 20, "seed": 77,
                  "cfgScale": 4.5,
                                           "sampler": "Euler a"})})  # fmt: skip
PROFILE = b"Exif\0\0" + tiff({}, {0x9286: (7, b"UNICODE\0" + INFOTEXT.encode("utf-16-be"))}, ">")
UTF_16_LE, UTF_16_BE = "utf-16-le", "utf-16-be"


def _text_cases() -> list[Case]:
    """A1111's text and the programs that write it."""
    tail = LINE.replace("Model: some-xl", "Model: some-xl, Version: {}")
    made = f"a red house\nNegative prompt: rain\n{tail}"
    named = [("A1111", "v1.10.1"), ("Forge", "f2.0.1v1.10.1-previous-1-gabc"), ("reForge",
    "f1.0.0v2-v1.10.1RC-latest-1"), ("EasyReforge", "f0.0.17-v1.10.1"),
             ("Forge Classic", "classic"), ("Forge Neo", "neo"), ("stable-diffusion.cpp", "stable-diffusion.cpp"),
             ("ComfyUI", "ComfyUI")]  # fmt: skip
    cases = [
        Case(program, f"version {version}", parameters(made.format(version)), {**FULL, "model": "some-xl"})
        for program, version in named
    ]
    texts: list[tuple[str, str, str, dict[str, Any], tuple[str, ...]]] = [
        ("SD.Next", "its own fields", f"{INFOTEXT}, App: SD.Next, Version: 56a8aea", FULL, ()),
        ("Civitai", "resources as JSON",
        f'{INFOTEXT}, Civitai resources: [{{"type":"checkpoint","modelName":"Plant, Milk"}},{{"type":"lora",'
         '"weight":0.8,"modelName":"ink"}], Civitai metadata: {"seed":5}', {**FULL, "loras": [("ink", 0.8)]},
         ("Civitai resources",)),
        ("A1111", "hashes as JSON", f'{INFOTEXT}, Hashes: {{"model": "abc", "lora:ink": "def"}}, Clip skip: 2', FULL,
        ("Hashes",)),
        ("A1111", "a newline at the end", INFOTEXT + "\n\n", FULL, ()),
        ("A1111", "lines after the parameters", f"{INFOTEXT}\nTemplate: a {{red|blue}} house\nNegative Template: rain",
        FULL, ("Template",)),
        ("A1111", "newlines within quotes", f'{INFOTEXT}, Extra: "one\nSteps: 5, Seed: 6, Size: 1x1\ntwo", Clip skip: 2',
        FULL, ("Extra",)),
        ("A1111", "all on one line", f"a red house.Negative prompt: rain.{LINE}", {**FULL, "prompt": "a red house.",
        "negative_prompt": "rain."}, ()),
        ("A1111", "CFG Scale with a capital", INFOTEXT.replace("scale", "Scale"), FULL, ()),
        ("A1111", "parameters in another order",
         "a red house\nNegative prompt: rain\nSize: 640x384, Seed: 77, Steps: 20, Sampler: Euler, CFG scale: 4.5", FULL, ()),
        ("A1111", "Windows line ends", INFOTEXT.replace("\n", "\r\n"), FULL, ()),
        ("A1111", "no negative prompt", f"a red house\n{LINE}", {**FULL, "negative_prompt": ""}, ()),
        ("A1111", "a prompt that begins like parameters", f"Steps: 3, to: heaven\na red house\nNegative prompt: rain\n{LINE}",
         {**FULL, "prompt": "Steps: 3, to: heaven\na red house"}, ()),
        ("A1111", "a prompt of 12,000 characters", f"{'x' * 12_000}\n{LINE}", {**FULL, "prompt": "x" * 12_000,
        "negative_prompt": ""}, ()),
        ("A1111", "a LoRA in the prompt", f"a red house<lora:ink:0.8>\nNegative prompt: rain\n{LINE}, Lora hashes: \"ink: 0123\"",
         {**FULL, "loras": [("ink", 0.8)]}, ("Lora hashes",)),
        ("Fooocus", "in A1111's scheme",
        f'{INFOTEXT}, Lora hashes: "ink: ab", Lora weights: "ink: 0.8", Version: Fooocus v2.5.5', INK, ()),
        ("A1111", "no parameters at all", "a red house", {"prompt": "a red house", "steps": None, "negative_prompt": None}, ()),
    ]  # fmt: skip
    return cases + [
        Case(program, kind, parameters(words), expected, unused) for program, kind, words, expected, unused in texts
    ]


def _encoding_cases() -> list[Case]:
    """EXIF in every byte order, marker and place; text chunks of every kind."""
    chinese = INFOTEXT.replace("a red house", "红色的房子")
    comments: list[tuple[str, bytes, str, str, bool, dict[str, Any]]] = [
        ("UTF-16 LE", b"UNICODE\0" + chinese.encode(UTF_16_LE), "JPEG", "<", False, CHINESE),
        ("UTF-16 LE in a big-endian TIFF", b"UNICODE\0" + INFOTEXT.encode(UTF_16_LE), "WEBP", ">", False, FULL),
        ("UTF-16 BE in a little-endian TIFF", b"UNICODE\0" + chinese.encode(UTF_16_BE), "JPEG", "<", False, CHINESE),
        ("UTF-16 LE with BOM", b"UNICODE\0\xff\xfe" + chinese.encode(UTF_16_LE), "WEBP", "<", False, CHINESE),
        ("UTF-16 BE with BOM", b"UNICODE\0\xfe\xff" + INFOTEXT.encode(UTF_16_BE), "JPEG", ">", False, FULL),
        ("UTF-8 after UNICODE", b"UNICODE\0" + chinese.encode(), "JPEG", ">", False, CHINESE),
        ("UTF-8 after ASCII", b"ASCII\0\0\0" + chinese.encode() + b"\0", "WEBP", ">", False, CHINESE),
        ("UTF-8 after eight NUL", b"\0" * 8 + chinese.encode(), "JPEG", "<", False, CHINESE),
        ("UTF-16 after eight NUL", b"\0" * 8 + INFOTEXT.encode(UTF_16_LE), "JPEG", "<", False, FULL),
        ("no marker", chinese.encode(), "JPEG", "<", False, CHINESE),
        ("NUL at the end", b"UNICODE\0" + INFOTEXT.encode(UTF_16_BE) + b"\0\0", "JPEG", ">", False, FULL),
        ("in the first directory", b"UNICODE\0" + INFOTEXT.encode(UTF_16_LE), "JPEG", "<", True, FULL),
    ]
    cases = [Case("A1111", f"EXIF: {kind}", commented(data, format, order, first), expected)
             for kind, data, format, order, first, expected in comments]  # fmt: skip
    cases += [
        Case("A1111", "PNG: tEXt after the pixels", png(text("parameters", INFOTEXT.encode()), after=True), FULL),
        Case("A1111", "PNG: zTXt", png(chunk(b"zTXt", b"parameters\0\0" + zlib.compress(chinese.encode()))), CHINESE),
        Case("A1111", "PNG: compressed iTXt", png(itxt("parameters", chinese, compressed=True)), CHINESE),
        Case("A1111", "PNG: UTF-8 in tEXt", png(text("parameters", chinese.encode())), CHINESE),
        Case("A1111", "PNG: Latin-1 in tEXt", png(text("parameters", INFOTEXT.replace("red", "ré").encode("latin-1"))),
             {**FULL, "prompt": "a ré house"}),
        Case("A1111", "PNG: EXIF chunk", png(chunk(b"eXIf", tiff({}, {0x9286: (7, b"UNICODE\0" +
        INFOTEXT.encode(UTF_16_BE))}, ">"))), FULL),
        Case("A1111", "PNG: EXIF as ImageMagick keeps it", png(chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(
            b"\nexif\n" + b"%8d\n" % len(PROFILE) + PROFILE.hex().encode()))), FULL),
        Case("A1111", "PNG: a byte order mark", png(text("parameters", b"\xef\xbb\xbf" + INFOTEXT.encode())), FULL),
        Case("A1111", "JPEG comment", with_exif("JPEG", b"", comment=INFOTEXT.encode()), FULL),
        Case("A1111", "hidden in the alpha channel", stealth(INFOTEXT, b"stealth_pnginfo"), FULL),
        Case("A1111", "hidden and compressed", stealth(INFOTEXT, b"stealth_pngcomp"), FULL),
        Case("A1111", "hidden in the colours", stealth(INFOTEXT, b"stealth_rgbcomp", "RGB"), FULL),
    ]  # fmt: skip
    return cases


def _json_cases() -> list[Case]:
    nai = {
        "Title": "NovelAI generated image",
        "Software": "NovelAI",
        "Source": "NovelAI Diffusion V4.5 C02D4F98",
        "Comment": dumped(NOVELAI),
    }
    novelai = {**FULL, "model": "NovelAI Diffusion V4.5 C02D4F98"}
    fooocus_exif = {
        0x0131: (2, b"Fooocus v2.5.5\0"),
        0x927C: (2, b"fooocus\0"),
        0x9286: (2, dumped(FOOOCUS).encode() + b"\0"),
    }
    return [
        Case("SwarmUI", "PNG", parameters(dumped(SWARM)), INK),
        Case("SwarmUI", "JPEG, UTF-16 LE", commented(b"UNICODE\0" + dumped(SWARM).encode(UTF_16_LE)), INK),
        Case("Fooocus", "PNG", parameters(dumped(FOOOCUS)), INK),
        Case("Fooocus", "older names", parameters(dumped(OLD_FOOOCUS)), {**INK, "seed": 2**63 - 1}),
        Case("Fooocus", "JPEG", with_exif("JPEG", tiff(fooocus_exif, {}, ">")), INK),
        Case("RuinedFooocus", "PNG", parameters(dumped(RUINED)), INK),
        Case("InvokeAI", "version 5", png(itxt("invokeai_metadata", dumped(INVOKE))), INK),
        Case("InvokeAI", "version 2", png(text("sd-metadata", dumped(INVOKE_2).encode())), {**FULL, "model": "some-xl"}),
        Case("InvokeAI", "Dream", png(text("Dream", b'"a red house [rain]" -s 20 -S 77 -W 640 -H 384 -C 4.5 -A k_lms')),
             {**FULL, "sampler": "k_lms"}),
        Case("NovelAI", "PNG", png(*(itxt(name, value) for name, value in nai.items())), novelai, listed=("a girl in red",)),
        Case("NovelAI", "hidden in the alpha channel", stealth(dumped(nai), b"stealth_pngcomp"), novelai),
        Case("NovelAI", "WebP", commented(b"UNICODE\0" + dumped(nai).encode(UTF_16_LE), "WEBP"), novelai),
        Case("Draw Things", "XMP", png(itxt("XML:com.adobe.xmp", XMP.format(dumped(DRAW_THINGS).replace('"', "&quot;")))), INK),
        Case("Draw Things", "XMP in JPEG", with_exif("JPEG", b"", XMP.format(dumped(DRAW_THINGS).replace('"',
        "&quot;")).encode()), INK),
        Case("Easy Diffusion", "a chunk a value", png(*(text(name, str(value).encode()) for name, value in EASY.items())), INK),
        Case("Easy Diffusion", "JPEG", commented(b"UNICODE\0" + dumped(EASY).encode(UTF_16_BE), order=">"), INK),
        Case("Hugging Face Space", "PNG", parameters(dumped(SPACE)), {**FULL, "model": "some-xl"}),
        Case("StableStudio", "PNG", parameters(dumped(STUDIO)), {**FULL, "model": "some-xl", "sampler": "K_EULER"}),
        Case("unknown program", "an object with the usual names", parameters(dumped({"prompt": "a red house", "steps":
        20, "seed": 77})),
             {"prompt": "a red house", "steps": 20, "seed": 77, "width": None}),
        Case("TensorArt", "generation_data", png(itxt("generation_data", dumped({"prompt": "a red house", "negativePrompt": "rain",
             "baseModel": {"modelFileName": "some-xl"}}) + "\0"), itxt("prompt", dumped(graph()))), {**FULL, "model": "some-xl"}),
        Case("Stability Matrix", "parameters-json", png(itxt("parameters-json", dumped({"PositivePrompt": "a red house",
        "NegativePrompt": "rain",
             "ModelName": "some-xl.safetensors", "Width": 1280})), itxt("prompt", dumped(graph()))), {**FULL, "model": "some-xl"}),
        Case("Civitai", "a graph in a JPEG", commented(b"UNICODE\0" + CIVITAI.encode(UTF_16_BE), order=">"), FULL),
    ]  # fmt: skip


def _comfy_cases() -> list[Case]:
    cases = [Case("ComfyUI", kind, png(itxt("prompt", dumped(data))), expected, listed=listed)
             for kind, (data, expected, listed) in (GRAPHS | NODE_PACKS).items()]  # fmt: skip
    cases += [
        Case("ComfyUI", kind, png(itxt("workflow", dumped(data))), expected)
        for kind, (data, expected) in (WORKFLOWS | SAVED).items()
    ]
    prompt, both = dumped(graph()).encode(), dumped({"prompt": graph(), "workflow": {}}).encode(UTF_16_BE)
    unreadable = dumped({"1": node("SomeCustomSampler", x=1)})
    return [
        *cases,
        Case("ComfyUI", "WebP: Prompt: in EXIF", with_exif("WEBP", tiff({0x010F: (2, b"Prompt: " + prompt), 0x010E:
        (2, b"Workflow: {}")}, {})), FULL),
        Case("ComfyUI", "WebP: prompt: in EXIF", with_exif("WEBP", tiff({0x0110: (2, b"prompt:" + prompt)}, {}, ">")), FULL),
        Case("ComfyUI", "JPEG: one comment with both", commented(b"UNICODE\0" + both, order=">"), FULL),
        Case("ComfyUI", "an unreadable graph beside A1111's text", png(itxt("parameters", INFOTEXT), itxt("prompt",
        unreadable)), FULL, listed=("SomeCustomSampler (#1)",)),
        Case("ComfyUI", "a graph that is cut, and a workflow", png(itxt("prompt", '{"3": {"class_'), itxt("workflow",
        dumped(workflow(UI_NODES, UI_LINKS)))), FULL), ]  # fmt: skip


CASES: tuple[Case, ...] = (*_text_cases(), *_encoding_cases(), *_json_cases(), *_comfy_cases(), *TEXTS)


# -- the documentation ---------------------------------------------------------------------------------------------------

DOCS = Path(__file__).resolve().parents[3] / "docs"
HEADERS = {"metadata.md": "| Program | Cases | Covered |", "metadata.zh.md": "| 程序 | 用例数 | 覆盖的情况 |"}
BEGIN, END = "<!-- cases -->", "<!-- /cases -->"


def table(page: str) -> str:
    """Return the table of this page: what of each program is covered."""
    programs: dict[str, list[str]] = {}
    for case in CASES:
        programs.setdefault(case.program, []).append(case.kind)
    ordered = sorted(programs.items(), key=lambda pair: pair[0].lower())
    rows = [f"| {program} | {len(kinds)} | {'; '.join(kinds)} |" for program, kinds in ordered]
    return "\n".join([HEADERS[page], "| --- | --- | --- |", *rows])


if __name__ == "__main__":
    for name in HEADERS:
        before, _, rest = (DOCS / name).read_text(encoding="utf-8").partition(BEGIN)
        (DOCS / name).write_text(f"{before}{BEGIN}\n{table(name)}\n{END}{rest.partition(END)[2]}", encoding="utf-8")
