"""The tables, as SQLAlchemy sees them. A change here goes with a numbered migration in `migrations/versions/`.

Times are UTC, stored as ISO 8601 text with microseconds, so that they sort as they read and mean the same everywhere.
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
)

metadata = MetaData()

jobs = Table(
    "jobs",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=True),  # the order of arrival
    Column("id", String(32), nullable=False, unique=True),
    Column("state", String(16), nullable=False),
    Column("request", JSON, nullable=False),
    Column("progress", JSON),
    Column("error", JSON),
    Column("cancel_requested", Boolean, nullable=False, default=False),
    Column("worker", String(64)),  # who runs it
    Column("created_at", String(32), nullable=False),
    Column("started_at", String(32)),
    Column("finished_at", String(32)),
    Column("client", String(64), nullable=False, default=""),  # who asked
    Column("priority", Integer, nullable=False, default=0),  # the highest first
    Column("place", Integer, nullable=False),  # the order among equal priorities: arrival, until someone reorders
    Column("not_before", String(32)),
    Column("held", Boolean, nullable=False, default=False),
    Column("crashes", Integer, nullable=False, default=0),  # how often a worker died with it in hand
    Column("reported_at", String(32)),  # when its worker last said anything of it
    Column("key", String(200)),  # of an idempotent request, unique for its client
    Column("key_digest", String(64)),  # of what was asked under that key
    Index("ix_jobs_state_place", "state", "place"),
    Index("ix_jobs_place", "place"),
    Index("ix_jobs_client_key", "client", "key", unique=True),
)

switches = Table(  # a switch is on while its row is there
    "switches",
    metadata,
    Column("name", String(32), primary_key=True),
)

previews = Table(  # apart from jobs, so that reading a job never reads a picture
    "previews",
    metadata,
    Column("job_id", String(32), primary_key=True),
    Column("image", LargeBinary, nullable=False),
)

images = Table(
    "images",
    metadata,
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
    Column("num_inference_steps", Integer, nullable=False),
    Column("guidance_scale", Float, nullable=False),
    Column("seconds", Float, nullable=False),  # text + steps + decode
    Column("missing", Boolean, nullable=False, default=False),
    Index("ix_images_created_at_id", "created_at", "id"),  # one for each column that pages are sorted by
    Index("ix_images_seed_id", "seed", "id"),
    Index("ix_images_width_id", "width", "id"),
    Index("ix_images_height_id", "height", "id"),
    Index("ix_images_steps_id", "num_inference_steps", "id"),
    Index("ix_images_guidance_id", "guidance_scale", "id"),
    Index("ix_images_seconds_id", "seconds", "id"),
    Index("ix_images_job_id", "job_id"),
    Index("ix_images_model", "model", "created_at", "id"),
    Index("ix_images_size", "width", "height", "created_at", "id"),
)

image_records = Table(  # apart from images, which a search for words reads from end to end
    "image_records",
    metadata,
    Column("image_id", String(32), ForeignKey("images.id", ondelete="CASCADE"), primary_key=True),
    Column("record", JSON, nullable=False),  # the same record that the picture file carries, see records.py
)

workers = Table(  # one row for each worker process over this folder: what it last said of itself
    "workers",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("pid", Integer, nullable=False),
    Column("status", JSON, nullable=False),
    Column("updated_at", String(32), nullable=False),
)
