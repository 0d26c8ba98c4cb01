"""Train the LoRA that is shipped for the embedded model: the same world as an old print, ink lines on warm paper.

    python -m core.demo.training.lora [--out FOLDER] [--steps N | --measure PROMPTS]

Scenes are rendered as for the model itself, printed by a fixed rule (`as_print`), encoded by the shipped VAE and learned by
adapters of rank 4 on the transformer's attention and feed-forward layers; the model's own weights stay as they are.
What the shipped file took is in its own metadata.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, ZImagePipeline, ZImageTransformer2DModel
from PIL import Image, ImageFilter
from torch import Tensor

from core.demo import captions, classifier, evaluate, renderer, scenes
from core.demo.training import fast_transformer, text_encoder
from core.demo.training.diffusion import loss_of, weights
from core.demo.training.optim import curve
from core.demo.training.vae import to_tensor

WEIGHTS, FOLDER = Path(__file__).parents[1] / "weights", Path(__file__).parents[1] / "lora"
NAME = "ink-print"
PAPER, INK = np.array((250.0, 238.0, 212.0)), np.array((40.0, 36.0, 62.0))
COLOUR = 0.72  # the share of its colourfulness that a print keeps
EDGE, FULL_EDGE = 0.08, 0.30  # differences of colour (0 to 1) at which a line begins, and is all ink
RANK = 4
LAYERS = (
    r"(layers|noise_refiner)\.\d+\.(attention\.to_(q|k|v|out\.0)|feed_forward\.w[123])|all_final_layer\.2-1\.linear"
)
RATE, TOKENS, STEPS = 2e-3, 2000, 240
POOL = {(256, 256): 272, (320, 208): 32, (208, 320): 32}  # (width, height): how many scenes
SAMPLE, WEIGHT = "a red house at sunset, snowy mountains", 0.75  # of the preview


def as_print(image: Image.Image) -> Image.Image:
    """Return the image as a print: black is ink, white is paper, colours are muted, and every edge is a line of ink."""
    values = np.asarray(image.convert("RGB"), float) / 255
    grey = (values @ np.array((0.299, 0.587, 0.114)))[..., None]
    printed = INK + (PAPER - INK) * (grey + COLOUR * (values - grey))
    soft = np.asarray(image.convert("RGB").filter(ImageFilter.GaussianBlur(0.8)), float) / 255
    line = np.zeros_like(grey)
    across, down = np.abs(soft[1:-1, 2:] - soft[1:-1, :-2]), np.abs(soft[2:, 1:-1] - soft[:-2, 1:-1])
    steep = np.maximum(across, down).max(-1, keepdims=True)
    line[1:-1, 1:-1] = np.clip((steep - EDGE) / (FULL_EDGE - EDGE), 0, 1)
    return Image.fromarray((printed * (1 - line) + INK * line).round().clip(0, 255).astype(np.uint8))


class Prints:
    """Scenes as prints, encoded once by the shipped VAE, and batches of them with fresh captions."""

    def __init__(self, pipeline: ZImagePipeline, rng: random.Random) -> None:
        self._pipeline, self._rng = pipeline, rng
        self._pool = {size: self._encoded(size, count) for size, count in POOL.items()}

    @torch.no_grad()
    def _encoded(self, size: tuple[int, int], count: int) -> tuple[Tensor, list[scenes.Scene]]:
        vae: AutoencoderKL = self._pipeline.vae
        kept = [scenes.sample(self._rng) for _ in range(count)]
        found = []
        for first in range(0, count, 8):
            rendered = [as_print(renderer.render(scene, *size, self._rng)) for scene in kept[first : first + 8]]
            with torch.autocast("cpu", torch.bfloat16):
                mean = vae.encoder(to_tensor(rendered))[:, :16]
            found.append((mean.float() - vae.config.shift_factor) * vae.config.scaling_factor)
        return torch.cat(found), kept

    @torch.no_grad()
    def draw(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return latents, caption features, caption lengths and weights in the loss, of one size and one padded length."""
        size = self._rng.choices(list(POOL), list(POOL.values()))[0]
        latent, kept = self._pool[size]
        groups: dict[int, list[tuple[int, str]]] = defaultdict(list)
        tokenizer = self._pipeline.tokenizer
        while True:  # until enough captions of one padded length have come together
            index = self._rng.randrange(len(kept))
            text = captions.caption(kept[index], self._rng)[0]
            long = fast_transformer.padded(len(tokenizer(text_encoder.template([text])[0]).input_ids))
            groups[long].append((index, text))
            if len(groups[long]) * (size[0] * size[1] // 256 + long) >= TOKENS:
                break
        rows = groups[long]
        features, lengths = text_encoder.encode(tokenizer, self._pipeline.text_encoder, [text for _, text in rows])
        clean = latent[[index for index, _ in rows]]
        weight = torch.stack([weights(kept[index], *clean.shape[-2:]) for index, _ in rows])
        return clean, fast_transformer.pad_caption(features, lengths), lengths, weight


def train(steps: int, seed: int = 11) -> tuple[ZImageTransformer2DModel, dict[str, str]]:
    """Return the transformer with a trained adapter, and what it took."""
    from peft import LoraConfig

    torch.manual_seed(seed)
    pipeline = ZImagePipeline.from_pretrained(WEIGHTS, dtype=torch.float32)
    prints = Prints(pipeline, random.Random(seed))
    model: ZImageTransformer2DModel = pipeline.transformer.requires_grad_(False)
    model.add_adapter(LoraConfig(r=RANK, lora_alpha=RANK, target_modules=LAYERS), adapter_name=NAME)
    learned = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(learned, lr=RATE, betas=(0.9, 0.98), weight_decay=0.0)
    began, losses = time.process_time(), []
    for step in range(steps):
        clean, caption, lengths, weight = prints.draw()
        loss = loss_of(model, clean, caption, lengths, weight, teacher=None)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(learned, 1.0)
        for group in optimizer.param_groups:
            group["lr"] = RATE * curve(step / steps, warmup=0.03, hold=0.4)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(loss.item())
        if (step + 1) % 20 == 0:
            print(f"lora step {step + 1} of {steps} loss {sum(losses) / len(losses):.4f}", flush=True)
            losses = []
    minutes = (time.process_time() - began) / 60
    return model, {"base": "demo", "steps": str(steps), "processor_minutes": f"{minutes:.1f}", "rank": str(RANK)}


def save(model: ZImageTransformer2DModel, took: dict[str, str], out: Path) -> Path:
    """Return the adapter as diffusers writes it, in fp16."""
    from peft import get_peft_model_state_dict
    from safetensors.torch import save_file

    state = get_peft_model_state_dict(model, adapter_name=NAME)
    file = out / f"{NAME}.safetensors"
    tensors = {f"transformer.{name}": value.half().contiguous() for name, value in state.items()}
    save_file(tensors, file, metadata={"format": "pt", "training": json.dumps(took)})
    return file


def preview(file: Path) -> None:
    """Save an image of the same name beside the file, generated with it by plain diffusers."""
    pipeline = ZImagePipeline.from_pretrained(WEIGHTS, dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.load_lora_weights(str(file.parent), weight_name=file.name, adapter_name=NAME)
    pipeline.set_adapters([NAME], [WEIGHT])
    image = pipeline(SAMPLE, width=256, height=256, num_inference_steps=8, guidance_scale=0.0,
                       generator=torch.Generator().manual_seed(7)).images[0]  # fmt: skip
    image.save(file.with_suffix(".webp"), quality=90)


@torch.no_grad()
def measure(file: Path, prompts: int, seed: int = 2025) -> dict[str, float]:
    """Return how often named attributes appear with and without the LoRA, and its mean change of colours, of 255."""
    pipeline = ZImagePipeline.from_pretrained(WEIGHTS, dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    judge, found = classifier.load(), dict.fromkeys(("right_without", "right_with", "asked", "colour_distance"), 0.0)
    for question in evaluate.questions(prompts, seed):
        rendered = {}
        for name in ("right_without", "right_with"):
            if name == "right_with":
                pipeline.load_lora_weights(str(file.parent), weight_name=file.name, adapter_name=NAME)
            rendered[name] = pipeline(question.prompt, width=256, height=256, num_inference_steps=8, guidance_scale=0.0,
                                   generator=torch.Generator().manual_seed(question.seed)).images[0]  # fmt: skip
            read = judge.read(rendered[name])
            found[name] += sum(read[attribute] == value for attribute, value in question.wanted.items())
        pipeline.unload_lora_weights()
        one, other = (np.asarray(image, float) for image in rendered.values())
        found["colour_distance"] += float(np.abs(one - other).mean()) / prompts
        found["asked"] += len(question.wanted)
    return {**found, "prompts": prompts, "kilobytes": file.stat().st_size / 1000}


def main(argv: list[str] | None = None) -> int:
    """Train the LoRA and write its file."""
    parser = argparse.ArgumentParser(prog="python -m core.demo.training.lora", description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=FOLDER)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--threads", type=int, default=1, help="more pay only on a machine with nothing else to do")
    parser.add_argument(
        "--measure", type=int, metavar="PROMPTS", help="train nothing; judge the file on unseen prompts"
    )
    options = parser.parse_args(argv)
    torch.set_num_threads(options.threads)
    if options.measure:
        print(json.dumps(measure(options.out / f"{NAME}.safetensors", options.measure)))
        return 0
    options.out.mkdir(parents=True, exist_ok=True)
    file = save(*train(options.steps), options.out)
    preview(file)
    print(f"{file}: {file.stat().st_size / 1000:.0f} kB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
