"""The CFG scale as users know it, 1 = off, in place of CFG - 1."""

from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.execute("ALTER TABLE images RENAME COLUMN guidance_scale TO cfg_scale")  # the indexes follow
    whole = "cfg_scale + 1" if op.get_bind().dialect.name == "sqlite" else "CAST(cfg_scale AS numeric) + 1"
    op.execute(f"UPDATE images SET cfg_scale = ROUND({whole}, 6) WHERE cfg_scale >= 0")  # below 0: unknown
