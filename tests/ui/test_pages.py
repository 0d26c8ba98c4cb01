"""What holds for every page: both languages, no torch, the System page, an output folder that can't be used."""

from __future__ import annotations

import re
import subprocess
import sys
from datetime import UTC, datetime

import pytest

from core.config.loader import PROJECT_ROOT, load_settings
from core.errors import NotWritableError
from core.studio import hardware
from tests.options import measured
from tests.ui.conftest import all_text, component_data, use
from tests.ui.page_studio import PageStudio
from ui import resources

CHINESE = re.compile(r"[\u4e00-\u9fff]")
PAGES = ("generate", "queue", "history", "models", "comparison", "system")


def test_the_system_page_shows_the_machine_and_every_reason(studio, open_page):
    page = open_page("system")
    cards = "".join(element.proto.body for element in page.get("html"))
    for words in (
        "demo",
        "4711",
        "9.0 GB free of 16.0 GB",
        "There is no CUDA",
        "auto → float32",
        "1.67.0",
        "outputs",
        "2.4 s",
    ):
        assert words in cards
    assert "worker: model demo loaded" in all_text(page)


@pytest.mark.option("ui.language")
@pytest.mark.parametrize("language", ["zh", "en"])
def test_every_page_speaks_one_language(tmp_path, monkeypatch, open_page, language):
    studio = use(monkeypatch, PageStudio(tmp_path, load_settings(overrides={"ui.language": language})))
    for name in PAGES:
        page = open_page(name)
        spoken = [element.label for kind in ("button", "number_input", "toggle") for element in page.get(kind)]
        spoken += [element.value for element in page.caption]
        foreign = [words for words in spoken if words and bool(CHINESE.search(words)) != (language == "zh")]
        assert set(foreign) <= {
            "torch.compile",
            "ControlNet",
            "VAE",
            "LoRA",
        }
    measured("ui.language", f"zh, en: all {len(PAGES)} pages in the one language")
    assert studio is resources.studio()


def test_the_switch_changes_the_language_and_the_address_keeps_it(studio, open_page):
    page = open_page()
    page.button_group(key="language_switch").set_value("zh").run()
    assert page.button(key="generate").label == "生成"
    assert page.query_params["lang"] == "zh"
    page.switch_page("views/system.py").run()
    assert page.query_params["lang"] == "zh"
    assert open_page(lang="zh").button(key="generate").label == "生成"


def test_an_output_folder_that_cannot_be_used_is_a_card(studio, open_page, monkeypatch):
    def refuse():
        raise NotWritableError(path="/somewhere")

    monkeypatch.setattr(resources, "studio", refuse)
    assert "/somewhere is not writable" in all_text(open_page())


def test_the_page_process_never_imports_torch():
    """Torch takes seconds and gigabytes; it belongs to the worker."""
    code = (
        "import sys, tempfile, ui.serve, ui.views, ui.actions, ui.components.history_detail, ui.components.accordions\n"
        "from core.studio.bootstrap import build_studio\n"
        "from core.config.loader import load_settings\n"
        "with tempfile.TemporaryDirectory() as folder:\n"
        "    studio = build_studio(load_settings(overrides={'output.directory': folder}))\n"
        "    studio.catalog.models(), studio.system.report(), studio.queue.recent(1), studio.requests.new({'prompt': 'a house'})\n"
        "ui.serve.create_app()\n"
        "print([name for name in ('torch', 'diffusers', 'transformers') if name in sys.modules])\n"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=PROJECT_ROOT, capture_output=True, text=True, timeout=120)
    assert run.stdout.splitlines()[-1] == "[]", run.stderr


def test_the_charts_of_the_last_hour_have_what_this_machine_tells(studio, open_page, monkeypatch):
    monkeypatch.setattr(hardware, "read_gpus", lambda: hardware.parse_gpus("4096, 8192, 37, 61"))
    for _ in range(2):
        studio.gauges.take()
    studio.fill_history(1)
    studio.history.generated(studio.history.records[0].request, created_at=datetime.now(UTC))
    [data] = component_data(open_page("system"), "charts")
    found = {chart["name"]: chart for chart in data["charts"]}
    assert [found[name]["now"] for name in ("VRAM", "GPU load", "GPU temperature")] == ["4.3 GB of 8.6 GB", "37 %", "61 °C"]
    assert found["Images per hour"]["points"][-1][1] == 6 and found["Images per hour"]["now"] == "1 image"
    assert len(found["RAM"]["points"]) == 2 and found["Seconds per step"]["points"][0][1] > 0
