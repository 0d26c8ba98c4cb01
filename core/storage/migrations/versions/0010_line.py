"""The line of waiting jobs as an index: who is next, positions and limits are read without the requests."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    op.create_index(
        "ix_jobs_line", "jobs", ["state", sa.text("priority DESC"), "place", "held", "not_before", "client"]
    )
