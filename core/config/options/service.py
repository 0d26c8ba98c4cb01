"""Declare the options of the pages and of the HTTP service: addresses, who may call, quotas and limits."""

from __future__ import annotations

from core.config.options.helpers import interface, service
from core.config.schema import AUTO

UI = (
    interface(
        "ui.language",
        type="choice",
        choices=(AUTO, "zh", "en"),
        default=AUTO,
        label={"en": "Language", "zh": "语言"},
        help={"en": "auto follows the browser.", "zh": "auto 跟随浏览器。"},
    ),
    interface(
        "ui.poll_seconds",
        type="float",
        default=0.6,
        minimum=0.2,
        maximum=10.0,
        unit="s",
        label={"en": "Refresh interval", "zh": "刷新间隔"},
        help={
            "en": "How often the pages ask how a running job is getting on.",
            "zh": "页面多久查询一次正在运行的任务。",
        },
    ),
    interface(
        "ui.history_page_size",
        type="int",
        default=60,
        minimum=10,
        maximum=500,
        label={"en": "Images per page", "zh": "每页图片数"},
        help={"en": "In the history.", "zh": "用于历史页。"},
    ),
    interface(
        "ui.history_view",
        type="choice",
        choices=("gallery", "table"),
        default="gallery",
        label={"en": "Default history view", "zh": "历史的默认视图"},
        help={"en": "Gallery or table.", "zh": "图库或表格。"},
    ),
    interface(
        "ui.size_presets",
        type="list",
        default=("1:1", "4:3", "3:4", "3:2", "2:3", "16:9", "9:16"),
        label={"en": "Size presets", "zh": "尺寸预设"},
        help={
            "en": "Aspect ratios offered as buttons, at the native resolution of the model; sizes such as 1280x720 work, too.",
            "zh": "以模型原生分辨率提供的宽高比按钮；也可写成 1280x720 这样的具体尺寸。",
        },
    ),
)

SERVER = (
    service(
        "server.host",
        former=("access.address",),
        type="str",
        maximum=64,
        default="127.0.0.1",
        label={"en": "Listen address", "zh": "监听地址"},
        help={
            "en": "127.0.0.1: this machine only; 0.0.0.0: the network, which requires a token or users.",
            "zh": "127.0.0.1 只允许本机访问；0.0.0.0 允许网络访问，须先设令牌或用户。",
        },
    ),
    service(
        "server.port",
        former=("ui.port",),
        type="int",
        default=8501,
        minimum=1024,
        maximum=65535,
        label={"en": "Port", "zh": "端口"},
        help={
            "en": "The app listens at this port; server.host says for whom.",
            "zh": "应用监听此端口；server.host 决定谁能访问。",
        },
    ),
    service(
        "server.allowed_hosts",
        former=("access.hosts",),
        type="list",
        default=(),
        label={"en": "Allowed hosts", "zh": "允许的主机名"},
        help={
            "en": "Host names that clients use, such as studio.example; requests with another Host are refused.",
            "zh": "他人访问时使用的主机名，如 studio.example；以其他名称访问会被拒绝。",
        },
    ),
    service(
        "server.cors_origins",
        type="list",
        default=(),
        label={"en": "Web pages that may call the service", "zh": "可调用接口的网页来源"},
        help={
            "en": "Origins of pages on other addresses, such as http://localhost:5001 for KoboldAI Lite; null = a file opened "
            "in a browser; * = any page, with a token or users only.",
            "zh": "其他地址上网页的来源，如 KoboldAI Lite 的 http://localhost:5001；null 表示在浏览器中打开的文件；"
            "* 表示任何网页，须有令牌或用户。",
        },
    ),
    service(
        "server.trusted_proxies",
        type="list",
        default=(),
        label={"en": "Trusted reverse proxies", "zh": "受信任的反向代理"},
        help={
            "en": "Addresses or networks, such as 127.0.0.1, whose X-Forwarded-For and X-Forwarded-Proto are believed.",
            "zh": "地址或网段，如 127.0.0.1，相信其 X-Forwarded-For 与 X-Forwarded-Proto。",
        },
    ),
)

ACCESS = (
    service(
        "server.metrics",
        type="bool",
        default=False,
        label={"en": "Metrics", "zh": "监控指标"},
        help={
            "en": "Serve /metrics in the text format of Prometheus, to whoever may use the studio.",
            "zh": "以 Prometheus 文本格式提供 /metrics，可使用工作室的人均可访问。",
        },
    ),
    service(
        "access.token",
        aliases=("token",),
        type="str",
        maximum=200,
        default="",
        secret=True,
        label={"en": "Token", "zh": "令牌"},
        help={
            "en": "Grants access to the pages and the API. At least 16 characters without spaces; empty = none.",
            "zh": "知道它的人可使用页面与接口。至少 16 个字符且不含空格；留空表示没有。",
        },
    ),
    service(
        "access.session_hours",
        type="float",
        default=168.0,
        minimum=0.1,
        maximum=8760.0,
        unit="h",
        label={"en": "Session length", "zh": "登录有效期"},
        help={"en": "After this time a browser has to log in again.", "zh": "超过此时间后浏览器须重新登录。"},
    ),
    service(
        "access.share_files",
        type="bool",
        default=False,
        label={"en": "Share files with other accounts of this machine", "zh": "与本机其他账户共享文件"},
        help={
            "en": "false: where a token or users are set, only the studio's own account can read what it writes (0600, 0700).",
            "zh": "false：设置令牌或用户后，只有运行工作室的账户能读取其写入的文件（0600、0700）。",
        },
    ),
    service(
        "access.unlock_minutes",
        type="float",
        default=10.0,
        minimum=0.1,
        maximum=1440.0,
        unit="min",
        label={"en": "Hidden collections stay unlocked for", "zh": "隐藏图集解锁时长"},
        help={
            "en": "After this time a hidden collection is locked again for whoever has unlocked it.",
            "zh": "超过此时间后，已解锁的隐藏图集会重新锁定。",
        },
    ),
)

QUOTA = (
    service(
        "quota.images_per_hour",
        type="int",
        default=0,
        minimum=0,
        maximum=1_000_000,
        unit="images",
        label={"en": "Images an hour for each user", "zh": "每位用户每小时张数"},
        help={
            "en": "With users: images of a user's jobs that wait, run, or ended within an hour. Admins have no limit. 0 = none.",
            "zh": "有用户时：用户的排队、运行中或一小时内结束的任务的图片张数。管理员不受限。0 表示不限。",
        },
    ),
    service(
        "quota.megapixels_per_hour",
        type="int",
        default=0,
        minimum=0,
        maximum=10_000_000,
        unit="MP",
        label={"en": "Megapixels an hour for each user", "zh": "每位用户每小时百万像素"},
        help={
            "en": "With users: width times height of the same images together. Admins have no limit. 0 = none.",
            "zh": "有用户时：上述图片的宽乘高之和。管理员不受限。0 表示不限。",
        },
    ),
    service(
        "quota.disk_mb",
        type="int",
        default=0,
        minimum=0,
        maximum=100_000_000,
        unit="MB",
        label={"en": "Disk space for each user", "zh": "每位用户的磁盘空间"},
        help={
            "en": "With users: size of all images of a user, the trash included. Admins have no limit. 0 = none.",
            "zh": "有用户时：用户的全部图片（含回收站）的大小。管理员不受限。0 表示不限。",
        },
    ),
)

SERVICE = (
    service(
        "service.max_pixels",
        type="int",
        default=4_194_304,
        minimum=4096,
        maximum=67_108_864,
        unit="px",
        label={"en": "Max pixels", "zh": "最大像素数"},
        help={"en": "Width times height of a request over HTTP.", "zh": "HTTP 请求中宽乘高的上限。"},
    ),
    service(
        "service.max_steps",
        type="int",
        default=100,
        minimum=1,
        maximum=200,
        label={"en": "Max steps", "zh": "最大步数"},
        help={"en": "Of a request over HTTP.", "zh": "HTTP 请求的步数上限。"},
    ),
    service(
        "service.max_images",
        aliases=("max_images",),
        type="int",
        default=16,
        minimum=1,
        maximum=64,
        label={"en": "Max images per request", "zh": "每次请求最大张数"},
        help={"en": "Of a request over HTTP.", "zh": "HTTP 请求的张数上限。"},
    ),
    service(
        "service.max_batch",
        type="int",
        default=256,
        minimum=1,
        maximum=10_000,
        label={"en": "Max images per batch", "zh": "批量请求最大张数"},
        help={"en": "Of a list of prompts over HTTP.", "zh": "HTTP 请求中提示词列表的张数上限。"},
    ),
    service(
        "service.queue_per_client",
        type="int",
        default=64,
        minimum=1,
        maximum=10_000,
        unit="jobs",
        label={"en": "Jobs per client", "zh": "每个客户端的任务数"},
        help={
            "en": "How many jobs may be queued or running at once; one more is refused with status 429.",
            "zh": "可同时排队或运行的任务数；超出的请求以状态码 429 拒绝。",
        },
    ),
    service(
        "service.queue_total",
        type="int",
        default=10_000,
        minimum=1,
        maximum=1_000_000,
        unit="jobs",
        label={"en": "Jobs in the queue", "zh": "队列任务总数"},
        help={
            "en": "How many may wait or run at once, of all clients together; one more over HTTP is refused with status 429.",
            "zh": "所有客户端合计可同时排队或运行的任务数；超出的 HTTP 请求以状态码 429 拒绝。",
        },
    ),
    service(
        "service.inputs_mb",
        type="int",
        default=4000,
        minimum=1,
        maximum=1_000_000,
        unit="MB",
        label={"en": "Input images a day", "zh": "每日输入图片总量"},
        help={
            "en": "How much may be stored within a day, of all clients and pages together. What no job or image uses is removed "
            "after a day.",
            "zh": "所有客户端与页面一天内可保存的输入图片总量。没有任务或图片使用的会在一天后删除。",
        },
    ),
    service(
        "service.max_body_kb",
        type="int",
        default=65_536,
        minimum=16,
        maximum=102_400,
        unit="KB",
        label={"en": "Max request body", "zh": "最大请求体"},
        help={"en": "A larger one is refused with status 413.", "zh": "更大的请求以状态码 413 拒绝。"},
    ),
    service(
        "service.wait_seconds",
        type="float",
        default=600.0,
        minimum=1.0,
        maximum=86400.0,
        unit="s",
        label={"en": "Max wait for an image", "zh": "最长等待时间"},
        help={
            "en": "OpenAI and A1111 requests are answered when the images are done, or with status 504 after this time.",
            "zh": "OpenAI 和 A1111 接口在图片完成后应答；超过此时间返回状态码 504。",
        },
    ),
    service(
        "service.openai_models",
        type="choice",
        choices=("default", "strict"),
        default="default",
        label={"en": "Unknown models of OpenAI clients", "zh": "OpenAI 客户端的未知模型"},
        help={
            "en": "default: a name such as gpt-image-1 or dall-e-3 is answered by the configured model, and the answer says "
            "which. strict: an unknown name is an error 404.",
            "zh": "default：gpt-image-1、dall-e-3 等名称由设定的模型生成，应答中注明所用模型。strict：未知名称返回错误 404。",
        },
    ),
)
