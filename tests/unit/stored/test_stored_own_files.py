"""Users, presets and wildcards of whole earlier versions, made by those versions' own programs: read as they were meant."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from core.batch.wildcard_files import WildcardFiles
from core.config.loader import load_settings
from core.config.presets import Presets
from core.server.auth.users import Users
from core.storage import passwords

FOLDER = Path(__file__).parent
VERSIONS = ("2026-11-25", "v0_1", "2026-11-30")
PASSWORDS = {"anna": "correct horse battery", "小李": "密码密码密码密码密码"}
ROLES = {"anna": "admin", "小李": "user"}
PRESETS = {  # of the first version that had some
    "plain": {"generation.num_images": 3, "model.id": "demo"},
    "夜景 (night)": {
        "generation.num_inference_steps": 6,
        "generation.cfg_scale": 3.5,
        "generation.negative_prompt": "grey",
        "generation.width": 192,
        "generation.sampler": "heun",
        "lora.use": ("ink-print:0.7",),
        "hires.enabled": True,
        "output.format": "jpeg",
    },
}


@pytest.fixture(params=VERSIONS)
def own(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A copy of the output folder of a version, without its images."""
    return Path(shutil.copytree(FOLDER / request.param / "own", tmp_path / "outputs"))


@pytest.mark.by_default("v0_1")
def test_users_log_in_with_their_passwords_and_roles(own: Path) -> None:
    accounts = Users(own).accounts()
    assert {name: account.role for name, account in accounts.items()} in (ROLES, dict.fromkeys(ROLES, "admin"))
    for name, password in PASSWORDS.items():
        assert passwords.matches(password, accounts[name].hash)
        assert not passwords.matches(password + "x", accounts[name].hash)
    Users(own).add("new", "another password")
    assert list(Users(own).accounts()) == [*PASSWORDS, "new"]


def test_presets_set_what_they_set(tmp_path: Path) -> None:
    own = Path(shutil.copytree(FOLDER / VERSIONS[-1] / "own", tmp_path / "outputs"))
    presets = Presets(load_settings(overrides={"output.directory": str(own)}))
    assert [name for name in presets.names() if not presets.is_shipped(name)] == list(PRESETS)
    assert {name: dict(presets.get(name).values) for name in PRESETS} == PRESETS


def test_wildcards_have_their_lines(own: Path) -> None:
    files = WildcardFiles(own / "wildcards")
    assert {name: tuple(files.lines(name)) for name in files.names()} == {
        "art/style": ("ink", "oil"),
        "mood": ("misty", "晴朗"),
    }
