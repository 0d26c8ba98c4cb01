"""The documentation: links lead somewhere, commands exist, and what can run here runs."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.bench import gallery, plots
from core.cli import site
from core.cli.main import build_parser, main
from core.config.loader import PROJECT_ROOT
from tests.docs.markdown import PAGES, Block, anchors, blocks, commands, links, name_of
from tests.integration.server.live import Served, serving

APP = ("", "--open", "test", "docs", "docs --build", "docs --screenshots", "package")  # of start.py itself, not of core.cli
SHELLS = ("bash", "console", "sh", "")
BLOCKS = [block for page in PAGES for block in blocks(page)]
SHELL = [block for block in BLOCKS if block.language in SHELLS and any(commands(block))]
RUN = [block for block in BLOCKS if block.language == "bash"]
LONG = ("docs/lora.md", "docs/large-sizes.md")  # pages whose commands start a worker, as tests/models/test_studio.py does
PYTHON = [block for block in BLOCKS if block.language == "python" and "8501" in block.text]
DEFAULT_ADDRESS = "127.0.0.1:8501"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_resolve(page: Path) -> None:
    missing = []
    for target in links(page):
        if "://" in target or target.startswith("mailto:"):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        if not file.exists() or (anchor and file.suffix == ".md" and anchor not in anchors(file)):
            missing.append(target)
    assert not missing


@pytest.mark.parametrize("page", sorted(PROJECT_ROOT.glob("docs/*.zh.md")), ids=name_of)
def test_a_translated_page_and_its_original_link_to_each_other(page: Path) -> None:
    original = page.with_name(page.name.replace(".zh.md", ".md"))
    assert original.name in set(links(page)) and page.name in set(links(original))
    assert page.read_text(encoding="utf-8").count("\n| ") == original.read_text(encoding="utf-8").count("\n| ")


@pytest.mark.parametrize("block", SHELL, ids=lambda block: block.id)
def test_every_command_is_one_that_start_py_knows(block: Block) -> None:
    parser = build_parser("en")
    for line in commands(block):
        arguments = shlex.split(line, comments=True)
        if " ".join(arguments) not in APP and arguments[:1] != ["test"] and "--help" not in arguments:
            assert vars(parser.parse_args(arguments)), line


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("outputs")) as running:
        yield running


@pytest.mark.parametrize(
    "block", [
        pytest.param(block, marks=pytest.mark.slow) if block.id.startswith(LONG) or "start.py generate" in block.text else block
        for block in RUN
    ],
    ids=lambda block: block.id,
)  # fmt: skip
def test_a_shell_block_runs(
    block: Block, service: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """`python3 start.py` in this process, as a new one loads torch again; everything else by the shell."""
    monkeypatch.setenv("ZDARKROOM_OUTPUT__DIRECTORY", str(tmp_path / "outputs"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "docs").symlink_to(PROJECT_ROOT / "docs")
    address = f"127.0.0.1:{service.port}"
    for line in block.text.strip().splitlines():
        if line.startswith("python3 start.py "):
            assert main(shlex.split(line, comments=True)[2:]) == 0, capfd.readouterr().err
        else:
            done = subprocess.run(
                ["bash", "-ec", line.replace(DEFAULT_ADDRESS, address)], capture_output=True, text=True, timeout=60
            )
            assert done.returncode == 0, done.stderr
            assert json.loads(done.stdout).get("error") is None, done.stdout


@pytest.mark.parametrize("block", PYTHON, ids=lambda block: block.id)
def test_a_python_block_runs(block: Block, service: Served) -> None:
    package = block.text.split()[1]
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed: tests/clients runs it in an environment of its own")
    text = block.text.replace("8501", str(service.port))
    names: dict[str, object] = {}
    exec(compile(text, block.id, "exec"), names)
    assert set(names) > {"__builtins__"}, "the block ran to its end and left what it made"


@pytest.mark.slow
def test_the_site_is_built_without_warnings(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs_static_i18n", reason="requirements-docs.txt is not installed")
    assert site.docs(sys.executable, PROJECT_ROOT, tmp_path, build=True) == 0
    assert (tmp_path / site.SITE / "zh" / "several-machines.html").is_file()


def test_the_site_has_every_page_once() -> None:
    """Its configuration is read as text, as mkdocs is not among the packages of the tests."""
    nav = re.findall(r"[\w-]+\.md", (PROJECT_ROOT / "mkdocs.yml").read_text(encoding="utf-8").split("nav:", 1)[1])
    pages = {page.name for page in PROJECT_ROOT.glob("docs/*.md") if not page.name.endswith(".zh.md")}
    assert sorted(nav) == sorted(pages | {"configuration.md", "contributing.md", "changelog.md"})


@pytest.mark.parametrize("language", plots.LANGUAGES)
def test_plots_show_the_tables_of_their_page(language: str) -> None:
    """Red after a table changed: run `python -m core.bench.plots`."""
    linked = re.findall(r"\(plots/([\w.-]+)\)", plots.page(language).read_text(encoding="utf-8"))
    assert linked == [plot.file(language).name for plot in plots.PLOTS]
    for plot in plots.PLOTS:
        assert plot.file(language).read_text(encoding="utf-8") == plot.svg(language), plot.name


def test_a_bar_is_as_long_as_its_value() -> None:
    svg = plots.bars("<MB>", [("a", "1,000 MB"), ("b", "250")])
    lengths = [float(one) for one in re.findall(r'<rect [^>]*width="([\d.]+)"', svg)]
    assert lengths[0] == plots.WIDTH - plots.LABEL - plots.VALUE and lengths[1] == lengths[0] / 4
    with pytest.raises(ValueError, match="no numbers"):
        plots.bars("result", [("a", "works")])


@pytest.mark.parametrize("page", ["gallery.md", "gallery.zh.md"])
def test_the_gallery_shows_each_row_that_its_script_makes(page: str) -> None:
    shown = re.findall(r"\(gallery/([\w-]+)\.webp\)", (PROJECT_ROOT / "docs" / page).read_text(encoding="utf-8"))
    assert sorted(shown) == sorted(gallery.ROWS) == sorted(file.stem for file in gallery.FOLDER.iterdir())
def test_screenshots_are_no_older_than_the_page_they_show() -> None:
    """Red after a view or its texts changed: run `start.py docs --screenshots` and look at them."""
    assert site.outdated(PROJECT_ROOT) == []
    shown = {Path(target).name for page in PAGES for target in links(page) if "screenshots/" in target}
    assert shown - set(site.SHOWN) == set(), "each is made by the script"


