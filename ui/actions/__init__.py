"""What buttons do: from the form to the studio, and errors back to the page. They run before the page is drawn again."""

from __future__ import annotations

from ui.actions.annotate import empty_trash, mark, restore, toggle_favourite, trash
from ui.actions.form import apply_yaml, change_model, open_form
from ui.actions.generate import (
    cure,
    generate,
    is_check,
    keep_loaded,
    quick_check,
    reload_now,
    run_again,
    submit_batch,
    use_sample,
)
from ui.actions.input_images import keep_control, send_to_form, start_from, steps, use, with_control
from ui.actions.setup_check import run_step
from ui.actions.studio_calls import ask, cancel, cancel_all, known_jobs, submit

__all__ = [
    "apply_yaml",
    "ask",
    "cancel",
    "cancel_all",
    "change_model",
    "cure",
    "empty_trash",
    "generate",
    "is_check",
    "keep_control",
    "keep_loaded",
    "known_jobs",
    "mark",
    "open_form",
    "quick_check",
    "reload_now",
    "restore",
    "run_again",
    "run_step",
    "send_to_form",
    "start_from",
    "steps",
    "submit",
    "submit_batch",
    "toggle_favourite",
    "trash",
    "use",
    "use_sample",
    "with_control",
]
