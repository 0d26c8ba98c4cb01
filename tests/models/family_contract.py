"""What every model family must do, on a tiny random model of its real classes. A family's test file subclasses FamilyContract."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from core.config.loader import PROJECT_ROOT
from core.config.samplers import SAMPLER, SAMPLERS
from core.errors import Cancelled
from core.inference import offload, prepared_weights, residency, text_encoding
from core.inference.generator import Generator
from core.jobs.queue import JobQueue
from core.models.catalog import Catalog
from core.models.families import FAMILIES, backend_of
from core.models.lora_library import LoraLibrary
from core.models.model_paths import ModelPaths
from core.storage.database import Database
from core.types import IMAGE, MASK, Phase, Progress, ResumeState
from tests.databases import put_database
from tests.models.loras import write_lora

ESSENTIAL = (  # what differs most from family to family; Z-Image has all by default
    "test_catalogue_recognises_folder",
    "test_txt2img_is_plain_diffusers",
    "test_any_size_is_delivered",
    "test_every_sampler_runs_and_the_models_own_by_name_is_the_same",
    "test_img2img_is_plain_diffusers",
    "test_inpaint_is_plain_diffusers",
    "test_lora_is_plain_diffusers",
)
SIZE = {"width": 64, "height": 80}  # px; multiples of every family's size multiple


class FamilyContract:
    """Subclass as `TestName`, set `pipeline`, and build the model in `build`; mark it `by_default(*ESSENTIAL, its own tests)`."""

    pipeline: ClassVar[str]  # the class's name in diffusers
    cfg: ClassVar[float] = 5.0  # for the tests with guidance
    lora_parts: ClassVar[tuple[str, ...]] = ()  # by default the denoiser alone
    lora_also: ClassVar[str] = "to_"  # in the names of layers besides those of attention
    visits: ClassVar[Mapping[str, int]] = {}  # how often a part is used for an image, where not once
    lora_scale: ClassVar[float] = 0.08  # of its random numbers

    def build(self, folder: Path) -> Path:
        """Save a tiny random model as a diffusers folder."""
        raise NotImplementedError

    # -- fixtures ------------------------------------------------------------------------------------------------------

    @pytest.fixture(scope="class")
    def folder(self, tmp_path_factory):
        return self.build(tmp_path_factory.mktemp("family") / "model")

    @pytest.fixture(scope="class")
    def own(self, folder):
        catalog = Catalog(PROJECT_ROOT / "configs", ModelPaths(folder.parent / "store"))
        generator = Generator(catalog, loras=LoraLibrary(folder.parent / "loras"))
        yield generator
        generator.unload()

    @pytest.fixture
    def request_for(self, folder, request_of):
        return lambda **fields: request_of(model=str(folder), **{**SIZE, "negative_prompt": "grey", **fields})

    @property
    def family(self):
        return FAMILIES[self.pipeline]

    def pipeline_of(self, folder, name=None):
        """Return the pipeline as plain diffusers reads it."""
        return getattr(diffusers, name or self.pipeline).from_pretrained(folder, dtype=torch.float32)

    def plain(self, folder, name=None, guided=False, **given):
        """What plain diffusers generates: a new pipeline, nothing but its own arguments."""
        pipeline = given.pop("pipeline", None) or self.pipeline_of(folder, name)
        pipeline.set_progress_bar_config(disable=True)
        cfg = self.cfg if guided else 1.0
        given = {
            "prompt": "a red house, day", "negative_prompt": "grey", "num_inference_steps": 4,
            "guidance_scale": cfg - self.family.cfg_offset, "generator": torch.Generator().manual_seed(7), **given,
        }  # fmt: skip
        return pixels(pipeline(**given).images[0])

    # -- the contract --------------------------------------------------------------------------------------------------

    def test_catalogue_recognises_folder(self, own, folder):
        info = own._catalog.find(str(folder))
        assert info.problem is None
        assert (info.pipeline, info.size_multiple) == (self.pipeline, self.family.size_multiple)

    @pytest.mark.parametrize("guided", [False, True])
    def test_txt2img_is_plain_diffusers(self, own, folder, request_for, guided):
        mine = own.generate(request_for(cfg_scale=self.cfg if guided else 1.0)).images[0]
        assert np.array_equal(pixels(mine.image), self.plain(folder, guided=guided, **SIZE))
        assert mine.effective["model.pipeline"] == self.pipeline

    def test_any_size_is_delivered(self, own, request_for):
        image = own.generate(request_for(width=67, height=91, num_inference_steps=1)).images[0]
        multiple = self.family.size_multiple
        assert image.image.size == (67, 91)
        assert image.rendered_size == (-(-67 // multiple) * multiple, -(-91 // multiple) * multiple)

    def test_batch_is_its_images_alone(self, own, request_for):
        batch = own.generate(request_for(num_images=2)).images
        assert np.array_equal(pixels(batch[1].image), pixels(own.generate(request_for(seed=8)).images[0].image))
        assert not np.array_equal(pixels(batch[0].image), pixels(batch[1].image))

    def test_cancel_ends_within_a_step(self, own, request_for):
        seen: list[Progress] = []
        with pytest.raises(Cancelled):
            own.generate(
                request_for(), seen.append, is_cancelled=lambda: sum(one.phase is Phase.STEPS for one in seen) >= 2
            )
        assert max(one.step for one in seen) == 2

    def test_cancel_ends_between_layers_of_the_text_encoder(self, own, folder, request_for, monkeypatch):
        monkeypatch.setattr(text_encoding, "LOOK_SECONDS", 0)
        seen: list[Progress] = []
        request = request_for(prompt="a prompt that was never encoded")
        with pytest.raises(Cancelled):
            own.generate(request, seen.append, is_cancelled=lambda: any(one.phase is Phase.TEXT and one.detail for one in seen))
        assert [one.phase for one in seen][-2:] == [Phase.TEXT, Phase.TEXT] and seen[-1].detail.startswith("1 / ")
        again = own.generate(request).images[0]
        assert np.array_equal(pixels(again.image), self.plain(folder, prompt=request.prompt, **SIZE))

    def test_every_sampler_runs_and_the_models_own_by_name_is_the_same(self, own, request_for):
        kind = self.family.prediction
        ids = [one.id for one in SAMPLERS.values() if one.solver(kind) is not None]
        ids = ids if kind == "flow" else ids[:1]  # those of diffusion models have tests of their own
        images = {name: own.generate(request_for(changed={SAMPLER: name})).images[0] for name in ("auto", *ids)}
        assert all(one.effective[SAMPLER] == name for name, one in images.items() if name != "auto")
        if kind == "flow":
            assert np.array_equal(pixels(images["auto"].image), pixels(images["euler"].image))
            assert len({pixels(one.image).tobytes() for one in images.values()}) > len(ids) - 2

    def test_img2img_is_plain_diffusers(self, own, folder, request_for):
        if self.family.img2img is None:
            pytest.skip("the family has no img2img")
        request = request_for(cfg_scale=self.cfg, changed={"img2img.denoising_strength": 0.6})
        mine = own.generate(request, attempt=ResumeState(inputs={IMAGE: scene()})).images[0]
        theirs = self.plain(folder, self.family.img2img, guided=True, image=scene(), strength=0.6)
        assert np.array_equal(pixels(mine.image), theirs)
        assert mine.effective["img2img.steps"] == self.family.steps_run(4, 0.6)

    def test_inpaint_is_plain_diffusers(self, own, folder, request_for):
        if self.family.inpaint is None:
            pytest.skip("the family has no inpainting")
        given = {IMAGE: scene(), MASK: mask()}
        request = request_for(cfg_scale=self.cfg, changed={"img2img.denoising_strength": 1.0})
        mine = pixels(own.generate(request, attempt=ResumeState(inputs=given)).images[0].image)
        theirs = self.plain(folder, self.family.inpaint, guided=True, strength=1.0, **given, **SIZE)
        white = pixels(mask())[..., 0] > 0
        assert np.array_equal(mine[white], theirs[white])
        assert np.array_equal(mine[~white], pixels(scene())[~white])

    def test_lora_is_plain_diffusers(self, own, folder, request_for):
        pipeline = self.pipeline_of(folder)
        parts = self.lora_parts or (self.family.denoiser,)
        file = folder.parent / "loras" / "one.safetensors"
        write_lora(file, pipeline, 3, parts=parts, scale=self.lora_scale, also=self.lora_also)
        before = pixels(own.generate(request_for()).images[0].image)
        mine = pixels(own.generate(request_for(changed={"lora.use": ("one:0.7",)})).images[0].image)
        pipeline.load_lora_weights(str(file.parent), weight_name=file.name, adapter_name="one")
        pipeline.set_adapters(["one"], [0.7])
        assert np.array_equal(mine, self.plain(folder, pipeline=pipeline, **SIZE))
        assert not np.array_equal(mine, before)
        assert np.array_equal(pixels(own.generate(request_for()).images[0].image), before)

    def test_parts_are_offloaded(self, own, request_for):
        """As on a GPU, with a copy in the CPU's memory as the device's: the bytes that are copied there for an image."""
        request = request_for(num_inference_steps=2)
        whole = pixels(own.generate(request).images[0].image)
        pipeline = own.loaded.pipeline
        weights = [one for part in residency.modules(pipeline).values() for one in part.parameters()]
        host = [one.data_ptr() for one in weights]
        offload.place(pipeline, backend_of(self.pipeline), "cpu", "model")
        held = residency.of(pipeline)
        assert held is not None
        encoders = {name: size for name, size in held.sizes.items() if name.startswith("text_encoder")}
        others = {name: size for name, size in held.sizes.items() if name not in encoders}

        def moved(room):
            """Of the second of two images with so many bytes of room."""
            held._budget = room
            held.plan_for(SIZE["width"] * SIZE["height"])
            for _ in range(2):
                before = held.moved
                assert np.array_equal(pixels(own.generate(request).images[0].image), whole)
            return {name: held.moved[name] - before[name] for name in held.sizes}

        try:
            all_fits = sum(held.sizes.values())
            assert not any(moved(all_fits).values())
            streamed = moved(sum(others.values()))
            assert not any(streamed[name] for name in others)
            assert all(streamed[name] <= size for name, size in encoders.items()), "0 when the prompt is known"
            visits = moved(0)
            assert all(visits[name] == size * self.visits.get(name, 1) for name, size in others.items())
            for name in held.sizes:
                held._parts[name].drop()
            assert [one.data_ptr() for one in weights] == host, "nothing was copied back"
        finally:
            own.unload()

    def test_prepared_weights_draw_the_same_pixels(self, own, folder, request_for, tmp_path, monkeypatch):
        monkeypatch.setattr(prepared_weights, "SMALLEST", 0)
        monkeypatch.setattr(prepared_weights, "GAIN", 10)  # of every part, also of one that takes as much as is stored
        monkeypatch.setattr(prepared_weights, "SPARE", 0)
        images = []
        for _ in range(2):
            generator = type(own)(Catalog(PROJECT_ROOT / "configs", ModelPaths(tmp_path)), prepares=True)
            images.append(generator.generate(request_for(num_inference_steps=2)).images[0])
        told = [one.reason["en"] for one in images[1].decisions if one.option == prepared_weights.OPTION]
        assert len(told) == 1 and all(part in told[0] for part in (self.family.denoiser, "text_encoder", "vae"))
        assert np.array_equal(pixels(images[0].image), pixels(images[1].image))

    def test_blocks_are_offloaded_to_disk(self, own, request_for):
        changed = {"memory.tier": "4gb", "memory.offload": "disk"}
        whole = pixels(own.generate(request_for()).images[0].image)
        image = own.generate(request_for(changed=changed)).images[0]
        assert image.effective["memory.offload"] == "disk"
        assert {file.parent.name for file in own.loaded.blocks.glob("*/*.safetensors")} >= {self.family.denoiser}
        assert np.abs(pixels(image.image) - whole).max() <= 2

    def test_vae_is_tiled(self, own, request_for):
        whole = pixels(own.generate(request_for()).images[0].image)
        image = own.generate(request_for(changed={"vae.enable_tiling": True, "vae.tile_sample_min_size": 64}))
        assert own.loaded.pipeline.vae.use_tiling
        assert image.images[0].image.size == (SIZE["width"], SIZE["height"])
        assert np.array_equal(pixels(own.generate(request_for()).images[0].image), whole)
        assert not own.loaded.pipeline.vae.use_tiling

    def test_queue_gives_the_same_image(self, own, request_for, tmp_path):
        request = request_for(changed={"memory.offload": "auto"})
        with_database = Database(put_database(tmp_path / "studio.db"))
        try:
            queue = JobQueue(with_database)
            job = queue.submit(request)
            stored = queue.claim("worker")
            assert stored is not None and stored.id == job.id
            assert stored.request == request
        finally:
            with_database.close()
        images = [own.generate(one).images[0].image for one in (request, stored.request)]
        assert np.array_equal(pixels(images[0]), pixels(images[1]))


def pixels(image: Any) -> np.ndarray:
    return np.asarray(image).astype(int)


class MaskedEdits:
    """Of a family whose edit is taken within the mask."""

    def test_an_edit_with_a_mask_is_the_edit_within_it_and_the_source_outside(self, own, request_for):
        whole = pixels(own.generate(request_for(), attempt=ResumeState(inputs={IMAGE: scene()})).images[0].image)
        given = {IMAGE: scene(), MASK: mask()}
        masked = pixels(own.generate(request_for(), attempt=ResumeState(inputs=given)).images[0].image)
        white, source = pixels(mask())[..., 0] > 0, pixels(scene().resize((SIZE["width"], SIZE["height"])))
        assert (whole != source)[white].any() and (whole != source)[~white].any()
        assert np.array_equal(masked[~white], source[~white])
        assert np.array_equal(masked[white], whole[white])


def scene() -> Image.Image:
    """Return an image with edges and colours."""
    width, height = SIZE["width"], SIZE["height"]
    image = Image.new("RGB", (width, height), (40, 90, 160))
    pen = ImageDraw.Draw(image)
    pen.rectangle((width // 4, height // 3, width // 2, height), fill=(200, 60, 40))
    pen.ellipse((width // 2, 5, width - 9, height // 2), fill=(240, 220, 90))
    return image


def mask() -> Image.Image:
    """White on the right half but for a frame."""
    width, height = SIZE["width"], SIZE["height"]
    image = Image.new("RGB", (width, height), "black")
    ImageDraw.Draw(image).rectangle((width // 2, 8, width - 9, height - 9), fill="white")
    return image
