"""Which program made an imported image, as a label, so that imported images can be found and counted."""

from alembic import op

revision = "0009"
down_revision = "0008"

SQLITE = "substr(json_extract(image_records.record, '$.resolved.taken_in_from'), 1, 200)"
POSTGRESQL = "substr(image_records.record -> 'resolved' ->> 'taken_in_from', 1, 200)"


def upgrade() -> None:
    sqlite = op.get_bind().dialect.name == "sqlite"
    program, readable = (SQLITE, "json_valid(image_records.record)") if sqlite else (POSTGRESQL, "true")
    op.execute(
        f"INSERT INTO image_labels (kind, name, number) SELECT 'program', {program}, images.number FROM images "
        "JOIN image_records ON image_records.image_id = images.id "
        f"WHERE CAST(image_records.record AS text) LIKE '%taken_in_from%' AND {readable} AND {program} <> ''"
    )
