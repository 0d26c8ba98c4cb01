"""Images in an object store, over a real server of its protocol on loopback, and in a folder that is mounted."""

from __future__ import annotations

import shutil
import socket
import sys
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from sqlalchemy import delete

from core.config.loader import load_settings
from core.errors import NotFoundError, OptionError, SharedStorageError, UnavailableError, WrongStorageError
from core.history import annotation_files
from core.history.integrity import check, rebuild
from core.history.record_codec import beside
from core.history.store import History
from core.storage import database as database_module
from core.storage import object_store as shared
from core.storage.database import Database
from core.storage.dialects import dialect_of
from core.storage.files import Files, LocalFiles
from core.storage.input_images import InputImages
from core.storage.object_store import ObjectFiles, open_files
from core.storage.tables import images
from core.studio import Studio
from core.studio.bootstrap import build_studio
from core.types import AnnotationChange, HistoryQuery
from tests.options import measured
from tests.postgres import Server
from tests.unit.storage.test_storage_importing import A1111, png

LOVED = AnnotationChange(rating=5, note="雪", add_tags=("a",))


@pytest.fixture
def url(object_store: str, request: pytest.FixtureRequest) -> str:
    """A folder of its own in the object store."""
    return f"{object_store}/{abs(hash(request.node.nodeid))}"


@pytest.fixture(params=["object store", "mounted folder"])
def files(request: pytest.FixtureRequest, tmp_path: Path) -> Files:
    """Either kind of shared storage, and an output folder of this machine apart from it."""
    if request.param == "object store":
        return open_files(request.getfixturevalue("url"), tmp_path / "here")
    return open_files(f"file://{tmp_path}/mounted", tmp_path / "here")


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database(tmp_path / "studio.db")
    yield opened
    opened.close()


@pytest.fixture
def history(database: Database, files: Files) -> History:
    return History(database, files)


def names(files: Files) -> set[str]:
    return {entry.name for folder in files.folders() for entry in files.entries(folder)}


@pytest.mark.by_default("object store")
def test_a_image_goes_there_whole_and_comes_back(make_image: Any, history: History, files: Files) -> None:
    generated = make_image(prompt="红色的房子", noise=True, size=(300, 200))
    record = history.add(generated, "job")
    assert names(files) == {record.file}
    with Image.open(history.file(record.id)) as image:
        assert image.convert("RGB").tobytes() == generated.image.tobytes()
    assert files.read(record.file) == history.file(record.id).read_bytes()
    with Image.open(history.thumbnail(record.id)) as small:
        assert max(small.size) == 256 and history.thumbnail(record.id).is_relative_to(files.local)


@pytest.mark.by_default("object store")
def test_what_a_machine_has_not_is_fetched_and_made_again(
    make_image: Any, history: History, database: Database, files: Files
) -> None:
    record = history.add(make_image(), None)
    before = history.file(record.id).read_bytes(), history.thumbnail(record.id).read_bytes()
    shutil.rmtree(files.local)
    assert (history.file(record.id).read_bytes(), history.thumbnail(record.id).read_bytes()) == before
    elsewhere = History(database, replaced_local(files, files.local.with_name("there")))
    assert elsewhere.file(record.id).read_bytes() == before[0]
    assert elsewhere.thumbnail(record.id).read_bytes() == before[1]


def replaced_local(files: Files, local: Path) -> Files:
    """The same storage, seen from another machine."""
    if isinstance(files, LocalFiles):
        return LocalFiles(files.root, local)
    assert isinstance(files, ObjectFiles)
    return open_files(files._url, local)


def test_marks_trash_and_imports_lie_beside_it(make_image: Any, history: History, files: Files) -> None:
    own = history.add(make_image(), None)
    taken, new = history.import_image(png({"parameters": A1111}).getvalue(), "x")
    assert new and names(files) == {own.file, taken.file, beside(taken.file)}
    history.change([own.id], LOVED)
    history.trash([taken.id])
    assert (
        annotation_files.read(files, own.file)[0].rating == 5
        and annotation_files.read(files, taken.file)[1] is not None
    )
    history.change([own.id], AnnotationChange(rating=0, note="", remove_tags=("a",)))
    assert not files.has(annotation_files.beside(own.file))
    assert history.empty_trash() == 1 and names(files) == {own.file}
    history.delete(own.id)
    assert names(files) == set()
    with pytest.raises(NotFoundError):
        history.file(own.id)


@pytest.mark.by_default("object store")
def test_a_history_is_reconciled_checked_and_made_again_from_what_is_there(
    make_image: Any, history: History, database: Database, files: Files
) -> None:
    kept, lost, changed, damaged = (history.add(make_image(prompt=f"房子 {k}", seed=k), None) for k in range(4))
    taken, _ = history.import_image(png({"parameters": A1111}).getvalue(), "x")
    history.change([kept.id, taken.id], LOVED)
    with database.writing() as connection:  # a crash between file and row
        dialect_of(connection).clear_words(connection)
        connection.execute(delete(images).where(images.c.id.in_([kept.id, taken.id])))
    assert set(history.reconcile().adopted) == {kept.id, taken.id}
    assert history.get(kept.id).marks.rating == history.get(taken.id).marks.rating == 5
    for record in (kept, lost, changed, damaged, taken):
        history.thumbnail(record.id)
    files.remove(lost.file)
    other = BytesIO()
    Image.new("RGB", (20, 10)).save(other, "PNG")
    files.write(changed.file, other.getvalue())
    files.write(damaged.file, b"no image")
    files.write(annotation_files.beside("2020-01-01/gone.png"), b"{}")
    found = check(database, files)
    assert (found.images, found.missing, found.changed, found.damaged) == (5, 1, (changed.file,), (damaged.file,))
    assert found.marks == 1 and found.thumbnails == 1
    with Image.open(history.file(changed.id)) as image:
        assert image.size == (20, 10)
    before = history.get(kept.id), history.get(taken.id)
    assert {kept.id, taken.id} <= set(rebuild(database, files).reconciled.adopted)
    assert (history.get(kept.id), history.get(taken.id)) == before
    assert history.search(HistoryQuery(text="房子", tag="a")).total == 2


@pytest.mark.by_default("object store")
def test_input_images_are_there_for_every_machine(files: Files) -> None:
    inputs = InputImages(files)
    digest = inputs.keep(png({}).getvalue())
    assert inputs.keep(png({}).getvalue()) == digest and names(files) == {f"inputs/{digest}.png"}
    there = InputImages(replaced_local(files, files.local.with_name("there")))
    assert there.read(digest).tobytes() == inputs.read(digest).tobytes() and there.size(digest) == inputs.size(digest)
    assert inputs.remove_others([]) == 0  # fresh


@pytest.mark.parametrize("name", ["../a.png", "/etc/passwd", "a/../../b", "", "a//b", "a\0b"])
def test_no_name_leads_out(files: Files, name: str) -> None:
    assert files.path(name) is None and not files.has(name) and not files.reaches(name)


def test_a_file_is_one_request(url: str, tmp_path: Path) -> None:
    files = open_files(url, tmp_path)
    assert isinstance(files, ObjectFiles)
    files.write("2026-01-01/a.png", bytes(12 << 20))
    found = files._store.info(files._at("2026-01-01/a.png"))
    assert found["size"] == 12 << 20 and "-" not in found["ETag"]  # of several parts it would have their number


def test_copies_that_were_not_looked_at_go_when_there_are_too_many(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared, "MOST_COPIES", 2500)
    monkeypatch.setattr(shared, "LOOK_EVERY", 4)
    files = open_files(url, tmp_path)
    for k in range(4):
        files.write(f"2026-01-01/{k}.png", bytes(1000))
        assert files.path(f"2026-01-01/{k}.png")
    assert len(list((tmp_path / shared.COPIES).rglob("*.png"))) == 2
    assert files.path("2026-01-01/0.png") is not None  # and is fetched again


def test_a_store_that_does_not_answer_or_refuses_is_told(
    make_image: Any, url: str, tmp_path: Path, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = History(database, open_files(url, tmp_path / "a")).add(make_image(), None)
    missing = History(database, open_files("s3://nowhere/x", tmp_path / "b"))
    with pytest.raises(NotFoundError):
        missing.file(record.id)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    gone = History(database, open_files(url, tmp_path / "c"))
    for call in (lambda: gone.file(record.id), lambda: gone.add(make_image(), None), gone.reconcile):
        with pytest.raises(SharedStorageError, match="s3://pictures/") as caught:
            call()
        assert "hunter2" not in str(caught.value)
    assert not database_says_missing(database, record.id)


def database_says_missing(database: Database, image_id: str) -> bool:
    with database.reading() as connection:
        return bool(
            connection.scalar(images.select().with_only_columns(images.c.missing).where(images.c.id == image_id))
        )


@pytest.mark.parametrize(
    "wrong",
    [
        "s3://",
        "ftp://a/b",
        "s3://key:hunter2@bucket/x",
        "s3://bucket?secret=hunter2",
        "file://host/x",
        "outputs",
        "file:x",
    ],
)
def test_a_url_that_cannot_be_used_is_told_without_its_keys(wrong: str, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"storage\.images.*allowed: s3://bucket/folder") as caught:
        open_files(wrong, tmp_path)
    assert "hunter2" not in caught.value.message("en")


def test_without_s3fs_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(UnavailableError, match=r"requirements-extras\.txt"):
        open_files("s3://bucket/x", tmp_path)


def test_a_database_and_a_storage_that_do_not_belong_together_are_refused(postgres: Server, tmp_path: Path) -> None:
    place = postgres.url(postgres.create())

    def build(machine: str, storage: str) -> Studio:
        selected = {"output.directory": str(tmp_path / machine), "storage.images": storage, "storage.database": place}
        return build_studio(load_settings(overrides=selected))

    record, _ = build("one", f"file://{tmp_path}/mounted").history.import_image(
        png({"parameters": A1111}).getvalue(), "x"
    )
    assert not build("two", f"file://{tmp_path}/mounted").history.get(record.id).missing
    for storage in ("", f"file://{tmp_path}/not-mounted"):
        with pytest.raises(WrongStorageError, match=r"storage\.id says -"):
            build("two", storage)
    (tmp_path / "mounted").rename(tmp_path / "moved")
    assert not build("two", f"file://{tmp_path}/moved").history.get(record.id).missing


def test_one_machine_of_its_own_has_no_such_word(tmp_path: Path) -> None:
    build_studio(load_settings(overrides={"output.directory": str(tmp_path)}))
    assert not (tmp_path / database_module.FILE).exists()


@pytest.mark.option("storage.images")
def test_the_option_chooses_where_images_are(url: str, tmp_path: Path) -> None:
    for k, place in enumerate((url, f"file://{tmp_path}/mounted")):
        out = tmp_path / f"out{k}"
        studio = build_studio(load_settings(overrides={"output.directory": str(out), "storage.images": place}))
        record, _ = studio.history.import_image(png({"parameters": A1111, "place": place}).getvalue(), "x")
        kept = open_files(place, tmp_path / "elsewhere")
        assert kept.read(record.file) == studio.history.file(record.id).read_bytes()
        assert not (out / record.file).exists()
        measured(
            "storage.images", "s3:// and file://: the image is there, byte for byte, and not in the output folder"
        )


def test_a_bucket_that_does_not_exist_is_one_sentence(object_store: str, tmp_path: Path) -> None:
    files = open_files("s3://no-such-bucket/studio", tmp_path)
    with pytest.raises(
        SharedStorageError, match=r"s3://no-such-bucket/studio/a: .*the bucket does not exist; create it"
    ) as caught:
        files.write("a", b"x")
    assert "存储桶不存在" in caught.value.message("zh")


def test_a_store_that_accepts_and_never_answers_is_told(
    object_store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An upload waits for "100 Continue", which the client's own time-outs do not cover."""
    monkeypatch.setattr(shared, "CALL_SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        files = open_files("s3://pictures/studio", tmp_path)
        with pytest.raises(SharedStorageError, match="it has not answered for"):
            files.write("a", b"x")
