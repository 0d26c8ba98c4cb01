"""Make the images of docs/gallery.md with the embedded model: `python -m core.bench.gallery [NAME ...]`; all without names."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from core.batch import wildcards
from core.config.control_units import ControlUnit
from core.config.loader import PROJECT_ROOT
from core.config.options import SCHEMA
from core.config.samplers import SAMPLER, SCHEDULE
from core.inference import variety
from core.inference.control_maps import control_map
from core.inference.generator import Generator, build_generator
from core.types import IMAGE, MASK, GenerationRequest, Progress, ResumeState

FOLDER = PROJECT_ROOT / "docs" / "gallery"
PROMPT = "a red house, snowy mountains, sunset, clouds"
NIGHT, BLUE = "a red house, snowy mountains, night, stars", "a blue house, snowy mountains, sunset, clouds"
TEMPLATE = "a {2::red|blue} {house|tent|castle}, {2$$, $$snowy mountains|clouds|sunset}"
SIDE, SEED, STEPS = 192, 7, 8
SMALL = 144  # px, of rows with many images
GAP, QUALITY = 4, 90
STRENGTHS = (0.0, 0.1, 0.3, 0.6, 1.0)

Row = Sequence[Image.Image]


class Studio:
    """Generates the images of the page."""

    def __init__(self, generator: Generator) -> None:
        self._generator = generator
        self._defaults = {option.key: option.default for option in SCHEMA.request_options()}

    def image(
        self, changed: Mapping[str, Any] | None = None, prompt: str = PROMPT, size: tuple[int, int] = (SIDE, SIDE),
        seed: int = SEED, steps: int = STEPS, inputs: Mapping[str, Image.Image] | None = None, cfg_scale: float = 1.0,
        on_progress: Callable[[Progress], None] = lambda progress: None,
    ) -> Image.Image:  # fmt: skip
        """Return one image; `inputs` are the input images by role."""
        options = {**self._defaults, **(changed or {})}
        request = GenerationRequest(
            prompt, width=size[0], height=size[1], seed=seed, num_inference_steps=steps, cfg_scale=cfg_scale, options=options
        )
        return self._generator.generate(request, on_progress, attempt=ResumeState(inputs=inputs or {})).images[0].image

    def each(self, key: str, values: Sequence[Any], **more: Any) -> Row:
        """Return an image for each value of an option."""
        return [self.image({**more.get("changed", {}), key: value}, **_without(more)) for value in values]


def _without(more: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in more.items() if name != "changed"}


def steps(studio: Studio) -> Row:
    """Five numbers of steps."""
    return [studio.image(steps=number) for number in (1, 2, 4, 8, 16)]


def cfg(studio: Studio) -> Row:
    """Five CFG scales."""
    return [studio.image(cfg_scale=scale) for scale in (1.0, 1.5, 2.5, 4.0, 6.0)]


def seeds(studio: Studio) -> Row:
    """Five seeds in a row, as one job of five images has them."""
    return [studio.image(seed=SEED + index) for index in range(5)]


def sizes(studio: Studio) -> Row:
    """The same seed at a square, a wide and a high size."""
    return [studio.image(size=size) for size in ((256, 256), (384, 216), (216, 384), (320, 136))]


def strength(studio: Studio) -> Row:
    """A source image, then four denoising strengths with another prompt."""
    image = studio.image()
    found = studio.each("img2img.denoising_strength", (0.3, 0.5, 0.7, 0.9), prompt=NIGHT, inputs={IMAGE: image})
    return [image, *found]


def hires(studio: Studio) -> Row:
    """A large size at once, and with hires fix from half of it."""
    size = (768, 432)
    plain = {"transformer.rope_scaling": "none"}
    return [
        studio.image(plain, size=size),
        studio.image({**plain, "hires.enabled": True, "hires.scale": 2.0, "hires.denoising_strength": 0.4}, size=size),
    ]


def rope(studio: Studio) -> Row:
    """Every scaling at twice and three times the largest trained side, one row each."""
    methods = ("none", "linear", "ntk", "yarn", "dype")
    found = [
        [
            studio.image(
                {"transformer.rope_scaling": method, "transformer.rope_base_resolution": 512, "vae.dtype": "bfloat16"},
                "a white sailboat, sea, day, mountains", size, steps=4,
            )
            for method in methods
        ]
        for size in ((1024, 576), (1536, 864))
    ]  # fmt: skip
    return [stacked(pair) for pair in zip(*found, strict=True)]


def stacked(images: Row) -> Image.Image:
    """Return the images one above the other, each as wide as the first."""
    width = images[0].width
    shown = [one.resize((width, one.height * width // one.width), Image.Resampling.LANCZOS) for one in images]
    gap = GAP * images[0].height // SMALL
    whole = Image.new("RGB", (width, sum(one.height + gap for one in shown) - gap), "white")
    top = 0
    for one in shown:
        whole.paste(one, (0, top))
        top += one.height + gap
    return whole


def preview(studio: Studio) -> Row:
    """Four live previews of an image, in the order of their steps, and the image that comes of them."""
    seen: list[bytes] = []

    def keep(progress: Progress) -> None:
        if progress.preview is not None and progress.preview not in seen:
            seen.append(progress.preview)

    whole = studio.image({"preview.enabled": True, "preview.interval": 1}, size=(512, 512), steps=16, on_progress=keep)
    shown = [seen[position * (len(seen) - 1) // 3] for position in range(4)]
    return [*(Image.open(BytesIO(one)).convert("RGB") for one in shown), whole]


def samplers(studio: Studio) -> Row:
    """Generate one prompt with six samplers at four steps."""
    return studio.each(SAMPLER, ("euler", "euler_ancestral", "heun", "dpmpp_2m", "unipc", "lcm"), steps=4)


def schedules(studio: Studio) -> Row:
    """Generate one prompt with six schedules at four steps."""
    names = ("simple", "normal", "karras", "exponential", "beta", "sgm_uniform")
    return studio.each(SCHEDULE, names, steps=4)


def inpaint(studio: Studio) -> Row:
    """Inpaint a masked sky: neutral, with a blurred mask, from noise and from the colors around it."""
    image, mask = studio.image(), Image.new("L", (SIDE, SIDE))
    ImageDraw.Draw(mask).rectangle((0, 0, SIDE, 69), fill=255)
    changes: tuple[dict[str, Any], ...] = (
        {}, {"inpaint.mask_blur": 8.0}, {"inpaint.fill": "noise"}, {"inpaint.fill": "blur"},
    )  # fmt: skip
    strength = {"img2img.denoising_strength": 0.85}
    return [image, *(studio.image({**strength, **change}, NIGHT, inputs={IMAGE: image, MASK: mask}) for change in changes)]


def area(studio: Studio) -> Row:
    """Inpaint a masked house in an image of twice the side: whole image, then masked area only; cropped to the house."""
    large = studio.image(size=(2 * SIDE, 2 * SIDE))
    mask = Image.new("L", large.size)
    corners = (SIDE // 2, SIDE - 40, 2 * SIDE - 16, 2 * SIDE - 56)
    ImageDraw.Draw(mask).rectangle(corners, fill=255)
    changed = {"img2img.denoising_strength": 0.7, "inpaint.mask_blur": 6.0, "inpaint.padding": 32}
    found = studio.each(
        "inpaint.area", ("whole", "masked"), changed=changed, prompt=BLUE, size=large.size, inputs={IMAGE: large, MASK: mask}
    )
    return [one.resize((SIDE, SIDE), Image.Resampling.LANCZOS) for one in (large, *found)]


def boxes(studio: Studio) -> Row:
    """Refine a box of an image with a prompt of its own."""
    image = studio.image()
    changed = {"inpaint.boxes": ("120x104+60+56",), "inpaint.mask_blur": 4.0, "img2img.denoising_strength": 0.75}
    return [image, studio.image(changed, BLUE, inputs={IMAGE: image})]


def outpaint(studio: Studio) -> Row:
    """Extend an image to the right, and to a ratio."""
    image, strength = studio.image(), {"img2img.denoising_strength": 0.9}
    right = studio.image({**strength, "outpaint.right": 96}, size=(SIDE + 96, SIDE), inputs={IMAGE: image})
    wide = studio.image({**strength, "outpaint.ratio": "16:9"}, size=(round(SIDE * 16 / 9), SIDE), inputs={IMAGE: image})
    return [image, right, wide]


def upscale(studio: Studio) -> Row:
    """Enlarge a part of an image four times: nearest, Lanczos, the embedded network, with detail."""
    image, size = studio.image(), (4 * SIDE, 4 * SIDE)
    enlarge = {"upscale.mode": "enlarge"}
    detail = {"upscale.mode": "detail", "upscale.tile": 512, "upscale.denoising_strength": 0.1}
    changes: list[dict[str, Any]] = [{**enlarge, "upscale.method": name} for name in ("nearest", "lanczos", "compact-x4")]
    made = [studio.image(change, size=size, inputs={IMAGE: image}) for change in (*changes, detail)]
    return [one.crop((260, 330, 260 + SIDE, 330 + SIDE)) for one in made]


def control_maps(studio: Studio) -> Row:
    """Show an image and its control maps."""
    image = studio.image()
    units = [ControlUnit("", preprocessor=name) for name in ("canny", "lineart", "scribble")]
    units += [ControlUnit("", preprocessor="tile", rate=8.0), ControlUnit("", preprocessor="invert")]
    return [image, *(control_map(image, unit, lambda given, kind: given) for unit in units)]


def lora(studio: Studio) -> Row:
    """Apply the shipped LoRA at four weights, and at full weight in a part of the blocks."""
    uses = ("ink-print:0", "ink-print:0.4", "ink-print:0.8", "ink-print:1.2", "ink-print:0.8:layers.0-3=0")
    return studio.each("lora.use", [(use,) for use in uses])


def replaced(studio: Studio) -> Row:
    """Generate the values of an axis that replaces a word of the prompt."""
    return [studio.image(prompt=PROMPT.replace("red", word)) for word in ("red", "blue", "yellow", "green")]


def variation(studio: Studio) -> Row:
    """Generate five variation strengths."""
    return studio.each(variety.STRENGTH, STRENGTHS, changed={variety.SEED: 99})


def prompt_noise(studio: Studio) -> Row:
    """Generate five amounts of noise on the prompt embeds."""
    return studio.each(variety.EMBEDS_NOISE, STRENGTHS)


def short_prompt(studio: Studio) -> Row:
    """Generate five shares of the steps on a shortened prompt."""
    return studio.each(variety.SHORT_STEPS, (0.0, 0.125, 0.25, 0.375, 0.5))


def dynamic(studio: Studio) -> Row:
    """Generate a template with the seeds 1 to 5."""
    found = []
    for seed in range(1, 6):
        prompt = wildcards.expand(TEMPLATE, seed, lambda name: ())
        found.append(studio.image(prompt=prompt, seed=seed))
    return found


ROWS: Mapping[str, tuple[Callable[[Studio], Row], int]] = {  # file -> what makes its images, their height in px
    "steps": (steps, SMALL), "cfg": (cfg, SMALL), "seeds": (seeds, SMALL), "sizes": (sizes, SIDE),
    "strength": (strength, SMALL), "hires": (hires, SIDE), "rope": (rope, 2 * SMALL), "preview": (preview, SMALL),
    "samplers": (samplers, SMALL), "schedules": (schedules, SMALL), "variation": (variation, SMALL),
    "prompt-noise": (prompt_noise, SMALL),
    "short-prompt": (short_prompt, SMALL), "dynamic": (dynamic, SMALL),
    "control-maps": (control_maps, SIDE), "inpaint": (inpaint, SIDE), "inpaint-area": (area, SIDE), "boxes": (boxes, SIDE),
    "outpaint": (outpaint, SIDE), "upscale": (upscale, SIDE), "lora": (lora, SMALL), "prompt-replace": (replaced, SMALL),
}  # fmt: skip


def main(names: Sequence[str]) -> None:
    """Write the files of these rows, or all."""
    studio = Studio(build_generator(PROJECT_ROOT / "configs"))
    for name in names or ROWS:
        make, height = ROWS[name]
        write(FOLDER / f"{name}.webp", make(studio), height)


def write(file: Path, images: Row, height: int) -> None:
    """Write the images beside each other, each reduced to `height`."""
    shown = [one.resize((round(one.width * height / one.height), height), Image.Resampling.LANCZOS) for one in images]
    row = Image.new("RGB", (sum(one.width + GAP for one in shown) - GAP, height), "white")
    left = 0
    for one in shown:
        row.paste(one, (left, 0))
        left += one.width + GAP
    row.save(file, quality=QUALITY, method=6)


if __name__ == "__main__":
    main(sys.argv[1:])
