"""FLUX.2 [klein] keeps the contract of a family, and edits by instruction."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from core.config.loader import PROJECT_ROOT
from core.errors import InputCombinationError
from core.models.catalog import Catalog
from core.models.model_paths import ModelPaths
from core.studio.request_checks import check_inputs
from core.types import IMAGE, MASK, REFERENCES, ResumeState
from tests.models import tiny_models
from tests.models.family_contract import ESSENTIAL, SIZE, FamilyContract, mask, pixels, scene


@pytest.mark.by_default(
    *ESSENTIAL,
    "test_edit_is_plain_diffusers",
    "test_several_images_are_plain_diffusers",
    "test_strength_does_nothing_and_says_so",
    "test_one_further_image_beside_a_mask_is_plain_diffusers",
    "test_more_further_images_beside_a_mask_are_refused",
)
class TestFlux2Klein(FamilyContract):
    pipeline = "Flux2KleinPipeline"

    def build(self, folder):
        return tiny_models.flux2_klein(folder, distilled=False)

    @pytest.mark.parametrize("guided", [False, True])
    def test_edit_is_plain_diffusers(self, own, folder, request_for, guided):
        request = request_for(cfg_scale=self.cfg if guided else 1.0)
        mine = own.generate(request, attempt=ResumeState(inputs={IMAGE: scene()})).images[0]
        theirs = self.plain(folder, guided=guided, image=[scene()], **SIZE)
        assert np.array_equal(pixels(mine.image), theirs)
        assert not np.array_equal(pixels(mine.image), pixels(own.generate(request).images[0].image))
        assert mine.image.size == (SIZE["width"], SIZE["height"])

    def test_several_images_are_plain_diffusers(self, own, folder, request_for):
        given = [scene(), scene().resize((96, 64)), scene().rotate(180)]
        inputs = dict(zip((IMAGE, *REFERENCES), given, strict=False))
        mine = own.generate(request_for(), attempt=ResumeState(inputs=inputs)).images[0]
        assert np.array_equal(pixels(mine.image), self.plain(folder, image=given, **SIZE))

    def test_strength_does_nothing_and_says_so(self, own, request_for):
        request = request_for(changed={"img2img.denoising_strength": 0.3})
        image = own.generate(request, attempt=ResumeState(inputs={IMAGE: scene()})).images[0]
        said = {choice.option: choice.reason["en"] for choice in image.decisions}
        assert "no denoising strength" in said["img2img.denoising_strength"]

    def test_one_further_image_beside_a_mask_is_plain_diffusers(self, own, folder, request_for):
        given, further = {IMAGE: scene(), MASK: mask()}, scene().resize((96, 64))
        inputs = {**given, REFERENCES[0]: further}
        mine = pixels(own.generate(request_for(), attempt=ResumeState(inputs=inputs)).images[0].image)
        theirs = self.plain(folder, self.family.inpaint, strength=1.0, image_reference=further, **given, **SIZE)
        white = pixels(mask())[..., 0] > 0
        assert np.array_equal(mine[white], theirs[white])
        alone = pixels(own.generate(request_for(), attempt=ResumeState(inputs=given)).images[0].image)
        assert not np.array_equal(mine[white], alone[white])

    def test_more_further_images_beside_a_mask_are_refused(self, folder, request_for):
        info = Catalog(PROJECT_ROOT / "configs", ModelPaths(folder.parent / "store")).find(str(folder))
        edit = {IMAGE: "a", REFERENCES[0]: "b", REFERENCES[1]: "c"}
        check_inputs(request_for(inputs=edit), info, lambda digest: (64, 64))
        with pytest.raises(InputCombinationError) as caught:
            check_inputs(request_for(inputs={**edit, MASK: "d"}), info, lambda digest: (64, 64))
        assert "takes 1 further image, and 2 were given" in caught.value.message("en")

    def test_a_masked_edit_of_more_than_a_megapixel_has_its_size(self, own, request_for):
        """The inpaint pipeline scales such an image down when it is given as it is."""
        size = {"width": 1104, "height": 1008}
        given = {role: one.resize(tuple(size.values())) for role, one in {IMAGE: scene(), MASK: mask()}.items()}
        image = own.generate(request_for(**size, num_inference_steps=1), attempt=ResumeState(inputs=given)).images[0]
        assert image.image.size == image.rendered_size == (1104, 1008)

    def plain(self, folder, name=None, guided=False, **given):
        """The pipelines take no negative prompt but as embeds."""
        pipeline = given.pop("pipeline", None) or self.pipeline_of(folder, name)
        pipeline.set_progress_bar_config(disable=True)
        negative = pipeline.encode_prompt("grey")[0] if guided else None
        arguments = {
            "prompt": "a red house, day", "negative_prompt_embeds": negative, "num_inference_steps": 4,
            "guidance_scale": self.cfg if guided else 1.0, "generator": torch.Generator().manual_seed(7), **given,
        }  # fmt: skip
        return pixels(pipeline(**arguments).images[0])


def test_a_distilled_model_has_no_guidance_and_says_so(tmp_path, request_of):
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
