"""Train the embedded model from nothing: every image is rendered, every caption composed, nothing is downloaded.

    python -m core.demo.training.train {tokenizer,text,vae,latents,diffusion,recogniser,export} [--out FOLDER] [--minutes M]
    python -m core.demo.training.finetune [--minutes M]    on a machine with a GPU: the transformer, further

in the order text (which makes the tokenizer, too), vae, latents, recogniser, diffusion. vae and diffusion take up
their checkpoint in --out where it was left. The learning rate follows the clock, so that a training ends in
--minutes on any machine; what it reaches depends on how many steps fit. `export` writes core/demo/weights again
from the last checkpoint.

What the shipped weights took, on two cores (AVX-512 with bf16) that were shared with other work:

    text         4 minutes   630 steps     every attribute of held-out captions read 99.6% right or better
    vae         25 minutes   1,044 steps   34.0 dB on fresh 256x256 images, 3.3 million parameters
    latents     20 minutes   14,750 scenes of 13 sizes
    diffusion  193 minutes   13,900 steps of 3,200 tokens: two processes of one thread each, 0.6 to 1.1 s a step, 9.6 million

and then, on one NVIDIA H200 beside 16 processor cores:

    recogniser 1.2 minutes   5,200 steps   every attribute of new scenes right, 16,000 scenes of twelve shapes
    finishing  5.4 minutes   3,400 steps of 40,000 tokens, 86,000 scenes: 80 ms a step, 108 with guidance in the target

The clock of diffusion on the two cores was set to 95.5 minutes first, with fewer large images and without the guided end, and
then on to 193: the learning rate rose again in the middle. Read `evaluate` with a `--seed` of your own for a figure that nothing
was chosen by.

What was learned on the way, for whoever trains it next:
- Attention written out is two to four times as fast on a CPU as the fused kernel at heads of 48.
- Two processes with one thread each lose nothing to a busy machine; one process with two threads lost more than half.
- Colour, place, ground and time are right after 1,400 steps, kinds after 3,000, second objects after 4,500. Sun and
  moon at dawn and sunset came last, because they are small: they needed weight in the loss and mention in captions.
- A 512x512 image is another scale to learn and costs four: nothing tells the model the size of its image but the
  image. 250 scenes of a size were learned by heart; with 750 to 1,000, noise levels for layout and most batches of the
  second half, they became whole.
- The last tenth, with guidance in the target, was worth more than the forty minutes before it: 96.2 to 97.7 of 100 on the
  prompts of the preview.
- What the two cores left to be learned was large images: 90.9 of 100 at 512x512, doubled cars and moons. The GPU saw three
  times as many tokens as they had, of scenes that hardly ever came again: 97 to 99 of 100 at every size.
- On the GPU one step in eager mode is bound by memory: a fused normalisation and one complex product for the positions
  brought it from 135 ms to 80. `torch.compile` of the block was still compiling after forty seconds, and was left out.
- A judge that has seen squares only reads upright images badly (92 of 100 of true drawings): it learns from every shape.
"""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path

import torch
from diffusers import ZImageTransformer2DModel

from core.demo import classifier
from core.demo.training import diffusion, export, fast_transformer, latents, text_encoder, vae
from core.demo.training.preview import Parts, score

PARTS = ("tokenizer", "text", "vae", "latents", "recogniser", "diffusion", "export")
MINUTES = {"text": 4.0, "vae": 25.0, "diffusion": 193.0, "recogniser": 10.0}


def show(out: Path, model: ZImageTransformer2DModel) -> None:
    """Export what is trained so far, print the score of held-out prompts, and save their contact sheet."""
    export.export(out, model)
    print(score(Parts.of_training(out), model, out / "preview.png"), flush=True)


def main(argv: list[str] | None = None) -> int:
    """Run the selected parts of the training in order."""
    parser = argparse.ArgumentParser(prog="python -m core.demo.training.train", description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--out", type=Path, default=Path("outputs/training"), help="checkpoints and the pool")
    parser.add_argument("--minutes", type=float, help="by the clock, earlier runs included")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args(argv)
    torch.set_num_threads(options.threads)
    options.out.mkdir(parents=True, exist_ok=True)
    minutes = options.minutes or MINUTES.get(options.part, 0.0)

    if options.part == "tokenizer":
        text_encoder.new_tokenizer().save_pretrained(options.out / "tokenizer")
    elif options.part == "text":
        text_encoder.train(options.out, minutes)
    elif options.part == "vae":
        vae.train(options.out, minutes)
    elif options.part == "latents":
        latents.make(options.out)
    elif options.part == "diffusion":
        (options.out / "meeting").unlink(missing_ok=True)
        job = (options.threads, options.out, minutes, partial(show, options.out))
        torch.multiprocessing.spawn(diffusion.train, job, nprocs=options.threads)
    elif options.part == "recogniser":
        device = "cuda" if torch.cuda.is_available() else "cpu"
        classifier.train(minutes, workers=options.threads, device=device)
    else:
        model = fast_transformer.new_transformer()
        model.load_state_dict(torch.load(options.out / "transformer.pt", weights_only=True)["average"])
        show(options.out, model)
    return 0


if __name__ == "__main__":
    sys.exit(main())
