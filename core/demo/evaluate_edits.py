"""Measure whether edits do what their instructions say and keep the rest, on unseen combinations, judged by the classifier."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from PIL import Image

from core.demo import captions, classifier, edit_captions, edits, renderer

CHANGED_BAR, KEPT_BAR = 0.90, 0.90

GenerateEdit = Callable[[Image.Image, str, int], Image.Image]  # source, instruction, seed


@dataclass(frozen=True)
class Question:
    """An instruction for a source image, and what the edited image is asked for."""

    prompt: str
    language: str
    seed: int
    edit: edits.Edit
    asked: frozenset[str]

    def source(self, width: int, height: int) -> Image.Image:
        """Return the image that is edited."""
        before = self.edit.before
        return edits.draw(before, renderer.layout(before), (width, height), self.seed)


@dataclass
class EditReport:
    """Right answers and questions by what was asked ("changed" or "kept"), kind of edit and language."""

    right: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    asked: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    attributes: Counter[tuple[str, bool]] = field(default_factory=Counter)  # kept ones by name, right and wrong
    seconds: float = 0.0

    def add(self, question: Question, read: dict[str, str]) -> None:
        """Count an edited image by what the classifier read from it: the change, and whether every other attribute stayed."""
        wanted = question.edit.after.attributes()
        self._count("changed", question, all(read[name] == wanted[name] for name in question.asked))
        self._count("kept", question, all(read[name] == wanted[name] for name in question.edit.kept))
        for name in question.edit.kept:
            self.attributes[name, read[name] == wanted[name]] += 1

    def _count(self, what: str, question: Question, right: bool) -> None:
        key = what, question.edit.kind, question.language
        self.asked[key] += 1
        self.right[key] += right

    def rate(self, what: str, kind: str | None = None, language: str | None = None) -> float:
        """Return the part that is right, "changed" or "kept"; 1.0 where nothing was asked."""
        keys = [k for k in self.asked if k[0] == what and kind in (None, k[1]) and language in (None, k[2])]
        asked = sum(self.asked[k] for k in keys)
        return sum(self.right[k] for k in keys) / asked if asked else 1.0

    @property
    def passed(self) -> bool:
        """Return True where changes made and attributes kept reach their bars."""
        return self.rate("changed") >= CHANGED_BAR and self.rate("kept") >= KEPT_BAR

    @property
    def kinds(self) -> list[str]:
        """Return the kinds of edits that were asked for, in their usual order."""
        return [kind for kind in edits.EDITS if any(k[1] == kind for k in self.asked)]

    def table(self) -> str:
        """Return the rates as lines of text, by kind of edit and language."""
        names = [f"{what} {language}".strip() for what in ("changed", "kept") for language in ("", *captions.LANGUAGES)]
        lines = [f"{'edit':<10}" + "".join(f"{name:>12}" for name in names) + f"{'asked':>8}"]
        for kind in [*self.kinds, None]:
            rates = [
                self.rate(what, kind, language)
                for what in ("changed", "kept")
                for language in (None, *captions.LANGUAGES)
            ]
            asked = sum(n for key, n in self.asked.items() if key[0] == "changed" and kind in (None, key[1]))
            lines.append(f"{kind or 'together':<10}" + "".join(f"{rate:>12.1%}" for rate in rates) + f"{asked:>8}")
        lines.append(
            f"changed {self.rate('changed'):.1%} (bar {CHANGED_BAR:.0%}), kept {self.rate('kept'):.1%} (bar {KEPT_BAR:.0%}): "
            f"{'passed' if self.passed else 'FAILED'}"
        )
        return "\n".join(lines)

    def as_dict(self) -> dict[str, object]:
        """Return the figures for JSON."""
        groups: dict[str, object] = {
            kind: {what: round(self.rate(what, kind), 4) for what in ("changed", "kept")} for kind in self.kinds
        }
        languages: dict[str, object] = {
            language: {what: round(self.rate(what, None, language), 4) for what in ("changed", "kept")}
            for language in captions.LANGUAGES
        }
        return {
            "passed": self.passed,
            "changed": round(self.rate("changed"), 4),
            "kept": round(self.rate("kept"), 4),
            "edits": groups,
            "languages": languages,
            "seconds": round(self.seconds, 1),
        }


def questions(count: int, seed: int) -> list[Question]:
    """Return instructions, half Chinese, half English, of every kind alike; what they lead to is held out."""
    rng = random.Random(seed)
    asked = []
    for index in range(count):
        language = captions.LANGUAGES[index % 2]
        made = edits.sample_edit(rng, edits.EDITS[index // 2 % len(edits.EDITS)], held_out=True)
        prompt, named = edit_captions.instruction(made, rng, language)
        asked.append(Question(prompt, language, rng.randrange(2**31), made, edit_captions.asked(made, named)))
    return asked


def evaluate(
    generate: GenerateEdit, prompts: int = 200, seed: int = 2025, width: int = 256, height: int = 256
) -> EditReport:
    """Edit a source image for each question with `generate(source, instruction, seed)`, classify the results, and count."""
    judge, report, began = classifier.load(), EditReport(), time.monotonic()
    for question in questions(prompts, seed):
        source = question.source(width, height)
        report.add(question, judge.read(generate(source, question.prompt, question.seed)))
    report.seconds = time.monotonic() - began
    return report
