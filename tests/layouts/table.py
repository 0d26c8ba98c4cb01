"""The table of weight layouts: what is written, who publishes it, and what must come of it. `python -m tests.layouts.table`
writes docs/formats.md and docs/formats.zh.md from it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from core.config.loader import PROJECT_ROOT
from tests.layouts import weights as w
from tests.layouts.weights import F8, F8_5, PREFIX, Layout, Weights, Write

SINGLE = "z_image_turbo.safetensors"
Change = Callable[[Weights], Weights]
_ONE = w.single
Edit = Callable[[Path], None]
PAGES = {"en": PROJECT_ROOT / "docs" / "formats.md", "zh": PROJECT_ROOT / "docs" / "formats.zh.md"}


def _comfy_prefixed(weights: Weights) -> Weights:
    return w.comfy(weights, PREFIX)


def _prefixed(weights: Weights, prefix: str = PREFIX) -> Weights:
    return {f"{prefix}{name}": tensor for name, tensor in weights.items()}


def _model_prefixed(weights: Weights) -> Weights:
    return _prefixed(weights, "model.")


def _with_head(weights: Weights) -> Weights:
    return {**_model_prefixed(weights), "lm_head.weight": weights["embed_tokens.weight"].clone()}


def _with_norm(weights: Weights) -> Weights:
    return {**w.comfy(weights), "norm_final.weight": torch.ones(96)}


def _nvfp4(weights: Weights) -> Weights:
    made = w.beside(".weight_scale_2", weight=torch.uint8)(weights)
    return made


def _comfy_format(name: str, extra: str = "") -> Change:
    text = f'{{"format": "{name}"{extra}}}'
    mark = torch.tensor(list(text.encode()), dtype=torch.uint8)
    return w.with_more(
        lambda made: {"layers.0.attention.qkv.comfy_quant": mark, "layers.0.attention.qkv.weight_scale": torch.ones(())}
    )


def _without(part: str) -> Change:
    return lambda weights: {name: tensor for name, tensor in w.comfy(weights).items() if part not in name}


def _with_averages(weights: Weights) -> Weights:
    made = _comfy_prefixed(weights)
    return made | _averages(weights)


def _averages(weights: Weights) -> Weights:
    return {f"model_ema.{name.replace('.', '')}": tensor + 1 for name, tensor in w.comfy(weights).items()}


def _mixed(weights: Weights) -> Weights:
    kinds = {name: F8 if "feed_forward" in name else torch.float32 for name in w.comfy(weights) if "feed" in name or "norm" in name}
    return {name: value.to(kinds.get(name, value.dtype)) for name, value in w.comfy(weights).items()}


def _with(prefix: str, names: Change = w.comfy) -> w.Write:
    return _ONE(SINGLE, lambda weights: _prefixed(names(weights), prefix))


def _moved_scales(weights: Weights) -> Weights:
    return {name.replace(".scale_weight", ".weight.scale_weight"): value for name, value in w.scaled("kj")(weights).items()}


def _small_scales(weights: Weights) -> Weights:
    made = w.scaled("kj")(weights)
    return {name: value.bfloat16() if name.endswith("scale_weight") else value for name, value in made.items()}


def _full_precision(weights: Weights) -> Weights:
    made = w.scaled("comfy-new")(weights)
    mark = b'{"format": "float8_e4m3fn", "full_precision_matrix_mult": true}'
    return {
        name: torch.tensor(list(mark), dtype=torch.uint8) if name.endswith(".comfy_quant") else value
        for name, value in made.items()
    }


def _square_scales(weights: Weights) -> Weights:
    made = w.scaled("comfy-new")(weights)
    return {name: value.reshape(1, 1) if name.endswith(".weight_scale") else value for name, value in made.items()}


def _with_input_scale(weights: Weights) -> Weights:
    return {**w.scaled("comfy-new")(weights), "layers.0.attention.qkv.input_scale": torch.ones(())}


def _bytes(content: bytes) -> w.Write:
    def write(base: Path, out: Path) -> Path:
        (out / SINGLE).write_bytes(content)
        return out / SINGLE

    return write


def _quantisation_told(base: Path, out: Path) -> Path:
    made = w.scaled("comfy-new")(w.weights_of(base, "transformer"))
    layers = {name.removesuffix(".comfy_quant"): {"format": "float8_e4m3fn"} for name in made if name.endswith(".comfy_quant")}
    told = {"_quantization_metadata": json.dumps({"format_version": "1.0", "layers": layers})}
    left = {name: value.contiguous() for name, value in made.items() if not name.endswith(".comfy_quant")}
    save_file(left, out / SINGLE, metadata=told)
    return out / SINGLE


def _gguf(name: str, quant: str, names: Change = w.comfy, **given: object) -> Write:
    def write(base: Path, out: Path) -> Path:
        truth = w.write_gguf(out / name, names(w.weights_of(base, "transformer")), quant, **given)  # type: ignore[arg-type]
        save_file({key: value.contiguous() for key, value in truth.items()}, out / "truth.safetensors")
        return out / name

    return write


FILES: tuple[Layout, ...] = (
    Layout("bf16, fused qkv", "Comfy-Org", _ONE(SINGLE, w.comfy)),
    Layout("prefix net.", "converters", _ONE(SINGLE, lambda weights: _prefixed(w.comfy(weights), "net."))),
    Layout("prefix ema_model.", "trainers", _ONE(SINGLE, lambda weights: _prefixed(weights, "ema_model."))),
    Layout("with the averages of the training", "A1111-like savers", _ONE(SINGLE, _with_averages)),
    Layout("only the averages of the training", "A1111-like savers", _ONE(SINGLE, _averages), refused="averages"),
    Layout("fp64", "-", _ONE(SINGLE, w.cast(torch.float64, all_of_it=True))),
    Layout("fp32 norms, fp8 matrices, the rest bf16", "mixed-precision converters", _ONE(SINGLE, _mixed)),
    Layout("pad tokens [D]", "stable-diffusion.cpp's names", _ONE(SINGLE, lambda weights: {
        name: value.flatten() if "pad_token" in name else value for name, value in w.comfy(weights).items()})),
    Layout("ending .SAFETENSORS", "Windows tools", _ONE("Z_IMAGE.SAFETENSORS", w.comfy)),
    Layout("GGUF called .safetensors", "renamed by hand", _gguf("z.safetensors", "Q8_0")),
    Layout("ending .sft", "FLUX's first files", _ONE("z.sft", w.comfy), refused="rename it"),
    Layout("ending .part", "unfinished download", _ONE("z.safetensors.part", w.comfy), refused="unfinished download"),
    Layout("a message in place of the file", "failed download", _bytes(b"Invalid username or password."), refused="a message"),
    Layout("a zip archive", "renamed by hand", _bytes(b"PK\3\4" + bytes(99)), refused="archive"),
    Layout("zeros", "preallocated download", _bytes(bytes(5000)), refused="not a safetensors file"),
    Layout("fp8 with the format in the metadata", "ComfyUI's _quantization_metadata", _quantisation_told),
    Layout("scale under an unknown name", "-", _ONE(SINGLE, w.beside(".scale")), refused="not understood"),
    Layout("fp16", "community", _ONE(SINGLE, w.cast(torch.float16, all_of_it=True))),
    Layout("fp32", "community", _ONE(SINGLE, w.cast(torch.float32, all_of_it=True))),
    Layout("prefix model.diffusion_model.", "ComfyUI's CheckpointSave", _ONE(SINGLE, _comfy_prefixed)),
    Layout("diffusers names", "diffusers' save", _ONE(SINGLE, dict)),
    Layout("diffusers names with a prefix", "converters", _ONE(SINGLE, _prefixed)),
    Layout("with norm_final", "the publisher's original", _ONE(SINGLE, _with_norm)),
    Layout("fp8 e4m3fn, matrices", "community", _ONE(SINGLE, w.cast(F8))),
    Layout("fp8 e4m3fn, every tensor", "simple converters", _ONE(SINGLE, w.cast(F8, all_of_it=True))),
    Layout("fp8 e5m2", "community", _ONE(SINGLE, w.cast(F8_5))),
    Layout("fp8 scaled, scale_weight [1]", "Kijai", _ONE(SINGLE, w.scaled("kj"))),
    Layout("fp8 scaled, scale_weight per row", "Kijai", _ONE(SINGLE, w.scaled("kj", "row"))),
    Layout("fp8 scaled, scale_input", "ComfyUI before 0.3.7", _ONE(SINGLE, w.scaled("comfy-old"))),
    Layout("fp8 scaled, comfy_quant", "Comfy-Org", _ONE(SINGLE, w.scaled("comfy-new"))),
    Layout("fp8 e5m2 scaled, comfy_quant", "convert_to_quant", _ONE(SINGLE, w.scaled("comfy-new", dtype=F8_5))),
    Layout("fp8 scaled by blocks, weight_scale_inv", "block-scaled converters", _ONE(SINGLE, w.scaled("inverse", "block"))),
    Layout("int8 by rows, comfy_quant", "convert_to_quant", _ONE(SINGLE, w.scaled("comfy-new", "row", torch.int8))),
    Layout("all-in-one", "ComfyUI's CheckpointSave", w.all_in_one),
    Layout("GGUF Q8_0, BF16 pad tokens", "jayn7, unsloth (city96's converter)", _gguf("z.gguf", "Q8_0", high="BF16")),
    Layout("GGUF Q8_0", "city96's converter", _gguf("z.gguf", "Q8_0")),
    Layout("GGUF Q4_0", "city96's converter", _gguf("z.gguf", "Q4_0")),
    Layout("GGUF Q4_1", "city96's converter", _gguf("z.gguf", "Q4_1")),
    Layout("GGUF Q5_0", "city96's converter", _gguf("z.gguf", "Q5_0")),
    Layout("GGUF Q5_1", "city96's converter", _gguf("z.gguf", "Q5_1")),
    Layout("GGUF BF16", "city96's converter", _gguf("z.gguf", "BF16")),
    Layout("GGUF F16", "city96's converter", _gguf("z.gguf", "F16", high="F16")),
    Layout("GGUF, pad tokens [D]", "leejet (stable-diffusion.cpp)", _gguf("z.gguf", "Q8_0", flat=True)),
    Layout("GGUF without architecture, prefixed", "stable-diffusion.cpp",
           _gguf("z.gguf", "Q8_0", _comfy_prefixed, arch="", flat=True)),
    Layout("GGUF, architecture z_image", "converters", _gguf("z.gguf", "Q8_0", arch="z_image")),
    Layout("GGUF, diffusers names", "converters", _gguf("z.gguf", "Q8_0", dict)),
    *(
        Layout(f"GGUF {quant}", "jayn7, unsloth", _gguf("z.gguf", quant), wide=True)
        for quant in ("Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K")
    ),
    Layout("prefix transformer., diffusers names", "OneTrainer, trainers' pipelines", _with("transformer.", dict)),
    Layout("prefix model.", "ComfyUI's ModelSave, converted", _with("model.")),
    Layout("prefix diffusion_model.", "trainers", _with("diffusion_model.")),
    Layout("prefix module.", "DistributedDataParallel", _with("module.", dict)),
    Layout("prefix pipe.dit.", "DiffSynth-Studio", _with("pipe.dit.", dict)),
    Layout("prefix _orig_mod.", "torch.compile", _with("_orig_mod.", dict)),
    Layout("fp8 scaled, diffusers names", "converters", _ONE(SINGLE, w.scaled("kj", names=dict))),
    Layout("fp8 scaled with a prefix", "ComfyUI's CheckpointSave",
           _ONE(SINGLE, lambda weights: _prefixed(w.scaled("comfy-old")(weights)))),
    Layout("fp8 by rows, comfy_quant", "convert_to_quant", _ONE(SINGLE, w.scaled("comfy-new", "row"))),
    Layout("fp8 scaled, scale after the weight's name", "converters", _ONE(SINGLE, _moved_scales)),
    Layout("fp8 scaled, scales in bf16", "converters", _ONE(SINGLE, _small_scales)),
    Layout("fp8 scaled, input_scale", "Comfy-Org", _ONE(SINGLE, _with_input_scale)),
    Layout("all-in-one, transformer in scaled fp8", "ComfyUI's CheckpointSave",
           w.all_in_one_as("scaled.safetensors", change=w.scaled("comfy-old"))),
    Layout("all-in-one, llm and first_stage_model", "stable-diffusion.cpp", w.all_in_one_as(
        "aio.safetensors", "text_encoders.llm.model.", "first_stage_model.", w.original_vae)),
    Layout("all-in-one, text_encoder and vae", "diffusers' parts in one file", w.all_in_one_as(
        "aio.safetensors", "text_encoder.model.", "vae.", change=dict)),
    Layout("GGUF, architecture pig", "calcuis", _gguf("z.gguf", "Q8_0", arch="pig")),
    Layout("GGUF, architecture cow, prefixed", "calcuis", _gguf("z.gguf", "Q8_0", _comfy_prefixed, arch="cow")),
    Layout("prefix _fsdp_wrapped_module.", "trainers with FSDP", _with("_fsdp_wrapped_module.", dict)),
    Layout("prefix dit.", "VideoX-Fun", _with("dit.", dict)),
    Layout("prefix base_model.model.", "peft, merged", _with("base_model.model.", dict)),
    Layout("prefix state_dict.", "Lightning's checkpoints, converted", _with("state_dict.")),
    Layout("prefix ema.", "trainers", _with("ema.", dict)),
    Layout("prefix model.model.diffusion_model.", "ComfyUI's CheckpointSave, wrapped", _with("model.model.diffusion_model.")),
    Layout("fp8 scaled, full_precision_matrix_mult", "ComfyUI", _ONE(SINGLE, _full_precision)),
    Layout("fp8 scaled, scales [1, 1]", "converters", _ONE(SINGLE, _square_scales)),
    Layout("fp8 with the mark scaled_fp8 but no scales", "converters", _ONE(SINGLE, lambda weights: {
        **w.cast(F8)(weights), "scaled_fp8": torch.zeros(0, dtype=F8)})),
    Layout("GGUF F32", "city96's converter", _gguf("z.gguf", "F32")),
    Layout("GGUF IQ4_NL", "unsloth", _gguf("z.gguf", "IQ4_NL"), wide=True),
    Layout("GGUF IQ4_XS", "unsloth", _gguf("z.gguf", "IQ4_XS"), wide=True),
    Layout("GGUF, types that change by layer", "unsloth's UD files", _gguf("z.gguf", "Q4_K Q6_K BF16 Q8_0 Q5_K"), wide=True),
    Layout("GGUF, prefix transformer.", "converters", _gguf(
        "z.gguf", "Q8_0", lambda weights: _prefixed(w.comfy(weights), "transformer."))),
    Layout("one of several GGUF files", "llama.cpp's gguf-split",
           _gguf("z-00001-of-00002.gguf", "Q8_0"), refused="file 1 of 2"),
    Layout("one of several files", "a part of a download",
           _ONE("z_image-00002-of-00003.safetensors", w.comfy), refused="file 2 of 3"),
    Layout("an unknown tensor beside one fused matrix", "-", _ONE(SINGLE, w.with_more(
        lambda made: {"layers.0.attention.qkv.magic": torch.ones(1)})), refused="not understood"),
    Layout("an unknown tensor after a weight's name", "-", _ONE(SINGLE, w.with_more(
        lambda made: {"layers.0.attention.qkv.weight.shift": torch.ones(1)})), refused="not understood"),
    Layout("optimum-quanto", "community", _ONE(SINGLE, w.beside("._scale")), refused="optimum-quanto"),
    Layout("torchao", "community", _ONE(SINGLE, w.beside("._weight_qdata")), refused="torchao"),
    Layout("bitsandbytes int8", "community", _ONE(SINGLE, w.beside(".SCB", weight=torch.int8)), refused="bitsandbytes 8-bit"),
    Layout("HQQ", "community", _ONE(SINGLE, w.beside(".W_q")), refused="HQQ"),
    Layout("NVFP4", "Comfy-Org", _ONE(SINGLE, _nvfp4), refused="NVFP4"),
    Layout("MXFP8, comfy_quant", "convert_to_quant", _ONE(SINGLE, _comfy_format("mxfp8")), refused="MXFP8"),
    Layout(
        "int8 ConvRot", "convert_to_quant", _ONE(SINGLE, _comfy_format("int8_tensorwise", ', "convrot": true')), refused="convrot"
    ),
    Layout("SVDQuant", "Nunchaku", _ONE(SINGLE, w.beside(".wscales")), refused="SVDQuant (Nunchaku)"),
    Layout("SDNQ", "SD.Next", _ONE(SINGLE, w.beside(".zero_point")), refused="SDNQ"),
    Layout("bitsandbytes NF4", "Forge", _ONE(SINGLE, w.beside(".quant_state.bitsandbytes__nf4")), refused="bitsandbytes 4-bit"),
    Layout("GPTQ", "community", _ONE(SINGLE, w.beside(".qzeros")), refused="GPTQ or AWQ"),
    Layout("int8 without a scale", "-", _ONE(SINGLE, w.beside(".note", weight=torch.int8)), refused="I8 without a scale"),
    Layout("an unknown scale", "-", _ONE(SINGLE, w.beside(".magnitude")), refused="not understood"),
    Layout("a layer is missing", "-", _ONE(SINGLE, _without("layers.1.feed_forward.w2")), refused="missing, such as"),
    Layout("scale that does not fit", "-", _ONE(SINGLE, w.with_more(
        lambda made: {"layers.0.attention.out.scale_weight": torch.ones(7)})), refused="does not fit"),
)  # fmt: skip


def _encoder(name: str, change: Change) -> Write:
    def write(base: Path, out: Path) -> Path:
        save_file(
            {key: value.contiguous() for key, value in change(w.weights_of(base, "text_encoder")).items()}, out / name
        )
        return out / name

    return write


def _encoder_fp8(weights: Weights) -> Weights:
    return _model_prefixed({name: value.to(F8) if value.dim() == 2 else value for name, value in weights.items()})


def _vae(change: Change) -> Write:
    def write(base: Path, out: Path) -> Path:
        made = change(w.weights_of(base, "vae"))
        save_file({name: value.contiguous() for name, value in made.items()}, out / "v.safetensors")
        return out / "v.safetensors"

    return write


def _encoder_gguf(quant: str, copies: dict[str, str] | None = None) -> Write:
    def write(base: Path, out: Path) -> Path:
        named = w.llama_cpp(w.weights_of(base, "text_encoder"))
        named |= {copy: named[name] for copy, name in (copies or {}).items()}
        truth = w.write_gguf(out / "qwen3.gguf", named, quant, arch="qwen3", high="Q8_0")
        save_file({key: value.contiguous() for key, value in truth.items()}, out / "truth.safetensors")
        return out / "qwen3.gguf"

    return write


def _encoder_shards(base: Path, out: Path) -> Path:
    made = list(_model_prefixed(w.weights_of(base, "text_encoder")).items())
    folder, shards = out / "text_encoder", dict[str, str]()
    folder.mkdir()
    shutil.copy(base / "text_encoder" / "config.json", folder)
    for k in range(2):
        file = f"model-0000{k + 1}-of-00002.safetensors"
        save_file({name: value.contiguous() for name, value in made[k::2]}, folder / file, {"format": "pt"})
        shards |= dict.fromkeys((name for name, _ in made[k::2]), file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": shards}))
    return folder


def _vae_gguf(change: Change) -> Write:
    def write(base: Path, out: Path) -> Path:
        w.write_gguf(out / "v.gguf", change(w.weights_of(base, "vae")), "F32", arch="pig")
        return out / "v.gguf"

    return write


def _folder_of(part: str) -> Write:
    def write(base: Path, out: Path) -> Path:
        shutil.copytree(base / part, out / part)
        return out / part

    return write


def _vae_file(base: Path, out: Path) -> Path:
    return Path(shutil.copy(next((base / "vae").glob("*.safetensors")), out))


ENCODERS: tuple[Layout, ...] = (
    Layout("text encoder, prefix model.", "Comfy-Org", _encoder("q.safetensors", _model_prefixed),
           kind="text_encoder"),
    Layout("text encoder, bare names", "transformers' Qwen3Model", _encoder("q.safetensors", dict), kind="text_encoder"),
    Layout("text encoder, with lm_head", "Qwen", _encoder("q.safetensors", _with_head), kind="text_encoder"),
    Layout("text encoder, fp8 plain", "community", _encoder("q.safetensors", _encoder_fp8), kind="text_encoder"),
    Layout("text encoder, fp8 scaled, comfy_quant", "Comfy-Org", _encoder("q.safetensors", w.scaled_encoder("comfy")),
           kind="text_encoder"),
    Layout("text encoder, fp8 scaled, scale_weight", "ComfyUI before 0.3.7", _encoder("q.safetensors", w.scaled_encoder("old")),
           kind="text_encoder"),
    Layout("text encoder, NVFP4", "Comfy-Org", _encoder("q.safetensors", lambda weights: {
        **_model_prefixed(weights), "model.layers.0.mlp.up_proj.weight_scale_2": torch.ones(())}), refused="NVFP4",
           kind="text_encoder"),
    Layout("text encoder, prefix model.language_model.", "converters", _encoder(
        "q.safetensors", lambda weights: _prefixed(weights, "model.language_model.")), kind="text_encoder"),
    Layout("text encoder, in an all-in-one's names", "ComfyUI", _encoder(
        "q.safetensors", lambda weights: _prefixed(weights, "text_encoders.qwen3_4b.transformer.model.")), kind="text_encoder"),
    Layout("text encoder, a weight is missing", "-", _encoder("q.safetensors", lambda weights: {
        name: value for name, value in weights.items() if name != "layers.0.mlp.up_proj.weight"}), refused="missing, such as",
        kind="text_encoder"),
    Layout("text encoder, ComfyUI's CLIPSave", "ComfyUI", _encoder("q.safetensors", lambda weights: {
        **_prefixed(weights, "qwen3_4b.transformer.model."), "qwen3_4b.logit_scale": torch.tensor(4.6)}), kind="text_encoder"),
    Layout("text encoder, prefix text_encoders.", "extracted from all-in-one files", _encoder("q.safetensors", lambda weights:
           _prefixed(weights, "text_encoders.qwen3_4b.transformer.model.")), kind="text_encoder"),
    Layout("text encoder, prefix text_encoder.model.", "trainers", _encoder("q.safetensors", lambda weights:
           _prefixed(weights, "text_encoder.model.")), kind="text_encoder"),
    Layout("text encoder, prefix model.language_model.", "transformers 5", _encoder("q.safetensors", lambda weights:
           _prefixed(weights, "model.language_model.")), kind="text_encoder"),
    Layout("text encoder, fp16", "community", _encoder("q.safetensors", lambda weights: _model_prefixed(
        {name: value.half() for name, value in weights.items()})), kind="text_encoder"),
    Layout("text encoder, shards in a folder", "Qwen", _encoder_shards, kind="text_encoder"),
    Layout("text encoder, GGUF F16", "llama.cpp", _encoder_gguf("F16"), kind="text_encoder"),
    Layout("text encoder, GGUF BF16", "unsloth", _encoder_gguf("BF16"), kind="text_encoder"),
    Layout("text encoder, GGUF with its own output", "llama.cpp", _encoder_gguf("Q8_0", {"output.weight": "token_embd.weight"}),
           kind="text_encoder"),
    Layout("VAE, fp32", "community", _vae(lambda weights: {name: value.float() for name, value in weights.items()}), kind="vae"),
    Layout("VAE, prefix vae., original names", "extracted from all-in-one files", _vae(
        lambda weights: _prefixed(w.original_vae(weights), "vae.")), kind="vae"),
    Layout("VAE, prefix model.vae.", "trainers", _vae(
        lambda weights: _prefixed(w.original_vae(weights), "model.vae.")), kind="vae"),
    Layout("VAE beside its averages", "LDM's training scripts", _vae(lambda weights: {
        **w.original_vae(weights), "model_ema.decay": torch.ones(())}), kind="vae"),
    Layout("VAE, GGUF", "calcuis", _vae_gguf(w.original_vae), kind="vae"),
    Layout("VAE, GGUF, diffusers names", "calcuis", _vae_gguf(dict), kind="vae"),
    Layout("VAE, prefix first_stage_model.", "extracted from checkpoints", _vae(
        lambda weights: _prefixed(w.original_vae(weights), "first_stage_model.")), kind="vae"),
    Layout("VAE, prefix vae.", "extracted from all-in-one files", _vae(lambda weights: _prefixed(weights, "vae.")), kind="vae"),
    Layout("VAE, attention of early diffusers", "diffusers before 0.15", _vae(w.old_attention), kind="vae"),
    Layout("VAE, a decoder alone", "-", _vae(lambda weights: {
        name: value for name, value in weights.items() if name.startswith("decoder.")}), refused="a decoder alone", kind="vae"),
    Layout("text encoder, GGUF Q8_0", "unsloth, llama.cpp", _encoder_gguf("Q8_0"), kind="text_encoder"),
    Layout("text encoder, GGUF Q4_0", "unsloth, llama.cpp", _encoder_gguf("Q4_0"), kind="text_encoder"),
    Layout("text encoder, folder", "Hugging Face", _folder_of("text_encoder"), kind="text_encoder"),
    Layout("VAE, original names", "FLUX's ae.safetensors", w.original_vae_beside, kind="vae"),
    Layout("VAE, diffusers names", "diffusers", _vae_file, kind="vae"),
    Layout("VAE, folder", "Hugging Face", _folder_of("vae"), kind="vae"),
)  # fmt: skip


def _bom(folder: Path) -> None:
    for file in folder.rglob("*.json"):
        file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())


def _text(name: str, text: str) -> Edit:
    def change(folder: Path) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)

    return change


def _index(**parts: list[str] | list[None]) -> Edit:
    def change(folder: Path) -> None:
        told = json.loads((folder / "model_index.json").read_text()) | parts
        (folder / "model_index.json").write_text(json.dumps(told))

    return change


def _pointers(folder: Path) -> None:
    for file in folder.rglob("*.safetensors"):
        file.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 9973693184\n")


def _all_variants(folder: Path) -> None:
    for part in w.PARTS:
        w.rename(part, "fp16")(folder)


def _shards(folder: Path) -> list[Path]:
    w.sharded(folder)
    return sorted((folder / "transformer").glob("*.safetensors"))


def _lost_index(folder: Path) -> None:
    _shards(folder)
    next((folder / "transformer").glob("*.index.json")).unlink()


def _lost_shard(folder: Path) -> None:
    _shards(folder)[1].unlink()


def _lost_both(folder: Path) -> None:
    _lost_index(folder)
    sorted((folder / "transformer").glob("*.safetensors"))[1].unlink()


def _other_shard(folder: Path) -> None:
    file = _shards(folder)[0]
    held = load_file(file)
    held.popitem()
    save_file(held, file, {"format": "pt"})


def _whole_beside_shards(folder: Path) -> None:
    whole = next((folder / "transformer").glob("*.safetensors")).read_bytes()
    _shards(folder)
    (folder / "transformer" / "diffusion_pytorch_model.safetensors").write_bytes(whole)


def _variant_shards(index: str) -> Edit:
    """The transformer as fp16 in two shards whose index has this name."""

    def change(folder: Path) -> None:
        for shard in _shards(folder):
            shard.rename(shard.with_name(shard.name.replace("model-", "model.fp16-")))
        file = next((folder / "transformer").glob("*.index.json"))
        file.with_name(index).write_text(file.read_text().replace("model-0", "model.fp16-0"))
        if file.name != index:
            file.unlink()

    return change


def _headed(folder: Path) -> None:
    file, config = folder / "text_encoder" / "model.safetensors", folder / "text_encoder" / "config.json"
    save_file({name: value.contiguous() for name, value in _with_head(load_file(file)).items()}, file, {"format": "pt"})
    config.write_text(json.dumps(json.loads(config.read_text()) | {"architectures": ["Qwen3ForCausalLM"]}))


def _tokenizer_alone(folder: Path) -> None:
    for file in (folder / "tokenizer").iterdir():
        if file.name not in ("tokenizer.json", "tokenizer_config.json"):
            file.unlink()


def _renamed_to(name: str) -> Edit:
    def change(folder: Path) -> None:
        file = next((folder / "transformer").glob("*.safetensors"))
        file.rename(file.with_name(name))

    return change


def _comfy_inside(change: Change) -> Edit:
    def edit(folder: Path) -> None:
        file = next((folder / "transformer").glob("*.safetensors"))
        made = change(load_file(file))
        save_file({name: value.contiguous() for name, value in made.items()}, file)

    return edit


def _dangling(folder: Path) -> None:
    file = next((folder / "transformer").glob("*.safetensors"))
    file.unlink()
    file.symlink_to("../../../blobs/5f4b9cbb")


def _told_quantised(method: str) -> Edit:
    def change(folder: Path) -> None:
        file = folder / "transformer" / "config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | {"quantization_config": {"quant_method": method}}))

    return change


FOLDERS: tuple[Layout, ...] = (
    Layout("diffusers folder", "Tongyi-MAI", w.copied(lambda folder: None)),
    Layout("in shards with an index", "Tongyi-MAI", w.copied(w.sharded)),
    Layout("in shards, the index lost", "partial copies", w.copied(_lost_index)),
    Layout("in shards, one lost", "partial copies", w.copied(_lost_shard), refused="the file is missing"),
    Layout("in shards, the index and one lost", "partial copies", w.copied(_lost_both), refused="this shard is missing"),
    Layout("a shard lacks a tensor of the index", "mixed downloads", w.copied(_other_shard), refused="which lacks it"),
    Layout("one file beside old shards", "mixed downloads", w.copied(_whole_beside_shards)),
    Layout("weights under another name", "renamed by hand", w.copied(_renamed_to("z_image.safetensors"))),
    Layout("transformers' name for diffusers' part", "converters", w.copied(_renamed_to("model.safetensors"))),
    Layout("ComfyUI's file in the folder", "put there by hand", w.copied(_comfy_inside(w.comfy))),
    Layout("a scaled fp8 file in the folder", "put there by hand", w.copied(_comfy_inside(w.scaled("kj")))),
    Layout("a weight is missing", "-", w.copied(_comfy_inside(_without("layers.1.feed_forward.w2"))), refused="missing, such as"),
    Layout("an EMA file beside the weights", "trainers", w.copied(_text("transformer/model.ema.safetensors", "not opened"))),
    Layout("a link without its target", "Hugging Face cache, cleaned", w.copied(_dangling), refused="the file is missing"),
    Layout("a web page for a configuration", "failed download", w.copied(
        _text("transformer/config.json", "<!DOCTYPE html><html>403</html>")), refused="web page"),
    Layout("SDNQ without its package", "Disty0", w.copied(_told_quantised("sdnq")), refused="pip install sdnq"),
    Layout("variant fp16", "many", w.copied(_all_variants)),
    Layout("parts of different variants", "many", w.copied(w.rename("transformer", "bf16"))),
    Layout(".bin beside safetensors", "many", w.copied(_text("text_encoder/pytorch_model.bin", "not opened"))),
    Layout("configurations with a byte order mark", "Windows editors", w.copied(_bom)),
    Layout("spaces and Chinese in the path", "-", w.copied(lambda folder: None, "我的 模型 (最终版)")),
    Layout("CITATION.cff beside the model", "GitHub", w.copied(_text("CITATION.cff", "cff-version: 1.2.0\nmessage: cite\n"))),
    Layout("LICENSE that begins with (c)", "-", w.copied(_text("LICENSE", "(c) 2025 Somebody\nAll rights reserved.\n"))),
    Layout(".DS_Store and ._ files", "macOS", w.copied(_text("transformer/._diffusion_pytorch_model.safetensors", "\0\5\26\7"))),
    Layout("hf download --local-dir", "huggingface_hub", w.copied(
        _text(".cache/huggingface/download/model_index.json.metadata", "c0ffee\nabc\n1.0\n"))),
    Layout(".mdl and .msc", "modelscope before 1.38", w.copied(_text(".mdl", "\x80\x04not opened"))),
    Layout("AutoTokenizer in model_index.json", "savers", w.copied(_index(tokenizer=["transformers", "AutoTokenizer"]))),
    *(
        Layout(f"{name} in model_index.json", "savers", w.copied(_index(tokenizer=["transformers", name])))
        for name in ("PreTrainedTokenizerFast", "TokenizersBackend", "Qwen2TokenizerFast")
    ),
    Layout("AutoModel in model_index.json", "savers", w.copied(_index(text_encoder=["transformers", "AutoModel"]))),
    Layout("Qwen3ForCausalLM in model_index.json", "savers", w.copied(_index(text_encoder=["transformers", "Qwen3ForCausalLM"]))),
    Layout("parts that are null", "savers", w.copied(_index(image_encoder=[None, None], feature_extractor=[None, None]))),
    Layout("text encoder with its head in the folder", "Qwen", w.copied(_headed)),
    Layout("tokenizer.json alone", "transformers 5", w.copied(_tokenizer_alone)),
    Layout("variant fp16 in shards", "diffusers", w.copied(_variant_shards("diffusion_pytorch_model.safetensors.index.fp16.json"))),
    Layout("variant fp16 in shards, index under another name", "converters", w.copied(
        _variant_shards("diffusion_pytorch_model.fp16.safetensors.index.json"))),
    Layout("a scheduler of the library", "savers", w.copied(_index(scheduler=["diffusers", "FlowMatchHeunDiscreteScheduler"]))),
    Layout("Git LFS pointers", "git clone without git lfs", w.copied(_pointers), refused="git lfs pull"),
    Layout("a class of its own", "-", w.copied(_index(transformer=["my_code", "Mine"])), refused="a class of its own"),
)  # fmt: skip


def page(language: str) -> str:
    """Return docs/formats.md or docs/formats.zh.md."""
    head, columns, titles, parts = _WORDS[language]
    lines = [head]
    for title, layouts in zip(titles, (FILES, ENCODERS, FOLDERS), strict=True):
        lines += ["", f"## {title}", "", columns, "| --- | --- | --- |"]
        lines += [f"| {one.name} | {one.publisher} | {_result(one, language)} |" for one in layouts]
    return "\n".join([*lines, "", parts, _ENTRY])


_WORDS = {
    "en": (
        """# File formats of weights

[中文](formats.zh.md)

Every layout below is written with the same random weights by `tests/layouts` and read by the program's own catalogue and
loader; the weights are compared one by one. `start.py models check PATH` says of any file what it is.
This page is made by `python -m tests.layouts.table`.""",
        "| Layout | Published by | Result |",
        ("Transformer in one file", "Text encoder and VAE", "Folders"),
        """## A model made of parts

A transformer in one file takes what it lacks from the folders beside it (`text_encoders`, `vae`) or from those that
`models.folders` names: ComfyUI, Forge, SwarmUI and InvokeAI folders are searched by content. To name the parts, write
an entry into `configs/models/`:
""",
    ),
    "zh": (
        """# 权重文件格式

[English](formats.md)

下面每种格式都由 `tests/layouts` 用同一组随机权重写出，
再由程序自己的模型目录和加载器读入，逐个比较权重。`start.py models check PATH` 会说明任意文件是什么。
本页由 `python -m tests.layouts.table` 生成。""",
        "| 格式 | 发布者 | 结果 |",
        ("单文件 transformer", "文本编码器和 VAE", "文件夹"),
        """## 用部件组成模型

单文件的 transformer 缺少的部件，会从旁边的文件夹（`text_encoders`、`vae`）或 `models.folders` 指定的
文件夹中取：ComfyUI、Forge、SwarmUI、InvokeAI 的文件夹按文件内容查找。要指定部件，请在 `configs/models/` 中写一个条目：
""",
    ),
}
_ENTRY = """```yaml
id: my-z-image
path: /models/diffusion_models/z_image_turbo_bf16.safetensors
parts:
  text_encoder: /models/text_encoders/qwen_3_4b.safetensors
  vae: /models/vae/ae.safetensors
```
"""


def _result(layout: Layout, language: str) -> str:
    chinese = language == "zh"
    if layout.refused:
        return f"{'拒绝：' if chinese else 'refused: '}{layout.refused}"
    equal = "可读，权重一致" if chinese else "read, weights equal"
    near = "（误差不超过最大值的 0.1%）" if chinese else " to 0.1% of the largest"
    return equal + (near if "GGUF" in layout.name else "")


if __name__ == "__main__":
    for name, file in PAGES.items():
        file.write_text(page(name), encoding="utf-8")
