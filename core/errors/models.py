"""A model that cannot be used."""

from __future__ import annotations

from core.errors.base import StudioError
from core.errors.inputs import InputError


class ModelError(StudioError):
    """A model that cannot be used."""


class UnknownModelError(ModelError, InputError):
    """Neither a catalogue entry nor a folder."""

    text = {
        "en": "There is no model {came}; known: {known}. Give one of these ids or the path of a diffusers folder.",
        "zh": "没有模型 {came}；已知：{known}。请给出其中一个编号，或一个 diffusers 文件夹的路径。",
    }


class ModelFileError(ModelError, InputError):
    """A file of the model is missing, truncated or unsafe; `problem` says which, and the cure."""

    text = {
        "en": "Model {model}: {file}: {problem}.",
        "zh": "模型 {model}：{file}：{problem}。",
    }


class ModelLoadError(ModelError):
    """The files are there, loading failed."""

    text = {
        "en": "Model {model} could not be loaded: {detail}. Check the folder, or choose another model.",
        "zh": "模型 {model} 无法加载：{detail}。请检查文件夹，或另选模型。",
    }


class UnavailableError(ModelError, InputError):
    """An option asks for what this machine does not have; `reason` says what is missing."""

    text = {
        "en": "{key} = {came} cannot be used on this machine: {reason}. Add what is missing, or set {key} back.",
        "zh": "本机无法使用 {key} = {came}：{reason}。请补上所缺，或把 {key} 改回默认值。",
    }


class UnknownLoraError(ModelError, InputError):
    """No file of that name in the folders of LoRAs; `nearest` looks most like it."""

    text = {
        "en": "There is no LoRA {came}; the nearest is {nearest}. "
        "Correct the name, or put the file into the LoRA folder (lora.folder).",
        "zh": "没有名为 {came} 的 LoRA；最接近的是 {nearest}。请改正名称，或将文件放入 LoRA 文件夹（lora.folder）。",
    }


class LoraFileError(ModelError, InputError):
    """A LoRA that can't be used, or not with this model; `problem` says why, and the cure."""

    text = {
        "en": "LoRA {name}: {problem}.",
        "zh": "LoRA {name}：{problem}。",
    }


class DownloadError(ModelError):
    """A hub did not give the model, or gave something else; `problem` says which, and the cure."""

    text = {
        "en": "{model} from {source}: {problem}.",
        "zh": "从 {source} 下载 {model}：{problem}。",
    }
