"""Where queue, history and pictures are kept, when one machine is not enough."""

from __future__ import annotations

from core.config.options.declare import START, basic

STORAGE = (
    basic(
        "storage.images",
        former=("output.storage",),
        type="str",
        default="",
        maximum=1000,
        takes_effect=START,
        label={"en": "Shared storage", "zh": "共享存储"},
        help={
            "en": "s3://bucket/folder, or file:///folder for a mounted one: images, their sidecar files and input "
            "images are stored there, for several machines. Keys come from the environment (AWS_ACCESS_KEY_ID ...). "
            "Empty: the output folder, which always holds thumbnails and logs.",
            "zh": "s3://桶/文件夹，或挂载的文件夹 file:///文件夹：图片、其旁的文件和输入图片存放在那里，供多台机器共用。"
            "密钥取自环境变量（AWS_ACCESS_KEY_ID 等）。留空则存放在输出文件夹；缩略图和日志始终在输出文件夹。",
        },
    ),
    basic(
        "storage.database",
        type="str",
        default="",
        maximum=1000,
        takes_effect=START,
        label={"en": "Database server", "zh": "数据库服务器"},
        help={
            "en": "postgresql://user@host:5432/name stores queue and history on a PostgreSQL server, for several machines. "
            "The password comes from PGPASSWORD or PGPASSFILE. Empty: a file in the output folder.",
            "zh": "postgresql://user@host:5432/name 把队列和历史放在 PostgreSQL 服务器上，供多台机器共用。"
            "密码取自 PGPASSWORD 或 PGPASSFILE。留空则使用输出文件夹中的文件。",
        },
    ),
)
