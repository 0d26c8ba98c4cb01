"""An app to be killed by a test: starts a worker over the folder, database and storage given, says so, and waits."""

import sys
import time
from pathlib import Path

from tests.integration.jobs.harness import JobHarness

if __name__ == "__main__":
    harness = JobHarness(Path(sys.argv[1]), place="".join(sys.argv[2:3]), storage="".join(sys.argv[3:]))
    harness.supervisor.start()
    print(harness.worker_pid(), flush=True)
    time.sleep(3600)
