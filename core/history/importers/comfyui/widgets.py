"""List in which order ComfyUI's page saves the widgets of a node, for old workflows that do not name their values.

The values of a node that is not listed are named as far as their types and places tell what they are (`guessed`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from core.history.importers.common import WEIGHTS

CONTROLS = ("fixed", "randomize", "increment", "decrement", "increment-wrap")  # what follows a seed

_OTHER_LOADERS = (
    "vae",
    "clip",
    "t5",
    "text",
    "control",
    "upscale",
    "adapter",
    "style",
    "gligen",
    "vision",
    "image",
    "audio",
)
_KSAMPLER = ("seed", "steps", "cfg", "sampler_name", "scheduler", "denoise")
_SIZE = ("width", "height", "batch_size")
_VIDEO = ("width", "height", "length", "batch_size")
_EASY = (
    "ckpt_name",
    "vae_name",
    "clip_skip",
    "lora_name",
    "lora_model_strength",
    "lora_clip_strength",
    "resolution",
    "empty_latent_width",
    "empty_latent_height",
    "positive",
    "negative",
    "batch_size",
)

WIDGETS: dict[str, tuple[str, ...]] = {
    "KSampler": _KSAMPLER,
    "KSampler (Efficient)": (*_KSAMPLER, "preview_method", "vae_decode"),
    "ImpactKSamplerBasicPipe": _KSAMPLER,
    "TiledKSampler": _KSAMPLER,
    "KSamplerAdvanced": ("add_noise", "noise_seed", "steps", "cfg", "sampler_name", "scheduler", "start_at_step", "end_at_step",
                         "return_with_leftover_noise"),
    "SamplerCustom": ("add_noise", "noise_seed", "cfg"),
    "RandomNoise": ("noise_seed",),
    "KSamplerSelect": ("sampler_name",),
    "BasicScheduler": ("scheduler", "steps", "denoise"),
    "KarrasScheduler": ("steps", "sigma_max", "sigma_min", "rho"),
    "ExponentialScheduler": ("steps", "sigma_max", "sigma_min"),
    "BetaSamplingScheduler": ("steps", "alpha", "beta"),
    "SDTurboScheduler": ("steps", "denoise"),
    "AlignYourStepsScheduler": ("model_type", "steps", "denoise"),
    "Flux2Scheduler": ("steps", "width", "height"),
    "SplitSigmas": ("step",),
    "SplitSigmasDenoise": ("denoise",),
    "CFGGuider": ("cfg",),
    "DualCFGGuider": ("cfg_conds", "cfg_cond2_negative"),
    "FluxGuidance": ("guidance",),
    "CLIPTextEncode": ("text",),
    "CLIPTextEncodeFlux": ("clip_l", "t5xxl", "guidance"),
    "CLIPTextEncodeSDXL": ("width", "height", "crop_w", "crop_h", "target_width", "target_height", "text_g", "text_l"),
    "CLIPTextEncodeSDXLRefiner": ("ascore", "width", "height", "text"),
    "CLIPTextEncodeSD3": ("clip_l", "clip_g", "t5xxl", "empty_padding"),
    "CLIPTextEncodeHunyuanDiT": ("bert", "mt5xl"),
    "CLIPTextEncodeLumina2": ("system_prompt", "user_prompt"),
    "TextEncodeQwenImageEdit": ("prompt",),
    "TextEncodeQwenImageEditPlus": ("prompt",),
    "ConditioningAverage": ("conditioning_to_strength",),
    "ConditioningSetArea": ("width", "height", "x", "y", "strength"),
    "ConditioningSetTimestepRange": ("start", "end"),
    "ControlNetApply": ("strength",),
    "ControlNetApplyAdvanced": ("strength", "start_percent", "end_percent"),
    "GLIGENTextboxApply": ("text", "width", "height", "x", "y"),
    "EmptyLatentImage": _SIZE,
    "EmptySD3LatentImage": _SIZE,
    "EmptyFlux2LatentImage": _SIZE,
    "EmptyHunyuanLatentVideo": _VIDEO,
    "EmptyCosmosLatentVideo": _VIDEO,
    "EmptyLTXVLatentVideo": _VIDEO,
    "EmptyMochiLatentVideo": _VIDEO,
    "EmptyHunyuanImageLatent": _SIZE,
    "LTXVImgToVideo": _VIDEO,
    "WanImageToVideo": _VIDEO,
    "WanVaceToVideo": (*_VIDEO, "strength"),
    "Wan22ImageToVideoLatent": _VIDEO,
    "WanCameraEmbedding": ("camera_pose", "width", "height", "length"),
    "HunyuanImageToVideo": (*_VIDEO, "guidance_type"),
    "CosmosImageToVideoLatent": _VIDEO,
    "CosmosPredict2ImageToVideoLatent": _VIDEO,
    "SVD_img2vid_Conditioning": ("width", "height", "video_frames", "motion_bucket_id", "fps", "augmentation_level"),
    "StableZero123_Conditioning": ("width", "height", "batch_size", "elevation", "azimuth"),
    "LTXVScheduler": ("steps", "max_shift", "base_shift", "stretch", "terminal"),
    "EmptyImage": (*_SIZE, "color"),
    "LatentUpscale": ("upscale_method", "width", "height", "crop"),
    "LatentUpscaleBy": ("upscale_method", "scale_by"),
    "ImageScale": ("upscale_method", "width", "height", "crop"),
    "CheckpointLoaderSimple": ("ckpt_name",),
    "unCLIPCheckpointLoader": ("ckpt_name",),
    "ImageOnlyCheckpointLoader": ("ckpt_name",),
    "CheckpointLoader": ("config_name", "ckpt_name"),
    "UNETLoader": ("unet_name", "weight_dtype"),
    "UnetLoaderGGUF": ("unet_name",),
    "DiffusersLoader": ("model_path",),
    "CLIPLoader": ("clip_name", "type", "device"),
    "DualCLIPLoader": ("clip_name1", "clip_name2", "type", "device"),
    "VAELoader": ("vae_name",),
    "LoraLoader": ("lora_name", "strength_model", "strength_clip"),
    "LoraLoaderModelOnly": ("lora_name", "strength_model"),
    "ModelSamplingAuraFlow": ("shift",),
    "ModelSamplingSD3": ("shift",),
    "PrimitiveString": ("value",),
    "PrimitiveStringMultiline": ("value",),
    "PrimitiveInt": ("value",),
    "PrimitiveFloat": ("value",),
    "PrimitiveBoolean": ("value",),
    "StringConcatenate": ("string_a", "string_b", "delimiter"),
    "ComfySwitchNode": ("switch",),
    "Efficient Loader": ("ckpt_name", "vae_name", "clip_skip", "lora_name", "lora_model_strength", "lora_clip_strength", "positive",
                         "negative", "token_normalization", "weight_interpretation", "empty_latent_width", "empty_latent_height",
                         "batch_size"),
    "LoadImage": ("image",),
    "LoadImageMask": ("image", "channel"),
    "LoadImageOutput": ("image",),
    "SaveImage": ("filename_prefix",),
    "easy comfyLoader": _EASY,
    "easy a1111Loader": _EASY,
    "easy fullLoader": (_EASY[0], "config_name", *_EASY[1:10], "positive_token_normalization", "positive_weight_interpretation",
                        "negative", "negative_token_normalization", "negative_weight_interpretation", "batch_size"),
    "easy positive": ("positive",),
    "easy negative": ("negative",),
    "WanVideoTextEncode": ("positive_prompt", "negative_prompt"),
    "WanVideoEmptyEmbeds": ("width", "height", "num_frames"),
    "WanVideoSampler": ("steps", "cfg", "shift", "seed"),
    "WanVideoModelLoader": ("model_name",),
    "ClownsharKSampler_Beta": ("eta", "sampler_name", "scheduler", "steps", "steps_to_run", "denoise", "cfg", "seed",
                               "sampler_mode"),
}  # fmt: skip


def guessed(key: str, values: Sequence[Any]) -> Iterator[tuple[str, Any]]:
    """Yield the values that say themselves what they are, of a node whose kind is `key` in lower case.

    A seed stands before its control. Steps, CFG scale, sampler and scheduler stand together in every sampler's node, and a
    number of at most 1 behind them is the denoise. A loader names a file of weights first, a LoRA with its weight behind.
    """
    if "loader" in key:
        yield from _loaded(key, values)
        return
    for k, value in enumerate(values[1:], 1):
        if isinstance(value, str) and value in CONTROLS and _whole(values[k - 1]):
            yield "seed", values[k - 1]
            break
    for k in range(len(values) - 3):
        steps, cfg, sampler, scheduler = values[k : k + 4]
        if _whole(steps) and steps > 0 and _number(cfg) and _word(sampler) and _word(scheduler):
            yield from (("steps", steps), ("cfg", cfg), ("sampler_name", sampler), ("scheduler", scheduler))
            behind = values[k + 4] if k + 4 < len(values) else None
            if behind is not None and _number(behind) and behind <= 1:
                yield "denoise", behind
            return


def _loaded(key: str, values: Sequence[Any]) -> Iterator[tuple[str, Any]]:
    if any(mark in key for mark in _OTHER_LOADERS):
        return
    place = next((k for k, v in enumerate(values) if isinstance(v, str) and v.lower().endswith(WEIGHTS)), None)
    if place is None:
        return
    if "lora" not in key:
        yield "ckpt_name", values[place]
        return
    yield "lora_name", values[place]
    if place + 1 < len(values) and _number(values[place + 1]):
        yield "strength_model", values[place + 1]


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _word(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= 60 and " " not in value and value not in CONTROLS
