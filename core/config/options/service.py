"""Declare the options of the pages, of the worker process and of the HTTP service."""

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

WORKER = (
    service(
        "worker.timeout",
        former=("worker.hang_seconds",),
        type="float",
        default=900.0,
        minimum=0.0,
        maximum=86400.0,
        unit="s",
        label={"en": "Worker timeout", "zh": "工作进程超时"},
        help={
            "en": "A worker whose job makes no progress for this long is restarted and the job is run again. 0 = never.",
            "zh": "任务超过此时间没有任何进展时，结束工作进程并重新运行该任务。0 表示从不。",
        },
    ),
    service(
        "worker.unload_minutes",
        type="float",
        default=0.0,
        minimum=0.0,
        maximum=10080.0,
        unit="min",
        label={"en": "Unload an idle model after", "zh": "模型空闲多久后卸载"},
        help={
            "en": "Gives all the memory of an idle model back to the system; the next job loads it again. 0 = never.",
            "zh": "把空闲模型占用的全部内存还给系统；下一个任务会重新加载。0 表示从不。",
        },
    ),
    service(
        "worker.job_log",
        type="bool",
        default=False,
        label={"en": "Log of jobs", "zh": "任务日志"},
        help={
            "en": "Append one JSON line for each job that ran to logs/jobs.jsonl of the output folder: times, size, model, client, "
            "error code; no prompt.",
            "zh": "每个任务运行后在输出目录的 logs/jobs.jsonl 追加一行 JSON：用时、尺寸、模型、客户端、错误代码；不含提示词。",
        },
    ),
    service(
        "worker.executor",
        type="choice",
        choices=("local", "ray"),
        default="local",
        label={"en": "Executor", "zh": "执行器"},
        help={
            "en": "local: one worker on this machine. ray: several, one for each GPU of this machine or of a Ray cluster; "
            "needs the package ray (requirements-extras.txt).",
            "zh": "local：本机一个工作进程。ray：多个，本机或 Ray 集群的每个 GPU 一个；需要 ray 软件包"
            "（requirements-extras.txt）。",
        },
    ),
    service(
        "worker.ray_address",
        type="str",
        maximum=300,
        default="",
        label={"en": "Ray cluster", "zh": "Ray 集群"},
        help={
            "en": "Address such as 192.168.1.20:6379; this machine must be one of its nodes. Empty = this machine alone.",
            "zh": "其地址，如 192.168.1.20:6379；本机须是其节点之一。留空表示仅本机。",
        },
    ),
    service(
        "worker.ray_workers",
        type="int",
        default=AUTO,
        auto=True,
        minimum=0,
        maximum=256,
        label={"en": "Workers without a GPU", "zh": "无 GPU 的工作进程数"},
        help={
            "en": "With ray: how many on each machine without a GPU; they share its cores. A GPU always has one. "
            "auto: one if no machine has a GPU, else none.",
            "zh": "使用 ray 时，每台无 GPU 机器上的工作进程数，它们分用其核心。每个 GPU 总有一个。auto：所有机器都无 GPU 时"
            "各一个，否则没有。",
        },
    ),
)

SHARING = (
    service(
        "gpu.share",
        type="bool",
        default=False,
        label={"en": "Make room for other programs", "zh": "为其他程序让出资源"},
        help={
            "en": "When too little GPU memory is free, the job pauses after its present step, the model leaves the memory, "
            "and both come back when there is room. NVIDIA: with nvidia-ml-py (requirements-extras.txt); else the RAM is read.",
            "zh": "显存不足时，任务走完当前一步后暂停，模型退出显存，有空间时再恢复。NVIDIA 需要 nvidia-ml-py"
            "（requirements-extras.txt）；其他情况读取内存。",
        },
    ),
    service(
        "gpu.keep_free_mb",
        type="int",
        default=512,
        minimum=0,
        maximum=1_000_000,
        unit="MB",
        label={"en": "Memory to keep free", "zh": "保留的空闲显存"},
        help={
            "en": "With gpu.share: less than this means that others need it.",
            "zh": "用于 gpu.share：少于此值即视为其他程序需要。",
        },
    ),
    service(
        "gpu.max_temperature",
        type="int",
        default=0,
        minimum=0,
        maximum=120,
        unit="°C",
        label={"en": "Highest temperature", "zh": "最高温度"},
        help={
            "en": "Above it jobs pause, and continue 5 degrees below. NVIDIA with nvidia-ml-py. 0 = no limit.",
            "zh": "超过时任务暂停，降低 5 度后继续。NVIDIA，需要 nvidia-ml-py。0 表示不限。",
        },
    ),
    service(
        "gpu.max_power",
        type="int",
        default=0,
        minimum=0,
        maximum=2000,
        unit="W",
        label={"en": "Highest power draw", "zh": "最高功耗"},
        help={
            "en": "Above it jobs pause, and continue 5 watts below. NVIDIA with nvidia-ml-py. 0 = no limit.",
            "zh": "超过时任务暂停，降低 5 瓦后继续。NVIDIA，需要 nvidia-ml-py。0 表示不限。",
        },
    ),
    service(
        "gpu.quiet_hours",
        type="str",
        maximum=40,
        default="",
        label={"en": "Quiet hours", "zh": "安静时段"},
        help={
            "en": "Such as 22:00-07:00, by this machine's clock: nothing is generated then, and the model leaves the memory.",
            "zh": "如 22:00-07:00，按本机时钟：此时段不生成图片，模型退出显存。",
        },
    ),
    service(
        "cpu.niceness",
        type="int",
        default=0,
        minimum=0,
        maximum=19,
        label={"en": "Niceness of the worker", "zh": "工作进程的 nice 值"},
        help={"en": "19 lets every other program go first.", "zh": "19 表示其他程序优先。"},
    ),
    service(
        "cpu.share",
        type="float",
        default=1.0,
        minimum=0.05,
        maximum=1.0,
        label={"en": "Share of the cores", "zh": "使用的核心比例"},
        help={"en": "0.5: half of the cores, at least one.", "zh": "0.5：一半核心，至少一个。"},
    ),
)

REMOTE = (
    service(
        "remote.url",
        former=("worker.server",),
        type="str",
        maximum=300,
        default="",
        label={"en": "Remote studio", "zh": "远程服务地址"},
        help={
            "en": "URL such as http://192.168.1.20:8501: every job is generated there and stored here. Empty = generate here.",
            "zh": "如 http://192.168.1.20:8501：任务在那里生成，图片存于本机。留空表示在本机生成。",
        },
    ),
    service(
        "remote.token",
        former=("worker.server_token",),
        type="str",
        maximum=200,
        default="",
        secret=True,
        label={"en": "Token of the remote studio", "zh": "远程服务令牌"},
        help={
            "en": "The access.token of the remote studio, or NAME:PASSWORD of one of its users.",
            "zh": "远程服务的 access.token，或其用户的“用户名:密码”。",
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

QUEUE_END = (
    service(
        "queue_end.notify",
        type="bool",
        default=False,
        label={"en": "Notify when the queue is empty", "zh": "队列为空时通知"},
        help={"en": "A notification on this machine's desktop.", "zh": "在本机桌面显示通知。"},
    ),
    service(
        "queue_end.command",
        type="str",
        maximum=1000,
        default="",
        label={"en": "Command when the queue is empty", "zh": "队列为空时的命令"},
        help={
            "en": "Run without a shell, with the rights of the app. Read from configs/local.yaml only. Empty = none.",
            "zh": "以应用的权限运行，不经过 shell。仅从 configs/local.yaml 读取。留空表示没有。",
        },
    ),
    service(
        "queue_end.power",
        type="choice",
        choices=("none", "sleep", "shutdown"),
        default="none",
        label={"en": "Sleep or shut down when the queue is empty", "zh": "队列为空时睡眠或关机"},
        help={
            "en": "After a countdown that the pages, the API and the command line can stop; a new job stops it, too.",
            "zh": "在倒计时之后执行；页面、接口与命令行均可停止，新任务也会停止倒计时。",
        },
    ),
    service(
        "queue_end.countdown_seconds",
        type="int",
        default=60,
        minimum=5,
        maximum=3600,
        unit="s",
        label={"en": "Countdown", "zh": "倒计时"},
        help={"en": "Before sleep or shutdown.", "zh": "睡眠或关机之前。"},
    ),
)

WEBHOOK = (
    service(
        "webhook.url",
        type="str",
        maximum=500,
        default="",
        secret=True,
        label={"en": "Webhook", "zh": "Webhook"},
        help={
            "en": "Called with a POST of JSON when a job ends and when the queue is empty: state, model, size, images; no prompt. "
            "This machine, or a host of webhook.allowed_hosts.",
            "zh": "任务结束和队列为空时以 POST 发送 JSON：状态、模型、尺寸、图片；不含提示词。"
            "只能是本机，或 webhook.allowed_hosts 中的主机。",
        },
    ),
    service(
        "webhook.allowed_hosts",
        type="list",
        default=(),
        label={"en": "Hosts of the webhook", "zh": "Webhook 允许的主机"},
        help={
            "en": "Host names or addresses besides this machine, such as hooks.example.",
            "zh": "除本机外允许的主机名或地址，如 hooks.example。",
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
