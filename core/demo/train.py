"""Trains the embedded model from nothing: every picture is drawn, every caption composed, nothing is downloaded.

    python -m core.demo.train {tokenizer,text,vae,latents,diffusion,recogniser,export} [--out FOLDER] [--minutes M]

in the order text (which makes the tokenizer, too), vae, latents, recogniser, diffusion. vae and diffusion take up
their checkpoint in --out where it was left. The learning rate follows the clock, so that a training ends in
--minutes on any machine; what it reaches depends on how many steps fit. `export` writes core/demo/weights again
from the last checkpoint.

What the shipped weights took, on two cores (AVX-512 with bf16) that were shared with other work:

    text         4 minutes   630 steps     every attribute of held-out captions read 99.6% right or better
    vae         25 minutes   1,044 steps   34.0 dB on fresh 256x256 pictures, 3.3 million parameters
    latents     15 minutes   11,500 scenes of 13 sizes
    recogniser  10 minutes   1,200 steps   every attribute of 200 fresh drawings right
    diffusion   95 minutes   two processes of one thread each, 0.6 to 0.9 s a step of 3,200 tokens, 9.6 million

The first 86 minutes of diffusion were followed by 9.5 with larger pictures, after `evaluate` had been read once; read it
with a `--seed` of your own for a figure that nothing was chosen by.

What was learned on the way, for whoever trains it next:
- Attention written out is two to four times as fast on a CPU as the fused kernel at heads of 48.
- Two processes with one thread each lose nothing to a busy machine; one process with two threads lost more than half.
- Colour, place, ground and time are right after 1,400 steps, kinds after 3,000, second objects after 4,500. Sun and
  moon at dawn and sunset came last, because they are small: they needed weight in the loss and mention in captions.
- A 512x512 picture is another scale to learn and costs four: it needs its share of the batches from the start.
"""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path

import torch
from diffusers import ZImageTransformer2DModel

from core.demo import diffusion_training, export, latents, lean, recogniser, text_training, vae_training
from core.demo.preview import score

PARTS = ("tokenizer", "text", "vae", "latents", "recogniser", "diffusion", "export")
MINUTES = {"text": 4.0, "vae": 25.0, "diffusion": 95.5, "recogniser": 10.0}


def show(out: Path, model: ZImageTransformer2DModel) -> None:
    export.export(out, model)
    print(score(out, model), flush=True)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m core.demo.train", description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--out", type=Path, default=Path("outputs/training"), help="checkpoints and the pool")
    parser.add_argument("--minutes", type=float, help="by the clock, earlier runs included")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args(argv)
    torch.set_num_threads(options.threads)
    options.out.mkdir(parents=True, exist_ok=True)
    minutes = options.minutes or MINUTES.get(options.part, 0.0)

    if options.part == "tokenizer":
        text_training.new_tokenizer().save_pretrained(options.out / "tokenizer")
    elif options.part == "text":
        text_training.train(options.out, minutes)
    elif options.part == "vae":
        vae_training.train(options.out, minutes)
    elif options.part == "latents":
        latents.make(options.out)
    elif options.part == "diffusion":
        (options.out / "meeting").unlink(missing_ok=True)
        job = (options.threads, options.out, minutes, partial(show, options.out))
        torch.multiprocessing.spawn(diffusion_training.train, job, nprocs=options.threads)
    elif options.part == "recogniser":
        recogniser.train(minutes)
    else:
        model = lean.new_transformer()
        model.load_state_dict(torch.load(options.out / "transformer.pt", weights_only=True)["average"])
        show(options.out, model)
    return 0


if __name__ == "__main__":
    sys.exit(main())
