"""Run the command line: python -m core.cli. However it ends, no traceback is shown."""

from __future__ import annotations

import signal
import sys

from core.cli import streams


def run() -> int:
    """Run one command and return its exit code; Ctrl+C ends it while modules are still being imported as well."""
    try:
        streams.open_closed()
        from core.cli.main import main

        code = main()
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # whoever read the output has gone, as `head` does
        streams.drop_output()
        return 1
    except ImportError as error:  # a package that was removed, or lies on a disk from which no program may be run
        from core.cli import environment

        print(f"start.py: {environment.broken_packages(error)}", file=sys.stderr)
        return 1
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl+C must not interrupt the end


if __name__ == "__main__":
    sys.exit(run())
