"""A whole model from each hub, in a process of its own: paused, killed, refused, and never left looking right when it is not."""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import time
from dataclasses import replace

import pytest

from core.config.loader import load_settings
from core.errors import DownloadError
from core.models.catalog import Catalog
from core.models.families import FAMILIES
from core.models.hub import hub_api
from core.models.hub.download_state import DownloadFiles, DownloadRequest
from core.models.hub.download_worker import Downloader
from core.models.hub.downloads import Downloads, downloads_of
from core.models.hub.http_download import needed
from core.models.hub.hub_api import HubError, RemoteFile, endpoint_of
from core.models.model_paths import ModelPaths, places_of
from core.models.validation import MANIFEST, check_folder
from tests.options import measured
from tests.pipelines import SDXL, SDXL_CONTROL, Z_IMAGE, Z_IMAGE_CONTROL
from tests.unit.hub.fake_hub import serving

PATIENCE = 90  # seconds; a busy machine starts a Python in some
HUBS = ("huggingface", "modelscope")


@pytest.fixture
def catalog(configs, tmp_path):
    entry = "id: toy\npipeline: ZImagePipeline\nhuggingface: owner/toy\nmodelscope: owner/toy\n"
    (configs / "models" / "toy.yaml").write_text(entry)
    return Catalog(configs, ModelPaths(tmp_path / "store"))


@pytest.fixture
def downloads(hub, tmp_path):
    made = Downloads(tmp_path / "store", dict.fromkeys(HUBS, hub.address))
    yield made
    made.stop()


@pytest.fixture
def in_process(hub, tmp_path):
    """The same work without a process, which takes a second to start."""

    def run(name="huggingface", **changes):
        orders = DownloadRequest(
            "toy", Z_IMAGE, name, "owner/toy", None, hub.address, str(tmp_path / "store"), os.getpid()
        )
        orders = replace(orders, **{"typed": False, **changes})
        files = DownloadFiles(tmp_path / "store", "toy")
        assert files.take()
        fetcher = Downloader(orders, files, None)
        fetcher.naps = []
        fetcher._wait = lambda seconds: fetcher.naps.append(seconds) if seconds else files.pause_wanted
        fetcher.run()
        files.give_back()
        return files.read()[1]

    return run


def wait_for(downloads, condition):
    deadline = time.monotonic() + PATIENCE
    while not condition(now := downloads.get("toy")):
        assert time.monotonic() < deadline, now
        time.sleep(0.05)
    return now


@pytest.mark.parametrize("name", HUBS)
def test_a_model_arrives_whole_and_can_be_used(catalog, in_process, hub, tmp_path, name):
    done = in_process(name)
    assert (done.state, done.error) == ("done", None)
    assert done.done_bytes == done.total_bytes > 70_000
    folder = tmp_path / "store" / "toy"
    check_folder(folder, "toy")
    assert (catalog.find("toy").place, catalog.find("toy").problem) == ("store", None)
    fetched = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert "vae/model.bf16.safetensors" in fetched, "16 bits rather than 32"
    assert not fetched & {"vae/model.safetensors", "vae/model.bin", "README.md"}
    told = json.loads((folder / MANIFEST).read_text())
    assert told["repository"] == "owner/toy"
    assert len(told["files"]["vae/model.bf16.safetensors"]["sha256"]) == 64
    assert not list((tmp_path / "store").glob("*.part"))


@pytest.mark.parametrize("name", HUBS)
def test_faults_on_the_way_are_overcome(in_process, hub, name):
    hub.listing_statuses, hub.statuses, hub.cuts = [503, 429], [429, 503], [10, 5000, 9000]
    assert in_process(name).state == "done"


@pytest.mark.parametrize("name", HUBS)
def test_a_slow_hub_that_starts_anew_each_time_is_waited_for(in_process, hub, tmp_path, name):
    hub.ranges, hub.cuts, hub.seconds_a_chunk = False, [1000, 2000], 0.02
    assert in_process(name).state == "done"
    check_folder(tmp_path / "store" / "toy", "toy")


@pytest.mark.parametrize("name", HUBS)
def test_a_wrong_file_never_looks_right(catalog, in_process, hub, tmp_path, name):
    hub.wrong.add("vae/model.bf16.safetensors")
    failed = in_process(name)
    assert failed.state == "failed"
    assert "vae/model.bf16.safetensors had other content" in failed.error.message("en")
    assert not (tmp_path / "store" / "toy").exists()
    assert not list((tmp_path / "store").rglob("vae/model*"))
    assert "models get" in catalog.find("toy").problem.message("en")
    hub.wrong.clear()
    hub.requests.clear()
    assert in_process(name).state == "done"
    assert not any("text_encoder/model" in path for path, *_ in hub.requests), "what was right is kept"


def test_a_repository_that_is_no_model_of_ours_gets_no_name(in_process, hub, toy, tmp_path):
    index = {"_class_name": Z_IMAGE, "vae": ["mine", "AutoencoderKL"]}
    (toy / "model_index.json").write_text(json.dumps(index))
    failed = in_process()
    assert "names a class of its own" in failed.error.message("en")
    assert not (tmp_path / "store" / "toy").exists()


def test_another_revision_does_not_mix_with_what_came_before(in_process, hub, toy, tmp_path):
    hub.statuses = [404]
    assert in_process("huggingface").state == "failed"
    part = tmp_path / "store" / "toy.part"
    (part / "vae").mkdir(parents=True)
    (part / "vae" / "model.bf16.safetensors").write_bytes((toy / "vae" / "model.bf16.safetensors").read_bytes()[::-1])
    assert in_process("modelscope").state == "done"
    check_folder(tmp_path / "store" / "toy", "toy")


@pytest.mark.parametrize("name", HUBS)
def test_a_socks_proxy_without_its_packages_is_said(in_process, hub, monkeypatch, name):
    monkeypatch.setattr(hub_api, "find_spec", lambda package: None)
    monkeypatch.setenv("ALL_PROXY", "socks5h://anna:secret@127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.setattr(hub_api.requests.utils, "should_bypass_proxies", lambda *given, **named: False)
    error = in_process(name).error
    assert error is not None and hub.requests == []
    assert "socks5h://127.0.0.1:9" in error.message("en") and "pip install pysocks socksio" in error.message("zh")
    assert "secret" not in error.message("en") + error.message("zh")


def test_a_full_disk_is_said_before_anything_is_fetched(in_process, hub, monkeypatch):
    monkeypatch.setattr("core.models.hub.download_worker.SPARE", 1 << 60)
    failed = in_process()
    assert "free some space" in failed.error.message("en")
    assert not any("/resolve/" in path for path, *_ in hub.requests)


# -- the process -------------------------------------------------------------------------------------------------------


@pytest.mark.option("models.store", "models.hf_endpoint", "models.modelscope_endpoint")
@pytest.mark.parametrize(
    ("name", "key"), [("huggingface", "models.hf_endpoint"), ("modelscope", "models.modelscope_endpoint")]
)
def test_the_settings_name_the_address_and_the_folder(catalog, configs, hub, tmp_path, name, key):
    settings = load_settings(configs, overrides={"models.store": str(tmp_path / "kept"), key: hub.address})
    made = downloads_of(settings, places_of(settings).store)
    made.start(catalog.find("toy"), name)
    wait_for(made, lambda now: now.state == "done")
    check_folder(tmp_path / "kept" / "toy", "toy")
    measured(key, "a stand-in hub at this address: the model came from it")
    measured("models.store", "the model's folder was made there")
    made.stop()


@pytest.mark.by_default("huggingface")
@pytest.mark.parametrize("name", HUBS)
def test_pause_and_go_on(catalog, downloads, hub, toy, tmp_path, name):
    grow(toy)
    hub.seconds_a_chunk = 0.05
    downloads.start(catalog.find("toy"), name)
    moving = wait_for(downloads, lambda now: now.done_bytes > 200_000)
    assert moving.state == "running"
    assert moving.speed is None or moving.speed > 0
    downloads.pause("toy")
    paused = downloads.get("toy")
    assert paused.state == "paused"
    time.sleep(0.1)  # the hub finds out when it sends its next chunk
    sent = hub.sent
    time.sleep(0.2)
    assert hub.sent == sent < paused.total_bytes
    hub.seconds_a_chunk = 0.0
    after = Downloads(tmp_path / "store", {})  # as the next start sees it
    after.resume_interrupted()
    assert after.get("toy").state == "paused", "a pause is a person's, and stays one"
    after.resume("toy")
    wait_for(after, lambda now: now.state == "done")
    after.stop()
    assert hub.sent < paused.total_bytes * 1.5, "it went on from where it was"
    check_folder(tmp_path / "store" / "toy", "toy")


@pytest.mark.by_default("modelscope")
@pytest.mark.parametrize("name", HUBS)
def test_killed_in_the_middle_it_goes_on_at_the_next_start(catalog, downloads, hub, toy, tmp_path, name):
    grow(toy)
    hub.seconds_a_chunk = 0.05
    downloads.start(catalog.find("toy"), name)
    wait_for(downloads, lambda now: now.done_bytes > 200_000)
    process = downloads._processes["toy"]
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    after = Downloads(tmp_path / "store", {})  # as another app sees it
    assert after.get("toy").state == "interrupted"
    assert not (tmp_path / "store" / "toy").exists()
    hub.seconds_a_chunk, before = 0.0, hub.sent
    after.resume_interrupted()
    done = wait_for(after, lambda now: now.state == "done")
    assert hub.sent - before < done.total_bytes
    after.stop()


def test_cancel_leaves_nothing(catalog, downloads, hub, toy, tmp_path):
    grow(toy)
    hub.seconds_a_chunk = 0.05
    downloads.start(catalog.find("toy"))
    wait_for(downloads, lambda now: now.done_bytes > 100_000)
    downloads.cancel("toy")
    assert downloads.get("toy") is None
    assert not list((tmp_path / "store").glob("toy*"))


def grow(toy):
    """Weights of some megabytes, so that there is a middle."""
    import numpy as np
    from safetensors.numpy import save_file

    for part in FAMILIES[Z_IMAGE].weighty:
        values = np.random.default_rng(1).integers(0, 255, 1_000_000, np.uint8)
        save_file({"weight": values}, toy / part / "model.bf16.safetensors")


# -- what is asked for -------------------------------------------------------------------------------------------------


def test_a_source_that_the_entry_does_not_name(catalog, downloads):
    with pytest.raises(DownloadError, match="no such source"):
        downloads.start(catalog.find("demo"))


@pytest.mark.parametrize("address", ["ftp://x", "http://", "https://user:secret@x", "https://x?a=b"])
def test_an_address_that_is_none(catalog, downloads, address):
    with pytest.raises(DownloadError, match="cannot be used as a mirror") as refused:
        downloads.start(catalog.find("toy"), "huggingface", address)
    assert "secret" not in str(refused.value)


def test_addresses_come_from_the_environment(monkeypatch):
    assert endpoint_of("huggingface", "auto") == "https://huggingface.co"
    assert endpoint_of("modelscope", "auto") == "https://modelscope.cn"
    monkeypatch.setenv("HF_ENDPOINT", "https://hf-mirror.com/")
    monkeypatch.setenv("MODELSCOPE_DOMAIN", "www.modelscope.ai")
    assert endpoint_of("huggingface", "auto") == "https://hf-mirror.com"
    assert endpoint_of("modelscope", "auto") == "https://www.modelscope.ai"


@pytest.mark.parametrize("name", HUBS)
def test_a_gated_model_wants_a_token_that_stays_out_of_sight(in_process, hub, tmp_path, name, caplog, capfd):
    hub.token = "hf_secret_of_a_person"
    refused = in_process(name)
    assert hub_api.VARIABLES[name] in refused.error.message("en")
    hub_api.save_token(name, "hf_secret_of_a_person", tmp_path / "store")
    assert in_process(name).state == "done"
    kept = tmp_path / "store" / hub_api.FILE
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    told = [path for path in (tmp_path / "store").rglob("*") if path.is_file() and path != kept]
    assert not any(b"secret_of_a_person" in path.read_bytes() for path in told)
    assert "secret_of_a_person" not in caplog.text + "".join(capfd.readouterr())


def test_a_token_file_that_others_can_read_is_not_used(in_process, hub, tmp_path):
    hub_api.save_token("huggingface", "x", tmp_path / "store")
    (tmp_path / "store" / hub_api.FILE).chmod(0o644)
    assert "chmod 600" in in_process().error.message("en")
    assert hub.requests == []


def test_what_of_a_repository_is_needed():
    family = FAMILIES[Z_IMAGE]
    names = ["model_index.json", "notes.bin", *(f"{part}/{told.config}" for part, told in family.parts.items())]
    names += [f"{part}/x.safetensors" for part in family.weighty]
    names += [
        "transformer/x-00001-of-00002.bf16.safetensors",
        "transformer/x.non_ema.safetensors",
        "vae/../../evil.json",
    ]
    names += [f"{part}/x.fp16.safetensors" for part in family.weighty]
    selected = [file.path for file in needed([RemoteFile(name, 1, "") for name in names], family)]
    assert {name for name in selected if name.endswith(".safetensors")} == {
        f"{part}/x.fp16.safetensors" for part in family.weighty
    }
    assert not any(".." in name or name == "notes.bin" for name in selected)
    with pytest.raises(HubError, match="safetensors: vae"):
        needed([RemoteFile(name, 1, "") for name in names if not name.startswith("vae/x")], family)


# -- a ControlNet ------------------------------------------------------------------------------------------------------


def controlnet(folder, **config):
    """A repository of a ControlNet alone, for `toy_base`: 16 and 32 bits, and what is not needed."""
    import numpy as np
    from safetensors.numpy import save_file

    folder.mkdir()
    told = {"_class_name": "ControlNetModel", "addition_embed_type": "text_time", "cross_attention_dim": 64, **config}
    (folder / "config.json").write_text(json.dumps(told))
    values = np.random.default_rng(0).standard_normal((64, 200)).astype(np.float32)
    save_file({"weight": values}, folder / "diffusion_pytorch_model.safetensors")
    save_file({"weight": values.astype(np.float16)}, folder / "diffusion_pytorch_model.fp16.safetensors")
    (folder / "diffusion_pytorch_model.bin").write_bytes(b"\x80\x04never fetched")
    (folder / "README.md").write_text("not needed")
    return folder


def xl_repository(folder):
    """A repository of the SDXL that it is added to."""
    import numpy as np
    from safetensors.numpy import save_file

    folder.mkdir()
    (folder / "model_index.json").write_text(json.dumps({"_class_name": SDXL}))
    for part, told in FAMILIES[SDXL].parts.items():
        (folder / part).mkdir()
        (folder / part / told.config).write_text(json.dumps({"cross_attention_dim": 64}))
        if told.weights:
            save_file({"weight": np.zeros((50, 100), np.float16)}, folder / part / "model.fp16.safetensors")
    return folder


@pytest.mark.by_default("modelscope")
@pytest.mark.parametrize("name", HUBS)
def test_a_controlnet_arrives_with_the_model_that_it_is_added_to(configs, tmp_path, name):
    with serving(controlnet(tmp_path / "n")) as of_network, serving(xl_repository(tmp_path / "xl")) as of_base:
        for model, more in (("net", f"pipeline: {SDXL_CONTROL}\nbase: xl\n"), ("xl", f"pipeline: {SDXL}\n")):
            entry = f"id: {model}\n{more}huggingface: owner/toy\nmodelscope: owner/toy\n"
            (configs / "models" / f"{model}.yaml").write_text(entry)
        store = tmp_path / "store"
        catalog = Catalog(configs, ModelPaths(store))
        assert "models get" in catalog.find("net").problem.message("en")
        by_address = {"net": of_network.address, "xl": of_base.address}
        for model in ("net", "xl"):
            made = Downloads(store, dict.fromkeys(HUBS, by_address[model]))
            made.start(catalog.find(model), name)
            deadline = time.monotonic() + PATIENCE
            while (now := made.get(model)).active:
                assert time.monotonic() < deadline
                time.sleep(0.05)
            assert now.state == "done", now.error
            if model == "net":
                assert "such as xl" in catalog.find("net").problem.message("en"), "its base is named"
        fetched = {path.name for path in (store / "net").iterdir()}
        assert fetched == {"config.json", "diffusion_pytorch_model.fp16.safetensors", MANIFEST}
        found = catalog.find("net")
        assert (found.problem, found.base, found.place) == (None, str(store / "xl"), "store")
        assert found.memory_bytes > catalog.find("xl").memory_bytes
        assert Downloads(store, {}).remove_files(found)
        assert not (store / "net").exists() and (store / "xl").is_dir()


def test_one_file_of_a_repository_is_all_that_is_fetched(configs, tmp_path):
    import numpy as np
    from safetensors.numpy import save_file

    (tmp_path / "n").mkdir()
    for name in ("one", "other"):
        save_file(
            {"control_all_x_embedder.2-1.weight": np.zeros((64, 64), np.float16)},
            tmp_path / "n" / f"{name}.safetensors",
        )
    entry = f"id: net\npipeline: {Z_IMAGE_CONTROL}\nbase: demo\nhuggingface: owner/toy\nfile: one.safetensors\n"
    (configs / "models" / "net.yaml").write_text(entry)
    catalog = Catalog(configs, ModelPaths(tmp_path / "store"))
    with serving(tmp_path / "n") as hub:
        made = Downloads(tmp_path / "store", dict.fromkeys(HUBS, hub.address))
        made.start(catalog.find("net"))
        deadline = time.monotonic() + PATIENCE
        while (now := made.get("net")).active:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert now.state == "done", now.error
    assert {path.name for path in (tmp_path / "store" / "net").iterdir()} == {"one.safetensors", MANIFEST}
    found = catalog.find("net")
    assert found.path == str(tmp_path / "store" / "net" / "one.safetensors")
    assert "same family and shape, such as demo" in found.problem.message("en"), "the embedded model has another width"
    assert made.remove_files(found) and not (tmp_path / "store" / "net").exists()


@pytest.mark.option("models.allowed_mirrors")
@pytest.mark.parametrize("name", HUBS)
def test_a_mirror_that_was_typed_gets_no_token(catalog, in_process, hub, tmp_path, name):
    hub_api.save_token(name, "hf_secret_of_a_person", tmp_path / "store")
    assert in_process(name).state == "done"
    assert "Bearer hf_secret_of_a_person" in {shown for _, _, shown in hub.requests}
    shutil.rmtree(tmp_path / "store" / "toy")
    hub.requests.clear()
    assert in_process(name, typed=True, internal=True).state == "done"
    assert {shown for _, _, shown in hub.requests} == {None}
    measured("models.allowed_mirrors", "a mirror in this network: refused unless it is named, and it gets no token")


def test_a_typed_mirror_in_this_network_is_refused_before_anything_is_asked(catalog, hub, tmp_path):
    made = Downloads(tmp_path / "store", {})
    with pytest.raises(DownloadError, match="allowed_mirrors"):
        made.start(catalog.find("toy"), "huggingface", hub.address)
    allowed = Downloads(tmp_path / "store", {}, [hub.address])
    allowed.start(catalog.find("toy"), "huggingface", hub.address)
    wait_for(allowed, lambda now: now.state == "done")
    assert not made.get("toy").active


def test_of_a_tiny_decoders_repository_its_configuration_and_weights():
    names = ["README.md", "config.json", "diffusion_pytorch_model.safetensors", "taesd_decoder.pth", "examples/a.png"]
    selected = needed([RemoteFile(name, 1, "") for name in names], FAMILIES[Z_IMAGE], is_part=True)
    assert [file.path for file in selected] == ["config.json", "diffusion_pytorch_model.safetensors"]
