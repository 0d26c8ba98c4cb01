"""Run the app: python -m ui. A package that can't be imported is told in one sentence."""

from __future__ import annotations

import sys

from core.cli import launcher, streams


def run() -> int:
    """Serve until interrupted; return the exit code."""
    streams.open_closed()
    try:
        from ui.serve import main
    except ImportError as error:  # a package that was removed, or lies on a disk from which no program may be run
        print(f"start.py: {launcher.broken_packages(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return main()


if __name__ == "__main__":
    sys.exit(run())
