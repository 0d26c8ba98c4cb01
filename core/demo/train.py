"""Trains the embedded model from nothing: every picture is drawn, every caption composed, nothing is downloaded.

    python -m core.demo.train {text,vae,latents,diffusion,recogniser,export} [--out FOLDER] [--minutes M]

in the order text, vae, latents, diffusion, recogniser. Each takes up its checkpoint in --out where it was left, and
its learning-rate curve follows the clock, so that it ends in --minutes on any machine. `export` writes the folder
core/demo/weights again from the last checkpoint.
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

MINUTES = {"text": 4.0, "vae": 30.0, "diffusion": 85.0, "recogniser": 4.0}


def show(out: Path, model: ZImageTransformer2DModel) -> None:
    export.export(out, model)
    print(score(out, model), flush=True)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m core.demo.train", description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=("text", "vae", "latents", "diffusion", "recogniser", "export"))
    parser.add_argument("--out", type=Path, default=Path("outputs/training"), help="checkpoints and the pool")
    parser.add_argument("--minutes", type=float, help="by the clock, earlier runs included")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args(argv)
    torch.set_num_threads(options.threads)
    options.out.mkdir(parents=True, exist_ok=True)
    minutes = options.minutes or MINUTES.get(options.part, 0.0)

    if options.part == "text":
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
