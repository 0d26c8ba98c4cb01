"""Refine boxes from an ONNX detector through OpenCV, and from painted parts of a mask."""

import pytest
from PIL import Image

from core.config.boxes import Box
from core.config.loader import load_settings
from core.errors import OptionError
from core.inference.detection import detect, input_size, painted_boxes
from core.studio.bootstrap import build_studio
from core.types import IMAGE, InputSources
from tests.models.onnx_files import bright_squares
from tests.options import measured


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("detectors")
    bright_squares(folder / "squares.onnx")
    bright_squares(folder / "older.onnx", version=5)
    bright_squares(folder / "wide.onnx", side=96)
    (folder / "broken.onnx").write_bytes(b"no network")
    return folder


@pytest.fixture
def image():
    """Two bright cells on black, in an image twice as large as the detector's input."""
    image = Image.new("RGB", (128, 128))
    image.paste("white", (32, 48, 48, 64))
    image.paste((180, 180, 180), (96, 80, 112, 96))
    return image


@pytest.mark.parametrize("name", ["squares", "older"])
def test_boxes_are_those_of_the_image(folder, image, name):
    assert detect(image, name, folder, 0.5) == (Box(32, 48, 48, 64), Box(96, 80, 112, 96))
    assert detect(image, name, folder, 0.9) == (Box(32, 48, 48, 64),)


def test_an_image_of_another_ratio_is_laid_into_the_input(folder):
    image = Image.new("RGB", (128, 64))
    image.paste("white", (32, 16, 48, 32))
    assert detect(image, "squares", folder, 0.9) == (Box(32, 16, 48, 32),)


def test_size_of_the_input_is_read_from_the_file(folder):
    assert input_size((folder / "wide.onnx").read_bytes()) == (96, 96)
    assert input_size(b"") == (640, 640)


@pytest.mark.parametrize(
    ("name", "confidence", "said"),
    [
        ("none at all", 0.3, "squares"),
        ("broken", 0.3, "OpenCV cannot run it"),
        ("squares", 0.99, "inpaint.detector_confidence"),
    ],
)
def test_what_cannot_be_used_is_named(folder, name, confidence, said):
    with pytest.raises(OptionError) as refused:
        detect(Image.new("RGB", (64, 64)), name, folder, confidence)
    assert said in refused.value.message("en")


def test_painted_parts_become_boxes():
    mask = Image.new("L", (100, 80))
    mask.paste(255, (10, 10, 30, 40))
    mask.paste(255, (50, 20, 90, 70))
    mask.paste(255, (2, 70, 6, 74))
    assert painted_boxes(mask) == (Box(50, 20, 90, 70), Box(10, 10, 30, 40)), "the larger first, specks not at all"


@pytest.mark.option("inpaint.detector", "inpaint.detector_confidence")
def test_a_request_gets_the_boxes_of_its_detector(tmp_path, image):
    settings = load_settings(overrides={"output.directory": str(tmp_path), "models.store": str(tmp_path / "models")})
    studio = build_studio(settings)
    (tmp_path / "models" / "detectors").mkdir(parents=True)
    bright_squares(tmp_path / "models" / "detectors" / "squares.onnx")
    image.save(tmp_path / "image.png")
    digest = studio.input_images.keep((tmp_path / "image.png").read_bytes())
    values = {"generation.prompt": "x", "inpaint.detector": "squares", "inpaint.detector_confidence": 0.5}

    def boxes(values):
        request = studio.requests.with_inputs(studio.requests.new(values), InputSources({IMAGE: digest}), values)
        return studio.requests.prepare(request).options["inpaint.boxes"]

    both = ("16x16+32+48", "16x16+96+80")
    assert boxes(values) == both and boxes({**values, "inpaint.detector_confidence": 0.9}) == both[:1]
    measured("inpaint.detector", "a small network finds two of two bright squares")
    measured("inpaint.detector_confidence", "2 boxes at 0.5, 1 at 0.9")
    with pytest.raises(OptionError, match="inpaint"):
        boxes({**values, "inpaint.boxes": both[:1]})
    with pytest.raises(OptionError, match=r"inpaint\.detector"):
        studio.requests.prepare(studio.requests.new(values))
