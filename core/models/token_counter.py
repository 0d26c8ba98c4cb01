"""How many tokens of a prompt a model's text encoder reads, without loading the model: only its tokenizer.json is read."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

from core.types import ModelInfo

FILE = "tokenizer/tokenizer.json"
CLIP_LIMIT = 77  # with its begin and end
_LIMIT = "transformer.max_sequence_length"
_CHAT = "<|im_start|>user\n{prompt}<|im_end|>\n<|im_start|>assistant\n"  # what Z-Image's pipelines put around a prompt


def count_tokens(model: ModelInfo, prompt: str, limit: int) -> tuple[int, int] | None:
    """Return (tokens of the prompt as the encoder gets it, tokens that it reads); None where the tokenizer is not here.

    `limit` is the option transformer.max_sequence_length; models that do not have it read CLIP's 77.
    """
    path = Path(model.path or "") / FILE
    if model.path is None or not path.is_file():
        return None
    tokenizer = _tokenizer(str(path), path.stat().st_mtime_ns)
    if tokenizer is None:
        return None
    clip = _LIMIT in model.cannot
    text = prompt if clip else _CHAT.format(prompt=prompt)
    return len(tokenizer.encode(text).ids), CLIP_LIMIT if clip else limit


@lru_cache(maxsize=4)
def _tokenizer(path: str, _changed: int) -> Any:
    from tokenizers import Tokenizer  # 30 ms, and only for who types a prompt

    try:
        return Tokenizer.from_file(path)
    except Exception:  # tokenizers raises Exception itself for files that it can't read
        return None
