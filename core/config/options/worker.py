"""Declare the options of the worker process, of other machines, and of what follows when the queue is empty."""

from __future__ import annotations

from core.config.options.helpers import service
from core.config.schema import AUTO

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
