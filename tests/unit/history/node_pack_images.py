"""More ComfyUI graphs, saved workflows and texts: nodes of extensions, custom samplers, what old pages saved without names."""

from __future__ import annotations

import json
from typing import Any

from tests.unit.history.image_files import FULL, INFOTEXT, LINE, NODES, Case, dumped, graph, itxt, node, parameters, png

SAMPLER = NODES["3"]["inputs"]
INK = {**FULL, "loras": [("ink", 0.8)]}
ENCODED = {"clip": ["4", 1]}


def prompted(*nodes: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Return the usual graph whose prompt is the text of node 20; `nodes` are 20, 21 and so on."""
    added = {f"n{20 + k}": one for k, one in enumerate(nodes)}
    return graph(n6=node("CLIPTextEncode", text=["20", 0], **ENCODED), **added, **more)


def custom(sampler: list[Any] = ["32", 0], sigmas: list[Any] = ["33", 0], **nodes: Any) -> dict[str, Any]:  # noqa: B006
    """Return the usual prompts with SamplerCustomAdvanced, its parts in nodes 30 to 33."""
    parts: dict[str, Any] = {
        "n3": node("SamplerCustomAdvanced", noise=["30", 0], guider=["31", 0], sampler=sampler, sigmas=sigmas,
                   latent_image=["5", 0]),
        "n30": node("RandomNoise", noise_seed=77),
        "n31": node("CFGGuider", model=["4", 0], positive=["6", 0], negative=["7", 0], cfg=4.5),
        "n32": node("KSamplerSelect", sampler_name="euler"),
        "n33": node("BasicScheduler", scheduler="beta", steps=20, denoise=1.0, model=["4", 0]),
    }  # fmt: skip
    return graph(**{**parts, **nodes})


def advanced(noise: str, seed: int, latent: str) -> dict[str, Any]:
    return node("KSamplerAdvanced", add_noise=noise, noise_seed=seed, steps=20, cfg=4.5, sampler_name="euler", scheduler="simple",
                model=["4", 0], positive=["6", 0], negative=["7", 0], latent_image=[latent, 0])  # fmt: skip


NODE_PACKS: dict[str, tuple[dict[str, Any], dict[str, Any], tuple[str, ...]]] = {
    "KSampler Config": (graph({"steps": ["20", 0], "cfg": ["20", 2], "sampler_name": ["20", 3]}, n20=node(
        "KSampler Config (rgthree)", steps_total=20, refiner_step=24, cfg=4.5, sampler_name="euler", scheduler="normal")),
        FULL, ()),
    "a regional sampler over a provider": (graph(n3=node("RegionalSampler", seed=77, steps=20, denoise=1.0, samples=["5", 0],
        base_sampler=["20", 0]), n20=node("KSamplerAdvancedProvider", cfg=4.5, sampler_name="euler", scheduler="normal",
        basic_pipe=["21", 0]), n21=node("ToBasicPipe", model=["4", 0], clip=["4", 1], vae=["4", 2], positive=["6", 0],
        negative=["7", 0])), FULL, ()),
    "sliders": (graph({"steps": ["20", 0]}, n5=node("EmptyLatentImage", width=["21", 0], height=["21", 1], batch_size=1),
        n20=node("mxSlider", Xi=20, Xf=20.5, isfloatX=0), n21=node("mxSlider2D", Xi=640, Xf=1.0, Yi=384, Yf=1.0, isfloatX=0,
        isfloatY=0)), FULL, ()),
    "easy loraStack in simple mode": (graph({"model": ["20", 0]}, n20=node("easy loraStackApply", lora_stack=["21", 0],
        model=["4", 0]), n21=node("easy loraStack", toggle=True, mode="simple", num_loras=1, lora_1_name="ink.safetensors",
        lora_1_strength=0.8, lora_1_model_strength=1, lora_1_clip_strength=1, lora_2_name="no.safetensors", lora_2_strength=1)),
        INK, ()),
    "a first pass without prompt": (graph({"latent_image": ["20", 0]}, n20=node("ClownsharKSampler", noise_seed=77, steps=20,
        cfg=4.5, sampler_name="res_2m", scheduler="beta57", sampler_mode="unsample", model=["4", 0], latent_image=["5", 0])),
        FULL, ("euler",)),
    "easy stylesSelector": (prompted(node("easy stylesSelector", styles="fooocus_styles", positive=["21", 0], negative=["22", 0],
        select_styles=""), node("easy positive", positive="a red house"), node("easy negative", negative="rain"),
        n7=node("CLIPTextEncode", text=["20", 1], **ENCODED)), FULL, ()),
    "DisableNoise behind SplitSigmas": (custom(sigmas=["34", 1], n30=node("DisableNoise"), n34=node("SplitSigmas", step=10,
        sigmas=["33", 0]), n3=node("SamplerCustomAdvanced", noise=["30", 0], guider=["31", 0], sampler=["32", 0],
        sigmas=["34", 1], latent_image=["40", 0]), n40=node("SamplerCustomAdvanced", noise=["41", 0], guider=["31", 0],
        sampler=["32", 0], sigmas=["34", 0], latent_image=["5", 0]), n41=node("RandomNoise", noise_seed=77)), FULL, ()),
    "two experts": (graph(n3=advanced("disable", 0, "40"), n40=advanced("enable", 77, "5")), FULL, ("KSamplerAdvanced (#3)",)),
    "a sampler around a sampler": (custom(["35", 0], n35=node("DetailDaemonSamplerNode", sampler=["32", 0], detail_amount=0.1,
        cfg_scale_override=0)), {**FULL, "sampler": "euler"}, ()),
    "multiplied sigmas": (custom(sigmas=["36", 0], n36=node("MultiplySigmas", sigmas=["33", 0], factor=0.96)), FULL, ()),
    "PerpNegGuider": (custom(n31=node("PerpNegGuider", model=["4", 0], positive=["6", 0], negative=["7", 0],
        empty_conditioning=["34", 0], cfg=4.5, neg_scale=1.0), n34=node("CLIPTextEncode", text="", **ENCODED)), FULL, ()),
    "numbers as texts": (graph(n3=node("FluxSamplerParams+", seed="77", sampler="euler", scheduler="simple", steps="20",
        guidance="3.5", model=["4", 0], conditioning=["6", 0], latent_image=["5", 0])),
        {"prompt": "a red house", "seed": 77, "steps": 20, "width": 640}, ()),
    "numbers that are converted": (graph({"seed": ["20", 0]}, n20=node("Number to Seed", number=["21", 0]), n21=node(
        "Constant Number", number_type="integer", number=77)), FULL, ()),
    "steps by a switch": (graph({"steps": ["20", 0], "cfg": ["21", 0]}, n20=node("ComfySwitchNode", switch=["22", 0],
        on_false=["23", 0], on_true=["24", 0]), n21=node("ComfySwitchNode", switch=["22", 0], on_false=4.5, on_true=1.0),
        n22=node("PrimitiveBoolean", value=False), n23=node("PrimitiveInt", value=20), n24=node("PrimitiveInt", value=4)),
        FULL, ()),
    "prompts of editing": (graph(n6=node("TextEncodeQwenImageEditPlus", prompt="a red house", vae=["4", 2], image1=["22", 0],
        **ENCODED), n7=node("TextEncodeQwenImageEditPlus", prompt="rain", vae=["4", 2], **ENCODED), n22=node("LoadImage",
        image="a.png")), FULL, ()),
    "a reference latent": (graph({"positive": ["20", 0]}, n20=node("ReferenceLatent", conditioning=["21", 0], latent=["5", 0]),
        n21=node("FluxGuidance", guidance=2.5, conditioning=["6", 0])), FULL, ()),
    "a negative for some steps": (graph({"negative": ["20", 0]}, n20=node("ConditioningCombine", conditioning_1=["21", 0],
        conditioning_2=["22", 0]), n21=node("ConditioningSetTimestepRange", start=0.1, end=1.0, conditioning=["23", 0]),
        n22=node("ConditioningSetTimestepRange", start=0.0, end=0.1, conditioning=["7", 0]), n23=node("ConditioningZeroOut",
        conditioning=["7", 0])), FULL, ()),
    "strings joined by KJNodes": (prompted(node("JoinStringMulti", inputcount=2, string_1=["21", 0], string_2="house",
        delimiter=" ", return_list=False), node("StringConstantMultiline", string="a red")), FULL, ()),
    "a numbered text switch": (prompted(node("CR Text Input Switch", Input=2, text1="no", text2="a red house")), FULL, ()),
    "text of an encoder by A1111's rules": (graph(n6=node("smZ CLIPTextEncode", text="a red house", parser="A1111", text_g="",
        text_l="", smZ_steps=1, **ENCODED)), FULL, ()),
    "an img2img size": (graph(n5=node("VAEEncode", pixels=["20", 0], vae=["4", 2]), n20=node("ImageScale", width=640,
        height=384, crop="disabled", image=["21", 0]), n21=node("LoadImage", image="a.png")), FULL, ()),
    "a video image without prompt": (graph({"positive": ["12", 0], "negative": ["12", 1], "latent_image": ["12", 2]}, n12=node(
        "SVD_img2vid_Conditioning", width=640, height=384, clip_vision=["15", 1], init_image=["23", 0], vae=["15", 2]),
        n23=node("LoadImage", image="mountains.png")), {**FULL, "prompt": None, "negative_prompt": None}, ()),
    "Nunchaku": (graph({"model": ["20", 0]}, n4=node("NunchakuFluxDiTLoader", model_path="svdq-flux.safetensors"), n20=node(
        "NunchakuFluxLoraLoader", lora_name="ink.safetensors", lora_strength=0.8, model=["4", 0])),
        {**INK, "model": "svdq-flux"}, ()),
    "guidance between model and sampler": (graph({"model": ["20", 0]}, n20=node("SkipLayerGuidanceSD3", layers="7,8,9", scale=3,
        model=["21", 0]), n21=node("ModelSamplingSD3", shift=3.0, model=["4", 0])), {**FULL, "model": "some-xl"}, ()),
}  # fmt: skip


def saved(*nodes: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"nodes": list(nodes), "links": LINKS, "version": 0.4, **more}


def old(node_id: int, kind: str, widgets: Any, *inputs: tuple[str, int], outputs: int = 1) -> dict[str, Any]:
    """Return a node as old pages saved it: values in order, without names."""
    slots = [{"name": name, "type": "*", "link": link} for name, link in inputs]
    return {
        "id": node_id,
        "type": kind,
        "inputs": slots,
        "outputs": [{"type": "*"}] * outputs,
        "widgets_values": widgets,
    }


LINKS = [[1, 1, 0, 3, 0, "*"], [2, 2, 0, 3, 1, "*"], [3, 4, 0, 3, 2, "*"], [4, 5, 0, 3, 3, "*"]]
TEXTS_AND_SIZE = (
    old(2, "CLIPTextEncode", ["a red house"]),
    old(4, "CLIPTextEncode", ["rain"]),
    old(5, "EmptySD3LatentImage", [640, 384, 1]),
)
LINKED = (("model", 1), ("positive", 2), ("negative", 3), ("latent_image", 4))
EASY = ["xl\\some-xl.safetensors", "Baked VAE", -1, "None", 1, 1, "640 x 384", 512, 512, "a red house", "rain", 1]
NAMED = {**FULL, "model": "some-xl", "sampler": "euler"}
SAVED: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "an unknown sampler without names": (saved(old(1, "ClownModelLoader", ["some-xl.safetensors", "fp8_e4m3fn"]),
        *TEXTS_AND_SIZE, old(3, "Mystery Sampler", [0.5, 77, "fixed", 20, 4.5, "euler", "normal", 1, "yes"], *LINKED)), NAMED),
    "ClownsharKSampler without names": (saved(old(1, "FluxLoader", ["some-xl.safetensors", "default"]), *TEXTS_AND_SIZE, old(
        3, "ClownsharKSampler_Beta", [0.5, "euler", "beta57", 20, -1, 1, 4.5, 77, "fixed", "standard", True], *LINKED)), NAMED),
    "easy use without names": ({"nodes": [old(1, "easy comfyLoader", EASY), old(3, "easy preSampling", [20, 4.5, "euler",
        "karras", 1, 77, "fixed"], ("pipe", 1)), old(4, "easy kSampler", ["Preview", 0, "ComfyUI"], ("pipe", 2))],
        "links": [[1, 1, 0, 3, 0, "*"], [2, 3, 0, 4, 0, "*"]]}, NAMED),
    "an unknown LoRA loader without names": (saved(old(6, "CheckpointLoaderSimple", ["some-xl.safetensors"]), old(
        1, "LoraLoaderOfAPack", ["ink.safetensors", 0.8, True], ("model", 9)), *TEXTS_AND_SIZE, old(3, "KSampler",
        [77, "fixed", 20, 4.5, "euler", "normal", 1], *LINKED)) | {"links": [*LINKS, [9, 6, 0, 1, 0, "*"]]},
        {**NAMED, "loras": [("ink", 0.8)]}),
    "WanVideoWrapper without names": ({"nodes": [old(1, "WanVideoModelLoader", ["some-xl.safetensors", "bf16"]), old(
        2, "WanVideoTextEncode", ["a red house", "rain", True]), old(5, "WanVideoEmptyEmbeds", [640, 384, 81]), old(
        3, "WanVideoSampler", [20, 4.5, 5, 77, "fixed", True, "unipc"], ("model", 1), ("text_embeds", 2), ("image_embeds", 4))],
        "links": LINKS}, {**FULL, "model": "some-xl"}),
    "a video without prompt": (saved(old(1, "ImageOnlyCheckpointLoader", ["svd.safetensors"]), old(2, "SVD_img2vid_Conditioning",
        [640, 384, 14, 127, 6, 0], ("init_image", 9)), old(6, "LoadImage", ["mountains.png", "image"]), old(3, "KSampler",
        [77, "fixed", 20, 4.5, "euler", "normal", 1], ("model", 1), ("positive", 2)))
        | {"links": [*LINKS[:2], [9, 6, 0, 2, 0, "*"]]}, {"prompt": None, "seed": 77, "steps": 20, "model": "svd"}),
}  # fmt: skip

RUINED = {"Prompt": "a red house", "Negative": "rain", "steps": 20, "cfg": 4.5, "width": 640, "height": 384, "seed": 77,
          "base_model_name": "some-xl.safetensors", "loras": [["BFA3", "0.8 - a\\ink.safetensors"]],
          "software": "RuinedFooocus"}  # fmt: skip
INVOKE_3 = {"generation_mode": "txt2img", "positive_prompt": "a red house", "negative_prompt": "rain", "steps": 20,
            "cfg_scale": 4.5, "seed": 77, "width": 640, "height": 384, "model": {"model_name": "some-xl", "base_model": "sdxl"},
            "loras": [{"lora": {"model_name": "ink"}, "weight": 0.8}], "app_version": "3.4.0"}  # fmt: skip
CIVITAI_LIST = [{"type": "checkpoint", "modelName": "some-xl"}, {"type": "lora", "weight": 0.8, "modelName": "ink"}]
TEXTS: tuple[Case, ...] = (
    Case("RuinedFooocus", "hash, weight and name of a LoRA", parameters(dumped(RUINED)), {**INK, "model": "some-xl"}),
    Case("InvokeAI", "version 3", png(itxt("invokeai_metadata", dumped(INVOKE_3))), {**INK, "model": "some-xl"}),
    Case("A1111", "a keyword with a capital", png(itxt("Parameters", INFOTEXT)), FULL),
    Case("A1111", "a size with spaces", parameters(INFOTEXT.replace("640x384", "640 x 384")), FULL),
    Case("A1111", "a seed of 2^64", parameters(INFOTEXT.replace("Seed: 77", f"Seed: {2**64}")), {"seed": None, "steps": 20}),
    Case("A1111", "a random seed that was never told", parameters(INFOTEXT.replace("Seed: 77", "Seed: -1")), {"seed": None}),
    Case("A1111", "ADetailer's prompt with fields", parameters(f'{INFOTEXT}, ADetailer prompt: "a face, Steps: 3, Seed: 9"'), FULL),
    Case("A1111", "only a negative prompt", parameters(f"Negative prompt: rain\n{LINE}"), {**FULL, "prompt": ""}),
    Case("Civitai", "names of a download", parameters(f"{INFOTEXT.replace(', Model: some-xl', '')}, Created Date: 2024-10-05, "
         f"Civitai resources: {json.dumps(CIVITAI_LIST)}, Civitai metadata: {{}}"), {**INK, "model": "some-xl"}),
    Case("stable-diffusion.cpp", "real numbers", parameters(INFOTEXT.replace("4.5", "4.500000") + ", Guidance: 3.500000, "
         "RNG: cuda, Version: stable-diffusion.cpp"), FULL),
    Case("ComfyUI", "NaN in a graph", png(itxt("prompt", dumped(graph()).replace('"denoise": 1.0', '"denoise": NaN'))), FULL),
    Case("SwarmUI", "its own record beside a graph", png(itxt("prompt", dumped(graph({"seed": 5}))), itxt("parameters", dumped(
         {"sui_image_params": {"prompt": "a red house", "negativeprompt": "rain", "seed": 77, "steps": 20, "cfgscale": 4.5,
          "width": 640, "height": 384}}))), FULL),
)  # fmt: skip
