"""What the options' tests measured, for configs/README.md. It is written when asked for, so that runs change no file:

RECORD_OPTIONS=1 python3 start.py test -m "not browser and not slow"
python3 start.py options --write
"""

from __future__ import annotations

import json
import os

from filelock import FileLock

from core.config.loader import PROJECT_ROOT

FILE = PROJECT_ROOT / "configs" / "measured.json"
WANTED = bool(os.environ.get("RECORD_OPTIONS"))


def measured(option: str, found: str) -> None:
    """Keep one line about what an option did, in place of the line before it."""
    if not WANTED:
        return
    with FileLock(f"{FILE}.lock"):  # several runs at once may share the file
        kept = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {}
        kept[option] = found
        FILE.write_text(json.dumps(dict(sorted(kept.items())), ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
