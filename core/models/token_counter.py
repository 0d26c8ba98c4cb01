"""Count the tokens of a prompt that a text encoder reads, from tokenizer.json alone, without loading the model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from core.config.lora_syntax import split_prompt
from core.config.prompt_weights import OFF, SYNTAX, parse
from core.i18n import localize
from core.models.families import DEFAULT, FAMILIES
from core.types import Decision, GenerationRequest, ModelInfo

FILE = "tokenizer/tokenizer.json"
CLIP_LIMIT = 77  # with its begin and end
CHUNK = CLIP_LIMIT - 2
LIMIT = "transformer.max_sequence_length"
PROMPT, NEGATIVE = "generation.prompt", "generation.negative_prompt"
LONGEST_SHOWN = 200  # characters of what was cut


@dataclass(frozen=True)
class TokenCount:
    """`used`: tokens as the encoder gets them; `limit`: those that it reads; `cut`: the end of the prompt that it does not."""

    used: int
    limit: int
    cut: str = ""

    @property
    def over(self) -> bool:
        """Return True if something is not read, be it of the prompt or of the template around it."""
        return self.used > self.limit


def count_tokens(model: ModelInfo, prompt: str, options: Mapping[str, Any]) -> TokenCount | None:
    """Count the tokens of a prompt; None where the tokenizer is not here, or the model reads prompts of any length.

    A CLIP model counts the words alone, in chunks of 75; with the prompt syntax off, 77 with begin and end, as it is cut there.
    """
    path = Path(model.path or "") / FILE
    if model.path is None or not path.is_file():
        return None
    tokenizer = _tokenizer(str(path), path.stat().st_mtime_ns)
    if tokenizer is None:
        return None
    text = split_prompt(prompt)[0]
    if LIMIT not in model.cannot:
        family = FAMILIES.get(model.pipeline, DEFAULT)
        templated = text.join(family.template)
        return count_templated(templated, text, tokenizer.encode(templated).offsets, int(options[LIMIT]))
    if SYNTAX in model.cannot:
        return None
    if options[SYNTAX] == OFF:
        return count_clip(text, tokenizer.encode(text).offsets)
    chunks = [0]
    for span in parse(text, options[SYNTAX]):
        chunks += [0] if span.breaks else []
        chunks[-1] += len(tokenizer.encode(span.text, add_special_tokens=False).ids)
    return TokenCount(sum(chunks), CHUNK * sum(max(1, -(-count // CHUNK)) for count in chunks))


def count_clip(prompt: str, offsets: Sequence[tuple[int, int]]) -> TokenCount:
    """Count from the character offsets of the tokens, begin and end included."""
    cut = prompt[offsets[CLIP_LIMIT - 1][0] :] if len(offsets) > CLIP_LIMIT else ""
    return TokenCount(len(offsets), CLIP_LIMIT, cut)


def count_templated(text: str, prompt: str, offsets: Sequence[tuple[int, int]], limit: int) -> TokenCount:
    """Count from the character offsets of the tokens of `text`, which is the prompt in its template."""
    end = text.rfind(prompt) + len(prompt)
    cut = text[offsets[limit][0] : end] if len(offsets) > limit else ""
    return TokenCount(len(offsets), limit, cut)


def cut_decision(option: str, negative: bool, count: TokenCount) -> tuple[Decision, ...]:
    """Return what the record of an image says of a prompt that was not read to its end; nothing for one that was."""
    if not count.over:
        return ()
    cut = count.cut if len(count.cut) <= LONGEST_SHOWN else count.cut[: LONGEST_SHOWN - 1] + "…"
    words = {"which": _NEGATIVE if negative else _PROMPT, "used": count.used, "limit": count.limit}
    reason = (
        localize("models.token_counter.cut", cut=cut, **words)
        if count.cut
        else localize("models.token_counter.template_cut", **words)
    )
    return (Decision(option, count.used, count.limit, reason),)


def cut_decisions(tokenizer: Any, around: tuple[str, str], request: GenerationRequest) -> tuple[Decision, ...]:
    """Say what is not read of the prompt and, with guidance, of the negative prompt, in the template `around` them.

    `tokenizer` is transformers' own, with character offsets.
    """
    found: tuple[Decision, ...] = ()
    for prompt in (request.prompt, *((request.negative_prompt,) if request.guided else ())):
        text = prompt.join(around)
        offsets = tokenizer(text, verbose=False, return_offsets_mapping=True).offset_mapping
        counted = count_templated(text, prompt, offsets, request.options[LIMIT])
        found += cut_decision(LIMIT, prompt is not request.prompt, counted)
    return found


_PROMPT, _NEGATIVE = localize("models.token_counter.prompt"), localize("models.token_counter.negative")


@lru_cache(maxsize=4)
def _tokenizer(path: str, _changed: int) -> Any:
    from tokenizers import Tokenizer  # 30 ms, and only for who types a prompt

    try:
        return Tokenizer.from_file(path)
    except Exception:  # tokenizers raises Exception itself for files that it can't read
        return None
