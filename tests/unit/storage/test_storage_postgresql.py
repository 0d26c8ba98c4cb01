"""What only a server can do or get wrong: URLs and passwords, locks, lost connections, words, plans, copies."""

from __future__ import annotations

import random
import sqlite3
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import delete, insert, select, text

from core.config.loader import load_settings
from core.errors import Cancelled, DatabaseError, OptionError, UnavailableError
from core.history import image_rows, search
from core.history.query_sql import asked_by
from core.history.store import History
from core.jobs.generator_protocol import MACHINE_GONE
from core.jobs.queue import ChangeWatch, JobQueue
from core.storage import database as database_module
from core.storage.database import Database
from core.storage.dialects import backend_of, dialect_of
from core.storage.dialects.postgresql import LONGEST
from core.storage.fts_tokens import spaced, tokens
from core.storage.tables import images, switches
from core.studio.bootstrap import build_studio
from core.types import GenerationRequest, HistoryQuery, JobState, Phase, Progress
from tests.options import measured
from tests.postgres import PASSWORD, Server
from tests.unit.storage.test_storage_search import EVERYTHING, fill, made_record

REQUEST = GenerationRequest(prompt="a", seed=1)


@pytest.fixture
def url(postgres: Server) -> Iterator[str]:
    """Of a new database."""
    name = postgres.create()
    yield postgres.url(name)
    postgres.drop(name)


@pytest.fixture
def served(url: str) -> Iterator[Database]:
    database = Database(url)
    yield database
    database.close()


# -- which server ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrong", ["mysql://a@b/c", "postgresql://host", "nonsense", "postgresql://", "sqlite:///a.db"])
def test_a_url_that_names_no_server_is_told(wrong: str) -> None:
    with pytest.raises(OptionError, match=r"storage\.database.*allowed: postgresql://user@host:5432/name"):
        backend_of(wrong)


@pytest.mark.parametrize(
    "wrong",
    [
        "postgresql://anna:hunter2@host/name",
        "postgresql://host/name?user=anna&password=hunter2",
        "postgresql://host/name?PASSWORD=hunter2",
        "postgresql://anna@host/name?sslpassword=hunter2",
        "postgresql://anna:hun@ter2@host/name",
        "postgresql://anna:hun/t@er2@host/name",
        "postgresql://anna:hun?ter2@host/name",
        "postgresql://:hunter2@host/name",
        "postgresql://anna:hunter2@host:port/name",
        "postgresql://anna:hunter2",
        "postgresql:anna:hunter2@host/name",
        "mysql://anna:hun@ter2@host/name",
    ],
)
def test_a_password_in_the_url_is_refused_and_no_part_of_it_repeated(wrong: str) -> None:
    with pytest.raises(OptionError) as caught:
        backend_of(wrong)
    for language in ("en", "zh"):
        assert not any(part in caught.value.message(language) for part in ("hun", "er2"))


def test_without_psycopg_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(UnavailableError, match=r"requirements-extras\.txt"):
        Database("postgresql://host/name")


def test_a_server_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(DatabaseError, match=r"postgresql://anna@/name\?host=") as caught:
        Database(f"postgresql://anna@/name?host={tmp_path}")
    assert "\n" not in caught.value.message("en")


@pytest.mark.option("storage.database")
def test_the_password_comes_from_the_environment_and_is_never_told(
    postgres: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = postgres.tcp_url(postgres.create())
    settings = load_settings(overrides={"output.directory": str(tmp_path), "storage.database": place})
    for variable in ("PGPASSWORD", "PGPASSFILE"):
        monkeypatch.setenv("PGPASSFILE", str(tmp_path / "none"))
        monkeypatch.setenv("PGPASSWORD", "a wrong one")
        with pytest.raises(DatabaseError) as caught:
            build_studio(settings)
        assert "a wrong one" not in caught.value.message("en")
        if variable == "PGPASSFILE":
            monkeypatch.delenv("PGPASSWORD")
            (tmp_path / "pass").write_text(f"*:*:*:studio:{PASSWORD}")
            (tmp_path / "pass").chmod(0o600)
            monkeypatch.setenv(variable, str(tmp_path / "pass"))
        else:
            monkeypatch.setenv(variable, PASSWORD)
        studio = build_studio(settings)
        studio.queue.submit(studio.requests.new({"generation.prompt": "a red house"}))
        assert PASSWORD not in str(studio.system.report()) + str(settings.values)
    assert len(studio.queue.recent()) == 2 and not (tmp_path / "studio.db").exists()
    measured("storage.database", "a PostgreSQL server holds the jobs; no database file is made")


# -- at the same time --------------------------------------------------------------------------------------------------


def test_several_that_open_a_new_one_at_once_all_get_in(url: str) -> None:
    with ThreadPoolExecutor(4) as pool:
        opened = list(pool.map(Database, [url] * 4))
    JobQueue(opened[0]).submit(REQUEST)
    assert [len(JobQueue(database).recent(5)) for database in opened] == [1] * 4
    for database in opened:
        database.close()


def test_who_writes_a_part_waits_for_the_whole_and_for_no_other_part(served: Database) -> None:
    order: list[str] = []
    done = threading.Event()

    def write(part: str) -> None:
        with served.writing(part=part):
            order.append(part or "whole")
        done.set()

    with served.writing(part="one"):
        write("two")  # does not wait
        waiting = [threading.Thread(target=write, args=(part,)) for part in ("", "one")]
        done.clear()
        for thread in waiting:
            thread.start()
        assert not done.wait(0.3) and order == ["two"]
    for thread in waiting:
        thread.join()
    assert sorted(order) == ["one", "two", "whole"]


def test_each_job_is_claimed_once_and_in_order(url: str, served: Database) -> None:
    """By workers of their own connections, while others report, add and cancel."""
    queue = JobQueue(served)
    ids = [queue.submit(REQUEST).id for _ in range(60)]
    others = [Database(url) for _ in range(4)]
    claimed: list[tuple[str, str]] = []

    def work(worker: int) -> None:
        mine = JobQueue(others[worker], f"w{worker}")
        while (job := mine.claim(f"w{worker}")) is not None:
            claimed.append((job.started_at.isoformat() if job.started_at else "", job.id))
            mine.report(job.id, Progress(Phase.TEXT, preview=b"x"))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    assert [job_id for _, job_id in sorted(claimed)] == ids
    for database in others:
        database.close()


def test_a_worker_that_lost_its_job_has_no_say_in_it(served: Database) -> None:
    ours, theirs = JobQueue(served, "a"), JobQueue(served, "b")
    job_id = ours.submit(REQUEST).id
    ours.claim("a")
    ours.abandon("a", MACHINE_GONE)
    theirs.claim("b")
    with pytest.raises(Cancelled):
        ours.report(job_id, Progress(Phase.TEXT))
    ours.finish(job_id, JobState.DONE)
    ours.requeue(job_id)
    assert theirs.get(job_id).state is JobState.LOADING
    theirs.report(job_id, Progress(Phase.TEXT))
    assert theirs.get(job_id).state is JobState.RUNNING


@pytest.mark.all_databases
def test_every_commit_of_another_is_news(database: Database) -> None:
    watch = ChangeWatch(database)
    assert [watch.changed(), watch.changed(), watch.changed()] == [True, False, False]
    for name in "ab":
        with database.writing() as connection:
            connection.execute(insert(switches), {"name": name})
        assert watch.changed() and not watch.changed()
    with database.reading() as connection:
        connection.execute(select(switches)).all()
    assert not watch.changed()
    watch.close()


def test_connections_that_the_server_cut_are_made_again(postgres: Server, url: str, served: Database) -> None:
    queue, watch = JobQueue(served), ChangeWatch(served)
    watch.changed()
    ended = (
        f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{url.split('/')[3].split('?')[0]}'"
    )
    postgres.say(ended)
    assert queue.submit(REQUEST).position == 1
    with pytest.raises(DatabaseError, match="postgresql://studio@"):
        watch.changed()
    assert watch.changed()
    watch.close()


def test_who_vanishes_holds_no_lock_for_long(served: Database) -> None:
    with served.reading() as connection:
        names = ("lock_timeout", "idle_in_transaction_session_timeout")
        said = {name: connection.scalar(text(f"SHOW {name}")) for name in names}
    assert said == {"lock_timeout": "30s", "idle_in_transaction_session_timeout": "1min"}


# -- words, numbers, plans ---------------------------------------------------------------------------------------------


LETTERS = "aB 1é ÉßØñ\u0301ıİ红色的房子ひカ한글。，-_'\"\\:&|!<>()*ΑλφаЯй١२½²ǅﬁ\u3000\U00020000\U0001f600\u0903"


def sqlite_tokens(words: str) -> list[str]:
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("CREATE VIRTUAL TABLE t USING fts5(words, tokenize='unicode61')")
        connection.execute("CREATE VIRTUAL TABLE v USING fts5vocab(t, 'instance')")
        connection.execute("INSERT INTO t (words) VALUES (?)", (spaced(words),))
        return [term for (term,) in connection.execute("SELECT term FROM v ORDER BY offset")]


@given(st.text(alphabet=LETTERS, max_size=30) | st.text(alphabet=st.characters(max_codepoint=0x24F), max_size=20))
def test_words_are_those_of_sqlite(words: str) -> None:
    assert tokens(words) == sqlite_tokens(words)


def test_what_a_server_could_not_hold_is_found_all_the_same(served: Database, tmp_path: Path) -> None:
    record, data = made_record(1, random.Random(1))
    long_word = "x" * (LONGEST + 500)
    strange = {**record.request.options, "a": float("nan"), "b": "\0\ud800", "scheduler.shift": 1}
    request = record.request.__class__(
        **{**vars(record.request), "prompt": f"{long_word} a\0b \ud800 {'红' * 20_000}", "options": strange,
           "num_inference_steps": 2**40, "model": "m" * 3000}
    )  # fmt: skip
    data = {**data, "requested": {**data["requested"], "options": strange, "prompt": request.prompt}}
    kept = record.__class__(**{**vars(record), "request": request, "place": 2**40})
    with served.writing() as connection:
        image_rows.put(connection, kept, data)
    history = History(served, tmp_path)
    for query in (
        HistoryQuery(text=long_word),
        HistoryQuery(text="红红"),
        HistoryQuery(options={"scheduler.shift": 1.0}),
        HistoryQuery(options={"scheduler.shift": True}),
        HistoryQuery(min_steps=2**40),
        HistoryQuery(ids=(record.id, "\ud800")),
    ):
        with served.reading() as connection:
            assert search.find(connection, query)[2] == 1, query
    assert history.search(HistoryQuery(options={"a": "x"})).total == 0


def test_every_question_walks_the_one_index(served: Database) -> None:
    """All that it needs is in it: with so few rows the planner would rather read them, so that is forbidden here."""
    fill(served, range(300))
    with served._engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("VACUUM ANALYZE")
    with served.reading() as connection:
        for means in ("seqscan", "bitmapscan"):
            connection.exec_driver_sql(f"SET LOCAL enable_{means} = off")
        columns_alone = replace(
            EVERYTHING,
            text="",
            tag=None,
            collection=None,
            ids=(),
            parent=None,
            options={},
            unknown=(),
            imported=HistoryQuery().imported,
        )
        for query in (HistoryQuery(), columns_alone, HistoryQuery(unknown=EVERYTHING.unknown)):
            asked = asked_by(query, dialect_of(connection))
            for sort in search.SORTS:
                statement = f"EXPLAIN SELECT id, {sort} FROM {asked.walked()} ORDER BY {sort} LIMIT 5"
                plan = "\n".join(connection.scalars(text(statement), asked.values))
                assert "Index Only Scan using ix_images_filter" in plan, plan


@pytest.mark.slow
def test_words_are_looked_up_in_their_index(served: Database) -> None:
    fill(served, range(3000))
    with served._engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql("VACUUM ANALYZE")
    with served.reading() as connection:
        asked = asked_by(HistoryQuery(text="灯塔无"), dialect_of(connection))
        plan = "\n".join(connection.scalars(text(f"EXPLAIN SELECT id FROM {asked.looked_up()}"), asked.values))
    assert "ix_image_texts_words" in plan, plan


# -- new versions ------------------------------------------------------------------------------------------------------


def test_what_was_there_before_an_update_is_kept_in_a_schema_of_its_own(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as earlier:
        earlier.setattr(database_module, "HEAD", "0001")
        before = Database(url)
    with before.writing() as connection:
        connection.execute(text("INSERT INTO image_records (image_id, record) SELECT 'a', '{}' WHERE false"))
        connection.execute(
            text(
                "INSERT INTO images (id, created_at, file, format, width, height, bytes, prompt, negative_prompt, model, "
                "seed, num_inference_steps, guidance_scale, seconds, missing) VALUES ('a', '2026', 'f', 'png', 1, 1, 1, "
                "'红色的房子', '', 'demo', 7, 8, 0, 1, false)"
            )
        )
        connection.execute(text('INSERT INTO image_records VALUES (\'a\', \'{"requested": {"options": {"k": 1}}}\')'))
    before.close()
    with monkeypatch.context() as broken:
        broken.setattr("core.storage.dialects.postgresql.vector", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            Database(url)
    after = Database(url)
    with after.reading() as connection:
        assert connection.scalars(text("SELECT prompt FROM zdarkroom_0001.images")).all() == ["红色的房子"]
        for query in (HistoryQuery(text="房子"), HistoryQuery(options={"k": 1}), HistoryQuery(seed=7)):
            assert search.ids(connection, query) == ["a"]
    with after.writing() as connection:
        connection.execute(delete(images))
    after.close()
