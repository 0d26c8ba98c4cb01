"""What is filtered and sorted by, found by an image's number as well: words and tags know numbers."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    kept = sa.text("trashed_at IS NULL")
    op.create_index(
        "ix_images_number",
        "images",
        ["number", "created_at", "id", "model", "width", "height", "num_inference_steps", "guidance_scale", "seed",
         "seconds", "rating", "favourite", "format", "bytes", "missing", "option_set", "trashed_at"],
        sqlite_where=kept,
        postgresql_where=kept,
    )  # fmt: skip
