"""One file over a real connection that fails in every way: what is left is right, resumable, or not there."""

from __future__ import annotations

import hashlib

import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st

from core.models.hub import http_download
from core.models.hub.http_download import PART, Stopped, fetch
from core.models.hub.hub_api import HubError, RemoteFile
from tests.unit.hub.fake_hub import COMMIT, serving

NAME = "vae/model.safetensors"


ADDRESSES = {
    "huggingface": "{hub}/owner/toy/resolve/{commit}/{name}",
    "modelscope": "{hub}/api/v1/models/owner/toy/repo?Revision=master&FilePath={name}",
}
both_hubs = pytest.mark.parametrize("protocol", ADDRESSES)


def remote(hub, name=NAME, protocol="huggingface", **changes):
    data = (hub.folder / name).read_bytes()
    told = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), **changes}
    url = ADDRESSES[protocol].format(hub=hub.address, commit=COMMIT, name=name)
    return RemoteFile(name, url=url, **told)


def get(hub, target, waits=None, **changes):
    """Fetch without sleeping; what was said of the progress."""
    said = []

    def wait(seconds):
        if seconds and waits is not None:
            waits.append(seconds)
        return False

    fetch(requests.Session(), remote(hub, **changes), target, lambda count, checking: said.append(count), wait)
    return said


def test_a_file_arrives_whole(hub, tmp_path):
    said = get(hub, tmp_path / "got")
    assert (tmp_path / "got").read_bytes() == (hub.folder / NAME).read_bytes()
    assert said[-1] == (hub.folder / NAME).stat().st_size
    assert not list(tmp_path.glob(f"*{PART}"))


def test_what_is_there_is_not_fetched_again(hub, tmp_path):
    get(hub, tmp_path / "got")
    hub.requests.clear()
    get(hub, tmp_path / "got")
    assert hub.requests == []


@both_hubs
@given(st.data())
@settings(max_examples=8)
def test_cut_at_any_byte_it_goes_on_from_there(tmp_path_factory, protocol, data):
    folder = tmp_path_factory.mktemp("any")
    content = bytes(range(256)) * 4
    (folder / "repository" / "vae").mkdir(parents=True)
    (folder / "repository" / NAME).write_bytes(content)
    with serving(folder / "repository") as hub:
        hub.cuts = data.draw(st.lists(st.integers(1, len(content) - 1), max_size=4))
        get(hub, folder / "got", protocol=protocol)
        assert (folder / "got").read_bytes() == content
        assert hub.sent == len(content), "no byte comes twice"


@both_hubs
def test_every_single_byte_may_be_the_last(hub, tmp_path, protocol):
    content = b"0123456789"
    (hub.folder / NAME).write_bytes(content)
    for cut in range(1, len(content)):
        hub.cuts = [cut]
        get(hub, tmp_path / f"got{cut}", protocol=protocol)
        assert (tmp_path / f"got{cut}").read_bytes() == content
        assert hub.requests[-1][1] == f"bytes={cut}-"


@both_hubs
def test_a_server_without_ranges_gives_it_anew(hub, tmp_path, protocol):
    hub.ranges, hub.cuts = False, [1000, 2000]
    get(hub, tmp_path / "got", protocol=protocol)
    assert (tmp_path / "got").read_bytes() == (hub.folder / NAME).read_bytes()


@both_hubs
@pytest.mark.parametrize("status", [429, 503, 500, 408])
def test_a_busy_hub_is_waited_for(hub, tmp_path, status, protocol):
    hub.statuses, hub.retry_after = [status, status], "7"
    waits = []
    get(hub, tmp_path / "got", waits, protocol=protocol)
    assert (tmp_path / "got").is_file()
    assert waits == [7.0, 7.0]


@pytest.mark.parametrize(("status", "kind"), [(401, "gated"), (403, "gated"), (404, "missing"), (418, "answer")])
def test_what_waiting_does_not_help_is_said_at_once(hub, tmp_path, status, kind):
    hub.statuses = [status]
    with pytest.raises(HubError) as caught:
        get(hub, tmp_path / "got")
    assert caught.value.kind == kind
    assert len(hub.requests) == 1


def test_it_gives_up_after_some_tries_and_keeps_what_came(hub, tmp_path):
    hub.cuts, hub.statuses = [500], []
    get_statuses = [503] * 20
    waits = []

    def wait(seconds):
        if seconds:
            waits.append(seconds)
            hub.statuses = get_statuses
        return False

    with pytest.raises(HubError, match="busy"):
        fetch(requests.Session(), remote(hub), tmp_path / "got", lambda *_: None, wait)
    assert len(waits) <= http_download.MOST_FAILURES
    assert (tmp_path / f"got{PART}").stat().st_size == 500
    assert not (tmp_path / "got").exists()
    hub.statuses = []
    get(hub, tmp_path / "got")
    assert (tmp_path / "got").read_bytes() == (hub.folder / NAME).read_bytes()


@both_hubs
def test_a_wrong_content_is_thrown_away(hub, tmp_path, protocol):
    hub.wrong.add(NAME)
    with pytest.raises(HubError, match="checksum"):
        get(hub, tmp_path / "got", protocol=protocol)
    assert list(tmp_path.glob("got*")) == []


def test_a_wrong_beginning_from_before_is_replaced(hub, tmp_path):
    (tmp_path / f"got{PART}").write_bytes(b"x" * 1000)
    get(hub, tmp_path / "got")
    assert (tmp_path / "got").read_bytes() == (hub.folder / NAME).read_bytes()


def test_a_small_file_is_checked_as_git_does(hub, tmp_path):
    data = (hub.folder / "model_index.json").read_bytes()
    right = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
    get(hub, tmp_path / "index", name="model_index.json", sha256=None, git=right)
    hub.wrong.add("model_index.json")
    with pytest.raises(HubError, match="checksum"):
        get(hub, tmp_path / "other", name="model_index.json", sha256=None, git=right)


@pytest.mark.parametrize("size", [100, 10**9])
def test_another_size_than_announced(hub, tmp_path, size):
    with pytest.raises(HubError):
        get(hub, tmp_path / "got", size=size)
    assert not (tmp_path / "got").exists()


def test_asked_to_stop_it_keeps_what_came(hub, tmp_path):
    (hub.folder / NAME).write_bytes(bytes(1_000_000))
    with pytest.raises(Stopped):
        fetch(requests.Session(), remote(hub), tmp_path / "got", lambda *_: None, lambda seconds: True)
    kept = (tmp_path / f"got{PART}").stat().st_size
    assert 0 < kept < 1_000_000
    get(hub, tmp_path / "got")
    assert hub.requests[-1][1] == f"bytes={kept}-"
