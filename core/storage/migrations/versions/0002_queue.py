"""Jobs get priority, place, client, time, hold, crashes and idempotency key; the queue gets switches."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("jobs", sa.Column("client", sa.String(64), nullable=False, server_default=""))
    op.add_column("jobs", sa.Column("priority", sa.Integer, nullable=False, server_default="0"))
    op.add_column("jobs", sa.Column("place", sa.Integer, nullable=False, server_default="0"))
    op.add_column("jobs", sa.Column("not_before", sa.String(32)))
    op.add_column("jobs", sa.Column("held", sa.Boolean, nullable=False, server_default=sa.false()))
    op.add_column("jobs", sa.Column("crashes", sa.Integer, nullable=False, server_default="0"))
    op.add_column("jobs", sa.Column("reported_at", sa.String(32)))
    op.add_column("jobs", sa.Column("key", sa.String(200)))
    op.add_column("jobs", sa.Column("key_digest", sa.String(64)))
    op.execute("UPDATE jobs SET place = number")  # what waits keeps its order
    op.drop_index("ix_jobs_state_number", "jobs")
    op.create_index("ix_jobs_state_place", "jobs", ["state", "place"])
    op.create_index("ix_jobs_place", "jobs", ["place"])
    op.create_index("ix_jobs_client_key", "jobs", ["client", "key"], unique=True)
    op.create_table("switches", sa.Column("name", sa.String(32), primary_key=True))
