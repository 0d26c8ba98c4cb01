"""List the signs by which LoRAs of other families, and files that are no LoRA, are recognised and named."""

from __future__ import annotations

import re
from dataclasses import dataclass

TEXT = re.compile(  # the beginning of a text encoder's layer, in every family
    r"(base_model\.model\.)?(text_encoders?(_\d)?[._]|lora_te\d?_|lycoris_te\d?_|te\d?\.|clip_[lg]\.|t5xxl\.|qwen3_4b\.|"
    r"cond_stage_model\.|conditioner\.)"
)


@dataclass(frozen=True)
class Kind:
    """The signature of an unsupported family's LoRA: a pattern of layer names.

    `widths` are the input widths that go with it, empty for any.
    """

    family: str
    pattern: str
    widths: tuple[int, ...] = ()


_UNET_LAYER = r"(down_blocks|up_blocks|mid_block|input_blocks|output_blocks|middle_block)_"
_UNET_TEXTS = rf"{_UNET_LAYER}.*attn2_to_[kv]$"  # reads the prompt embeds, whose width tells the versions apart
FOREIGN = (  # the first that matches wins; asked after the layers that only one family has (LoraNames.certain)
    Kind("Lumina 2", r"(layers|noise_refiner|context_refiner)_\d+_(attention|feed_forward)_", (2304,)),
    Kind("Chroma", r"distilled_guidance_layer"),
    Kind("HunyuanVideo", r"double_blocks_\d+_(img|txt)_(attn|mlp)_(proj|fc|qkv)?.*fc[12]"),
    Kind("FLUX", r"(double_blocks|single_blocks)_\d+_|single_transformer_blocks_\d+_"),
    Kind("HiDream", r"(double|single)_stream_blocks_\d+_"),
    Kind("Stable Diffusion 3", r"joint_blocks_\d+_|transformer_blocks_\d+_attn_(to|add)_.*", (1536, 2432)),
    Kind("AuraFlow", r"(joint|single)_transformer_blocks_\d+_"),
    Kind("Qwen-Image or FLUX", r"transformer_blocks_\d+_attn_(to|add)_"),
    Kind("Wan", r"blocks_\d+_(self_attn|cross_attn)_(q|k|v|o|k_img|v_img)$|blocks_\d+_ffn_[02]$"),
    Kind("Wan", r"blocks_\d+_attn[12]_to_"),
    Kind("Cosmos or Anima", r"blocks_\d+_(self_attn|cross_attn)_|blocks_\d+_block_\d+_"),
    Kind("Hunyuan-DiT", r"blocks_\d+_attn[12]_Wqkv"),
    Kind("LTX-2", r"transformer_blocks_\d+_(audio_|video_to_audio|audio_to_video)"),
    Kind("LTX", r"transformer_blocks_\d+_attn[12]_to_", (2048, 4096)),
    Kind("PixArt or Sana", r"transformer_blocks_\d+_attn[12]_to_", (1152, 2240)),
    Kind("CogVideoX or Mochi", r"transformer_blocks_\d+_attn[12]_to_", (1920, 3072)),
    Kind("a video or PixArt transformer", r"transformer_blocks_\d+_attn[12]_to_"),
    Kind("Kandinsky 5", r"(visual|text)_transformer_blocks_\d+_"),
    Kind("Stable Cascade", r"(down|up)_blocks_\d+_\d+_(attention|channelwise|kv_mapper)"),
    Kind("Stable Diffusion 2", _UNET_TEXTS, (1024,)),
    Kind("SDXL refiner", _UNET_TEXTS, (1280,)),
    Kind("Kolors", _UNET_TEXTS, (4096,)),
)  # fmt: skip
# Files that are no LoRA: what they are (a key of models.lora_match.what), and a pattern that one of their tensors' names matches
OTHER_FILES = (
    ("textual_inversion", r"(emb_params|clip_[lg]|string_to_param.*|string_to_token.*)$"),
    ("control_lora", r"lora_controlnet$"),
    ("controlnet", r"(control_model|controlnet_|control_layers|control_all_x_embedder|controlnet_down_blocks)[._\d]?"),
    ("ip_adapter", r"(ip_adapter|image_proj)\."),
    ("hypernetwork", r"\d+\.\d+\.linear\."),
    ("vae", r"(first_stage_model\.|vae\.)?(encoder|decoder)\.(conv_in|down|up|mid)"),
    ("text_encoder", r"(text_model\.)?(encoder\.layers|model\.layers|embeddings|shared|encoder\.block)\b.*\.(weight|bias)$"),
    ("upscaler", r"(model\.)?(RRDB_trunk|conv_first|body\.\d+|layers\.\d+\.residual_group|model\.\d+\.sub)\b"),
)  # fmt: skip
