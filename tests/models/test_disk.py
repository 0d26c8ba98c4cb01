"""A full disk, on a real small one: the job fails in one line, nothing half-written stays, and the next good one works."""

import contextlib
import shutil
import subprocess
import time

import pytest

from core.config.loader import load_settings
from core.errors import NoRoomError
from core.studio.bootstrap import build_studio
from core.types import JobState
from tests.options import measured

PATIENCE = 120  # seconds


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 2 MB, which takes the database and a few images."""
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", tmp_path], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"no tmpfs can be mounted here: {mounted.stderr.decode().strip()}")
    yield tmp_path
    subprocess.run(["umount", "--lazy", tmp_path], check=True)


def fill(filler):
    """Until nothing more goes in."""
    with filler.open("ab", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x" * 1024)


def finished(studio, **values):
    job = studio.queue.submit(
        studio.requests.new({"prompt": "a house", "width": 64, "height": 64, "steps": 1, **values})
    )
    deadline = time.monotonic() + PATIENCE
    while (job := studio.queue.get(job.id)).state.active:
        assert time.monotonic() < deadline, job
        time.sleep(0.05)
    return job


@pytest.mark.option("output.directory")
@pytest.mark.skipif(shutil.which("mount") is None, reason="needs mount")
def test_full_disk(small_disk):
    studio = build_studio(load_settings(overrides={"output.directory": str(small_disk)}))
    studio.start()
    try:
        assert finished(studio).state is JobState.DONE
        filler = small_disk / "filler"
        room = shutil.disk_usage(small_disk).free
        filler.write_bytes(b"x" * (room - 160_000))  # the database fits, with its log; an image of 512 x 512 does not
        failed = finished(studio, width=512, height=512)
        assert failed.state is JobState.FAILED
        assert "disk" in failed.error.message("en") and "full" in failed.error.message("en")
        assert failed.image_ids == ()
        fill(filler)
        assert isinstance(studio.worker.status().trouble, NoRoomError), "every page tells of it"
        filler.unlink()
        assert studio.worker.status().trouble is None
        assert finished(studio).state is JobState.DONE
        measured("output.directory", "images, database and log are there; when its disk was full the job said so")
        assert not [path for path in small_disk.rglob("*") if path.suffix in (".tmp", ".part")]
    finally:
        studio.stop()
