"""Ask Civitai for the trigger words of a LoRA by the hash of its file; nothing else leaves the machine."""

from __future__ import annotations

import json
from collections.abc import Sequence

import requests

from core.errors import LoraFileError
from core.i18n import localize

ADDRESS = "https://civitai.com/api/v1/model-versions/by-hash"
SECONDS = (5, 20)  # to connect, to answer
MOST_BYTES = 2_000_000  # of an answer
MOST_WORDS, LONGEST = 50, 200  # of trigger words; characters of one
CHUNK = 65536  # bytes


def trigger_words(name: str, digest: str) -> Sequence[str]:
    """Return the trigger words that Civitai knows of a file by its SHA-256; empty where it has none.

    Raises:
        LoraFileError: Civitai does not know the file, or could not be asked; `name` is the LoRA's.
    """
    try:
        with requests.get(f"{ADDRESS}/{digest}", timeout=SECONDS, stream=True, allow_redirects=False) as answer:
            if answer.status_code == requests.codes.not_found:
                raise LoraFileError(name=name, problem=localize("models.lora_civitai.unknown"))
            if answer.status_code != requests.codes.ok:
                raise _failed(name, f"HTTP {answer.status_code}")
            return _words(name, _body(name, answer))
    except requests.RequestException as error:
        raise _failed(name, type(error).__name__) from error


def _body(name: str, answer: requests.Response) -> bytes:
    body = bytearray()
    for chunk in answer.iter_content(CHUNK):
        body += chunk
        if len(body) > MOST_BYTES:
            raise _failed(name, f"> {MOST_BYTES} bytes")
    return bytes(body)


def _words(name: str, body: bytes) -> Sequence[str]:
    try:
        data = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise _failed(name, type(error).__name__) from error
    listed = data.get("trainedWords") if isinstance(data, dict) else None
    if not isinstance(listed, list):
        raise _failed(name, "trainedWords")
    words = (" ".join(word.split())[:LONGEST].strip(" ,") for word in listed if isinstance(word, str))
    return tuple(dict.fromkeys(word for word in words if word))[:MOST_WORDS]


def _failed(name: str, detail: str) -> LoraFileError:
    return LoraFileError(name=name, problem=localize("models.lora_civitai.failed", detail=detail))
