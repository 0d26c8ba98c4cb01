"""Encode prompts with CLIP as A1111 or ComfyUI do: weights, chunks beyond 77 tokens, BREAK, CLIP skip, textual inversion."""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from safetensors import safe_open

from core.config.prompt_weights import A1111, CLIP_SKIP, COMFYUI, OFF, SYNTAX, Span, has_syntax, parse
from core.errors import EmbeddingError, OptionError
from core.i18n import localize
from core.models.embedding_library import Embedding, replaced
from core.types import Decision, GenerationRequest

BACKTRACK = 20  # tokens: A1111 ends a chunk at a comma that is no further back
WORD = 8  # ComfyUI moves a part of fewer tokens whole into the next chunk
ENDS = 2  # begin and end of a chunk

Token = tuple[int, float]  # id, weight


@dataclass(frozen=True)
class _Encoder:
    """A text encoder with its tokenizer. `normed`: CLIP skip passes the final norm (SD 1.5). `own`: its layer from the end."""

    model: Any
    tokenizer: Any
    device: torch.device
    normed: bool
    own: int


def is_plain(pipeline: Any, prompts: Sequence[str], options: Mapping[str, Any]) -> bool:
    """Return True if the pipeline's own encoding is what the options ask for."""
    syntax, skip = options[SYNTAX], int(options[CLIP_SKIP])
    if skip > (2 if hasattr(pipeline, "text_encoder_2") else 1):
        return False
    if syntax == OFF:
        return True
    limit = pipeline.tokenizer.model_max_length
    return not any(
        has_syntax(prompt, syntax) or len(pipeline.tokenizer(prompt, truncation=False, verbose=False).input_ids) > limit
        for prompt in prompts
    )


def encode(
    pipeline: Any, prompt: str, negative: str | None, options: Mapping[str, Any]
) -> tuple[list[torch.Tensor], list[torch.Tensor] | None]:
    """Return the embeds of a prompt and, unless None, of a negative prompt.

    Each is [(1, tokens, width)], for SDXL with the pooled embeds (1, width) besides. Prompts of different lengths are repeated
    until they agree, as ComfyUI does, which attention can't tell from one. Raises OptionError for more CLIP skip than the
    encoders have layers.
    """
    encoders = _encoders(pipeline, int(options[CLIP_SKIP]))
    positive = _encoded(pipeline, encoders, prompt, options)
    if negative is None:
        return positive, None
    if not negative and getattr(pipeline.config, "force_zeros_for_empty_prompt", False):
        return positive, [torch.zeros_like(tensor) for tensor in positive]
    other = _encoded(pipeline, encoders, negative, options)
    length = math.lcm(positive[0].shape[1], other[0].shape[1])
    for embeds in (positive, other):
        embeds[0] = embeds[0].repeat(1, length // embeds[0].shape[1], 1)
    return positive, other


def _encoders(pipeline: Any, skip: int) -> list[_Encoder]:
    device = pipeline._execution_device
    if hasattr(pipeline, "text_encoder_2"):
        pairs = ((pipeline.text_encoder, pipeline.tokenizer), (pipeline.text_encoder_2, pipeline.tokenizer_2))
        found = [_Encoder(model, tokenizer, device, False, 2) for model, tokenizer in pairs]
    else:
        found = [_Encoder(pipeline.text_encoder, pipeline.tokenizer, device, True, 1)]
    layers = min(encoder.model.config.num_hidden_layers for encoder in found)
    if skip > layers:
        raise OptionError(source="model", key=CLIP_SKIP, value=skip, allowed=f"1 - {layers}")
    return found


def _encoded(
    pipeline: Any, encoders: Sequence[_Encoder], prompt: str, options: Mapping[str, Any]
) -> list[torch.Tensor]:
    """Return (1, tokens, widths of all encoders side by side), and the pooled embeds of the first chunk where there are any."""
    spans = parse(prompt, options[SYNTAX])
    found, pooled = [], None
    for encoder in encoders:
        chunks = _chunks(pipeline, encoder, spans, options[SYNTAX])
        layer = max(encoder.own, int(options[CLIP_SKIP]))
        parts = [_run(encoder, chunk, layer, options[SYNTAX]) for chunk in chunks]
        found.append(torch.cat([embeds for embeds, _ in parts], dim=1))
        pooled = parts[0][1] if parts[0][1] is not None else pooled
    embeds = torch.cat(found, dim=-1)
    return [embeds] if pooled is None else [embeds, pooled]


def _chunks(pipeline: Any, encoder: _Encoder, spans: Sequence[Span], syntax: str) -> list[list[Token]]:
    """Divide tokens into chunks: at BREAK, else after a comma near the end (A1111) or between parts (ComfyUI)."""
    tokenizer = encoder.tokenizer
    size = tokenizer.model_max_length - ENDS

    def ids_of(text: str) -> list[int]:
        converted = pipeline.maybe_convert_prompt(text, tokenizer)  # textual inversion: a word of several tokens
        found: list[int] = tokenizer(converted, add_special_tokens=False, truncation=False, verbose=False).input_ids
        return found

    comma = ids_of(",")[-1]
    chunks: list[list[Token]] = [[]]
    for span in spans:
        ids = ids_of(span.text)
        if span.breaks or (syntax == COMFYUI and len(ids) < WORD and len(chunks[-1]) + len(ids) > size):
            chunks.append([])
        for token in ids:
            if len(chunks[-1]) == size:
                chunks.append(_after_comma(chunks[-1], comma) if syntax == A1111 and token != comma else [])
            chunks[-1].append((token, span.weight))
    if syntax == OFF:
        return chunks[:1]
    return chunks if chunks[-1] else chunks[:-1] or [[]]  # nothing comes after a BREAK at the end


def _after_comma(chunk: list[Token], comma: int) -> list[Token]:
    """Take from a full chunk what follows its last comma, if that is near its end."""
    places = [place for place, (token, _) in enumerate(chunk) if token == comma]
    if not places or len(chunk) - places[-1] > BACKTRACK:
        return []
    moved = chunk[places[-1] + 1 :]
    del chunk[places[-1] + 1 :]
    return moved


def _run(
    encoder: _Encoder, chunk: Sequence[Token], layer: int, syntax: str
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Encode one chunk: (1, 77, width), and the pooled (1, width) of an encoder that has one. The pooled has no weights."""
    embeds, pooled = _forward(encoder, [token for token, _ in chunk], layer)
    weights = [1.0, *(weight for _, weight in chunk)]
    if all(weight == 1 for weight in weights):
        return embeds, pooled
    weights += [1.0] * (embeds.shape[1] - len(weights))
    scale = torch.tensor(weights, device=embeds.device, dtype=torch.float32)[None, :, None]
    values = embeds.float()
    if syntax == A1111:  # prompt * weights, brought back to its mean
        weighted = values * scale
        weighted = weighted * (values.mean() / weighted.mean())
    else:  # away from the empty prompt
        empty = _forward(encoder, [], layer)[0].float()
        weighted = torch.where(scale == 1, values, empty + (values - empty) * scale)
    return weighted.to(embeds.dtype), pooled


def _forward(encoder: _Encoder, ids: Sequence[int], layer: int) -> tuple[torch.Tensor, torch.Tensor | None]:
    tokenizer, model = encoder.tokenizer, encoder.model
    whole = [tokenizer.bos_token_id, *ids, tokenizer.eos_token_id]
    whole += [tokenizer.pad_token_id] * (tokenizer.model_max_length - len(whole))
    given = torch.tensor([whole], device=encoder.device)
    if encoder.normed and layer == encoder.own:
        return model(given)[0], None
    out = model(given, output_hidden_states=True)
    pooled = out[0] if out[0].ndim == 2 else None
    embeds = out.hidden_states[-layer]
    if encoder.normed:
        embeds = getattr(model, "text_model", model).final_layer_norm(embeds)  # transformers 5 has no inner model
    return embeds, pooled


EMBEDDING_FILES = "embedding.files"  # in an image's record
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


def embedding_decisions(embeddings: Sequence[Embedding]) -> tuple[Decision, ...]:
    """Return what the image's record says of the embeddings that its prompts name."""
    return tuple(
        Decision(
            "generation.prompt",
            embedding.name,
            embedding.vectors,
            localize("inference.clip_encoding.used", name=embedding.name, vectors=embedding.vectors),
        )
        for embedding in embeddings
    )


def recorded_embeddings(embeddings: Sequence[Embedding]) -> dict[str, Any]:
    """Return the entry of an image's record: name and hash of each file that took part."""
    files = [{"name": one.name, "sha256": one.sha256()} for one in embeddings]
    return {EMBEDDING_FILES: files} if files else {}


def _check_widths(pipeline: Any, embeddings: Sequence[Embedding]) -> None:
    for embedding in embeddings:
        for encoder, width in embedding.widths.items():
            wanted = getattr(pipeline, encoder).get_input_embeddings().weight.shape[1]
            if width != wanted:
                problem = localize("inference.clip_encoding.width", width=width, wanted=wanted)
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
