"""An image may be made from others: by digest, and by the id of the one in the history that it came from."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.create_table(
        "image_inputs",
        sa.Column("role", sa.String(16), primary_key=True),
        sa.Column("source", sa.String(64), primary_key=True),
        sa.Column("number", sa.Integer, sa.ForeignKey("images.number", ondelete="CASCADE"), primary_key=True),
    )
    op.create_index("ix_image_inputs_number", "image_inputs", ["number"])
