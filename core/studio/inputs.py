"""Pictures that others are made from."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from PIL import Image

from core import requests
from core.config.schema import AUTO
from core.model import passes
from core.model.canvas import laid
from core.model.edges import check_control, control_picture
from core.model.sizes import fitting_size, size_to_render
from core.studio.desk import Desk
from core.types import CONTROL, IMAGE, GenerationRequest, Sources


class InputPictures(Desk):
    """The verbs of input pictures."""

    def keep_input(self, data: bytes, name: str = "") -> str:
        """Store a picture that others can be made from; the digest by which a request names it (`inputs`).

        PNG, JPEG or WebP of at most 64 MB and 8192 pixels a side. It is turned upright as its EXIF says, laid over white
        where it is transparent, and kept as RGB of 8 bits; the same picture is kept once. Raises InputPictureError, which
        names the file `name`, or StorageError.
        """
        return self._inputs.keep(data, name)

    def input_file(self, digest: str) -> Path:
        """The PNG file of an input picture; NotFoundError when it is gone."""
        return self._inputs.file(digest)

    def input_size(self, digest: str) -> tuple[int, int]:
        """Its width and height in pixels; NotFoundError when it is gone."""
        return self._inputs.size(digest)

    def control_picture(self, request: GenerationRequest) -> bytes:
        """What the ControlNet will see of the request's control picture, at the size that is drawn, as PNG; nothing is queued.

        Raises NotFoundError when that picture is gone, InputError for options that contradict each other.
        """
        check_control(request.options, "form")
        size = size_to_render(self._catalog.find(request.model), request)
        with Image.open(self._inputs.file(request.inputs[CONTROL])) as stored:
            asked, resize = (request.width, request.height), not request.options["force_original_resolution"]
            seen = control_picture(laid(stored.convert("RGB"), asked, size, resize), request.options)
        buffer = io.BytesIO()
        seen.save(buffer, "PNG", compress_level=1)
        return buffer.getvalue()

    def over(self, request: GenerationRequest, sources: Sources, values: Mapping[str, Any]) -> GenerationRequest:
        """The request, drawn over the pictures of `sources`. `values` are those that it was made of, see `new_request`.

        Where neither they nor the settings say a size, it is that of the picture, or, if that is too large for the
        model, its ratio at the model's own. Raises InputsError for a picture that is not there.
        """
        request = replace(request, inputs=dict(sources.inputs), parent=sources.parent)
        chosen = {**self.settings.values, **requests.checked(values, "request")}
        model = self._catalog.find(request.model)
        requests.check_inputs(request, model, self._inputs.size)
        if IMAGE not in request.inputs or any(chosen[key] != AUTO for key in ("generation.width", "generation.height")):
            return request
        native = model.default_width * model.default_height
        size = self._inputs.size(request.inputs[IMAGE])
        width, height = fitting_size(size, native, model.size_multiple, model.max_side)
        return replace(request, width=width, height=height)

    def steps_run(self, request: GenerationRequest) -> int:
        """How many steps are really run for each picture of a complete request, over all its passes."""
        return passes.all_steps(request, self._catalog.find(request.model).pipeline, IMAGE in request.inputs)
