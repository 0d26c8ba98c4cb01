"""Where queue, history and pictures are kept, when one machine is not enough."""

from __future__ import annotations

from core.config.options.declare import START, basic

STORAGE = (
    basic(
        "storage.database",
        type="str",
        default="",
        maximum=1000,
        takes_effect=START,
        label={"en": "Database server", "zh": "数据库服务器"},
        help={
            "en": "postgresql://user@host:5432/name keeps queue and history on a PostgreSQL server, for several machines. "
            "The password comes from PGPASSWORD or PGPASSFILE. Empty: a file in the output folder.",
            "zh": "postgresql://user@host:5432/name 把队列和历史放在 PostgreSQL 服务器上，供多台机器共用。"
            "密码取自 PGPASSWORD 或 PGPASSFILE。留空则使用输出文件夹中的文件。",
        },
    ),
)
