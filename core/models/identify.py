"""Say what the tensors of a file are, by their names and shapes: which parts of which model, and in whose naming.

Nothing is loaded. A prefix before the names does not matter: it is found with them.

Not by diffusers' `infer_diffusers_model_type`: it takes loaded tensors, and answers "v1" for whatever it does not know, so that
parts alone, GGUF names, other prefixes and foreign files would all pass for SD 1.5.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from core.i18n import localize
from core.models.weight_files import Header, Tensor

Tensors = Mapping[str, Tensor]

TRANSFORMER, UNET, TEXT_ENCODER, TEXT_ENCODER_2, VAE, CONTROLNET = (
    "transformer", "unet", "text_encoder", "text_encoder_2", "vae", "controlnet",
)  # fmt: skip
DIFFUSERS, COMFYUI, ORIGINAL, LLAMA_CPP, TRANSFORMERS = "diffusers", "ComfyUI", "original", "llama.cpp", "transformers"

DECODER_ALONE = "a decoder alone"  # a VAE's family when its encoder is not in the file

FOREIGN_ENCODERS = ("T5", "Qwen2.5", "OpenCLIP", "CLIP-G (SDXL refiner)")  # text encoders of models that are not read


@dataclass(frozen=True)
class Component:
    """A part of a model in a file: all tensors whose names begin with `prefix`; `layout` names their convention."""

    part: str
    family: str
    prefix: str
    layout: str


@dataclass(frozen=True)
class Contents:
    """What a file holds. `kind`: one of KINDS; `family` as its publisher calls it, "" when the tensors do not tell."""

    kind: str
    family: str
    layout: str
    components: tuple[Component, ...] = ()


KINDS: Mapping[str, Mapping[str, str]] = {  # what a file can be called
    "checkpoint": localize("models.identify.kinds.checkpoint"),
    "transformer": localize("models.identify.kinds.transformer"),
    "unet": localize("models.identify.kinds.unet"),
    "text encoder": localize("models.identify.kinds.text_encoder"),
    "vae": localize("models.identify.kinds.vae"),
    "controlnet": localize("models.identify.kinds.controlnet"),
    "lora": localize("models.identify.kinds.lora"),
    "embedding": localize("models.identify.kinds.embedding"),
    "upscaler": localize("models.identify.kinds.upscaler"),
    "tiny vae": localize("models.identify.kinds.tiny_vae"),
    "hypernetwork": localize("models.identify.kinds.hypernetwork"),
    "depth estimator": localize("models.identify.kinds.depth_estimator"),
    "ip-adapter": localize("models.identify.kinds.ip_adapter"),
    "image encoder": localize("models.identify.kinds.image_encoder"),
    "unknown": localize("models.identify.kinds.unknown"),
}

_LORA = re.compile(  # of every algorithm, also those that are not read
    r"[._](lora_[AB]|lora_down|lora_up|lora\.(down|up)|lora_linear_layer|lokr_\w+|hada_\w+|oft_\w+|boft_\w+|glora_\w+)([._]|$)"
    r"|\.(diff|diff_b|set_weight|dora_scale|lora_magnitude_vector\S*|on_input|ia3_l\S*|vera_lambda_[bd]|vblora_\S+)$"
    r"|^(lora|lycoris)_\S+\.([ab][12]\.weight|alpha|w_norm|b_norm)$"
)


def identify(header: Header) -> Contents:
    """Return what a file's tensors are; `kind` is "unknown" when no pattern matches."""
    tensors = header.tensors
    special = _special(tensors)
    if special is not None:
        return special
    parts = components_of(tensors)
    if not parts:
        return _others(tensors)
    names = {part.part for part in parts}
    foreign = _model_of(tensors) if not names & {TRANSFORMER, UNET, CONTROLNET} else None
    if foreign is not None:
        return Contents("checkpoint", foreign, "", parts)
    main = next(part for part in parts if part.part == _main_part(names))
    if len(names) > 1 and not names <= {TEXT_ENCODER, TEXT_ENCODER_2}:
        return Contents("checkpoint", main.family, main.layout, parts)
    if names <= {TEXT_ENCODER, TEXT_ENCODER_2}:
        return Contents("text encoder", main.family, main.layout, parts)
    return Contents(main.part, main.family, main.layout, parts)


def _main_part(names: set[str]) -> str:
    return next(part for part in (TRANSFORMER, UNET, CONTROLNET, TEXT_ENCODER, TEXT_ENCODER_2, VAE) if part in names)


# -- parts of models that may be used ----------------------------------------------------------------------------------


def _prefix(tensors: Tensors, ending: str) -> str | None:
    """Return what stands before the shortest name with this ending, at a dot or at its beginning."""
    found = [name.removesuffix(ending) for name in tensors if name.endswith(ending)]
    whole = [start for start in found if start == "" or start.endswith(".")]
    return min(whole, key=len) if whole else None


def components_of(tensors: Tensors) -> tuple[Component, ...]:
    """Return the parts of models in a file, by their tensors' names."""
    return tuple(found for detect in _DETECTORS if (found := detect(tensors)) is not None)


def _single_stream(tensors: Tensors) -> Component | None:
    """Z-Image and its relatives: Lumina 2 has the same names but no tokens for padding."""
    prefix = _prefix(tensors, "cap_embedder.1.weight")
    if prefix is None or len(tensors[f"{prefix}cap_embedder.1.weight"].shape) != 2:
        return None
    if f"{prefix}x_pad_token" not in tensors:
        return Component(TRANSFORMER, "Lumina 2", prefix, COMFYUI)
    family = "Z-Image-Omni" if any(name.startswith(f"{prefix}siglip_embedder.") for name in tensors) else "Z-Image"
    own = any(name.startswith(f"{prefix}all_x_embedder.") for name in tensors)
    return Component(TRANSFORMER, family, prefix, DIFFUSERS if own else COMFYUI)


def _single_stream_control(tensors: Tensors) -> Component | None:
    found = next((name for name in tensors if "control_all_x_embedder." in name), None)
    if found is None:
        return None
    return Component(CONTROLNET, "Z-Image", found.partition("control_all_x_embedder.")[0], DIFFUSERS)


def _two_streams(tensors: Tensors) -> Component | None:
    """Return FLUX.2 in its publisher's names or diffusers', and Qwen-Image, which has the same names everywhere."""
    for ending, layout in (("lin.weight", ORIGINAL), ("linear.weight", DIFFUSERS)):
        prefix = _prefix(tensors, f"double_stream_modulation_img.{ending}")
        if prefix is not None:
            return Component(TRANSFORMER, "FLUX.2", prefix, layout)
    prefix = _prefix(tensors, "txt_norm.weight")
    if prefix is None or f"{prefix}transformer_blocks.0.img_mod.1.weight" not in tensors:
        return None
    return Component(TRANSFORMER, "Qwen-Image", prefix, DIFFUSERS)


def _u_net(tensors: Tensors) -> Component | None:
    """Return a U-Net in the names of its first authors (A1111, ComfyUI) or in diffusers' own."""
    prefix = _prefix(tensors, "input_blocks.0.0.weight")
    if (
        prefix is not None
        and f"{prefix}middle_block.0.in_layers.0.weight" in tensors
        and f"{prefix}out.2.weight" in tensors
    ):
        return Component(UNET, _u_net_family(tensors, prefix), prefix, ORIGINAL)
    prefix = _prefix(tensors, "down_blocks.0.resnets.0.conv1.weight")
    if (
        prefix is not None
        and f"{prefix}conv_in.weight" in tensors
        and any(name.startswith(f"{prefix}up_blocks.") for name in tensors)
        and f"{prefix}time_embedding.linear_1.weight" in tensors
    ):
        added = f"{prefix}add_embedding.linear_1.weight" in tensors
        return Component(UNET, "SDXL" if added else "SD 1.5", prefix, DIFFUSERS)
    return None


def _u_net_family(tensors: Tensors, prefix: str) -> str:
    added = tensors.get(f"{prefix}label_emb.0.0.weight")
    return "SDXL" if added is not None else "SD 1.5"


def _vae(tensors: Tensors) -> Component | None:
    prefix = _prefix(tensors, "decoder.conv_in.weight")
    if prefix is None or len(tensors[f"{prefix}decoder.conv_in.weight"].shape) != 4:
        return None
    if f"{prefix}encoder.conv_in.weight" not in tensors:
        return Component(VAE, DECODER_ALONE, prefix, ORIGINAL)
    channels = tensors[f"{prefix}decoder.conv_in.weight"].shape[1]
    family = {4: "SD 1.5 or SDXL", 16: "Z-Image or FLUX.1", 32: "FLUX.2"}.get(channels, f"{channels} latent channels")
    own = any(name.startswith((f"{prefix}decoder.up_blocks.", f"{prefix}decoder.mid_block.")) for name in tensors)
    return Component(VAE, family, prefix, DIFFUSERS if own else ORIGINAL)


def _qwen(tensors: Tensors) -> Component | None:
    """Qwen3 by transformers' names or llama.cpp's: it alone norms queries and keys in its layers and has no biases."""
    if "token_embd.weight" in tensors and any(name.startswith("blk.0.attn_") for name in tensors):
        normed = "blk.0.attn_q_norm.weight" in tensors or not any(name.endswith("attn_q.bias") for name in tensors)
        width = tensors["token_embd.weight"].shape[-1]
        return Component(TEXT_ENCODER, f"Qwen3 ({width})" if normed else "Qwen2.5 or Llama", "", LLAMA_CPP)
    prefix = _prefix(tensors, "embed_tokens.weight")
    if prefix is None or not any(name.startswith(f"{prefix}layers.0.self_attn.") for name in tensors):
        return None
    width = tensors[f"{prefix}embed_tokens.weight"].shape[-1]
    normed = f"{prefix}layers.0.self_attn.q_norm.weight" in tensors
    return Component(TEXT_ENCODER, f"Qwen3 ({width})" if normed else "Qwen2.5, Llama or Gemma", prefix, TRANSFORMERS)


def _clip(tensors: Tensors) -> Component | None:
    for start, family in (
        ("cond_stage_model.transformer.text_model.", "SD 1.5"),
        ("cond_stage_model.transformer.", "SD 1.5"),  # NovelAI and models made of it leave text_model out
        ("conditioner.embedders.0.transformer.text_model.", "SDXL"),
    ):
        if f"{start}embeddings.token_embedding.weight" in tensors:
            return Component(TEXT_ENCODER, f"CLIP-L ({family})", start, ORIGINAL)
    prefix = _prefix(tensors, "text_model.embeddings.token_embedding.weight")
    if prefix is None:
        return None
    width = tensors[f"{prefix}text_model.embeddings.token_embedding.weight"].shape[-1]
    return Component(
        TEXT_ENCODER, {768: "CLIP-L", 1280: "CLIP-G", 1024: "OpenCLIP-H"}.get(width, "CLIP"), prefix, TRANSFORMERS
    )


def _clip_g(tensors: Tensors) -> Component | None:
    prefix = _prefix(tensors, "transformer.resblocks.0.attn.in_proj_weight")
    if prefix is None or "visual" in prefix:
        return None
    if prefix.startswith("cond_stage_model.model."):
        return Component(TEXT_ENCODER, "OpenCLIP-H (Stable Diffusion 2)", prefix, ORIGINAL)
    if prefix == "conditioner.embedders.0.model.":
        return Component(TEXT_ENCODER, "CLIP-G (SDXL refiner)", prefix, ORIGINAL)
    return Component(TEXT_ENCODER_2, "CLIP-G", prefix, ORIGINAL)


def _t5(tensors: Tensors) -> Component | None:
    prefix = _prefix(tensors, "encoder.block.0.layer.0.SelfAttention.q.weight")
    return Component(TEXT_ENCODER, "T5", prefix, TRANSFORMERS) if prefix is not None else None


_DETECTORS: tuple[Callable[[Tensors], Component | None], ...] = (
    _single_stream, _single_stream_control, _two_streams, _u_net, _qwen, _clip, _clip_g, _t5, _vae,
)  # fmt: skip

# -- everything else, called what it is --------------------------------------------------------------------------------

_MODELS: tuple[tuple[str, str], ...] = (  # a pattern that one model's transformer alone has -> its name
    (r"double_stream_modulation_img\.", "FLUX.2"),
    (r"(^|\.)(distilled_guidance_layer\.)", "Chroma"),
    (r"(^|\.)double_blocks\.\d+\.img_attn\b", "FLUX.1"),
    (r"(^|\.)double_blocks\.\d+\.img_mod\b", "FLUX.1"),
    (r"(^|\.)single_transformer_blocks\.\d+\.proj_mlp\.", "FLUX.1"),
    (r"(^|\.)single_transformer_blocks\.\d+\.attn\.to_qkv_mlp_proj\.", "FLUX.2"),
    (r"(^|\.)joint_blocks\.\d+\.", "Stable Diffusion 3"),
    (r"(^|\.)transformer_blocks\.\d+\.img_mod\.", "Qwen-Image"),
    (r"(^|\.)transformer_blocks\.\d+\.attn\.add_q_proj\.", "Stable Diffusion 3 or FLUX.1"),
    (r"(^|\.)double_layers\.\d+\.", "AuraFlow"),
    (r"(^|\.)blocks\.\d+\.adaln_modulation_\w+\.|(^|\.)blocks\.block\d+\.blocks\.\d+\.block\.", "Cosmos or Anima"),
    (r"(^|\.)blocks\.\d+\.cross_attn\.k_img\.|(^|\.)blocks\.\d+\.self_attn\.norm_q\.", "Wan"),
    (r"(^|\.)individual_token_refiner\.", "HunyuanVideo"),
    (r"(^|\.)double_stream_blocks\.\d+\.block\.", "HiDream"),
    (r"(^|\.)adaln_single\.", "PixArt or LTX"),
    (r"(^|\.)transformer_blocks\.\d+\.attn\.norm_added_k\.", "Stable Diffusion 3.5"),
    (r"(^|\.)clip_txt_mapper\.|(^|\.)effnet_mapper\.", "Stable Cascade"),
)
_OTHERS: tuple[tuple[str, str, str], ...] = (  # a pattern, the kind, whose
    (r"^vision_model\.|^visual\.transformer\.", "image encoder", "CLIP"),
    (r"^v\.blk\.\d+\.|^mm\.\d+\.", "image encoder", "a language model's projector (mmproj)"),
    (r"^enc\.blk\.\d+\.", "text encoder", "T5"),
    (
        r"^(decoder|encoder)\.layers\.\d+\.(conv\.\d+\.)?weight$|^\d+\.conv\.\d+\.weight$",
        "tiny vae",
        "TAESD, TAESDXL or TAEF1",
    ),
    (r"^\d+\.\d+\.linear\.", "hypernetwork", "A1111"),
    (r"(^|\.)depth_head\.", "depth estimator", "Depth Anything"),
)
_UPSCALERS: tuple[tuple[str, str], ...] = (
    (r"^(module\.)?(params(_ema)?\.)?body\.\d+\.rdb1\.conv1\.weight$", "Real-ESRGAN"),
    (r"^(module\.)?RRDB_trunk\.0\.RDB1\.conv1\.weight$", "ESRGAN"),
    (r"^model\.1\.sub\.0\.RDB1\.conv1\.0\.weight$", "ESRGAN"),
    (r"^layers\.0\.residual_group\.", "SwinIR, HAT or DAT"),
    (r"^body\.0\.body\.0\.body\.0\.weight$", "RCAN"),
    (r"^(params_ema\.)?body\.\d+\.weight$", "Real-ESRGAN compact"),
    (r"^residual_layer\.0\.", "OmniSR"),
    (r"^layers\.0\.swin1\.", "DRCT"),
    (r"^before_RG\.1\.", "DAT or RGT"),
    (r"^unet1\.conv1\.conv\.0\.", "Real-CUGAN"),
    (r"^(to_img|feats)\.", "SPAN or PLKSR"),
    (r"^conv_up1\.weight$|^upsampl(e|er)\.", "an upscaling network"),
)


def _special(tensors: Tensors) -> Contents | None:
    """Return what has tensors of a model's names without being that model."""
    if any(_LORA.search(name) for name in tensors):
        return Contents("lora", "", "")
    if any(name.startswith(("image_proj.", "ip_adapter.")) for name in tensors):
        return Contents("ip-adapter", "", "")
    if "lora_controlnet" in tensors:
        return Contents("controlnet", "Control-LoRA", "")
    if any(name.startswith(("control_model.", "input_hint_block.", "controlnet_cond_embedding.")) for name in tensors):
        added = {"add_embedding.linear_1.weight", "label_emb.0.0.weight", "control_model.label_emb.0.0.weight"}
        layout = DIFFUSERS if any(name.startswith("controlnet_cond_embedding.") for name in tensors) else ORIGINAL
        return Contents("controlnet", "SDXL" if added & set(tensors) else "SD 1.5", layout)
    if any(
        name.startswith(("controlnet_x_embedder.", "controlnet_blocks.", "controlnet_mode_embedder."))
        for name in tensors
    ):
        return Contents("controlnet", "FLUX.1, Stable Diffusion 3 or Qwen-Image", DIFFUSERS)
    return _embedding(tensors)


def _embedding(tensors: Tensors) -> Contents | None:
    widths = {768: "SD 1.5", 1024: "Stable Diffusion 2"}
    if set(tensors) == {"clip_l", "clip_g"}:
        return Contents("embedding", "SDXL", ORIGINAL)
    if len(tensors) <= 4 and all(
        len(tensor.shape) in (1, 2) and tensor.values < 200_000 for tensor in tensors.values()
    ):
        if "emb_params" in tensors or any(re.fullmatch(r"<[^>]+>|\*|string_to_param\..*", name) for name in tensors):
            width = next(tensor.shape[-1] for tensor in tensors.values())
            return Contents("embedding", widths.get(width, ""), ORIGINAL)
    return None


def _model_of(tensors: Tensors) -> str | None:
    """Return the model whose transformer this is, of those that are not read."""
    return next((family for pattern, family in _MODELS if any(re.search(pattern, name) for name in tensors)), None)


def _others(tensors: Tensors) -> Contents:
    foreign = _model_of(tensors)
    if foreign is not None:
        return Contents("transformer", foreign, "")
    for pattern, kind, family in _OTHERS:
        if any(re.search(pattern, name) for name in tensors):
            return Contents(kind, family, "")
    for pattern, family in _UPSCALERS:
        if any(re.search(pattern, name) for name in tensors):
            return Contents("upscaler", family, "")
    return Contents("unknown", "", "")
