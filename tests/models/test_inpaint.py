"""Inpaint and outpaint: the crop-generate-paste routine on the embedded model, and what each of its options does."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw

from core.config.boxes import Box
from core.errors import InputCombinationError, OptionError
from core.inference import inpaint
from core.studio import request_checks
from core.types import IMAGE, MASK, ModelInfo, ResumeState
from tests.models.test_img2img import hole, own, pixels, scene
from tests.options import measured

__all__ = ["own"]  # a fixture
SIZE = {"width": 128, "height": 96}
MODEL = ModelInfo("demo", {}, {}, None, 128, 128, 8, 0.0, 16, 1024, "ZImagePipeline", inputs=(IMAGE, MASK))


def spot(size=(256, 192), corners=(60, 50, 99, 89)):
    """A mask with one white rectangle."""
    mask = Image.new("RGB", size)
    ImageDraw.Draw(mask).rectangle(corners, fill="white")
    return mask


@pytest.fixture(scope="module")
def run(own, request_of):
    def run(changed, image=None, mask=None, **fields):
        given = {IMAGE: image or scene(), **({MASK: mask} if mask else {})}
        request = request_of(**{**SIZE, "num_inference_steps": 2, **fields}, changed=changed)
        return own.generate(request, attempt=ResumeState(inputs=given)).images[0]

    return run


def test_neutral_options_change_no_input(request_of):
    given = {IMAGE: scene(), MASK: hole().convert("L")}
    source = inpaint.prepare(given, request_of(**SIZE))
    assert source.inputs[IMAGE] is given[IMAGE] and np.array_equal(source.inputs[MASK], given[MASK])
    assert inpaint.prepare({}, request_of(**SIZE)) == inpaint.Source({})


# -- the masked part alone -------------------------------------------------------------------------------------------


@pytest.mark.option("inpaint.area", "inpaint.padding")
def test_masked_area_is_the_crop_generated_alone(own, run, request_of):
    image, mask = scene((256, 192)), spot()
    made = run({"inpaint.area": "masked", "inpaint.padding": 8}, image, mask, width=256, height=192)
    crop = Box(52, 42, 108, 98)
    assert made.effective["inpaint.regions"] == [f"{crop}: 256x256"], "at the model's own resolution"
    inputs = {IMAGE: image.crop(crop.corners).resize((256, 256), Image.Resampling.LANCZOS)}
    inputs[MASK] = mask.crop(crop.corners).resize((256, 256), Image.Resampling.LANCZOS)
    request = request_of(width=256, height=256, num_inference_steps=2)
    alone = own.generate(request, attempt=ResumeState(inputs=inputs)).images[0].image
    # what was composed at the crop's size differs from what is scaled by the edge of the mask alone
    part = alone.resize((crop.width, crop.height), Image.Resampling.LANCZOS)
    inside = (slice(54, 86), slice(64, 96))
    expected = pixels(part)[12:44, 12:44]
    assert np.abs(pixels(made.image)[inside] - expected).max() <= 1
    black = pixels(mask)[..., 0] == 0
    assert np.array_equal(pixels(made.image)[black], pixels(image)[black])
    measured(
        "inpaint.area", "masked: 56x56 px of 256x192 generated at 256x256 and pasted back; the rest is the input's own"
    )
    measured("inpaint.padding", "8: the crop of a mask of 40x40 px has 56x56")


@pytest.mark.option("inpaint.render_width", "inpaint.render_height")
def test_masked_area_at_a_given_size(run):
    changed = {"inpaint.area": "masked", "inpaint.padding": 8, "inpaint.render_width": 128, "inpaint.render_height": 64}
    made = run(changed, scene((256, 192)), spot(), width=256, height=192)
    assert made.effective["inpaint.regions"] == ["112x56+24+42: 128x64"], "the crop is widened to the ratio"
    assert made.image.size == (256, 192) and made.rendered_size == (128, 64)
    measured("inpaint.render_width", "128 by 64: a crop of 56x56 px is widened to 112x56 and generated at 128x64")
    measured("inpaint.render_height", "as the width")


@pytest.mark.parametrize(
    ("box", "size", "padding", "wanted", "expected"),
    [
        ((0, 0, 10, 10), (100, 100), 32, ("auto", "auto"), (0, 0, 42, 42)),
        ((90, 90, 100, 100), (100, 100), 5, ("auto", "auto"), (85, 85, 100, 100)),
        ((40, 0, 50, 100), (100, 100), 0, ("auto", "auto"), (20, 0, 70, 100)),
        ((95, 0, 100, 100), (100, 100), 0, ("auto", "auto"), (50, 0, 100, 100)),
        ((40, 40, 60, 60), (100, 50), 0, (64, 128), (40, 10, 60, 50)),
    ],
)
def test_crop_stays_within_the_image(box, size, padding, wanted, expected):
    assert inpaint.cropped(Box(*box), size, padding, wanted).corners == expected


@pytest.mark.parametrize(
    ("crop", "expected"),
    [
        ((0, 0, 64, 64), (128, 128)),
        ((0, 0, 64, 32), (176, 96)),
        ((0, 0, 150, 130), (160, 144)),
        ((0, 0, 900, 900), (128, 128)),
    ],
)
def test_crop_is_generated_at_the_models_area(crop, expected):
    assert inpaint.size_of(Box(*crop), ("auto", "auto"), MODEL) == expected


# -- the mask --------------------------------------------------------------------------------------------------------


@pytest.mark.option("inpaint.mask_blur")
def test_mask_blur_fades_and_leaves_the_rest(run):
    made, hard = run({"inpaint.mask_blur": 3}, mask=hole()), run({}, mask=hole())
    changed = np.abs(pixels(made.image) - pixels(scene())).max(-1)
    assert np.array_equal(np.abs(pixels(hard.image) - pixels(scene())).max(-1)[:, :64].max(), 0)
    assert changed[20:70, 58:64].any(), "it reaches over the edge of the mask"
    assert not changed[:, :52].any(), "beyond about three times the blur the pixels are the input's own"
    measured(
        "inpaint.mask_blur", "3: pixels up to 12 px outside of the mask are blended, all others are the input's own"
    )


@pytest.mark.option("inpaint.mask_grow", "inpaint.mask_invert")
def test_mask_is_grown_and_inverted(run):
    mask = spot((128, 96), (60, 40, 79, 59)).convert("L")
    assert inpaint.grown(mask, 5).getbbox() == (55, 35, 85, 65)
    assert inpaint.grown(mask, -5).getbbox() == (65, 45, 75, 55)
    assert inpaint.grown(mask, 0) is mask
    box = Image.fromarray(np.abs(pixels(run({"inpaint.mask_grow": 4}, mask=mask).image) - pixels(scene())).max(-1) > 0)
    assert box.getbbox() == (56, 36, 84, 64)
    inverted = pixels(run({"inpaint.mask_invert": True}, mask=hole()).image)
    white = pixels(hole())[..., 0] > 0
    assert np.array_equal(inverted[white], pixels(scene())[white]) and not np.array_equal(inverted, pixels(scene()))
    measured("inpaint.mask_grow", "4: a mask of 20x20 px regenerates 28x28")
    measured("inpaint.mask_invert", "what is white stays the input's own, the rest is regenerated")


@pytest.mark.parametrize("mask", [hole((64, 48)), hole((64, 96))], ids=["half the size", "another ratio"])
def test_mask_of_another_size_is_scaled(run, mask):
    made = run({}, mask=mask)
    black = pixels(mask.resize((128, 96), Image.Resampling.LANCZOS))[..., 0] == 0
    assert np.array_equal(pixels(made.image)[black], pixels(scene())[black]) and black.mean() > 0.4


# -- the content -----------------------------------------------------------------------------------------------------


@pytest.mark.option("inpaint.fill", "inpaint.fill_color")
def test_fill_is_what_the_masked_part_starts_from(request_of, run):
    image, mask = Image.new("RGB", (128, 96), (200, 40, 40)), hole().convert("L")
    ImageDraw.Draw(image).rectangle((64, 0, 127, 95), fill=(40, 40, 200))
    white = pixels(mask) > 0

    def start(fill, seed=7, **more):
        request = request_of(**SIZE, seed=seed, changed={"inpaint.fill": fill, **more})
        found = pixels(inpaint.prepare({IMAGE: image, MASK: mask}, request).inputs[IMAGE])
        assert np.array_equal(found[~white], pixels(image)[~white])
        return found[white]

    assert (start("color", **{"inpaint.fill_color": "yellow"}) == (255, 255, 0)).all()
    assert start("noise").std() > 40 and not np.array_equal(start("noise"), start("noise", seed=8))
    around = start("blur").mean(0)
    assert 40 < around[0] < 120 and 120 < around[2] < 200, "colours of both sides, the nearer one more"
    images = [pixels(run({"inpaint.fill": fill}, image, mask).image) for fill in ("original", "color", "noise")]
    assert not np.array_equal(images[0], images[1]) and not np.array_equal(images[1], images[2])
    measured(
        "inpaint.fill", "color, noise and blur each start from other pixels than the image's own, within the mask only"
    )
    measured("inpaint.fill_color", "yellow: the masked part starts from (255, 255, 0)")


# -- boxes -----------------------------------------------------------------------------------------------------------


@pytest.mark.option("inpaint.boxes")
def test_boxes_are_refined_one_after_the_other(run):
    image, seen = scene((256, 192)), ["64x64+16+32", "48x40+200+140"]
    made = run({"inpaint.boxes": tuple(seen), "inpaint.padding": 16}, image, width=256, height=192)
    changed = np.abs(pixels(made.image) - pixels(image)).max(-1) > 0
    outside = np.ones((192, 256), bool)
    outside[32:96, 16:80] = outside[140:180, 200:248] = False
    assert not changed[outside].any() and changed[32:96, 16:80].any() and changed[140:180, 200:248].any()
    assert [text.split(":")[0] for text in made.effective["inpaint.regions"]] == ["96x96+0+16", "72x68+184+124"]
    assert made.effective["img2img.steps"] == 4, "2 for each"
    first = run({"inpaint.boxes": (seen[0],), "inpaint.padding": 16}, image, width=256, height=192)
    assert np.array_equal(pixels(made.image)[:120], pixels(first.image)[:120])
    measured("inpaint.boxes", "two boxes: each is the crop generated alone; all other pixels are the input's own")


@pytest.mark.parametrize(
    ("changed", "inputs", "key"),
    [
        ({"inpaint.boxes": ("64x64+100+0",)}, {IMAGE: "a"}, "inpaint.boxes"),
        ({"inpaint.boxes": ("4x64+0+0",)}, {IMAGE: "a"}, "inpaint.boxes"),
        ({"inpaint.boxes": ("here",)}, {IMAGE: "a"}, "inpaint.boxes"),
        ({"inpaint.boxes": ("8x8+0+0",) * 33}, {IMAGE: "a"}, "inpaint.boxes"),
        ({"inpaint.fill_color": "reddish"}, {IMAGE: "a"}, "inpaint.fill_color"),
        ({"inpaint.area": "masked", "inpaint.render_width": 2048}, {IMAGE: "a", MASK: "b"}, "inpaint.render_width"),
        ({"inpaint.area": "masked", "hires.enabled": True}, {IMAGE: "a", MASK: "b"}, "hires.enabled"),
    ],
)
def test_options_that_cannot_be_used_are_refused_before_the_run(request_of, changed, inputs, key):
    request = request_of(width=160, height=128, changed=changed, inputs=inputs)
    with pytest.raises(OptionError) as error:
        request_checks.check(request, MODEL)
    assert error.value.values["key"] == key


def test_boxes_need_an_image_and_no_mask(run, request_of):
    with pytest.raises(InputCombinationError, match="boxes"):
        inpaint.prepare({}, request_of(changed={"inpaint.boxes": ("8x8+0+0",)}))
    for inputs in ({}, {IMAGE: "a", MASK: "b"}):
        request = request_of(changed={"inpaint.boxes": ("8x8+0+0",)}, inputs=inputs)
        with pytest.raises(InputCombinationError, match="boxes"):
            request_checks.check_inputs(request, MODEL, lambda digest: (128, 128))


def test_parts_of_a_large_image_are_generated(request_of):
    """The image itself may be larger than what the model generates at once."""
    large = {"width": 4000, "height": 3000}
    request_checks.check(request_of(**large, changed={"inpaint.boxes": ("64x64+0+0",)}, inputs={IMAGE: "a"}), MODEL)
    with pytest.raises(OptionError, match="width"):
        request_checks.check(request_of(**large, inputs={IMAGE: "a"}), MODEL)


# -- outpaint --------------------------------------------------------------------------------------------------------


@pytest.mark.option("outpaint.left", "outpaint.right", "outpaint.top", "outpaint.bottom", "outpaint.overlap")
def test_outpaint_keeps_the_image_where_it_was(run):
    sides = {"outpaint.left": 32, "outpaint.right": 16, "outpaint.top": 48, "outpaint.bottom": 0}
    made = run({**sides, "outpaint.overlap": 8, "img2img.denoising_strength": 1.0}, width=176, height=144)
    kept = pixels(made.image)[48 + 8 : 144, 32 + 8 : 160 - 8]
    assert np.array_equal(kept, pixels(scene())[8:, 8:-8]), "all but the overlap, to the pixel; nothing at the bottom"
    assert len(np.unique(pixels(made.image)[:40].reshape(-1, 3), axis=0)) > 50, "the new part is generated"
    for side, pixel in sides.items():
        measured(side, f"{pixel} px: a file of 128x96 becomes 176x144, its pixels stay")
    measured("outpaint.overlap", "8: all pixels further than 8 px from a seam are the input's own")


@pytest.mark.option("outpaint.ratio")
@pytest.mark.parametrize(
    ("ratio", "expected"), [("1:1", (128, 128)), ("16:9", (171, 96)), ("4:3", (128, 96)), ("none", (128, 96))]
)
def test_outpaint_to_a_ratio(request_of, ratio, expected):
    options = request_of(changed={"outpaint.ratio": ratio}).options
    assert inpaint.extended_size((128, 96), options) == expected
    found = inpaint.extended({IMAGE: scene()}, options)
    assert found[IMAGE].size == expected and (MASK in found) == (expected != (128, 96))
    measured("outpaint.ratio", "16:9: 128x96 becomes 171x96")
