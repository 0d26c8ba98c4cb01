"""List textual inversion embeddings, and find those that a prompt names; each is judged by its header."""

from __future__ import annotations

import difflib
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from core.errors import EmbeddingError
from core.i18n import localize
from core.models.families import FAMILIES
from core.models.file_index import Found, scan
from core.models.weight_files import SAFETENSORS, BadFile, Tensor, read_header

FOLDER = "embeddings"  # in the folder of models
ENDINGS = (SAFETENSORS, ".pt", ".bin", ".ckpt")
LARGEST = 100_000_000  # bytes; real ones have some KB
MOST_VECTORS = 75  # CLIP reads no more tokens
_EXPLICIT = re.compile(r"\bembedding:([^\s,()\[\]{}<>:|]+)", re.IGNORECASE)  # as ComfyUI writes it
_CLIP_L, _CLIP_G = "clip_l", "clip_g"


@dataclass(frozen=True)
class Embedding:
    """A textual inversion file. `tensors` maps a text encoder of the pipeline to a tensor's name in the file."""

    name: str
    path: Path
    tensors: Mapping[str, str]
    widths: Mapping[str, int]
    vectors: int

    def sha256(self) -> str:
        """Return the SHA-256 of the file."""
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    @property
    def family(self) -> str:
        """Return what it was made for, as people say it."""
        return "SDXL" if len(self.tensors) == 2 else "SD 1.5"


class EmbeddingLibrary:
    """The folder of embeddings with its subfolders, read at each call."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def names(self) -> Sequence[str]:
        """Return the names of all files, also of those that can't be used."""
        return sorted({found.path.stem for found in self._files()}, key=str.casefold)

    def all(self) -> tuple[Sequence[Embedding], Mapping[str, EmbeddingError]]:
        """Return the embeddings that can be used, and why each of the other files can't."""
        usable, skipped = [], {}
        for name in self.names():
            try:
                usable.append(self.find(name))
            except EmbeddingError as error:
                skipped[name] = error
        return usable, skipped

    def file_hash(self, name: str) -> str:
        """Return the SHA-256 of an embedding's file. Raises EmbeddingError."""
        return self.find(name).sha256()

    def find(self, name: str) -> Embedding:
        """Return an embedding by its file's name, in any case. Raises EmbeddingError naming the nearest."""
        files = {found.path.stem.casefold(): found for found in reversed(self._files())}
        found = files.get(name.casefold())
        if found is None:
            near = difflib.get_close_matches(name.casefold(), files, n=1, cutoff=0.0)
            nearest = files[near[0]].path.stem if near else "-"
            raise EmbeddingError(name=name[:100], problem=localize("models.embedding_library.unknown", nearest=nearest))
        return read(found.path, found.linked)

    def named_in(self, texts: Sequence[str], pipeline: str) -> tuple[Embedding, ...]:
        """Return the embeddings that these prompts name, as words of their own or as embedding:name.

        Raises EmbeddingError for one that can't be used with this pipeline class. Families without textual inversion have none.
        """
        encoders = FAMILIES[pipeline].embeddings
        if not encoders:
            return ()
        wanted = {found[1].casefold(): found[1] for text in texts for found in _EXPLICIT.finditer(text)}
        wanted |= {name.casefold(): name for name in self.names() if any(_word(name).search(text) for text in texts)}
        return tuple(_fitting(self.find(name), encoders) for name in wanted.values())

    def _files(self) -> Sequence[Found]:
        return scan(self.folder, ENDINGS)


def replaced(prompt: str, tokens: Mapping[str, str]) -> str:
    """Return a prompt with the names of embeddings, longest first, replaced by their tokens."""
    for name in sorted(tokens, key=len, reverse=True):
        prompt = _word(name).sub(lambda _, token=tokens[name]: f" {token} ", prompt)  # type: ignore[misc]
    return " ".join(prompt.split()) if tokens else prompt


def _word(name: str) -> re.Pattern[str]:
    return re.compile(
        rf"(?<![\w-])(?:embedding:)?{re.escape(name)}(?:{re.escape(SAFETENSORS)})?(?![\w-])", re.IGNORECASE
    )


def read(path: Path, linked: bool = False) -> Embedding:
    """Return the embedding in a file, by its header; `linked`: it leads out of its folder. Raises EmbeddingError."""
    name = path.stem
    try:
        if path.suffix.lower() != SAFETENSORS:
            raise BadFile("pickle")
        if linked or path.stat().st_size > LARGEST:
            raise BadFile("tensors")
        tensors = read_header(path)
    except (BadFile, OSError, ValueError, RecursionError) as bad:
        kind = "pickle" if getattr(bad, "kind", "") == "pickle" else "file"
        raise EmbeddingError(name=name, problem=localize(f"models.embedding_library.{kind}")) from None
    return _parsed(name, path, {key: tensor for key, tensor in tensors.items() if len(tensor.shape) in (1, 2)})


def _parsed(name: str, path: Path, tensors: Mapping[str, Tensor]) -> Embedding:
    """SDXL: clip_l and clip_g. SD 1.5: emb_params, or one tensor under the token's own name."""
    if set(tensors) == {_CLIP_L, _CLIP_G}:
        selected = {"text_encoder": _CLIP_L, "text_encoder_2": _CLIP_G}
    elif len(tensors) == 1 and not set(tensors) & {_CLIP_L, _CLIP_G}:
        selected = {"text_encoder": next(iter(tensors))}
    else:
        raise EmbeddingError(name=name, problem=localize("models.embedding_library.file"))
    counts = {1 if len(tensors[key].shape) == 1 else tensors[key].shape[0] for key in selected.values()}
    if len(counts) != 1 or not 0 < min(counts) <= MOST_VECTORS:
        raise EmbeddingError(name=name, problem=localize("models.embedding_library.file"))
    widths = {encoder: tensors[key].shape[-1] for encoder, key in selected.items()}
    return Embedding(name, path, selected, widths, counts.pop())


def _fitting(embedding: Embedding, encoders: tuple[str, ...]) -> Embedding:
    if set(embedding.tensors) != set(encoders):
        problem = localize("models.embedding_library.family", made=embedding.family)
        raise EmbeddingError(name=embedding.name, problem=problem)
    return embedding
