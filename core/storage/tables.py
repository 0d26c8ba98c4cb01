"""Define the tables for SQLAlchemy. A change here goes with a numbered migration in `migrations/versions/`.

Times are UTC, stored as ISO 8601 text with microseconds, so that they sort as they read and mean the same everywhere.
"""

from __future__ import annotations

from typing import Any

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
    text,
)

metadata = MetaData()

TEXTS = "image_texts"  # the index of words, made by the dialects
WHOLE = Integer().with_variant(BigInteger(), "postgresql")  # SQLite's integers have 64 bits anyway
FILTERED = (
    "created_at", "id", "model", "width", "height", "num_inference_steps", "cfg_scale", "seed", "seconds", "rating",
    "favourite", "format", "bytes", "missing", "option_set", "trashed_at",
)  # fmt: skip


def _only(condition: str) -> dict[str, Any]:
    """Return an index over these rows alone."""
    return {"sqlite_where": text(condition), "postgresql_where": text(condition)}


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
    Column("reported_at", String(32)),  # when its worker last reported on it
    Column("key", String(200)),  # of an idempotent request, unique for its client
    Column("key_digest", String(64)),  # of what was asked under that key
    Index("ix_jobs_state_place", "state", "place"),
    Index("ix_jobs_place", "place"),
    Index(  # the line as it runs, with all that positions and limits ask for: a request is kilobytes
        "ix_jobs_line", "state", text("priority DESC"), "place", "held", "not_before", "client"
    ),
    Index("ix_jobs_client_key", "client", "key", unique=True),
)

switches = Table(  # a switch is on while its row is there
    "switches",
    metadata,
    Column("name", String(32), primary_key=True),
)

previews = Table(  # apart from jobs, so that reading a job never reads an image
    "previews",
    metadata,
    Column("job_id", String(32), primary_key=True),
    Column("image", LargeBinary, nullable=False),
)

batches = Table(  # apart from jobs: written once, where a job is written at every step
    "batches",
    metadata,
    Column("job_id", String(32), primary_key=True),
    Column("pictures", JSON, nullable=False),  # what each image has of its own, see GenerationRequest
)

option_sets = Table(  # the advanced options of images: many images share one set, so a filter reads few rows
    "option_sets",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("digest", String(64), nullable=False, unique=True),
    Column("options", JSON, nullable=False),
)

images = Table(
    "images",
    metadata,
    Column("number", Integer, primary_key=True),  # what the index of words calls the row
    Column("id", String(32), nullable=False, unique=True),
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
    Column("num_inference_steps", WHOLE, nullable=False),
    Column("cfg_scale", Float, nullable=False),
    Column("seconds", Float, nullable=False),  # text + steps + decode
    Column("missing", Boolean, nullable=False, default=False),
    Column("option_set", Integer, ForeignKey("option_sets.id")),
    Column("digest", String(64)),  # SHA-256 of the file; none for rows of an earlier version until they are checked
    Column("rating", Integer, nullable=False, default=0, server_default="0"),  # 0 (none) to 5
    Column("favourite", Boolean, nullable=False, default=False, server_default="0"),
    Column("note", Text, nullable=False, default="", server_default=""),
    Column("trashed_at", String(32)),
    Column("place", WHOLE),  # which of its job's images, from 1
    Index("ix_images_job_id", "job_id", "place", "id"),  # all that a look at a job asks for, without reading rows
    Index("ix_images_digest", "digest"),
    Index("ix_images_trashed_at", "trashed_at", **_only("trashed_at IS NOT NULL")),
    # All that is filtered and sorted by, in the usual order: any question is one walk over it, see query_sql.py.
    Index("ix_images_filter", *FILTERED, **_only("trashed_at IS NULL")),
    # The same for those who know the numbers: words, tags.
    Index("ix_images_number", "number", *FILTERED, **_only("trashed_at IS NULL")),
)

image_labels = Table(  # tags, the collections that an image is in, the program that made it, and its owner
    "image_labels",
    metadata,
    Column("kind", String(16), primary_key=True),
    Column("name", String(200), primary_key=True),
    Column("number", Integer, ForeignKey("images.number", ondelete="CASCADE"), primary_key=True),
    Index("ix_image_labels_number", "number"),
)

hidden_collections = Table(  # collections whose images are shown only after a password was typed
    "hidden_collections",
    metadata,
    Column("owner", String(64), primary_key=True),  # the client of a user; "" without users
    Column("name", String(200), primary_key=True),
    Column("hash", String(200), nullable=False),
    Column("created_at", String(32), nullable=False),
)

image_records = Table(  # apart from images: only what is shown is read
    "image_records",
    metadata,
    Column("image_id", String(32), ForeignKey("images.id", ondelete="CASCADE"), primary_key=True),
    Column("record", JSON, nullable=False),  # the same record that the image file carries, see record_codec.py
)

image_inputs = Table(  # what an image was made from
    "image_inputs",
    metadata,
    Column("role", String(16), primary_key=True),  # of an input image, or "parent"
    Column("source", String(64), primary_key=True),  # its digest, or the id of the image of the history
    Column("number", Integer, ForeignKey("images.number", ondelete="CASCADE"), primary_key=True),
    Index("ix_image_inputs_number", "number"),
)

sheets = Table(  # sweeps: one image over the values of one or two options
    "sheets",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("created_at", String(32), nullable=False),
    Column("image_id", String(32), nullable=False),
    Column("axes", JSON, nullable=False),
    Column("jobs", JSON, nullable=False),
)

difference_studies = Table(  # why two images differ: images between them, a change at a time
    "difference_studies",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("created_at", String(32), nullable=False),
    Column("plan", JSON, nullable=False),
    Column("jobs", JSON, nullable=False),
)

benchmarks = Table(  # the same prompts and seeds by several columns; a column's images are those of its job
    "comparisons",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("created_at", String(32), nullable=False),
    Column("columns", JSON, nullable=False),
    Column("prompts", JSON, nullable=False),
    Column("seeds", JSON, nullable=False),
    Index("ix_comparisons_created_at", "created_at"),
)

benchmark_votes = Table(  # one of each voter for each pair of images
    "comparison_votes",
    metadata,
    Column("comparison_id", String(32), ForeignKey("comparisons.id", ondelete="CASCADE"), primary_key=True),
    Column("voter", String(64), primary_key=True),
    Column("place", Integer, primary_key=True),
    Column("one", Integer, primary_key=True),
    Column("other", Integer, primary_key=True),
    Column("winner", Integer),  # a column; none: equal
)

workers = Table(  # one row for each worker process over this folder: its last status
    "workers",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("pid", Integer, nullable=False),
    Column("status", JSON, nullable=False),
    Column("updated_at", String(32), nullable=False),
)
