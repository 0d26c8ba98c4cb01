"""One job's images over several workers: each once, whatever becomes of the workers."""

import threading
from dataclasses import replace

import pytest

from core.cluster.distributed_generator import DistributedGenerator
from core.errors import Cancelled, GenerationError
from core.jobs.generator_protocol import WorkerLost
from core.types import Phase, ResumeState
from tests.integration.jobs.harness import make_request
from tests.unit.cluster.threads import ThreadLink, machine, running, until


class Run:
    """What a job's runner keeps of one call; `run` in a thread of its own where a test acts meanwhile."""

    def __init__(self, spread, request, made=()):
        self.spread, self.request, self.made = spread, request, made
        self.images, self.progress, self.error = [], [], None
        self.cancelled = threading.Event()
        self.thread = threading.Thread(target=self.run)

    def run(self):
        try:
            attempt = ResumeState("job", self.made)
            self.spread.generate(self.request, self.progress.append, self.cancelled.is_set, self.images.append, attempt)
        except Exception as error:
            self.error = error

    def begin(self):
        self.thread.start()
        return self

    def end(self):
        self.thread.join(60)
        assert not self.thread.is_alive()
        return self


def test_every_image_is_generated_once_by_all_the_workers_and_is_that_of_its_own_single():
    with running(ThreadLink(machine("one"), machine("two")), workers=2) as pool:
        spread = DistributedGenerator(pool)
        own = tuple({"seed": 100 + k, "prompt": f"image {k}"} for k in range(9))
        request = replace(make_request(fake_step_seconds=0.03), num_images=9, images=own)
        run = Run(spread, request, made={2, 5})
        run.run()
        assert run.error is None and not spread.waiting
        generated = {image.place: image.request for image in run.images}
        per_image_requests = dict(enumerate(request.per_image_requests(), start=1))
        assert generated == {place: single for place, single in per_image_requests.items() if place not in (2, 5)}
        assert len(run.images) == 7
        assert all(worker.images_hour for worker in pool.workers())


def test_progress_is_that_of_the_job_and_goes_forward():
    with running(ThreadLink(machine()), workers=2) as pool:
        run = Run(DistributedGenerator(pool), make_request(num_images=4, fake_step_seconds=0.05))
        run.run()
        assert {told.images for told in run.progress} == {4}
        assert max(told.workers for told in run.progress) == 2
        steps = [told for told in run.progress if told.phase is Phase.STEPS]
        assert all(told.preview is not None and told.preview[:4] == b"RIFF" for told in steps)
        images = [told.image for told in run.progress]
        assert images == sorted(images) and images[0] == 1


def test_a_cancel_stops_all_workers_within_a_step_and_what_is_finished_was_handed_over():
    with running(ThreadLink(machine()), workers=2) as pool:
        request = make_request(num_images=6, fake_step_seconds=0.1)
        run = Run(DistributedGenerator(pool), request).begin()
        until(lambda: len(run.images) == 2)
        run.cancelled.set()
        run.end()
        assert isinstance(run.error, Cancelled) and 2 <= len(run.images) <= 4
        until(pool.has_free)
        assert all(worker.job is None for worker in pool.workers())


def test_a_lost_worker_ends_the_attempt_after_the_others_have_finished_theirs():
    link = ThreadLink(machine())
    with running(link, workers=3) as pool:
        spread = DistributedGenerator(pool)
        request = make_request(num_images=7, fake_step_seconds=0.1)
        run = Run(spread, request).begin()
        until(lambda: len(run.images) == 3)
        until(lambda: [worker.state for worker in pool.workers()] == ["busy"] * 3)
        link.kill(pool.workers()[0].id, pool)
        run.end()
        assert isinstance(run.error, WorkerLost) and run.error.reason["en"] == "the worker on one is gone"
        assert len(run.images) == 5
        again = Run(spread, request, made={image.place for image in run.images})
        again.run()
        assert again.error is None
        assert sorted(p.place for p in (*run.images, *again.images)) == list(range(1, 8))


def test_what_a_image_fails_of_is_the_jobs_error_and_the_workers_stay():
    with running(ThreadLink(machine()), workers=2) as pool:
        before = [worker.id for worker in pool.workers()]
        run = Run(DistributedGenerator(pool), make_request("a secret", num_images=4, fake_fails="value"))
        run.run()
        assert isinstance(run.error, GenerationError) and "ValueError" in str(run.error)
        assert [worker.id for worker in pool.workers()] == before and not run.images


def test_a_card_that_failed_gets_a_new_worker():
    with running(ThreadLink(machine()), workers=1) as pool:
        before = [worker.id for worker in pool.workers()]
        run = Run(DistributedGenerator(pool), make_request(fake_fails="card"))
        run.run()
        assert isinstance(run.error, WorkerLost) and "CUDA error" in run.error.reason["en"]
        until(pool.has_free)
        assert [worker.id for worker in pool.workers()] != before


def test_a_image_that_cannot_be_kept_gives_the_workers_back():
    def refuse(image):
        raise OSError("no room")

    with running(ThreadLink(machine()), workers=2) as pool:
        spread = DistributedGenerator(pool)
        with pytest.raises(OSError, match="no room"):
            spread.generate(make_request(num_images=4), lambda told: None, lambda: False, refuse, ResumeState("job"))
        assert not spread.waiting
        until(lambda: [worker.state for worker in pool.workers()] == ["idle", "idle"])


def test_a_job_that_lacks_workers_says_so_until_all_its_images_are_given_out():
    with running(ThreadLink(machine()), workers=1) as pool:
        spread = DistributedGenerator(pool)
        run = Run(spread, make_request(num_images=2, fake_step_seconds=0.1)).begin()
        until(lambda: spread.waiting)
        assert not spread.is_served(0.01)
        until(lambda: len(run.images) == 1)
        assert spread.is_served(60)
        assert run.end().error is None and len(run.images) == 2


def test_a_wish_to_stop_is_looked_for_at_each_step_and_not_much_more_often():
    asked = []
    with running(ThreadLink(machine()), workers=1) as pool:
        request = make_request(num_images=3, fake_step_seconds=0.2)
        DistributedGenerator(pool).generate(
            request, lambda told: None, lambda: bool(asked.append(1)), lambda image: None, ResumeState("job")
        )
    said = 3 * (request.num_inference_steps + 4)  # steps, what is before and after them, the end
    assert 3 * request.num_inference_steps <= len(asked) <= 2 * said
