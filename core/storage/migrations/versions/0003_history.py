"""Words, advanced options, ratings, tags, collections, notes and the trash become part of the history's rows; sweeps."""

import hashlib
import json

from alembic import op
from sqlalchemy import JSON, BigInteger, Boolean, Column, Float, ForeignKey, Integer, String, Text, text

from core.storage.dialects import dialect_of

revision = "0003"
down_revision = "0002"

OLD_INDEXES = (
    "created_at_id", "seed_id", "width_id", "height_id", "steps_id", "guidance_id", "seconds_id", "job_id", "model", "size",
)  # fmt: skip
KEPT = (
    "id, job_id, created_at, file, format, width, height, bytes, prompt, negative_prompt, model, seed, "
    "num_inference_steps, guidance_scale, seconds, missing"
)


def upgrade() -> None:
    for name in OLD_INDEXES:
        op.drop_index(f"ix_images_{name}")
    # Renamed first and dropped last: dropping `images` while records point at it would delete them with it.
    op.rename_table("image_records", "old_image_records")
    op.rename_table("images", "old_images")
    _create_tables()
    op.execute(f"INSERT INTO images ({KEPT}) SELECT {KEPT} FROM old_images ORDER BY created_at, id")
    op.execute("INSERT INTO image_records SELECT image_id, record FROM old_image_records")
    op.drop_table("old_image_records")
    op.drop_table("old_images")
    _fill_words()
    _fill_options()


def _create_tables() -> None:
    op.create_table(
        "option_sets",
        Column("id", Integer, primary_key=True),
        Column("digest", String(64), nullable=False, unique=True),
        Column("options", JSON, nullable=False),
    )
    op.create_table(
        "images",
        Column("number", Integer, primary_key=True),
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
        Column("num_inference_steps", Integer().with_variant(BigInteger(), "postgresql"), nullable=False),
        Column("guidance_scale", Float, nullable=False),
        Column("seconds", Float, nullable=False),
        Column("missing", Boolean, nullable=False),
        Column("option_set", Integer, ForeignKey("option_sets.id")),
        Column("digest", String(64)),
        Column("rating", Integer, nullable=False, server_default="0"),
        Column("favourite", Boolean, nullable=False, server_default="0"),
        Column("note", Text, nullable=False, server_default=""),
        Column("trashed_at", String(32)),
    )
    op.create_index("ix_images_job_id", "images", ["job_id"])
    op.create_index("ix_images_digest", "images", ["digest"])
    kept, trashed = text("trashed_at IS NULL"), text("trashed_at IS NOT NULL")
    op.create_index("ix_images_trashed_at", "images", ["trashed_at"], sqlite_where=trashed, postgresql_where=trashed)
    op.create_index(
        "ix_images_filter",
        "images",
        ["created_at", "id", "model", "width", "height", "num_inference_steps", "guidance_scale", "seed", "seconds",
         "rating", "favourite", "format", "bytes", "missing", "option_set", "trashed_at"],
        sqlite_where=kept,
        postgresql_where=kept,
    )  # fmt: skip
    op.create_table(
        "image_labels",
        Column("kind", String(16), primary_key=True),
        Column("name", String(200), primary_key=True),
        Column("number", Integer, ForeignKey("images.number", ondelete="CASCADE"), primary_key=True),
    )
    op.create_index("ix_image_labels_number", "image_labels", ["number"])
    op.create_table(
        "image_records",
        Column("image_id", String(32), ForeignKey("images.id", ondelete="CASCADE"), primary_key=True),
        Column("record", JSON, nullable=False),
    )
    op.create_table(
        "sheets",
        Column("id", String(32), primary_key=True),
        Column("created_at", String(32), nullable=False),
        Column("image_id", String(32), nullable=False),
        Column("axes", JSON, nullable=False),
        Column("jobs", JSON, nullable=False),
    )
    dialect_of(op.get_bind()).make_words(op.get_bind())


def _fill_words() -> None:
    connection = op.get_bind()
    rows = connection.exec_driver_sql("SELECT number, prompt, negative_prompt FROM images").all()
    dialect_of(connection).put_words(connection, [(number, prompt, negative) for number, prompt, negative in rows])


def _fill_options() -> None:
    """A record that is not as expected keeps its image, without options to find it by."""
    connection = op.get_bind()
    sets: dict[str, int] = {}
    found = []
    for image_id, record in connection.exec_driver_sql("SELECT image_id, CAST(record AS TEXT) FROM image_records"):
        data = json.loads(record)
        requested = data.get("requested") if isinstance(data, dict) else None
        options = requested.get("options") if isinstance(requested, dict) else None
        words = json.dumps(options if isinstance(options, dict) else {}, sort_keys=True)
        found.append((sets.setdefault(words, len(sets) + 1), image_id))
    if found:
        connection.execute(
            text("INSERT INTO option_sets (id, digest, options) VALUES (:id, :digest, :options)"),
            [
                {"id": number, "digest": hashlib.sha256(words.encode()).hexdigest(), "options": words}
                for words, number in sets.items()
            ],
        )
        connection.execute(
            text("UPDATE images SET option_set = :number WHERE id = :id"),
            [{"number": number, "id": image_id} for number, image_id in found],
        )
