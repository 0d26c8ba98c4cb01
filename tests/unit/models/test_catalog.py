"""The catalogue: shipped entries, models of the hubs' caches, the user's own, and what it says of unknown ones."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from core.config.loader import PROJECT_ROOT, load_settings
from core.errors import ConfigFileError, ModelFileError, OptionError, UnknownModelError, UnknownOptionError
from core.models import catalog as catalog_module
from core.models import model_paths
from core.models.catalog import Catalog
from core.models.entries import read_entry
from core.models.model_paths import EMBEDDED, ModelPaths, places_of
from tests.options import measured


@pytest.fixture
def catalog(configs, tmp_path, monkeypatch):
    """The shipped entries, and nothing on disk but the embedded model."""
    monkeypatch.setattr(model_paths, "hugging_face_cache", lambda: tmp_path / "hf")
    monkeypatch.setenv("MODELSCOPE_CACHE", str(tmp_path / "ms"))
    return Catalog(configs, ModelPaths(tmp_path / "store", extra=()))


def write(configs, name, text):
    path = configs / "models" / f"{name}.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_every_shipped_entry_is_read(catalog):
    assert catalog.problems() == []
    infos = {info.id: info for info in catalog.models()}
    assert {"demo", "sd15", "sdxl", "z-image", "z-image-turbo"} <= infos.keys() and list(infos) == sorted(infos)
    assert infos["demo"].problem is None
    assert infos["demo"].place == "shipped"
    assert infos["demo"].max_side >= 1024
    assert {info.id for info in infos.values() if info.problem is None} == {"demo"}


def test_a_part_of_its_own_need_not_be_in_the_folder(catalog, configs, tmp_path):
    folder = shutil.copytree(EMBEDDED, tmp_path / "copy")
    entry = f"id: copy\nname: {{en: a, zh: b}}\ndescription: {{en: a, zh: b}}\npath: {folder}\n"
    next((folder / "vae").glob("*.safetensors")).unlink()
    write(configs, "copy", entry)
    assert "vae/*.safetensors" in catalog.find("copy").problem.message("en")
    write(configs, "copy", f"{entry}parts: {{vae: {EMBEDDED / 'vae'}}}\n")
    assert catalog.find("copy").problem is None
    assert catalog.find("copy") is catalog.find("copy"), "it is remembered while the folders stay as they are"


def test_a_folder_is_checked_again_only_once_something_in_it_has_changed(catalog, configs, tmp_path, monkeypatch):
    folder = shutil.copytree(EMBEDDED, tmp_path / "copy")
    write(configs, "copy", f"id: copy\nname: {{en: a, zh: b}}\ndescription: {{en: a, zh: b}}\npath: {folder}\n")
    checked, check = [], catalog_module.check_sources
    monkeypatch.setattr(catalog_module, "check_sources", lambda *files: checked.append(files) or check(*files))
    assert catalog.find("copy") is catalog.find("copy") and len(checked) == 1
    config = folder / "transformer" / "config.json"
    whole = config.read_text()
    config.write_text("{")
    assert catalog.find("copy").problem is not None
    config.write_text(whole)
    assert catalog.find("copy").problem is None
    next((folder / "vae").glob("*.safetensors")).unlink()
    assert catalog.find("copy").problem is not None


def test_a_model_that_is_not_here_says_how_to_get_it(catalog):
    turbo = catalog.find("z-image-turbo")
    assert (turbo.default_width, turbo.default_steps, turbo.default_cfg_scale) == (1024, 8, 1.0)
    assert turbo.sources == {"huggingface": "Tongyi-MAI/Z-Image-Turbo", "modelscope": "Tongyi-MAI/Z-Image-Turbo"}
    assert "models get" in turbo.problem.message("en")


def test_what_a_model_cannot_do_has_a_reason(catalog):
    cannot = catalog.find("sd15").cannot
    assert "U-Net" in cannot["transformer.use_rope"]["en"]
    assert {"cfg.truncation", "scheduler.shift"} <= set(cannot)
    assert "vae.enable_tiling" not in cannot
    of_demo = {key for key in catalog.find("demo").cannot if not key.startswith("controlnet.")}
    assert of_demo == {"generation.prompt_syntax", "generation.clip_skip"}, "brackets are text for its language model"


def test_a_controlnet_is_an_entry_beside_its_base(catalog):
    info = catalog.find("sdxl-canny")
    assert (info.base_id, info.inputs) == ("sdxl", ("control_image", "image", "mask_image"))
    assert "models get" in info.problem.message("en")


def put_into_hugging_face_cache(root, repository, revision, main=None):
    kept = root / f"models--{repository.replace('/', '--')}"
    shutil.copytree(EMBEDDED, kept / "snapshots" / revision)
    (kept / "refs").mkdir()
    (kept / "refs" / "main").write_text(main or revision)
    return kept / "snapshots" / revision


def test_found_in_the_hugging_face_cache(catalog, tmp_path):
    repository, revision = "Tongyi-MAI/Z-Image-Turbo", catalog.find("z-image-turbo").revisions["huggingface"]
    folder = put_into_hugging_face_cache(tmp_path / "hf", repository, revision, main="0" * 40)
    found = catalog.find("z-image-turbo")
    assert (found.path, found.place, found.problem) == (str(folder), "huggingface", None)


@pytest.mark.parametrize("layout", ["models/owner/Name-1___5", "owner/Name-1.5"])
def test_found_in_the_modelscope_cache(catalog, configs, tmp_path, layout):
    write(configs, "mine", "id: mine\nmodelscope: owner/Name-1.5\n")
    shutil.copytree(EMBEDDED, tmp_path / "ms" / layout)
    found = catalog.find("mine")
    assert (found.path, found.place, found.problem) == (str(tmp_path / "ms" / layout), "modelscope", None)


def test_a_whole_one_in_a_cache_wins_over_a_broken_one_in_the_store(catalog, tmp_path):
    shutil.copytree(EMBEDDED, tmp_path / "store" / "z-image-turbo")
    (tmp_path / "store" / "z-image-turbo" / "vae" / "config.json").unlink()
    assert "vae/config.json" in catalog.find("z-image-turbo").problem.message("en")
    put_into_hugging_face_cache(tmp_path / "hf", "Tongyi-MAI/Z-Image-Turbo", "1" * 40)
    assert catalog.find("z-image-turbo").place == "huggingface"


def test_a_path_must_lie_in_an_allowed_folder(catalog, configs, tmp_path):
    folder = tmp_path / "elsewhere" / "mine"
    shutil.copytree(EMBEDDED, folder)
    assert "lies outside the folders that may be used" in catalog.find(str(folder)).problem.message("en")
    allowed = Catalog(configs, ModelPaths(tmp_path / "store", extra=(folder.parent,)))
    assert allowed.find(str(folder)).problem is None
    (tmp_path / "inside").mkdir()
    (tmp_path / "inside" / "link").symlink_to(folder)
    trusting = Catalog(configs, ModelPaths(tmp_path / "store", extra=(tmp_path / "inside",)))
    assert "lies outside" in trusting.find(str(tmp_path / "inside" / "link")).problem.message("en")
    assert "lies outside" in trusting.find(f"{tmp_path}/inside/../elsewhere/mine").problem.message("en")


@pytest.mark.option("models.folders", "model.id")
def test_the_settings_allow_folders(configs, tmp_path):
    folder = tmp_path / "elsewhere" / "mine"
    shutil.copytree(EMBEDDED, folder)

    def problem(**given):
        settings = load_settings(configs, overrides={name.replace("__", "."): value for name, value in given.items()})
        return Catalog(configs, places_of(settings)).find(str(folder)).problem

    assert "models.folders" in problem().message("en")
    assert problem(models__folders=[str(folder.parent)]) is None
    measured(
        "models.folders", "a model folder elsewhere is refused by the option's name, and allowed once it is listed"
    )
    assert problem(model__id=str(folder)) is None, "what the settings name is allowed by that"
    measured("model.id", "a name of the catalogue or a folder; an unknown one is an error that names the nearest")


def test_one_file_adds_a_model(catalog, configs, tmp_path):
    shutil.copytree(EMBEDDED, tmp_path / "copy")
    words = (
        f"id: copy\nname: {{en: A copy, zh: 副本}}\npath: {tmp_path / 'copy'}\nlicence: MIT\n"
        "negative_prompt: false\nlimits: {num_inference_steps: [4, 12]}\ndefaults: {width: 128}\n"
    )
    write(configs, "copy", words)
    copy = catalog.find("copy")
    assert copy.problem is None
    assert (copy.name["zh"], copy.licence, copy.default_width, copy.default_steps) == ("副本", "MIT", 128, 8)
    assert copy.bounds == {"generation.num_inference_steps": (4, 12)}
    assert "generation.negative_prompt" in copy.cannot


def test_add_and_forget(catalog, configs, tmp_path):
    shutil.copytree(EMBEDDED, tmp_path / "Meine Häuser")
    added = catalog.add(str(tmp_path / "Meine Häuser"))
    assert added.id == "meine-h-user"
    assert catalog.models()[-1].own
    assert catalog.find(added.id).problem is None
    assert not catalog.forget("demo")
    assert catalog.forget(added.id)
    assert (tmp_path / "Meine Häuser").is_dir()
    with pytest.raises(UnknownModelError):
        catalog.find(added.id)


def test_what_cannot_be_used_is_not_added(catalog, configs, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelFileError, match="model_index"):
        catalog.add(str(tmp_path / "empty"))
    assert not list((configs / "models").glob("*.local.yaml"))


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        ("- a\n", ConfigFileError, "not a mapping"),
        ("id: [", ConfigFileError, "cannot be read"),
        ("id: ../x\npath: a\n", OptionError, "id = ../x"),
        ("id: a\npath: b\npipelin: X\n", UnknownOptionError, "pipelin"),
        ("id: a\npath: b\npipeline: MyPipeline\n", OptionError, "allowed: ZImagePipeline"),
        ("id: a\nhuggingface: a/../b\n", OptionError, "owner/name"),
        ("id: a\nhuggingface: {id: a/b, revision: x/y}\n", OptionError, "revision"),
        ("id: a\n", OptionError, "path, huggingface or modelscope"),
        ("id: a\npath: b\ndefaults: {width: 3}\n", OptionError, "width"),
        ("id: a\npath: b\nlimits: {seed: [1, 2]}\n", UnknownOptionError, "limits.seed"),
        ("id: a\npath: b\nlimits: {guidance_scale: 3}\n", OptionError, "limits.guidance_scale"),
        ("id: a\npath: b\nname: {en: x}\n", OptionError, "name"),
    ],
)
def test_a_file_with_a_mistake_is_named_and_hides_no_other(catalog, configs, text, error, words):
    path = write(configs, "wrong", text)
    with pytest.raises(error, match=words.replace("(", r"\(").replace("[", r"\[")) as caught:
        read_entry(path)
    assert "models/wrong.yaml" in caught.value.message("zh")
    assert len(catalog.problems()) == 1
    assert catalog.find("demo").problem is None


@pytest.mark.option("model.id")
def test_a_folder_by_its_path(catalog):
    info = catalog.find(str(PROJECT_ROOT / "core" / "demo" / "weights"))
    assert info.problem is None


def test_a_folder_that_is_no_model(catalog, tmp_path):
    (tmp_path / "store").mkdir()
    assert isinstance(catalog.find(str(tmp_path / "store")).problem, ModelFileError)


def test_unknown_id(catalog):
    with pytest.raises(UnknownModelError, match="demo"):
        catalog.find("demmo")


def test_the_embedded_model_needs_about_its_size(catalog):
    demo = catalog.find("demo")
    stored = sum(path.stat().st_size for path in (PROJECT_ROOT / "core/demo/weights").rglob("*.safetensors"))
    assert demo.disk_bytes >= stored
    assert 0 < demo.memory_bytes <= stored


def test_a_model_is_looked_up_once_within_a_block_that_remembers(monkeypatch: pytest.MonkeyPatch) -> None:
    catalog, looks = Catalog(PROJECT_ROOT / "configs"), []
    look = catalog._find
    monkeypatch.setattr(catalog, "_find", lambda model: looks.append(model) or look(model))
    with catalog.remembering():
        assert catalog.find("demo") is catalog.find("demo")
        with pytest.raises(UnknownModelError):
            catalog.find("nobody")
    assert looks == ["demo", "nobody"]
    catalog.find("demo")
    assert looks[-1] == "demo" and len(looks) == 3, "outside each look is a new one"
    assert set(catalog.ids()) == {info.id for info in catalog.models()}


def test_what_is_asked_of_all_models_reads_each_entry_once(catalog, configs, monkeypatch):
    """Two hundred models: their entries are listed once for all, and no file is looked for where there is no folder."""
    shipped = (configs / "models" / "sd15.yaml").read_text(encoding="utf-8")
    for number in range(200):
        write(configs, f"more-{number}", shipped.replace("id: sd15\n", f"id: more-{number}\n"))
    catalog.models()  # from here on the entries are in memory
    listings, read = [], []
    real_entries, real_read = catalog_module.read_entries, Path.read_text
    monkeypatch.setattr(catalog_module, "read_entries", lambda folder: listings.append(folder) or real_entries(folder))
    monkeypatch.setattr(
        Path, "read_text", lambda path, *rest, **named: read.append(path) or real_read(path, *rest, **named)
    )
    with catalog.remembering():
        infos = catalog.models()
        assert [catalog.find(info.id) for info in infos] == list(infos)
        assert catalog.models() == tuple(infos)
    assert len(infos) > 200 and len(listings) == 1
    assert [path for path in read if not path.is_relative_to(EMBEDDED)] == []
