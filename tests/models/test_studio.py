"""The whole road on the real parts: request, queue, worker process, generator, file and row."""

import json
import os
import signal
import time

import numpy as np
import pytest
from PIL import Image

from core.config.loader import load_settings
from core.studio.bootstrap import build_studio
from core.types import HistoryQuery, JobState
from tests.options import measured

PATIENCE = 120  # seconds; a loaded machine may take long to import torch in the worker


@pytest.fixture(scope="module")
def studio(tmp_path_factory):
    outputs = tmp_path_factory.mktemp("outputs")
    studio = build_studio(load_settings(overrides={"output.directory": str(outputs)}))
    studio.start()
    yield studio
    studio.stop()


def wait_for(studio, job_id, condition):
    deadline = time.monotonic() + PATIENCE
    while not condition(job := studio.queue.get(job_id)):
        assert time.monotonic() < deadline, job
        time.sleep(0.02)
    return job


def finished(studio, **values):
    values = {"prompt": "红色的房子，日落，雪山", "width": 128, "height": 128, "seed": 7, **values}
    job = studio.queue.submit(studio.requests.new(values))
    return wait_for(studio, job.id, lambda job: not job.state.active)


@pytest.mark.option("model.device")
def test_a_prompt_becomes_a_image_with_all_its_parameters(studio):
    job = finished(studio, width=250, height=141, negative_prompt="car")
    assert job.state is JobState.DONE, job.error
    record = studio.history.get(job.image_ids[0])
    with Image.open(studio.history.file(record.id)) as image:
        assert image.size == (record.width, record.height) == (250, 141)
        assert "红色的房子" in image.info["parameters"]
    assert record.request.prompt == "红色的房子，日落，雪山"
    assert record.rendered_size == (256, 144)
    assert record.effective["model.device"] == "cpu"
    measured("model.device", "auto: cpu, with the reason, on a machine without a GPU")
    assert {choice.option for choice in record.decisions} >= {"model.device", "model.dtype"}
    assert all(choice.reason["zh"] and choice.reason["en"] for choice in record.decisions)
    assert set(record.timings) == {"text", "steps", "decode"}
    assert studio.history.search(HistoryQuery(text="雪山")).records[0].id == record.id


@pytest.mark.slow
def test_each_image_of_a_batch_has_its_own_seed_and_row(studio):
    job = finished(studio, num_images=3)
    records = [studio.history.get(image_id) for image_id in job.image_ids]
    assert [record.request.seed for record in records] == [7, 8, 9]
    alone = studio.history.get(finished(studio, seed=9).image_ids[0])
    one, other = (np.asarray(Image.open(studio.history.file(i))) for i in (records[2].id, alone.id))
    assert np.array_equal(one, other)


@pytest.mark.slow
def test_a_image_of_a_batch_is_the_one_that_its_prompt_and_seed_make_alone(studio):
    rows = "prompt,seed,width\na {red|blue} house at night,7,\na {red|blue} house at night,8,\n白天，绿色的树,7,192\n"
    batch = studio.requests.new_batch(rows.encode(), {"width": 128, "height": 128}, "list.csv")
    job = studio.queue.submit(batch)
    job = wait_for(studio, job.id, lambda job: not job.state.active)
    assert job.state is JobState.DONE, job.error
    records = [studio.history.get(image_id) for image_id in job.image_ids]
    assert [record.request for record in records] == list(batch.per_image_requests())
    assert records[0].request.template == "a {red|blue} house at night" and "{" not in records[0].request.prompt
    for record in records[1:]:
        request = record.request
        alone = finished(studio, prompt=request.prompt, seed=request.seed, width=request.width, height=request.height)
        one, other = (np.asarray(Image.open(studio.history.file(i))) for i in (record.id, alone.image_ids[0]))
        assert np.array_equal(one, other)
    with Image.open(studio.history.file(records[0].id)) as image:
        assert "Template: a {red|blue} house at night" in image.info["parameters"]
        stored = json.loads(image.info["zdarkroom"])
    assert (stored["requested"]["template"], stored["place"]) == (records[0].request.template, 1)


@pytest.mark.slow
def test_a_random_seed_is_resolved_and_stored(studio):
    job = finished(studio, seed=-1)
    assert studio.history.get(job.image_ids[0]).request.seed == job.request.seed >= 0


def test_the_model_stays_loaded_between_jobs(studio):
    finished(studio)
    loads = studio.system.report().log_tail
    finished(studio)
    assert count_loads(loads) == count_loads(studio.system.report().log_tail) >= 1
    finished(studio, **{"model.dtype": "bfloat16"})
    assert count_loads(studio.system.report().log_tail) == count_loads(loads) + 1


def count_loads(log):
    return sum("demo loaded in" in line for line in log)


@pytest.mark.slow
def test_the_job_of_a_killed_worker_is_run_again(studio):
    job = studio.queue.submit(studio.requests.new({"prompt": "a castle", "num_inference_steps": 200, "width": 256}))
    wait_for(studio, job.id, lambda job: job.state is JobState.RUNNING)
    os.kill(studio.worker.status().pid, signal.SIGKILL)
    again = wait_for(studio, job.id, lambda job: job.crashes == 1)
    assert "signal 9" in again.error.message("en")
    wait_for(studio, job.id, lambda job: job.state is JobState.RUNNING)
    studio.queue.cancel(job.id)
    assert finished(studio).state is JobState.DONE


def test_cancel_stops_a_running_job_within_a_step(studio):
    job = studio.queue.submit(studio.requests.new({"prompt": "a castle", "num_inference_steps": 200, "width": 256}))
    wait_for(studio, job.id, lambda job: job.progress is not None and job.progress.step >= 2)
    at = studio.queue.cancel(job.id).progress.step
    done = wait_for(studio, job.id, lambda job: not job.state.active)
    assert done.state is JobState.CANCELLED
    assert done.progress.step <= at + 2  # the step under way when the wish arrived, and the one it was read in
    assert done.image_ids == ()


@pytest.mark.slow
def test_own_metadata_holds_the_whole_record(studio):
    record = studio.history.get(finished(studio, **{"output.format": "webp", "vae.enable_tiling": True}).image_ids[0])
    from core.storage.metadata import read_metadata

    stored = read_metadata(studio.history.file(record.id))
    text = json.dumps(stored.record, ensure_ascii=False)
    assert "vae.enable_tiling" in text
    assert "model.device" in text
