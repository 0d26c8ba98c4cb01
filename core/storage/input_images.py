"""Store input images of img2img, inpaint and ControlNet once each, as `<outputs>/inputs/<digest>.png`, and read masks.

A digest is the SHA-256 of width, height and RGB pixels: the same image has the same name whatever file it came in, on every
machine, and a stored image can be checked against its name.

Masks are grey, or strokes on a transparent layer, of any size. White is where the image is generated anew. A1111 takes the alpha
of a mask that is not opaque (strokes are white, whatever their colour); OpenAI's edits take what is transparent.
"""

from __future__ import annotations

import io
import re
import threading
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

from PIL import Image, ImageChops, ImageCms, ImageFilter, ImageOps

from core.errors import InputImageError, InputQuotaError, NotFoundError
from core.i18n import localize
from core.storage.files import Files, files_of
from core.storage.image_containers import decoding

FOLDER = "inputs"
FORMATS = ("PNG", "JPEG", "WEBP")
MAX_FILE = 64_000_000  # bytes
MAX_SIDE = 8192  # px; a longer side than any model renders
SMALLEST_SIDE = 16  # px
MEGABYTE = 1_000_000
COUNT_SECONDS = 60.0  # between two looks at how much is stored
FRESH_SECONDS = 24 * 3600  # what nothing refers to is kept this long: its job may be about to be queued
_DIGEST = re.compile(r"[0-9a-f]{64}")


def is_digest(text: object) -> bool:
    """Return whether `text` has the form of a digest; only then may it become part of a file name."""
    return isinstance(text, str) and _DIGEST.fullmatch(text) is not None


class InputImages:
    """The input images among some files, or below one folder. For any number of threads and processes."""

    def __init__(self, place: Files | Path, daily_bytes: int | None = None) -> None:
        """`daily_bytes`: how much may be stored within a day; None = any amount."""
        self._files = files_of(place)
        self._daily = daily_bytes
        self._stored = 0  # bytes of the last day, as counted at `_counted`, and what was added since
        self._counted = -COUNT_SECONDS
        self._guard = threading.Lock()

    def keep(self, data: bytes, name: str = "") -> str:
        """Store the image in `data`; its digest. `name` is what people call the file, for errors only.

        It is turned upright as its EXIF says, converted to sRGB from its ICC profile, laid over white where it is transparent,
        and stored as RGB of 8 bits; of an animation its first frame. Raises InputImageError or StorageError.
        """
        return self._store(_decoded(data, name or "?"))

    def keep_mask(
        self, data: bytes, name: str, size: tuple[int, int] | None = None, transparent: bool = False, invert: bool = False,
        blur: float = 0.0,
    ) -> str:  # fmt: skip
        """Store the mask in `data` at `size`, by default its own, see `read_mask`; its digest. Raises as `keep`."""
        with _opened(data, name or "?") as image:
            turned = _turned(image)
            mask = read_mask(turned, size or turned.size, transparent, invert, blur)
        return self._store(mask.convert("RGB"))

    def is_transparent(self, data: bytes, name: str = "") -> bool:
        """Return True for an image that is not opaque everywhere. Raises InputImageError."""
        with _opened(data, name or "?") as image:
            return has_holes(_turned(image))

    def _store(self, image: Image.Image) -> str:
        digest = _digest(image)
        name = _name(digest)
        if self._files.has(name) and self._files.freshen(name):  # used again just now
            return digest
        buffer = io.BytesIO()
        image.save(buffer, "PNG", compress_level=4)
        self._check_quota(len(buffer.getvalue()))
        self._files.write(name, buffer.getvalue())
        return digest

    def _check_quota(self, more: int) -> None:
        """Raise InputQuotaError when this image would exceed what may be stored within a day.

        What nothing refers to is removed after a day, and the queue is bounded: so what may be stored in all is, too.
        """
        if self._daily is None:
            return
        with self._guard:
            if time.monotonic() - self._counted > COUNT_SECONDS:
                entries = (entry for entry in self._files.entries(FOLDER) if entry.age() < FRESH_SECONDS)
                self._stored, self._counted = sum(entry.size() for entry in entries), time.monotonic()
            if self._stored + more > self._daily:
                raise InputQuotaError(value=self._stored // MEGABYTE, allowed=self._daily // MEGABYTE)
            self._stored += more

    def file(self, digest: str) -> Path:
        """Return the PNG file. Raises NotFoundError."""
        if is_digest(digest) and (path := self._files.path(_name(digest))) is not None:
            return path
        raise NotFoundError(kind="input image", value=str(digest)[:64])

    def size(self, digest: str) -> tuple[int, int]:
        """Return width and height in pixels from the file's header. Raises NotFoundError or InputImageError."""
        path = self.file(digest)
        try:
            with Image.open(path, formats=FORMATS) as image:
                return image.size
        except Exception as error:  # Pillow raises many kinds on damaged files
            raise InputImageError(file=path.name, detail=_DAMAGED) from error

    def read(self, digest: str) -> Image.Image:
        """Return the image, RGB, checked against its name. Raises NotFoundError or InputImageError."""
        path = self.file(digest)
        image = _decoded(path.read_bytes(), path.name)
        if _digest(image) != digest:
            raise InputImageError(file=path.name, detail=_DAMAGED)
        return image

    def remove_others(self, kept: Collection[str]) -> int:
        """Remove what is not among `kept` and not fresh; how many that were."""
        known = {_name(digest) for digest in kept}
        old = [entry.name for entry in self._files.entries(FOLDER) if _is_input(entry.name) and entry.name not in known
               and entry.age() > FRESH_SECONDS]  # fmt: skip
        for name in old:
            self._files.remove(name)
        return len(old)


def _name(digest: str) -> str:
    return f"{FOLDER}/{digest}.png"


def _is_input(name: str) -> bool:
    return name.endswith(".png") and is_digest(name.removeprefix(f"{FOLDER}/").removesuffix(".png"))


def _decoded(data: bytes, name: str) -> Image.Image:
    """Return the image as it is seen. Raises InputImageError; sizes are looked at before any pixel is decoded."""
    with _opened(data, name) as image:
        return _upright(image)


@contextmanager
def _opened(data: bytes, name: str) -> Iterator[Image.Image]:
    """Open an image file of an allowed size. Raises InputImageError, also for what the decoder raises within."""
    if len(data) > MAX_FILE:
        raise InputImageError(file=name, detail=f"{len(data) // 1_000_000} MB > {MAX_FILE // 1_000_000} MB")
    try:
        with decoding(io.BytesIO(data), name, FORMATS) as image:
            _check_size(image.size, name)
            yield image
    except InputImageError:
        raise
    except Exception as error:  # Pillow raises many kinds on what is no image, and on bombs
        raise InputImageError(file=name, detail=_NO_IMAGE) from error


def _check_size(size: tuple[int, int], name: str) -> None:
    if not SMALLEST_SIDE <= min(size) <= max(size) <= MAX_SIDE:
        found = f"{size[0]}x{size[1]}"
        detail = localize(
            "storage.input_images.it_has_pixels_and_sides_of",
            value=found,
            smallest_side=SMALLEST_SIDE,
            max_side=MAX_SIDE,
        )
        raise InputImageError(file=name, detail=detail)


def _upright(image: Image.Image) -> Image.Image:
    """Return RGB, turned as EXIF says, over white where it is transparent."""
    turned = _turned(image)
    if turned.has_transparency_data:
        layer = turned.convert("RGBA")
        white = Image.new("RGBA", layer.size, "white")
        return Image.alpha_composite(white, layer).convert("RGB")
    return turned.convert("RGB")


def _turned(image: Image.Image) -> Image.Image:
    """Decode and turn as EXIF says, in the colours of sRGB; 16 bits of grey become 8."""
    image.load()
    turned = as_srgb(ImageOps.exif_transpose(image))
    if turned.mode.startswith("I;16"):
        turned = turned.convert("I").point(lambda value: value * (1 / 256)).convert("L")
    return turned


def as_srgb(image: Image.Image) -> Image.Image:
    """Return the image converted from the ICC profile that it carries to sRGB; as it is where it has none that can be read.

    Grey images are left alone: their profiles are curves of printing, and masks are numbers.
    """
    profile = image.info.get("icc_profile")
    if not profile or image.mode not in ("RGB", "RGBA", "RGBX", "CMYK", "P", "PA"):
        return image
    if image.mode in ("P", "PA"):
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    wanted = image.mode if image.mode == "RGBA" else "RGB"
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        made = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode=wanted)
    except (ImageCms.PyCMSError, OSError, ValueError):  # a damaged profile, or one for other channels
        return image
    assert made is not None  # it is for images that are changed in place
    return made


def _digest(image: Image.Image) -> str:
    width, height = image.size
    return sha256(f"{width}x{height} RGB\n".encode() + image.tobytes()).hexdigest()


_NO_IMAGE = localize("storage.input_images.no_image")
_DAMAGED = localize("storage.input_images.damaged")


Size = tuple[int, int]  # width, height in pixels
HALF = 128  # of alpha: what is more opaque is a stroke


def has_holes(image: Image.Image) -> bool:
    """Return True for an image that is not opaque everywhere."""
    return image.has_transparency_data and image.convert("RGBA").getchannel("A").getextrema() != (255, 255)


def read_mask(
    image: Image.Image, size: Size, transparent: bool = False, invert: bool = False, blur: float = 0.0
) -> Image.Image:
    """Return the mask (L, `size`), white where the image is generated anew.

    `transparent` takes what is transparent for white, as OpenAI does, else the strokes are white. `invert` exchanges black
    and white; `blur` is the standard deviation of a Gaussian blur in pixels of `size`.
    """
    if has_holes(image):
        alpha = image.convert("RGBA").getchannel("A")
        mask = ImageChops.invert(alpha) if transparent else alpha.point(lambda value: 255 * (value > HALF))
    else:
        mask = image.convert("L")
    if mask.size != size:
        mask = mask.resize(size, Image.Resampling.LANCZOS)
    if invert:
        mask = ImageChops.invert(mask)
    return mask.filter(ImageFilter.GaussianBlur(blur)) if blur > 0 else mask
