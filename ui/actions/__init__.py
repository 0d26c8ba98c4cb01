"""What buttons do: from the form to the studio, and errors back to the page. They run before the page is rendered again."""

from __future__ import annotations

from ui.actions.annotate import (
    empty_trash,
    favourite,
    history_key,
    mark,
    restore,
    toggle_favourite,
    trash,
    trash_open,
    undo,
)
from ui.actions.form import apply_yaml, change_model, open_form, restore_draft
from ui.actions.generate import (
    cure,
    generate,
    hires,
    is_check,
    keep_loaded,
    quick_check,
    reload_now,
    run_again,
    single_request,
    submit_batch,
    use_parameters,
    use_sample,
)
from ui.actions.input_images import fit_size, keep_control, send_to_form, start_from, steps, upscale, use, with_control
from ui.actions.presets import apply_preset, delete_preset, import_preset, is_modified, save_preset
from ui.actions.setup_check import run_step
from ui.actions.studio_calls import ask, cancel, cancel_all, known_jobs, submit

__all__ = [
    "apply_preset",
    "apply_yaml",
    "ask",
    "cancel",
    "cancel_all",
    "change_model",
    "cure",
    "delete_preset",
    "empty_trash",
    "favourite",
    "fit_size",
    "generate",
    "hires",
    "history_key",
    "import_preset",
    "is_check",
    "is_modified",
    "keep_control",
    "keep_loaded",
    "known_jobs",
    "mark",
    "open_form",
    "quick_check",
    "reload_now",
    "restore",
    "restore_draft",
    "run_again",
    "run_step",
    "save_preset",
    "send_to_form",
    "single_request",
    "start_from",
    "steps",
    "submit",
    "submit_batch",
    "toggle_favourite",
    "trash",
    "trash_open",
    "undo",
    "upscale",
    "use",
    "use_parameters",
    "use_sample",
    "with_control",
]
