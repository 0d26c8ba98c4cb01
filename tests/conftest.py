"""What all tests share: no network, no settings of the person who runs them, no outputs in the project."""

from __future__ import annotations

import gc
import os
import shutil
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from httpx._transports import default as httpx_transport
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings

from core.config.loader import ENVIRONMENT_PREFIX, PROJECT_ROOT, Settings, load_settings
from core.storage.database import Database
from tests import examples
from tests import object_store as store
from tests.databases import copy_new_databases, put_database
from tests.forked_workers import fork_workers
from tests.postgres import Server, running

gc.disable()  # until all is imported: looking through what stays takes seconds, in each process
os.environ["HF_HUB_OFFLINE"] = "1"
# Pixels are compared with plain diffusers' on the CPU, on a machine with a GPU as well: `verify` and `bench` try a GPU.
os.environ["CUDA_VISIBLE_DEVICES"] = ""
for variable in [name for name in os.environ if name.startswith(ENVIRONMENT_PREFIX)]:
    del os.environ[variable]

# A machine under load makes single examples, and making them, slow; derandomized, so that a red run is red again.
_UNTIMED = [HealthCheck.too_slow]
for _profile, _examples in (("quick", 10), ("thorough", 60)):
    hypothesis_settings.register_profile(
        _profile, deadline=None, derandomize=True, suppress_health_check=_UNTIMED, max_examples=_examples
    )
hypothesis_settings.load_profile("quick")


SERVER = "postgresql"  # the kind of database that a test may run on once more
OpenDatabase = Callable[[Path], Database]

# What is run by one process of several, by the beginning of its path: all pages share one server, one worker and one browser,
# and do not wait for each other; Ray is started once. Other tests are together with those of their file.
TOGETHER = {
    "tests/browser/": "browser",
    "tests/integration/jobs/test_job_life.py": "ray",
    "tests/integration/jobs/test_on_ray.py": "ray",
}


# Begun first by several processes, the longest first: half a minute of work at the end is one that the others wait for.
LONGEST = (
    "browser",
    "ray",
    "tests/unit/cli/test_generate.py",
    "tests/integration/jobs/test_worker_deaths.py",
    "tests/ui/test_generate.py",
    "tests/ui/test_inputs.py",
    "tests/models/test_studio.py",
    "tests/models/test_options.py",
    "tests/layouts/test_loras.py",
    "tests/unit/cli/test_no_traceback.py",
    "tests/models/test_control.py",
    "tests/ui/test_history.py",
    "tests/integration/server/test_a1111_requests.py",
    "tests/integration/server/test_native.py",
    "tests/unit/storage/test_storage_shared.py",
    "tests/integration/jobs/test_job_queue.py",
    "tests/layouts/test_weights.py",
    "tests/models/test_loras.py",
    "tests/integration/server/test_openai_requests.py",
    "tests/models/test_precision.py",
    "tests/models/test_families.py",
    "tests/unit/storage/test_storage_search.py",
)


def pytest_configure(config: pytest.Config) -> None:
    """Try all examples where slow tests are run, too."""
    if config.getoption("markexpr") != "not slow":
        examples.share = 1.0
        hypothesis_settings.load_profile("thorough")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark as slow what is run on a server once more, but for `all_databases`, and what `by_default` does not name: cases of a
    test, or tests of a class. Browser tests that fail are run once more; the summary lists them as RERUN."""
    cases: dict[tuple[str, ...], set[str]] = {}  # the names of a test's mark -> those that are there
    for item in items:
        if item.nodeid.startswith("tests/browser/"):
            item.add_marker(pytest.mark.flaky(reruns=1))
        callspec = getattr(item, "callspec", None)
        params = getattr(callspec, "params", {})
        if params.get("dialect") == SERVER and item.get_closest_marker("all_databases") is None:
            item.add_marker(pytest.mark.slow)
        for selected in item.iter_markers("by_default"):
            of_class = all(name.startswith("test_") for name in selected.args)
            if not of_class and callspec is None:
                continue
            test, case = item.nodeid.partition("[")[0], callspec.id if callspec is not None else ""
            if of_class:
                test, _, case = test.rpartition("::")
            cases.setdefault((test, *selected.args), set()).add(case)
            if case not in selected.args:
                item.add_marker(pytest.mark.slow)
    for (test, *names), found in cases.items():  # a single case, called by its id, is not compared
        if len(found) > 1 and (unknown := set(names) - found):
            raise pytest.UsageError(f"{test} has no case {', '.join(sorted(unknown))} to run by default; it has {sorted(found)}")


@pytest.hookimpl(optionalhook=True)  # of pytest-xdist
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give each process whole files, as --dist=loadfile does, or all that is to be TOGETHER."""
    if config.getvalue("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class Together(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = super()._split_scope(nodeid)
            return next((name for path, name in TOGETHER.items() if file.startswith(path)), file)

        def _assign_work_unit(self, node: Any) -> None:
            longest = next((name for name in LONGEST if name in self.workqueue), None)
            if longest is not None:
                self.workqueue.move_to_end(longest, last=False)
            super()._assign_work_unit(node)

    return Together(config, log)


def pytest_collection_finish() -> None:
    """What is imported stays: it need not be looked through each time that a model is unloaded, which took longer than loading."""
    gc.freeze()  # garbage of the imports, too: a megabyte, and looking for it takes a second and a half
    gc.enable()


@pytest.fixture(scope="session", autouse=True)
def forked_workers() -> None:
    """Start workers with the fake generator in milliseconds."""
    fork_workers()


@pytest.fixture(scope="session", autouse=True)
def new_databases_copied() -> Iterator[None]:
    """Make a new database a copy of one that the migrations made: they take a tenth of a second."""
    with copy_new_databases():
        yield


@pytest.fixture(scope="session", autouse=True)
def certificates_read_once() -> Iterator[None]:
    """Let clients share what they read of certificates: httpx reads them for each call, which takes longer than the answer."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(httpx_transport, "create_ssl_context", cache(httpx_transport.create_ssl_context))
        yield


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """Yield a PostgreSQL server; the test is skipped where there is none on the machine."""
    with running() as server:
        yield server


@pytest.fixture(scope="module")
def object_store() -> Iterator[str]:
    """Yield a bucket's URL in an object store; where it is and its keys are in the environment. Skipped without the packages."""
    with store.running():
        yield f"s3://{store.BUCKET}"


@pytest.fixture(scope="session", params=["sqlite", SERVER])
def dialect(request: pytest.FixtureRequest) -> str:
    """Return which database; every test that asks for one runs on each."""
    return str(request.param)


@pytest.fixture(scope="session")
def place_of(dialect: str, request: pytest.FixtureRequest) -> Callable[[Path], Path | str]:
    """Return where the database that a test calls by this path is: there, or, always the same one, on the server."""
    places: dict[Path, str] = {}
    if dialect != SERVER:
        return lambda path: put_database(path) if path.suffix == ".db" else path
    server: Server = request.getfixturevalue("postgres")
    template = server.create()
    Database(server.url(template)).close()
    return lambda path: places.get(path) or places.setdefault(path, server.url(server.create(template)))


@pytest.fixture(scope="session")
def open_database(place_of: Callable[[Path], Path | str]) -> OpenDatabase:
    """Opens the database that a test calls by this path."""
    return lambda path: Database(place_of(path))


@pytest.fixture
def configs(tmp_path: Path) -> Path:
    """Return a configs folder of the test's own: the shipped models and profiles, no YAML files, so that all is default."""
    folder = tmp_path / "configs"
    folder.mkdir()
    for name in ("models", "profiles"):
        shutil.copytree(PROJECT_ROOT / "configs" / name, folder / name)
    return folder


@pytest.fixture
def make_settings(tmp_path: Path) -> Callable[..., Settings]:
    """Shipped settings with an output folder of the test's own; keyword `values` go on top."""

    def make(**values: object) -> Settings:
        return load_settings(overrides={"output.directory": str(tmp_path / "outputs"), **values})

    return make
