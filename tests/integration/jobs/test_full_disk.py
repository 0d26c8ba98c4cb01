"""A full disk, on a real small one: the job fails in one line, nothing half-written stays, and the next good one works."""

import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.errors import NoRoomError
from core.types import Job, JobState
from tests.integration.jobs.harness import JobHarness
from tests.options import measured


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 2 MB, which takes the database and a few images."""
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", tmp_path], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"no tmpfs can be mounted here: {mounted.stderr.decode().strip()}")
    yield tmp_path
    subprocess.run(["umount", "--lazy", tmp_path], check=True)


def fill(filler: Path) -> None:
    """Until nothing more goes in."""
    with filler.open("ab", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x" * 1024)


def finished(harness: JobHarness, side: int = 64) -> Job:
    """A job of noise, which no format makes small."""
    return harness.wait(harness.submit(width=side, height=side, num_inference_steps=1, fake_noise=True))


@pytest.mark.option("output.directory")
@pytest.mark.skipif(shutil.which("mount") is None, reason="needs mount")
def test_full_disk(small_disk: Path) -> None:
    harness = JobHarness(small_disk)
    harness.supervisor.start()
    try:
        assert finished(harness).state is JobState.DONE
        filler = small_disk / "filler"
        room = shutil.disk_usage(small_disk).free
        filler.write_bytes(b"x" * (room - 400_000))  # the database fits, with its log; an image of 1024 x 1024 does not
        failed = finished(harness, 1024)
        assert failed.state is JobState.FAILED and failed.error is not None
        assert "disk" in failed.error.message("en") and "full" in failed.error.message("en")
        assert failed.image_ids == ()
        fill(filler)
        assert isinstance(harness.supervisor.status().trouble, NoRoomError), "every page tells of it"
        filler.unlink()
        assert harness.supervisor.status().trouble is None
        assert finished(harness).state is JobState.DONE
        measured("output.directory", "images, database and log are there; when its disk was full the job said so")
        assert not [path for path in small_disk.rglob("*") if path.suffix in (".tmp", ".part")]
    finally:
        harness.close()
