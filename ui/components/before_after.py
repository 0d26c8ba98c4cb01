"""Show what an image was made from and the image on one another, with a movable divider, and its place in a chain of edits."""

from __future__ import annotations

from core.config.options import SCHEMA
from core.studio import Studio
from core.types import IMAGE, ImageRecord
from ui.components import custom_components, lineage
from ui.i18n import t
from ui.state import generate_page as generate_state


def applies(record: ImageRecord) -> bool:
    """Return True for an image made over a source image whose frame it keeps: nothing was added around it."""
    added = (key for key in record.request.options if key.startswith("outpaint."))
    neutral = all(record.request.options[key] == SCHEMA.options[key].default for key in added)
    return IMAGE in record.request.inputs and neutral


def draw(studio: Studio, record: ImageRecord) -> None:
    """Show the divider over the two images, then the chain; a click on an image of it shows that one."""
    source = custom_components.input_url(record.request.inputs[IMAGE])
    images = [(source, t("inputs.source")), (custom_components.image_url(record.id), record.request.prompt)]
    custom_components.slider(images, record.width / record.height, t("stage.compare"), key="before_after")
    lineage.strips(studio, record, generate_state.show_image)
