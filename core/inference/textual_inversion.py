"""Put textual inversion embeddings into the text encoders for the time of one encoding, by diffusers' own loading."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from safetensors import safe_open

from core.errors import EmbeddingError
from core.i18n import localize
from core.models.embedding_library import Embedding, replaced
from core.types import Decision, GenerationRequest

FILES = "embedding.files"  # in an image's record
_TOKENIZERS = {"text_encoder": "tokenizer", "text_encoder_2": "tokenizer_2"}


@contextmanager
def with_embeddings(
    pipeline: Any, request: GenerationRequest, embeddings: Sequence[Embedding]
) -> Iterator[GenerationRequest]:
    """Yield the request with tokens in place of the embeddings' names; the pipeline is as before afterwards.

    Raises EmbeddingError for vectors of another width than the text encoder's.
    """
    tokens = {embedding.name: f"<zd-embedding-{index}>" for index, embedding in enumerate(embeddings)}
    _check_widths(pipeline, embeddings)
    try:
        for embedding in embeddings:
            _load(pipeline, embedding, tokens[embedding.name])
        yield replace(
            request,
            prompt=replaced(request.prompt, tokens),
            negative_prompt=replaced(request.negative_prompt, tokens),
        )
    finally:
        for embedding in embeddings:
            _unload(pipeline, embedding, tokens[embedding.name])


def decisions(embeddings: Sequence[Embedding]) -> tuple[Decision, ...]:
    """Return what the image's record says of the embeddings that its prompts name."""
    return tuple(
        Decision(
            "generation.prompt",
            embedding.name,
            embedding.vectors,
            localize("inference.textual_inversion.used", name=embedding.name, vectors=embedding.vectors),
        )
        for embedding in embeddings
    )


def recorded(embeddings: Sequence[Embedding]) -> dict[str, Any]:
    """Return the entry of an image's record: name and hash of each file that took part."""
    files = [{"name": one.name, "sha256": one.sha256()} for one in embeddings]
    return {FILES: files} if files else {}


def _check_widths(pipeline: Any, embeddings: Sequence[Embedding]) -> None:
    for embedding in embeddings:
        for encoder, width in embedding.widths.items():
            wanted = getattr(pipeline, encoder).get_input_embeddings().weight.shape[1]
            if width != wanted:
                problem = localize("inference.textual_inversion.width", width=width, wanted=wanted)
                raise EmbeddingError(name=embedding.name, problem=problem)


def _load(pipeline: Any, embedding: Embedding, token: str) -> None:
    with safe_open(embedding.path, framework="pt") as opened:
        tensors = {encoder: opened.get_tensor(key) for encoder, key in embedding.tensors.items()}
    for encoder, vectors in tensors.items():
        with warnings.catch_warnings(action="ignore"), _quiet():
            pipeline.load_textual_inversion(
                vectors.reshape(-1, vectors.shape[-1]).to(torch.float32),
                token=token,
                text_encoder=getattr(pipeline, encoder),
                tokenizer=getattr(pipeline, _TOKENIZERS[encoder]),
            )


def _unload(pipeline: Any, embedding: Embedding, token: str) -> None:
    names = [token, *(f"{token}_{index}" for index in range(1, embedding.vectors))]
    for encoder in embedding.tensors:
        tokenizer = getattr(pipeline, _TOKENIZERS[encoder])
        known = [name for name in names if name in tokenizer.get_vocab()]
        if known:
            with _quiet():
                pipeline.unload_textual_inversion(
                    tokens=known, text_encoder=getattr(pipeline, encoder), tokenizer=tokenizer
                )


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the libraries' notes about new tokens out of the terminal."""
    loggers = [
        logging.getLogger(name) for name in ("transformers.modeling_utils", "diffusers.loaders.textual_inversion")
    ]
    levels = [one.level for one in loggers]
    for one in loggers:
        one.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for one, level in zip(loggers, levels, strict=True):
            one.setLevel(level)
