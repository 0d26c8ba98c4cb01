"""Why a download failed, in both languages, with the cure."""

from __future__ import annotations

from core.errors import DownloadError

HUB_NAMES = {"huggingface": "Hugging Face", "modelscope": "ModelScope"}
_PROBLEMS = {
    "network": {
        "en": "the connection failed ({detail}); check the network, or choose another source or mirror. "
        "What has arrived is kept, and a new start goes on from there",
        "zh": "连接失败（{detail}）；请检查网络，或更换来源或镜像。已下载的部分会保留，重新开始时续传",
    },
    "busy": {
        "en": "the hub is busy ({detail}) and did not answer for long; try again later, or choose another source",
        "zh": "服务器繁忙（{detail}），久未响应；请稍后重试或更换来源",
    },
    "gated": {
        "en": "access was refused ({detail}); accept the model's terms on its page, then set {variable} or save a token here",
        "zh": "访问被拒绝（{detail}）；请先在模型页面同意条款，再设置 {variable} 或在此保存令牌",
    },
    "missing": {
        "en": "{detail} is not there; the repository or its revision may have changed, so choose another source",
        "zh": "{detail} 不存在；仓库或版本可能已变动，请更换来源",
    },
    "answer": {
        "en": "the answer could not be understood ({detail}); is this address a hub? Check the mirror's address",
        "zh": "无法理解服务器的应答（{detail}）；该地址是模型站吗？请检查镜像地址",
    },
    "checksum": {
        "en": "{detail} came with other content than the hub announced, twice; it was thrown away. Choose another source",
        "zh": "{detail} 的内容两次与公布的校验值不符，已丢弃。请更换来源",
    },
    "safetensors": {
        "en": "the repository has no safetensors of {detail}; only these are used. Choose another source",
        "zh": "仓库中没有 {detail} 的 safetensors；只使用此格式。请更换来源",
    },
    "disk": {
        "en": "{detail} are needed and the disk has less; free some space or choose another folder with models.store",
        "zh": "需要 {detail}，磁盘空间不足；请腾出空间，或用 models.store 另选文件夹",
    },
    "offline": {
        "en": "HF_HUB_OFFLINE forbids the network; unset it, or choose ModelScope",
        "zh": "HF_HUB_OFFLINE 禁止联网；请取消该设置，或选择魔搭",
    },
    "source": {
        "en": "this model has no such source; the catalogue names {detail}",
        "zh": "此模型没有该来源；目录中有：{detail}",
    },
    "address": {
        "en": "{detail} is no address of a hub; write https://NAME",
        "zh": "{detail} 不是模型站地址；请写成 https://名称",
    },
    "ended": {
        "en": "its process ended ({detail}); start it again, and it goes on from what has arrived",
        "zh": "下载进程已结束（{detail}）；请重新开始，将从已下载处续传",
    },
}


def failure(model: str, hub: str, name: str, detail: object = "", variable: str = "") -> DownloadError:
    """The error for one of the problems above."""
    words = {lang: text.format(detail=detail, variable=variable) for lang, text in _PROBLEMS[name].items()}
    return DownloadError(model=model, source=HUB_NAMES.get(hub, hub), problem=words)
