"""Keep what the studio writes to its own user, where a key is set: others on this machine shall not read it from the disk."""

from __future__ import annotations

import os
from pathlib import Path

from core.config.loader import Settings
from core.server.auth.authenticator import Keys

PRIVATE_MASK = 0o077


def keep_private(settings: Settings, keys: Keys) -> bool:
    """Let this process and its workers write files that only their owner can read (0600, folders 0700).

    Nothing changes without a key, or with `access.share_files`. Returns True when it was done.
    """
    if os.name == "nt" or not keys.guarded or settings.access.share_files:
        return False
    os.umask(PRIVATE_MASK)
    folder: Path = settings.output_directory
    try:
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)
    except OSError:  # the folder of another user, or one that cannot be written: the studio says so when it writes
        return False
    return True
