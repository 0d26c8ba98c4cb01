"""FLUX.2 [klein] keeps the contract of a family, and edits by instruction."""

from __future__ import annotations

import numpy as np
import pytest

from core.types import IMAGE, REFERENCES, ResumeState
from tests.models import tiny_models
from tests.models.family_contract import ESSENTIAL, SIZE, FamilyContract, pixels, scene


@pytest.mark.by_default(
    *ESSENTIAL,
    "test_edit_is_plain_diffusers",
    "test_several_images_are_plain_diffusers",
    "test_strength_does_nothing_and_says_so",
)
class TestFlux2Klein(FamilyContract):
    pipeline = "Flux2KleinPipeline"

    def build(self, folder):
        return tiny_models.flux2_klein(folder, distilled=False)

    @pytest.mark.parametrize("guided", [False, True])
    def test_edit_is_plain_diffusers(self, own, folder, request_for, guided):
        request = request_for(cfg_scale=self.cfg if guided else 1.0, negative_prompt="")
        mine = own.generate(request, attempt=ResumeState(inputs={IMAGE: scene()})).images[0]
        theirs = self.plain(folder, guided=guided, image=[scene()], **SIZE)
        assert np.array_equal(pixels(mine.image), theirs)
        assert not np.array_equal(pixels(mine.image), pixels(own.generate(request).images[0].image))
        assert mine.image.size == (SIZE["width"], SIZE["height"])

    def test_several_images_are_plain_diffusers(self, own, folder, request_for):
        given = [scene(), scene().resize((96, 64)), scene().rotate(180)]
        inputs = dict(zip((IMAGE, *REFERENCES), given, strict=False))
        mine = own.generate(request_for(negative_prompt=""), attempt=ResumeState(inputs=inputs)).images[0]
        assert np.array_equal(pixels(mine.image), self.plain(folder, image=given, **SIZE))

    def test_strength_does_nothing_and_says_so(self, own, request_for):
        request = request_for(changed={"img2img.denoising_strength": 0.3})
        image = own.generate(request, attempt=ResumeState(inputs={IMAGE: scene()})).images[0]
        said = {choice.option: choice.reason["en"] for choice in image.decisions}
        assert "no denoising strength" in said["img2img.denoising_strength"]

    def plain(self, folder, name=None, guided=False, **given):
        """The pipeline takes no negative prompt but as embeds; with guidance it uses the empty one."""
        import diffusers
        import torch

        pipeline = given.pop("pipeline", None) or diffusers.Flux2KleinPipeline.from_pretrained(
            folder, dtype=torch.float32
        )
        pipeline.set_progress_bar_config(disable=True)
        negative = pipeline.encode_prompt("" if "image" in given else "grey")[0] if guided else None
        arguments = {
            "prompt": "a red house, day", "negative_prompt_embeds": negative, "num_inference_steps": 4,
            "guidance_scale": self.cfg if guided else 1.0, "generator": torch.Generator().manual_seed(7), **given,
        }  # fmt: skip
        return pixels(pipeline(**arguments).images[0])


def test_a_distilled_model_has_no_guidance_and_says_so(tmp_path, request_of):
    from core.config.loader import PROJECT_ROOT
    from core.inference.generator import build_generator

    folder = tiny_models.flux2_klein(tmp_path / "model")
    own = build_generator(PROJECT_ROOT / "configs")
    try:
        given = {"model": str(folder), **SIZE, "num_inference_steps": 2}
        plain = own.generate(request_of(**given)).images[0]
        guided = own.generate(request_of(**given, cfg_scale=4.0)).images[0]
    finally:
        own.unload()
    assert np.array_equal(pixels(plain.image), pixels(guided.image))
    assert "no guidance" in next(one for one in guided.decisions if one.option == "generation.cfg_scale").reason["en"]
