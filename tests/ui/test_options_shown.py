"""What the pages' own options change, and what CFG means."""

import pytest

from core.config.loader import load_settings
from core.errors import OptionError
from core.server.submission import submit
from core.types import SubmitOptions
from tests.options import measured
from tests.ui.conftest import component_data, use
from tests.ui.page_studio import PageStudio


@pytest.mark.option("ui.history_view")
@pytest.mark.parametrize(("view", "tables"), [("gallery", 0), ("table", 1)])
def test_the_history_opens_as_it_is_set(tmp_path, monkeypatch, open_page, view, tables):
    studio = use(monkeypatch, PageStudio(tmp_path, load_settings(overrides={"ui.history_view": view})))
    studio.fill_history(3)
    assert len(open_page("history").dataframe) == tables
    measured("ui.history_view", f"{view}: the history opens with {tables} tables")


@pytest.mark.option("ui.poll_seconds")
def test_a_running_job_is_looked_at_so_often(tmp_path, monkeypatch, open_page):
    settings = load_settings(overrides={"ui.poll_seconds": 3.5})
    studio = use(monkeypatch, PageStudio(tmp_path, settings))
    job = studio.queue.submit(studio.requests.new({"prompt": "a red house"}))
    assert [bar["seconds"] for bar in component_data(open_page(job=job.id), "pulse")] == [3.5]
    measured("ui.poll_seconds", "3.5: a running job is looked at every 3.5 s")


@pytest.mark.option("generation.cfg_scale")
@pytest.mark.parametrize(("given", "cfg"), [(6.5, 6.5), (1.0, 1.0), (0.5, 1.0)])
def test_cfg_scale_of_a_request(tmp_path, given, cfg):
    assert PageStudio(tmp_path).requests.new({"prompt": "x", "cfg_scale": given}).cfg_scale == cfg
    measured("generation.cfg_scale", f"{given}: CFG {cfg}")


@pytest.mark.option("service.max_batch")
def test_a_batch_of_a_caller_has_a_limit(tmp_path):
    studio = PageStudio(tmp_path, load_settings(overrides={"service.max_batch": 2}))
    assert submit(studio, {}, SubmitOptions(), [{"prompt": "a"}, {"prompt": "b"}]).request.num_images == 2
    with pytest.raises(OptionError, match=r"1 - 2 \(service.max_batch\)"):
        submit(studio, {}, SubmitOptions(), [{"prompt": "a"}, {"prompt": "b"}, {"prompt": "c"}])
