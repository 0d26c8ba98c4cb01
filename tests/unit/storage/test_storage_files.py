"""Image files: whole or not at all, exactly as large as asked, errors that say what is wrong."""

from __future__ import annotations

import errno
import io
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from PIL import Image

from core.config.loader import PROJECT_ROOT
from core.errors import DiskFullError, NotWritableError, StorageError, UnavailableError
from core.models.catalog import Catalog
from core.storage import content_credentials
from core.storage.files import LocalFiles, inside, write_atomically
from core.storage.image_writer import ImageWriter
from core.storage.metadata import EDITED, GENERATED, read_metadata
from core.studio.request_checks import check
from core.types import GenerationRequest
from tests.options import measured

NOW = datetime(2026, 3, 1, 12, 30, 15, 123_456, UTC)
ID = "0" * 24 + "1a2b3c4d"
SIZES = [(1000, 701), (64, 2048), (65, 67), (64, 64)]


@pytest.mark.option("output.format")
@pytest.mark.parametrize("format", ["png", "jpeg", "webp"])
@pytest.mark.parametrize("size", SIZES)
def test_the_size_is_exact(make_image: Any, outputs: Path, format: str, size: tuple[int, int]) -> None:
    generated = make_image(size, options={"output.format": format})
    stored = ImageWriter(LocalFiles(outputs)).write(generated, ID, NOW, {})
    with Image.open(outputs / stored.file) as image:
        image.load()
        assert (image.size, image.format) == (size, format.upper())
    assert (stored.size, stored.bytes) == (size, (outputs / stored.file).stat().st_size)
    measured("output.format", f"png, jpeg, webp: read back as such, and exactly the size asked for, {len(SIZES)} sizes")


def test_png_keeps_every_pixel(make_image: Any, outputs: Path) -> None:
    generated = make_image((101, 77), noise=True)
    stored = ImageWriter(LocalFiles(outputs)).write(generated, ID, NOW, {})
    with Image.open(outputs / stored.file) as image:
        assert image.tobytes() == generated.image.tobytes()


@pytest.mark.option("output.quality")
@pytest.mark.parametrize("format", ["jpeg", "webp"])
def test_quality_acts(make_image: Any, outputs: Path, format: str) -> None:
    def size(quality: int) -> int:
        options = {"output.format": format, "output.quality": quality}
        return (
            ImageWriter(LocalFiles(outputs))
            .write(make_image((128, 128), noise=True, options=options), ID, NOW, {})
            .bytes
        )

    assert size(30) < size(95)
    measured("output.quality", f"{format} of noise at 128x128: {size(30)} bytes at 30, {size(95)} at 95")


@pytest.mark.option("output.metadata")
@pytest.mark.parametrize("format", ["png", "jpeg", "webp"])
def test_metadata_can_be_switched_off(make_image: Any, outputs: Path, format: str) -> None:
    options = {"output.format": format, "output.metadata": False}
    stored = ImageWriter(LocalFiles(outputs)).write(
        make_image(prompt="secret", options=options), ID, NOW, {"a": "secret"}
    )
    data = (outputs / stored.file).read_bytes()
    assert b"secret" not in data and "secret".encode("utf-16-be") not in data
    read = read_metadata(outputs / stored.file)
    assert read is not None and (read.parameters, read.record) == (None, None)
    measured("output.metadata", "false: nothing of the prompt is in the file's bytes")


@pytest.mark.option("output.mark_generated")
@pytest.mark.parametrize("format", ["png", "jpeg", "webp"])
@pytest.mark.parametrize("metadata", [True, False])
def test_an_image_says_that_a_model_made_it(make_image: Any, outputs: Path, format: str, metadata: bool) -> None:
    """As a parser of XMP finds it; the record beside it is read as without."""
    marked = {"output.format": format, "output.metadata": metadata, "output.mark_generated": True}
    stored = ImageWriter(LocalFiles(outputs)).write(make_image(options=marked), ID, NOW, {"a": "secret"})
    data = (outputs / stored.file).read_bytes()
    packet = ElementTree.fromstring(data[data.index(b"<x:xmpmeta") : data.index(b"</x:xmpmeta>") + 12])
    assert packet.findtext(".//{http://iptc.org/std/Iptc4xmpExt/2008-02-29/}DigitalSourceType") == GENERATED
    read = read_metadata(outputs / stored.file)
    assert read is not None and (read.record == {"a": "secret"}) is metadata
    assert (b"secret" in data) is metadata
    unmarked = ImageWriter(LocalFiles(outputs)).write(make_image(options={"output.format": format}), ID, NOW, {})
    assert b"DigitalSourceType>" not in (outputs / unmarked.file).read_bytes()
    measured("output.mark_generated", "true: DigitalSourceType trainedAlgorithmicMedia in PNG, JPEG and WebP")


def test_an_image_made_from_another_says_so(make_image: Any, outputs: Path) -> None:
    made = make_image(options={"output.format": "png", "output.mark_generated": True})
    made = replace(made, request=replace(made.request, inputs={"image": "0" * 64}))
    stored = ImageWriter(LocalFiles(outputs)).write(made, ID, NOW, {})
    assert EDITED.encode() in (outputs / stored.file).read_bytes()


@pytest.mark.skipif(shutil.which("exiftool") is None, reason="exiftool is not installed")
@pytest.mark.parametrize("format", ["png", "jpeg", "webp"])
def test_exiftool_reads_the_mark(make_image: Any, outputs: Path, format: str) -> None:
    options = {"output.format": format, "output.mark_generated": True}
    stored = ImageWriter(LocalFiles(outputs)).write(make_image(options=options), ID, NOW, {"a": 1})
    command = ["exiftool", "-s3", "-XMP-iptcExt:DigitalSourceType", "-validate", "-warning", str(outputs / stored.file)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert said[0] in (GENERATED, GENERATED.rpartition("/")[2]), said


@pytest.mark.option("output.content_credentials")
@pytest.mark.parametrize("format", ["png", "jpeg", "webp"])
def test_credentials_are_valid_until_the_file_is_changed(make_image: Any, outputs: Path, format: str) -> None:
    c2pa = pytest.importorskip("c2pa")
    options = {"output.format": format, "output.content_credentials": True}
    made = make_image(prompt="secret", options={**options, "output.metadata": False})
    stored = ImageWriter(LocalFiles(outputs)).write(made, ID, NOW, {"a": "secret"})
    data = (outputs / stored.file).read_bytes()
    assert b"secret" not in data and stored.digest == sha256(data).hexdigest()

    def read(changed: bytes) -> tuple[str, dict[str, Any]]:
        with c2pa.Reader(f"image/{format}", io.BytesIO(changed)) as reader:
            found = json.loads(reader.json())
            return reader.get_validation_state(), found["manifests"][found["active_manifest"]]

    state, manifest = read(data)
    (assertion,) = manifest["assertions"]
    (action,) = assertion["data"]["actions"]
    assert (action["action"], action["digitalSourceType"]) == ("c2pa.created", GENERATED)
    assert state == "Valid" and "thumbnail" not in manifest
    place = len(data) - 40 if format == "jpeg" else data.index(b"IDAT" if format == "png" else b"VP8") + 40
    assert read(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])[0] == "Invalid"
    plain = ImageWriter(LocalFiles(outputs)).write(make_image(options={"output.format": format}), ID, NOW, {"a": 1})
    both = ImageWriter(LocalFiles(outputs)).write(make_image(options=options), ID, NOW, {"a": 1})
    with Image.open(outputs / plain.file) as one, Image.open(outputs / both.file) as other:
        assert one.tobytes() == other.tobytes()
    assert (found := read_metadata(outputs / both.file)) is not None and found.record == {"a": 1}
    assert read((outputs / both.file).read_bytes())[0] == "Valid"
    measured("output.content_credentials", "true: valid C2PA credentials in PNG, JPEG and WebP, invalid once a byte is changed")


def test_without_the_package_credentials_are_refused_before_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content_credentials, "find_spec", lambda package: None)
    model = Catalog(PROJECT_ROOT / "configs").find("demo")
    request = GenerationRequest(prompt="a red house", model="demo", width=64, height=64)
    for wanted in (False, True):
        asked = replace(request, options={"output.content_credentials": wanted})
        with pytest.raises(UnavailableError, match="pip install c2pa-python") if wanted else nullcontext():
            check(asked, model)


def test_the_name_has_local_date_time_seed_and_id(make_image: Any, outputs: Path) -> None:
    stored = ImageWriter(LocalFiles(outputs)).write(make_image(seed=42, options={"output.format": "jpeg"}), ID, NOW, {})
    local = NOW.astimezone()
    assert stored.file == f"{local:%Y-%m-%d}/{local:%Y%m%d-%H%M%S}-123_42_1a2b3c4d.jpg"


def test_a_image_with_alpha_becomes_a_jpeg(make_image: Any, outputs: Path) -> None:
    image = make_image(options={"output.format": "jpeg"})
    object.__setattr__(image, "image", image.image.convert("RGBA"))
    assert ImageWriter(LocalFiles(outputs)).write(image, ID, NOW, {}).format == "jpeg"


def test_a_wrong_size_is_an_error_and_leaves_no_file(
    make_image: Any, outputs: Path, files_below: Callable[[Path], list[str]]
) -> None:
    image = make_image((64, 64))
    object.__setattr__(image, "image", image.image.resize((64, 80)))
    with pytest.raises(StorageError, match="64x80, not 64x64"):
        ImageWriter(LocalFiles(outputs)).write(image, ID, NOW, {})
    assert files_below(outputs) == []


def test_a_side_that_the_format_cannot_hold_is_an_error(make_image: Any, outputs: Path) -> None:
    with pytest.raises(StorageError):  # WebP ends at 16,383
        ImageWriter(LocalFiles(outputs)).write(make_image((16_400, 64), options={"output.format": "webp"}), ID, NOW, {})


@pytest.mark.parametrize("call", ["fsync", "replace", "open"])
@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.ENOSPC, DiskFullError),
        (errno.EDQUOT, DiskFullError),
        (errno.EACCES, NotWritableError),
        (errno.EROFS, NotWritableError),
        (errno.EIO, StorageError),
    ],
)
def test_a_failing_call_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch,
    outputs: Path,
    files_below: Callable[[Path], list[str]],
    call: str,
    number: int,
    kind: type[StorageError],
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as planted, pytest.raises(StorageError) as caught:
        planted.setattr(os, call, fail)  # os.open opens the folder: the last step, when the file has its name already
        write_atomically(outputs / "2026-03-01" / "a.png", b"data")
    assert type(caught.value) is kind
    assert files_below(outputs) == []
    write_atomically(outputs / "2026-03-01" / "a.png", b"data")
    assert files_below(outputs) == ["2026-03-01/a.png"]


def test_an_interrupt_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, outputs: Path, files_below: Callable[[Path], list[str]]
) -> None:
    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(outputs / "a.png", b"data")
    assert files_below(outputs) == []


def test_everything_is_flushed_before_the_name_is_given(monkeypatch: pytest.MonkeyPatch, outputs: Path) -> None:
    order: list[str] = []
    real = {"fsync": os.fsync, "replace": os.replace}

    def noted(name: str) -> Callable[..., None]:
        return lambda *given: (order.append(name), real[name](*given))[1]

    for name in real:
        monkeypatch.setattr(os, name, noted(name))
    write_atomically(outputs / "a.png", b"data")
    assert order == ["fsync", "replace", "fsync"]  # the file, its name, the folder


def test_a_file_in_place_of_the_folder(make_image: Any, tmp_path: Path) -> None:
    (tmp_path / "outputs").write_text("not a folder")
    with pytest.raises(StorageError, match="outputs"):
        ImageWriter(LocalFiles(tmp_path / "outputs")).write(make_image(), ID, NOW, {})


def test_a_read_only_disk(make_image: Any, read_only_disk: Path) -> None:
    with pytest.raises(NotWritableError):
        ImageWriter(LocalFiles(read_only_disk)).write(make_image(), ID, NOW, {})


@pytest.mark.parametrize("format", ["png", "jpeg", "webp"])
@pytest.mark.by_default("png")
def test_a_full_disk_leaves_nothing_and_the_next_write_works(
    make_image: Any, tiny_disk: Path, outputs: Path, files_below: Callable[[Path], list[str]], format: str
) -> None:
    options = {"output.format": format, "output.quality": 100}
    large = make_image((1500, 1500), noise=True, options=options)
    with pytest.raises(DiskFullError):
        ImageWriter(LocalFiles(tiny_disk)).write(large, ID, NOW, {})
    assert files_below(tiny_disk) == []
    assert ImageWriter(LocalFiles(outputs)).write(large, ID, NOW, {}).bytes > 1_000_000
    ImageWriter(LocalFiles(tiny_disk)).write(make_image(), ID, NOW, {})
    assert len(files_below(tiny_disk)) == 1


def test_no_path_leads_out(tmp_path: Path) -> None:
    outputs = tmp_path / "outputs"
    outputs.mkdir()
    (outputs / "link").symlink_to(tmp_path)
    for bad in ("../x", "a/../../x", "/etc/passwd", "link/x", "link", "a\0b", "", "."):
        assert inside(outputs, bad) is None, bad
    assert inside(outputs, "2026-03-01/a.png") == outputs.resolve() / "2026-03-01" / "a.png"
