"""Jobs, previews, images with their records, and workers."""

from alembic import op
from sqlalchemy import JSON, BigInteger, Boolean, Column, Float, ForeignKey, Integer, LargeBinary, String, Text

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "jobs",
        Column("number", Integer, primary_key=True, autoincrement=True),
        Column("id", String(32), nullable=False, unique=True),
        Column("state", String(16), nullable=False),
        Column("request", JSON, nullable=False),
        Column("progress", JSON),
        Column("error", JSON),
        Column("cancel_requested", Boolean, nullable=False),
        Column("worker", String(64)),
        Column("created_at", String(32), nullable=False),
        Column("started_at", String(32)),
        Column("finished_at", String(32)),
    )
    op.create_index("ix_jobs_state_number", "jobs", ["state", "number"])
    op.create_table(
        "previews",
        Column("job_id", String(32), primary_key=True),
        Column("image", LargeBinary, nullable=False),
    )
    op.create_table(
        "images",
        Column("id", String(32), primary_key=True),
        Column("job_id", String(32)),
        Column("created_at", String(32), nullable=False),
        Column("file", String(500), nullable=False, unique=True),
        Column("format", String(8), nullable=False),
        Column("width", Integer, nullable=False),
        Column("height", Integer, nullable=False),
        Column("bytes", BigInteger, nullable=False),
        Column("prompt", Text, nullable=False),
        Column("negative_prompt", Text, nullable=False),
        Column("model", String(500), nullable=False),
        Column("seed", BigInteger, nullable=False),
        Column("num_inference_steps", Integer().with_variant(BigInteger(), "postgresql"), nullable=False),
        Column("guidance_scale", Float, nullable=False),
        Column("seconds", Float, nullable=False),
        Column("missing", Boolean, nullable=False),
    )
    op.create_index("ix_images_created_at_id", "images", ["created_at", "id"])
    op.create_index("ix_images_seed_id", "images", ["seed", "id"])
    op.create_index("ix_images_width_id", "images", ["width", "id"])
    op.create_index("ix_images_height_id", "images", ["height", "id"])
    op.create_index("ix_images_steps_id", "images", ["num_inference_steps", "id"])
    op.create_index("ix_images_guidance_id", "images", ["guidance_scale", "id"])
    op.create_index("ix_images_seconds_id", "images", ["seconds", "id"])
    op.create_index("ix_images_job_id", "images", ["job_id"])
    op.create_index("ix_images_model", "images", ["model", "created_at", "id"])
    op.create_index("ix_images_size", "images", ["width", "height", "created_at", "id"])
    op.create_table(
        "image_records",
        Column("image_id", String(32), ForeignKey("images.id", ondelete="CASCADE"), primary_key=True),
        Column("record", JSON, nullable=False),
    )
    op.create_table(
        "workers",
        Column("id", String(64), primary_key=True),
        Column("pid", Integer, nullable=False),
        Column("status", JSON, nullable=False),
        Column("updated_at", String(32), nullable=False),
    )
