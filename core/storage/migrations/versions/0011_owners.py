"""Hidden collections, and the owner of each image as a label: the user whose job made it."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    op.create_table(
        "hidden_collections",
        sa.Column("owner", sa.String(64), primary_key=True),
        sa.Column("name", sa.String(200), primary_key=True),
        sa.Column("hash", sa.String(200), nullable=False),
        sa.Column("created_at", sa.String(32), nullable=False),
    )
    op.execute(
        "INSERT INTO image_labels (kind, name, number) SELECT 'owner', jobs.client, images.number FROM images "
        "JOIN jobs ON jobs.id = images.job_id WHERE jobs.client LIKE 'user:%'"
    )
