"""An app to be killed by a test: starts a worker over the folder, database and storage given, says so, and waits."""

import sys
import time
from pathlib import Path

from tests.integration.jobs.harness import Shop

if __name__ == "__main__":
    shop = Shop(Path(sys.argv[1]), place="".join(sys.argv[2:3]), storage="".join(sys.argv[3:]))
    shop.supervisor.start()
    print(shop.worker_pid(), flush=True)
    time.sleep(3600)
