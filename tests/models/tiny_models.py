"""Models of the real classes with random weights, some hundred KB each: what the catalogue and the loader are tested on."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderKLFlux2,
    AutoencoderKLQwenImage,
    ControlNetModel,
    ControlNetUnionModel,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    Flux2KleinPipeline,
    Flux2Transformer2DModel,
    PNDMScheduler,
    QwenImagePipeline,
    QwenImageTransformer2DModel,
    StableDiffusionPipeline,
    StableDiffusionXLControlNetPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
    ZImageControlNetModel,
    ZImageTransformer2DModel,
)
from torch import nn
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2TokenizerFast,
    Qwen2VLImageProcessorPil,
    Qwen3Config,
    Qwen3ForCausalLM,
    Siglip2ImageProcessorPil,
    Siglip2VisionConfig,
    Siglip2VisionModel,
)

from core.models.model_paths import EMBEDDED

WIDTH = 32  # of the text encoders
SIDES = (16, 32)  # of the U-Net's blocks
SCHEDULE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}


def stable_diffusion(folder: Path, **saving: object) -> Path:
    """Return a StableDiffusionPipeline, as its repository has it but for the safety checker."""
    torch.manual_seed(0)
    pipeline = StableDiffusionPipeline(
        vae=_vae(),
        text_encoder=CLIPTextModel(_text_config()),
        tokenizer=_tokenizer(folder.parent / "clip"),
        unet=_unet(),
        scheduler=PNDMScheduler(skip_prk_steps=True, **SCHEDULE),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(folder, **saving)
    return folder


def stable_diffusion_xl(folder: Path, second: int = WIDTH, **saving: object) -> Path:
    """Return a StableDiffusionXLPipeline; `second` is the width of its second text encoder."""
    torch.manual_seed(0)
    time_ids = {"addition_embed_type": "text_time", "addition_time_embed_dim": 8}
    pipeline = StableDiffusionXLPipeline(
        vae=_vae(),
        text_encoder=CLIPTextModel(_text_config()),
        text_encoder_2=CLIPTextModelWithProjection(_text_config(hidden_size=second, projection_dim=second)),
        tokenizer=_tokenizer(folder.parent / "clip"),
        tokenizer_2=_tokenizer(folder.parent / "clip"),
        unet=_unet(
            cross_attention_dim=WIDTH + second, projection_class_embeddings_input_dim=second + 6 * 8, **time_ids
        ),
        scheduler=EulerDiscreteScheduler(**SCHEDULE),
        add_watermarker=False,
    )
    pipeline.save_pretrained(folder, **saving)
    return folder


def stable_diffusion_xl_control(folder: Path) -> Path:
    """Return a StableDiffusionXLControlNetPipeline in one folder."""
    plain = StableDiffusionXLPipeline.from_pretrained(stable_diffusion_xl(folder.parent / "plain"))
    network = ControlNetModel.from_pretrained(sdxl_network(folder.parent / "network"))
    parts = {
        name: part for name, part in plain.components.items() if name not in ("feature_extractor", "image_encoder")
    }
    StableDiffusionXLControlNetPipeline(**parts, controlnet=network, add_watermarker=False).save_pretrained(folder)
    return folder


def sdxl_network(folder: Path, second: int = WIDTH, **saving: object) -> Path:
    """Return a ControlNetModel that fits `stable_diffusion_xl`."""
    torch.manual_seed(1)
    time_ids = {"addition_embed_type": "text_time", "addition_time_embed_dim": 8}
    unet = _unet(cross_attention_dim=WIDTH + second, projection_class_embeddings_input_dim=second + 6 * 8, **time_ids)
    network = ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=(8, 16, 16, 16))
    _speak(network)
    network.save_pretrained(folder, **saving)
    return folder


def sdxl_union(folder: Path) -> Path:
    """Return a ControlNetUnionModel with the 8 types of ProMax that fits `stable_diffusion_xl`."""
    torch.manual_seed(2)
    like = ControlNetModel.load_config(sdxl_network(folder.parent / f"like-{folder.name}"))
    own = {"num_control_type": 8, "num_trans_channel": SIDES[0], "num_trans_head": 2, "num_proj_channel": SIDES[0]}
    network = ControlNetUnionModel.from_config({**like, **own})
    _speak(network)
    network.save_pretrained(folder)
    return folder


def sd15_network(folder: Path, seed: int = 1) -> Path:
    """Return a ControlNetModel that fits `stable_diffusion`."""
    torch.manual_seed(seed)
    network = ControlNetModel.from_unet(_unet(), conditioning_embedding_out_channels=(8, 16, 16, 16))
    _speak(network)
    network.save_pretrained(folder)
    return folder


def flux2_klein(folder: Path, distilled: bool = True) -> Path:
    """Flux2KleinPipeline with 28 thin layers in its text encoder, as the pipeline reads the 9th, 18th and 27th."""
    torch.manual_seed(0)
    width, channels = 16, 4
    encoder = Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=len(_qwen_tokenizer()), hidden_size=width, intermediate_size=24, num_hidden_layers=28,
            num_attention_heads=2, num_key_value_heads=1, head_dim=8, tie_word_embeddings=True,
        )
    )  # fmt: skip
    transformer = Flux2Transformer2DModel(
        in_channels=4 * channels, num_layers=2, num_single_layers=2, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=3 * width, axes_dims_rope=(4, 4, 4, 4), guidance_embeds=False,
    )  # fmt: skip
    vae = AutoencoderKLFlux2(
        block_out_channels=(8, 8, 8, 8), layers_per_block=1, latent_channels=channels, norm_num_groups=4, sample_size=64
    )
    with torch.no_grad():
        vae.bn.running_var.fill_(0.5)
    Flux2KleinPipeline(
        FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
        vae,
        encoder,
        _qwen_tokenizer(),
        transformer,
        distilled,
    ).save_pretrained(folder)
    return folder


def qwen_image(folder: Path) -> Path:
    """Return a QwenImagePipeline."""
    torch.manual_seed(0)
    width, channels, tokenizer = 16, 4, _qwen_tokenizer()
    marks = ("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")
    tokenizer.add_special_tokens({"additional_special_tokens": list(marks)})
    start, end, image, video = tokenizer.convert_tokens_to_ids(list(marks))
    text = {
        "vocab_size": len(tokenizer), "hidden_size": width, "intermediate_size": 24, "num_hidden_layers": 2,
        "num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 4096,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [1, 1, 2]},
    }  # fmt: skip
    vision = {
        "depth": 1, "hidden_size": 16, "intermediate_size": 24, "num_heads": 2, "out_hidden_size": width,
        "fullatt_block_indexes": [0],
    }  # fmt: skip
    encoder = Qwen2_5_VLForConditionalGeneration(
        Qwen2_5_VLConfig(
            text_config=text, vision_config=vision, vision_start_token_id=start, vision_end_token_id=end,
            image_token_id=image, video_token_id=video,
        )
    )  # fmt: skip
    transformer = QwenImageTransformer2DModel(
        in_channels=4 * channels, out_channels=channels, num_layers=2, attention_head_dim=16, num_attention_heads=2,
        joint_attention_dim=width, axes_dims_rope=(4, 6, 6),
    )  # fmt: skip
    vae = AutoencoderKLQwenImage(
        base_dim=8, z_dim=channels, dim_mult=[1, 1, 1, 1], num_res_blocks=1, latents_mean=[0.1, -0.2, 0.3, 0.0],
        latents_std=[1.5, 0.9, 1.2, 1.0],
    )  # fmt: skip
    scheduler = FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True)
    QwenImagePipeline(scheduler, vae, encoder, tokenizer, transformer).save_pretrained(folder)
    return folder


def qwen_image_edit(folder: Path) -> Path:
    """Return a QwenImageEditPlusPipeline: the parts of QwenImagePipeline, and a processor as its repository has it."""
    qwen_image(folder)
    shutil.copytree(folder / "tokenizer", folder / "processor")
    Qwen2VLImageProcessorPil().save_pretrained(folder / "processor")
    index = json.loads((folder / "model_index.json").read_text())
    changed = {"_class_name": "QwenImageEditPlusPipeline", "processor": ["transformers", "Qwen2VLProcessor"]}
    (folder / "model_index.json").write_text(json.dumps(index | changed))
    return folder


def _qwen_tokenizer() -> Qwen2TokenizerFast:
    """Return the embedded model's tokenizer, which has Qwen3's chat template."""
    return Qwen2TokenizerFast.from_pretrained(EMBEDDED / "tokenizer")


Z_IMAGE_SHAPE = {"dim": 32, "n_heads": 2, "n_kv_heads": 2, "n_refiner_layers": 2, "norm_eps": 1e-5, "qk_norm": True}


def z_image(folder: Path, layers: int = 10, **more: object) -> Path:
    """Return the embedded model with another, tiny transformer."""
    torch.manual_seed(0)
    shutil.copytree(EMBEDDED, folder, ignore=lambda parent, names: {"preview.safetensors"} | {
        name for name in names if Path(parent).name == "transformer" and name.endswith(".safetensors")})  # fmt: skip
    ZImageTransformer2DModel(
        **Z_IMAGE_SHAPE,
        n_layers=layers,
        cap_feat_dim=128,
        in_channels=16,
        axes_dims=[4, 6, 6],
        axes_lens=[1536, 512, 512],
        **more,
    ).save_pretrained(folder / "transformer")
    return folder


def z_image_omni(folder: Path) -> Path:
    """Return a ZImageOmniPipeline: the parts of `z_image`, and SigLIP 2."""
    width = 16
    z_image(folder, 2, siglip_feat_dim=width)
    size = {"hidden_size": width, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
    Siglip2VisionModel(Siglip2VisionConfig(**size, num_patches=16)).save_pretrained(folder / "siglip")
    Siglip2ImageProcessorPil(max_num_patches=16).save_pretrained(folder / "siglip_processor")
    index = json.loads((folder / "model_index.json").read_text())
    changed = {
        "_class_name": "ZImageOmniPipeline",
        "siglip": ["transformers", "Siglip2VisionModel"],
        "siglip_processor": ["transformers", "Siglip2ImageProcessor"],
    }
    (folder / "model_index.json").write_text(json.dumps(index | changed))
    return folder


def z_image_network(layers: int = 10, step: int = 5, kind: str | None = None) -> ZImageControlNetModel:
    """Return a ZImageControlNetModel that fits `z_image`: of version 1, or of 2 with `kind`, when it has a mask's channels, too."""
    torch.manual_seed(1)
    network = ZImageControlNetModel(
        **Z_IMAGE_SHAPE,
        control_layers_places=list(range(0, layers, step)),
        control_refiner_layers_places=[0, 1],
        control_in_dim=33 if kind else 16,
        add_control_noise_refiner=kind,
    )
    _speak(network)
    return network


def _speak(network: nn.Module) -> None:
    """A new ControlNet is silent: what it says is multiplied by zeros."""
    with torch.no_grad():
        for weight in network.parameters():
            if not weight.any():
                weight.normal_(0, 0.2)


def _unet(**more: object) -> UNet2DConditionModel:
    settings = {
        "sample_size": 8,
        "block_out_channels": SIDES,
        "layers_per_block": 1,
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
        "cross_attention_dim": WIDTH,
        "attention_head_dim": 4,
        "norm_num_groups": 8,
    }
    return UNet2DConditionModel(**{**settings, **more})


def _vae() -> AutoencoderKL:
    """Return four blocks: 8 pixels to a latent, as the real ones have."""
    return AutoencoderKL(
        block_out_channels=(8, 8, 16, 16),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=1,
        norm_num_groups=4,
        latent_channels=4,
        sample_size=64,
    )


def _text_config(**more: object) -> CLIPTextConfig:
    settings = {
        "vocab_size": 260,
        "hidden_size": WIDTH,
        "intermediate_size": 37,
        "num_attention_heads": 4,
        "num_hidden_layers": 2,
        "bos_token_id": 258,
        "eos_token_id": 259,
    }
    return CLIPTextConfig(**{**settings, **more})


def _tokenizer(folder: Path) -> CLIPTokenizer:
    """Return a token a byte, with CLIP's own begin and end."""
    folder.mkdir(parents=True, exist_ok=True)
    letters = [chr(256 + k) if k < 33 or 126 < k < 161 or k == 173 else chr(k) for k in range(256)]
    words = dict.fromkeys([*letters, *(f"{letter}</w>" for letter in "abcdefghijklmnopqrstuvwxyz")])
    tokens = [*list(words)[:258], "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({token: k for k, token in enumerate(tokens)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    return CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=77)
