"""A job may have images that differ in more than their seed; an image says which of its job's it is."""

import sqlalchemy as sa
from alembic import op

from core.storage.dialects import dialect_of

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_table(
        "batches",
        sa.Column("job_id", sa.String(32), primary_key=True),
        sa.Column("pictures", sa.JSON, nullable=False),
    )
    op.add_column("images", sa.Column("place", sa.Integer().with_variant(sa.BigInteger(), "postgresql")))
    wording = dialect_of(op.get_bind())
    op.execute(  # until now image k had the seed of its job + k: a job that is interrupted by the update goes on
        f"UPDATE images SET place = seed + 1 - (SELECT {wording.json_number('request', 'seed')} FROM jobs "
        f"WHERE id = images.job_id) WHERE job_id IN (SELECT id FROM jobs WHERE {wording.is_json('request')})"
    )
    op.drop_index("ix_images_job_id", "images")
    op.create_index("ix_images_job_id", "images", ["job_id", "place", "id"])
