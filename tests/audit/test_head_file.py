"""By default the head of the chain is kept outside the database: a tail that was cut off, a chain that was made anew
and a table that was emptied are found, although what is left holds by itself."""

import fcntl
import json
import logging
import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner, Result
from flask import Flask

from app.audit import chain, checkpoint, head_file, head_webhook, maintenance
from app.audit.head_file import HeadFile, HeadFileError, KeptHead
from app.audit.verify import VerificationResult, read_outside_head, verify
from app.cli import doctor
from app.cli.main import cli
from app.config import Settings, current_settings
from app.db import read, write

COUNT = 6


@pytest.fixture(autouse=True)
def _context(app: Flask) -> Iterator[None]:
    with app.app_context():
        yield


@pytest.fixture
def kept(app: Flask) -> KeptHead:
    """Of six entries, as a running server keeps it."""
    append(COUNT)
    turn(app)
    found = head_file.current_keeper().read_kept()
    assert found is not None
    return found


@pytest.fixture
def intruder(database: Path) -> Iterator[sqlite3.Connection]:
    """Someone with the file in their hands: triggers are no obstacle to them."""
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        yield connection


def append(count: int, actor: str = "bob") -> None:
    for number in range(count):
        with write() as session:
            chain.record(session, chain.Entry(actor, "retry-job", f"mail/{number}"))


def turn(app: Flask) -> None:
    """What a worker does every few seconds."""
    calls = [call for every_s, _, call in maintenance.local_tasks(app) if every_s == maintenance.HEAD_FILE_INTERVAL_S]
    assert calls
    for call in calls:
        call()


def verified() -> VerificationResult:
    """As `beacon audit verify` and the page do it, without being told a head."""
    assert verify().broken is None, "the chain itself holds"
    return verify(kept=read_outside_head().expected)


def make_anew(connection: sqlite3.Connection, first: int = 1) -> None:
    """Another actor in each entry from `first` on, and every seal made again."""
    connection.row_factory = sqlite3.Row
    prev_hash = chain.GENESIS_HASH
    for found in connection.execute("SELECT * FROM command_audit ORDER BY seq").fetchall():
        row = SimpleNamespace(**dict(found))
        if row.seq >= first:
            row.actor, row.prev_hash = "mallory", prev_hash
            row.hash = chain.seal(row)  # type: ignore[arg-type] # it has the columns
            connection.execute(
                "UPDATE command_audit SET actor = ?, prev_hash = ?, hash = ? WHERE seq = ?",
                (row.actor, row.prev_hash, row.hash, row.seq),
            )
        prev_hash = row.hash


def run(settings: Settings, *arguments: str) -> Result:
    environment = {"BEACON_INSTANCE_DIR": str(settings.instance_dir), "BEACON_SECRET_KEY": "for the tests only"}
    environment["BEACON_DATABASE_URL"] = settings.database_url
    return CliRunner().invoke(cli, ["audit", *arguments], env=environment)


class TestTampering:
    def test_a_chain_that_nobody_touched_is_held_against_what_is_kept(self, kept: KeptHead) -> None:
        append(3)
        assert verified().broken is None
        assert (
            read_outside_head().description
            == f"against the head kept in {kept.file}, entry 6 of {kept.at[:10]} {kept.at[11:19]} UTC"
        )

    def test_a_tail_that_was_cut_off_is_found(self, kept: KeptHead, intruder: sqlite3.Connection) -> None:
        intruder.execute("DELETE FROM command_audit WHERE seq > 4")
        assert (
            verified().broken
            == f"{kept.description} is newer than the log, which ends at seq 4: the log was restored or truncated"
        )

    def test_a_table_that_was_emptied_is_found(self, kept: KeptHead, intruder: sqlite3.Connection) -> None:
        intruder.execute("DELETE FROM command_audit")
        assert (
            verified().broken
            == f"{kept.description} is newer than the log, which ends at seq 0: the log was restored or truncated"
        )

    @pytest.mark.parametrize("first", [1, 4, COUNT])
    def test_a_chain_that_was_made_anew_is_found(
        self, kept: KeptHead, intruder: sqlite3.Connection, first: int
    ) -> None:
        make_anew(intruder, first)
        broken = verified().broken
        assert (
            broken == f"{kept.description} has another hash in the log: the log was rebuilt, or restored and continued"
        )

    def test_a_cut_log_that_is_written_on_is_found_and_what_is_kept_stays(
        self, app: Flask, kept: KeptHead, intruder: sqlite3.Connection, caplog: pytest.LogCaptureFixture
    ) -> None:
        intruder.execute("DELETE FROM command_audit WHERE seq > 2")
        turn(app)
        append(COUNT, "mallory")
        turn(app)
        assert "has another hash" in (verified().broken or "")
        assert head_file.current_keeper().read_kept() == kept
        said = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
        assert len(said) == 1, "said once, and not every few seconds"
        assert said[0].startswith(
            f"the audit does not contain {kept.description}: it ends at entry 2, so the log was restored"
        )
        assert said[0].endswith("run beacon audit verify; once you know why, beacon audit accept-head")

    def test_an_emptied_table_is_told_by_a_server_that_starts_on_it(
        self, app: Flask, kept: KeptHead, intruder: sqlite3.Connection, caplog: pytest.LogCaptureFixture
    ) -> None:
        intruder.execute("DELETE FROM command_audit")
        head_file.HeadKeeper(current_settings()).update()
        assert "so the log was restored or truncated" in caplog.text

    def test_without_a_head_it_is_said_what_that_shows(self) -> None:
        append(1)
        found = read_outside_head()
        assert (found.expected, found.description) == (
            None,
            "no outside head: this shows only that the chain is consistent",
        )


class TestKeeping:
    def test_a_later_head_takes_the_place_of_the_one_before(self, app: Flask, kept: KeptHead) -> None:
        append(2)
        turn(app)
        found = head_file.current_keeper().read_kept()
        assert found is not None
        with read() as session:
            assert (found.seq, found.hash) == (COUNT + 2, chain.read_head(session).hash)

    def test_nothing_is_written_while_nothing_is_new(self, app: Flask, kept: KeptHead) -> None:
        before = Path(kept.file).stat()
        turn(app)
        head_file.HeadKeeper(current_settings()).update()
        assert Path(kept.file).stat().st_ino == before.st_ino

    def test_it_is_outside_the_database_and_its_owners_alone(self, kept: KeptHead, settings: Settings) -> None:
        path = Path(kept.file)
        assert path == settings.instance_dir / "audit-head.json"
        assert path.stat().st_mode & 0o777 == 0o600
        assert list(settings.instance_dir.glob(".audit-head*")) == []

    def test_a_worker_that_ends_keeps_the_last_head(self, app: Flask) -> None:
        append(2)
        maintenance.ShutdownFlush(app).stop()
        found = head_file.current_keeper().read_kept()
        assert found is not None
        assert found.seq == 2

    def test_a_checkpoint_keeps_it_before_anything_goes_and_is_a_line_of_the_log(
        self, kept: KeptHead, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO)
        append(2)
        made = checkpoint.seal_before("2999-01-01T00:00:00.000Z", "ada")
        found = head_file.current_keeper().read_kept()
        assert found is not None
        assert found.seq == made.seq
        assert f"audit checkpoint seq=9 through=8 hash={made.through_hash}" in caplog.text
        checkpoint.delete_covered()
        assert verified() == VerificationResult(1, found.hash, seq=9, deleted_through=8)

    def test_a_head_that_retention_left_behind_cannot_be_told(self, kept: KeptHead, caplog: Any) -> None:
        """A host that was down for longer: what it kept is neither right nor wrong, and stays until somebody looks."""
        append(2)
        checkpoint.seal_before("2999-01-01T00:00:00.000Z", "ada")
        checkpoint.delete_covered()
        file = head_file.current_keeper().file
        assert file.replace(file.read(), kept)
        found = verified()
        assert (found.broken, "is older than the entries that retention kept" in (found.inconclusive or "")) == (
            None,
            True,
        )
        head_file.HeadKeeper(current_settings()).update()
        assert file.read() == kept
        assert "that entry was deleted under a checkpoint, so it cannot be compared" in caplog.text

    def test_two_databases_share_a_file(self, kept: KeptHead, tmp_path: Path) -> None:
        other = HeadFile(Path(kept.file), "postgresql://other/beacon")
        assert other.read() is None
        assert other.replace(None, KeptHead(1, "a" * 64, kept.at))
        assert head_file.current_keeper().read_kept() == kept

    def test_of_two_who_write_at_once_one_does(self, kept: KeptHead) -> None:
        file, later = head_file.current_keeper().file, KeptHead(9, "b" * 64, kept.at)
        assert not file.replace(None, later), "somebody else was first"
        with Path(f"{kept.file}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            assert not file.replace(kept, later), "a process that was stopped holds up nobody"
        assert file.read() == kept

    @pytest.mark.parametrize("text", ["", "{", "[]", '{"DATABASE": {"head": {"seq": "x"}}}', "[" * 10_000])
    def test_a_file_that_cannot_be_read_is_named_and_left_alone(
        self, app: Flask, settings: Settings, kept: KeptHead, text: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        text = text.replace("DATABASE", settings.database_name)
        Path(kept.file).write_text(text)
        append(1)
        turn(app)
        assert f"the audit head cannot be stored: {kept.file} cannot be read" in caplog.text
        assert Path(kept.file).read_text() == text
        assert "cannot be read" in (read_outside_head().error or "")
        with pytest.raises(HeadFileError):
            head_file.current_keeper().read_kept()

    def test_a_folder_that_is_not_there_is_named(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        append(1)
        elsewhere = current_settings().model_copy(update={"audit_head_file": tmp_path / "away" / "head.json"})
        head_file.HeadKeeper(elsewhere).update()
        assert "head.json cannot be written: No such file or directory; fix the file or set another" in caplog.text


class TestCommands:
    def test_verify_says_against_which_head(self, kept: KeptHead, settings: Settings) -> None:
        told = run(settings, "verify")
        assert told.exit_code == 0
        assert told.stdout == f"ok: 6 entries, head {kept.hash}\n"
        assert f"against {kept.description}" in told.stderr
        Path(kept.file).unlink()
        assert "no outside head: this shows only that the chain is consistent" in run(settings, "verify").stderr

    def test_verify_finds_a_cut_tail_by_itself(
        self, kept: KeptHead, settings: Settings, intruder: sqlite3.Connection
    ) -> None:
        intruder.execute("DELETE FROM command_audit WHERE seq > 4")
        told = run(settings, "verify")
        assert told.exit_code == 1
        assert told.stdout == (
            f"broken: {kept.description} is newer than the log, which ends at seq 4: "
            "the log was restored or truncated; 4 entries before it are valid\n"
        )

    def test_verify_cannot_tell_where_the_file_cannot_be_read(self, kept: KeptHead, settings: Settings) -> None:
        Path(kept.file).write_text("{")
        told = run(settings, "verify")
        assert told.exit_code == 3
        assert told.stdout.startswith("cannot tell: the head kept by this host: ")

    def test_a_restored_log_is_accepted_with_a_reason_that_stays(
        self, app: Flask, kept: KeptHead, settings: Settings, intruder: sqlite3.Connection
    ) -> None:
        intruder.execute("DELETE FROM command_audit WHERE seq > 4")
        assert run(settings, "accept-head").exit_code == 2
        told = run(settings, "accept-head", "--reason", "restored the backup of Monday")
        assert told.exit_code == 0, told.output
        assert told.stdout.startswith("kept: entry 5, hash ")
        assert verified().broken is None
        turn(app)
        replaced = json.loads(Path(kept.file).read_text())["sqlite:beacon.db"]["replaced"]
        assert [(one["seq"], one["hash"], one["why"]) for one in replaced] == [
            (6, kept.hash, "restored the backup of Monday")
        ]
        ((text,),) = intruder.execute("SELECT command_params_json FROM command_audit WHERE seq = 5").fetchall()
        assert json.loads(text)["kept"] == {"seq": 6, "hash": kept.hash}

    def test_the_doctor_looks_at_the_one_entry(
        self, app: Flask, kept: KeptHead, settings: Settings, intruder: sqlite3.Connection
    ) -> None:
        def found() -> doctor.Finding:
            return next(one for one in doctor.run_checks(app, settings) if one.subject == "audit")

        assert found() == doctor.Finding("audit", True, f"contains {kept.description}")
        intruder.execute("DELETE FROM command_audit WHERE seq > 4")
        assert not found().ok
        assert "it ends at entry 4, so the log was restored or truncated; run beacon audit verify" in found().text


class TestWitness:
    def test_the_head_is_posted_to_a_witness_that_the_host_names(self, settings: Settings, kept: KeptHead) -> None:
        with Witness(204) as witness:
            head_webhook.post_head(witness.url)
        [told] = witness.told
        assert (told["seq"], told["hash"], told["database"]) == (COUNT, kept.hash, settings.database_name)

    def test_one_that_does_not_take_it_is_named_without_its_address(self, kept: KeptHead) -> None:
        with Witness(500) as witness, pytest.raises(head_webhook.HeadNotAccepted) as refused:
            head_webhook.post_head(f"{witness.url}/secret")
        assert str(refused.value) == "BEACON_AUDIT_HEAD_URL did not accept the audit head: it answered 500"
        with pytest.raises(head_webhook.HeadNotAccepted, match="ConnectionError"):
            head_webhook.post_head("http://127.0.0.1:1/secret")

    def test_it_is_a_task_only_where_one_is_named(self, settings: Settings) -> None:
        named = settings.model_copy(update={"audit_head_url": "http://127.0.0.1:1"})
        more = [name for _, name, _ in maintenance.deployment_tasks(named)]
        assert set(more) - {name for _, name, _ in maintenance.deployment_tasks(settings)} == {"audit head webhook"}


class Witness:
    """Takes one POST after the other, each answered with `status`."""

    def __init__(self, status: int) -> None:
        self.told: list[dict[str, Any]] = []
        witness = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                witness.told.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Tests read what was told."""

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    def __enter__(self) -> "Witness":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def test_a_database_is_named_without_its_secrets(tmp_path: Path) -> None:
    def name(url: str) -> str:
        return Settings(instance_dir=tmp_path, secret_key="x" * 32, database_url=url).database_name

    assert name("") == "sqlite:beacon.db"
    assert name("sqlite:////elsewhere/b.db") == "sqlite:/elsewhere/b.db"
    assert name("postgresql://ann:sesame@db:5433/beacon?sslmode=require") == "postgresql://db:5433/beacon"
    assert os.sep not in name(f"sqlite:///{tmp_path}/beacon.db")
