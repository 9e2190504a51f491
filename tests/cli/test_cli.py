"""The `beacon` command, as a person types it: in a process of its own where that matters."""

import io
import json
import os
import re
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from werkzeug.security import check_password_hash

from app import create_app
from app.accounts.users import BadInput
from app.cli import user
from app.cli.main import cli, main
from app.config import Settings
from app.db import db
from app.flags import document
from tests.support.machine import scaled
from tests.support.unleash_stub import Edge, OneFlag

ROOT = Path(__file__).resolve().parents[2]
Beacon = Callable[..., Result]
Script = Callable[..., "Ended"]


@pytest.fixture(autouse=True)
def _keep_the_logs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command sends the process's logs to its standard error; this process runs more tests."""
    monkeypatch.setattr("app.infra.logs.configure_logging", lambda: None)


@pytest.fixture
def instance(database: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a migrated instance, which the environment names."""
    monkeypatch.setenv("BEACON_INSTANCE_DIR", str(database.parent))
    return database.parent


@pytest.fixture
def beacon(instance: Path) -> Beacon:
    """Run a command in this process; what it prints and how it ends."""

    def run(*arguments: str, stdin: str | None = None) -> Result:
        result = CliRunner().invoke(cli, arguments, input=stdin)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result

    return run


@pytest.fixture
def alice(beacon: Beacon) -> None:
    beacon("user", "add", "alice", "--role", "viewer", "--password-stdin", stdin="long enough for anybody\n")


@dataclass(frozen=True)
class Ended:
    status: int | str | None
    stdout: str
    stderr: str

    def one_sentence(self) -> str:
        """The whole of standard error, which must be a single line that is no traceback."""
        assert self.status == 1, self.stderr
        (line,) = self.stderr.strip().splitlines()
        assert line.startswith("beacon: ")
        assert self.stdout == ""
        return line


class Typed(io.StringIO):
    """Standard input."""

    at_a_terminal = False

    def isatty(self) -> bool:
        return self.at_a_terminal


@pytest.fixture
def script(instance: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Script:
    """The console script's entry, with its handling of mistakes; whatever it does not handle fails the test."""

    def run(*arguments: str, stdin: str = "", at_a_terminal: bool = False) -> Ended:
        typed = Typed(stdin)
        typed.at_a_terminal = at_a_terminal
        monkeypatch.setattr(sys, "argv", ["beacon", *arguments])
        monkeypatch.setattr(sys, "stdin", typed)
        status: int | str | None = 0
        try:
            main()
        except SystemExit as ended:
            status = ended.code
        captured = capsys.readouterr()
        return Ended(status, captured.out, captured.err)

    return run


def in_a_process(*arguments: str, **environment: str) -> Ended:
    """The console script for real."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("BEACON_")}
    done = subprocess.run(
        [sys.executable, "-c", "from app.cli.main import main; main()", *arguments],
        cwd=ROOT,
        env={**kept, **environment},
        capture_output=True,
        text=True,
        timeout=scaled(60),
        check=False,
    )
    return Ended(done.returncode, done.stdout, done.stderr)


def rows(instance: Path, query: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(instance / "beacon.db")) as connection:
        return connection.execute(query).fetchall()


class TestUsers:
    def test_added_listed_disabled(self, beacon: Beacon, instance: Path) -> None:
        added = beacon(
            "user", "add", "bob", "--role", "operator", "--password-stdin", stdin="long enough for anybody\n"
        )
        assert (added.exit_code, added.stdout) == (0, "added bob (operator)\n")
        assert beacon("user", "list").stdout == "bob\toperator\tactive\n"
        assert beacon("user", "disable", "bob").exit_code == 0
        assert beacon("user", "list").stdout.startswith("bob\toperator\tdisabled 20")
        assert rows(instance, "SELECT action_type, target FROM command_audit ORDER BY seq") == [
            ("user-add", "bob"),
            ("user-disable", "bob"),
        ]
        ((actor,),) = rows(instance, "SELECT DISTINCT actor FROM command_audit")
        assert str(actor).startswith("cli:")

    def test_role_password_and_being_enabled_are_changed_and_audited(self, beacon: Beacon, instance: Path) -> None:
        beacon("user", "add", "bob", "--role", "viewer", "--password-stdin", stdin="long enough for anybody\n")
        assert beacon("user", "role", "bob", "operator").stdout == "bob is now operator\n"
        changed = beacon("user", "password", "bob", "--password-stdin", stdin="another one for anybody\n")
        assert changed.stdout == "changed the password of bob\n"
        beacon("user", "disable", "bob")
        assert beacon("user", "enable", "bob").stdout == "enabled bob\n"
        assert beacon("user", "list").stdout == "bob\toperator\tactive\n"
        ((stored,),) = rows(instance, "SELECT password_hash FROM user")
        assert check_password_hash(str(stored), "another one for anybody")
        assert [str(row[0]) for row in rows(instance, "SELECT action_type FROM command_audit ORDER BY seq")] == [
            "user-add",
            "user-role",
            "user-password",
            "user-disable",
            "user-enable",
        ]

    def test_the_password_is_the_first_line_whatever_it_holds(self, beacon: Beacon, instance: Path) -> None:
        beacon("user", "add", "bob", "--role", "viewer", "--password-stdin", stdin="  a word to pass by  \nmore\n")
        ((kept,),) = rows(instance, "SELECT password_hash FROM user")
        assert check_password_hash(str(kept), "  a word to pass by  ")

    def test_a_line_that_windows_ended_is_the_password_that_people_type(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("sys.stdin", io.StringIO("a word to pass by\r\n"))
        assert user._read_password(from_stdin=True) == "a word to pass by"

    def test_a_password_that_is_no_text_is_refused_unsaid(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Standard input of a terminal whose encoding is another."""
        monkeypatch.setattr("sys.stdin", io.StringIO("a word to pass by \udcff\n"))
        with pytest.raises(BadInput, match="the password is no UTF-8 text"):
            user._read_password(from_stdin=True)

    @pytest.mark.parametrize(
        "arguments",
        [
            ("user", "add", "bob", "--role", "king", "--password-stdin"),
            ("user", "add", "bob", "--password-stdin"),
            ("user",),
            ("nonsense",),
            ("token", "create", "bob"),
            ("rollout", "set", "101"),
            ("rollout", "set", "many"),
            ("token", "revoke", "x"),
            ("publish", "a", "{"),
            ("publish", "a", "[]"),
            ("publish", "a", "[" * 50_000),
            ("publish", "control.x", "{}"),
            ("publish", "a", "{}", "--audience", "control"),
        ],
    )
    def test_wrong_usage_is_status_2(self, beacon: Beacon, instance: Path, arguments: tuple[str, ...]) -> None:
        assert beacon(*arguments, stdin="long enough for anybody\n").exit_code == 2
        assert rows(instance, "SELECT count(*) FROM event") == [(0,)]


class TestTokens:
    def test_the_text_stands_alone_on_the_last_line_of_standard_output(self, beacon: Beacon, alice: None) -> None:
        created = beacon("token", "create", "alice", "--scope", "read", "--scope", "stream", "--days", "7")
        assert created.exit_code == 0
        text = created.stdout.splitlines()[-1]
        assert text.startswith("bcn_")
        assert created.stdout == f"{text}\n"
        assert "read stream" in created.stderr
        assert text not in created.stderr
        listed = beacon("token", "list").stdout
        assert listed.startswith("1\talice\tread stream\tuntil 20")
        assert text not in listed
        assert beacon("token", "revoke", "1").stdout == "revoked token 1\n"
        assert beacon("token", "list").stdout.endswith("revoked\n")

    def test_a_token_made_by_the_command_opens_the_api(self, beacon: Beacon, alice: None, instance: Path) -> None:
        text = beacon("token", "create", "alice", "--scope", "read").stdout.strip()
        app = create_app(Settings(instance_dir=instance))
        client = app.test_client()
        assert client.get("/api/events", headers={"Authorization": f"Bearer {text}"}).status_code == 200
        with app.app_context():
            db.engine.dispose()


class TestPublish:
    def test_it_prints_the_id(self, beacon: Beacon, instance: Path) -> None:
        assert beacon("publish", "my.event", '{"n": 1}').stdout == "1\n"
        assert beacon("publish", "my.event", "{}", "--audience", "role:operator").stdout == "2\n"
        assert rows(instance, "SELECT type, audience, data_json FROM event") == [
            ("my.event", "everyone", '{"n":1}'),
            ("my.event", "role:operator", "{}"),
        ]


class TestRollout:
    def test_get_and_set(self, beacon: Beacon) -> None:
        assert beacon("rollout", "get").stdout == "enable_sse_streaming: 0 %, enabled\n"
        assert beacon("rollout", "set", "50").stdout == "enable_sse_streaming: 50 %, enabled\n"
        assert beacon("rollout", "set", "50", "--disable").stdout == "enable_sse_streaming: 50 %, switched off\n"
        assert beacon("rollout", "get").stdout == "enable_sse_streaming: 50 %, switched off\n"
        assert beacon("rollout", "set", "60", "--enable").stdout == "enable_sse_streaming: 60 %, enabled\n"

    def test_the_kill_switch_needs_no_percentage_and_asks_nothing(self, beacon: Beacon) -> None:
        beacon("rollout", "set", "50")
        assert beacon("rollout", "off").stdout == "enable_sse_streaming: 50 %, switched off\n"
        assert beacon("rollout", "on").stdout == "enable_sse_streaming: 50 %, enabled\n"

    @pytest.mark.parametrize("everybody", [("set", "100"), ("on",), ("plan", "start", "100:5", "--reason", "all")])
    def test_at_a_terminal_everybody_is_let_in_only_by_who_confirms_it(
        self, beacon: Beacon, script: Script, instance: Path, everybody: tuple[str, ...]
    ) -> None:
        beacon("rollout", "set", "100", "--yes")
        beacon("rollout", "off")

        def stands() -> list[tuple[object, ...]]:
            return rows(instance, "SELECT percentage, enabled FROM flag") + rows(
                instance, "SELECT flag FROM rollout_plan"
            )

        if everybody[0] == "set":
            beacon("rollout", "set", "10")
        before = stands()
        slipped = script("rollout", *everybody, stdin="10\n", at_a_terminal=True)
        assert "Type enable_sse_streaming, or 100, to confirm: " in slipped.stderr
        assert "Not confirmed: nothing was set." in slipped.stderr
        assert (slipped.status, stands()) == (1, before)
        assert script("rollout", *everybody, stdin="100\n", at_a_terminal=True).status == 0
        assert stands() != before

    def test_a_script_that_has_no_terminal_is_asked_nothing(self, script: Script) -> None:
        assert script("rollout", "set", "100").status == 0
        assert script("rollout", "get").stdout == "enable_sse_streaming: 100 %, enabled\n"

    def test_what_was_seen_is_where_it_must_stand(self, beacon: Beacon, script: Script) -> None:
        beacon("rollout", "set", "10")
        assert script("rollout", "set", "50", "--expected", "12.5").status == 1
        refused = script("rollout", "set", "50", "--expected", "25").one_sentence()
        assert refused.startswith("beacon: enable_sse_streaming is now at 10 % and on, changed by cli:")
        assert beacon("rollout", "set", "50", "--expected", "10").exit_code == 0

    def test_who_would_switch_is_said_and_nothing_is_set(self, beacon: Beacon, instance: Path) -> None:
        with closing(sqlite3.connect(instance / "beacon.db")) as connection:
            connection.execute(
                "INSERT INTO polling_presence VALUES ('ann', (julianday('now') - 2440587.5) * 86400.0, 0)"
            )
            connection.commit()
        said = "of 1 person online 1 would join the stream: ann\nof 1 person online 0 would leave the stream\n"
        assert beacon("rollout", "preview", "100").stdout == said
        assert beacon("rollout", "get").stdout == "enable_sse_streaming: 0 %, enabled\n"

    def test_a_plan_is_shown_started_paused_resumed_and_stopped(self, beacon: Beacon) -> None:
        assert beacon("rollout", "plan").stdout == "enable_sse_streaming: no plan\n"
        started = beacon("rollout", "plan", "start", "10:60", "50:1.5", "--reason", "slowly").stdout
        assert re.fullmatch(
            r"enable_sse_streaming: plan \S+ by cli:\w+: slowly\nthen\t10 % for 1 h\nthen\t50 % for 1.5 min\n", started
        )
        assert "paused: slowly" in beacon("rollout", "plan", "pause").stdout
        assert beacon("rollout", "plan", "resume").stdout == beacon("rollout", "plan").stdout == started
        stopped = beacon("rollout", "plan", "stop").stdout.splitlines()
        assert stopped[0] == "enable_sse_streaming: no plan"
        assert re.fullmatch(r"the last plan, by cli:\w+ \(slowly\), stopped, at \S+Z", stopped[1])
        for wrong in ("10", "ten:5"):
            assert beacon("rollout", "plan", "start", wrong, "--reason", "x").exit_code == 2

    def test_somebody_elses_plan_is_not_replaced_unseen(self, beacon: Beacon, script: Script, instance: Path) -> None:
        beacon("rollout", "plan", "start", "10:60", "--reason", "hers")
        with closing(sqlite3.connect(instance / "beacon.db")) as connection:
            connection.execute("UPDATE rollout_plan SET actor = 'bea'")
            connection.commit()
        start = ("rollout", "plan", "start", "20:60", "--reason", "mine")
        assert script(*start).one_sentence() == (
            "beacon: There is a plan already, started by bea (10 %: hers). "
            "To replace it, pass its id as expected. Nothing was changed."
        )
        for verb in ("pause", "resume", "stop"):
            assert script("rollout", "plan", verb).one_sentence() == (
                f"beacon: The plan was started by bea (10 %: hers). To {verb} it, pass its id as expected. "
                "Nothing was changed."
            )
        seen = beacon("rollout", "plan").stdout.split()[2]
        assert "stopped" not in script("rollout", "plan", "stop", "--expected", "another").one_sentence()
        assert beacon(*start, "--expected", seen).exit_code == 0

    def test_a_plan_says_its_rules_and_what_it_waits_for_and_goes_on_with_a_reason(
        self, beacon: Beacon, instance: Path
    ) -> None:
        rules = ("--people", "4", "--on-trouble", "start", "--quiet-hours", "22:00-06:00", "--approval")
        started = beacon("rollout", "plan", "start", "10:60", "50:60", "--reason", "slowly", *rules).stdout
        assert "each step needs at least 4 people" in started
        assert "in trouble: go back to the start" in started
        assert "no step from 22:00 to 06:00 UTC" in started
        assert "waits for the approval of another person" in started
        with closing(sqlite3.connect(instance / "beacon.db")) as connection:
            connection.execute("UPDATE rollout_plan SET step = 0")
            connection.commit()
        shown = beacon("rollout", "plan").stdout
        assert "0 of 57 connects, 0 of 4 people, 0 of 48 stream-minutes, 0 events delivered: waits for" in shown
        assert (
            "goes on without the evidence: a quiet day"
            in beacon("rollout", "plan", "go-on", "--reason", "a quiet day").stdout
        )
        assert beacon("rollout", "plan", "go-on").exit_code == 2
        wrong = beacon("rollout", "plan", "start", "10:60", "--reason", "x", "--quiet-hours", "late")
        assert wrong.exit_code == 2

    def test_limits_are_shown_and_changed_with_a_reason(self, beacon: Beacon, script: Script) -> None:
        assert "maxFailures\t0.05" in beacon("rollout", "limits").stdout
        assert script("rollout", "limits", "--max-failures", "0.1").status == 1
        changed = beacon("rollout", "limits", "--max-failures", "0.1", "--mode", "dry-run", "--reason", "try it").stdout
        assert "mode\tdry-run\nmaxFailures\t0.1" in changed
        seen = ("--expected", "2000-01-01T00:00:00.000Z")
        refused = script("rollout", "limits", "--max-failures", "0.2", "--reason", "again", *seen).one_sentence()
        assert "has changed the limits since" in refused

    def test_the_declared_flags_are_listed_with_their_end(self, beacon: Beacon) -> None:
        listed = beacon("rollout", "list").stdout
        assert listed.startswith("enable_sse_streaming\t0 %, enabled\tproduct\tdecides whose pages")
        assert "default off\tremove by " in listed

    def test_what_is_in_force_stands_beside_what_is_written(self, beacon: Beacon, instance: Path) -> None:
        beacon("rollout", "set", "50")
        with closing(sqlite3.connect(instance / "beacon.db")) as connection:
            state = json.dumps({"enable_sse_streaming": {"enabled": True, "percentage": 10, "why": None}})
            connection.execute(
                "INSERT INTO flag_held VALUES ('w', 'v', ?, (julianday('now') - 2440587.5) * 86400.0)", (state,)
            )
            connection.commit()
        assert beacon("rollout", "get").stdout == (
            "enable_sse_streaming: 50 %, enabled\nin force: 10 % in the only worker\n"
            "of 0 online 0 are let in and 0 stream\n"
        )

    def test_the_history_is_listed(self, beacon: Beacon) -> None:
        beacon("rollout", "set", "10", "--reason", "a start")
        beacon("rollout", "off", "--reason", "it hurts")
        off, start = (line.split("\t") for line in beacon("rollout", "history").stdout.splitlines())
        assert off[2:] == ["10 % → off (kept 10 %)", "it hurts"]
        assert start[2:] == ["0 % → 10 %", "a start"]
        assert len(beacon("rollout", "history", "--limit", "1").stdout.splitlines()) == 1

    def test_the_guardrail_holds_here_too(self, beacon: Beacon, instance: Path) -> None:
        beacon("rollout", "set", "50")
        with closing(sqlite3.connect(instance / "beacon.db")) as connection:
            connection.execute("INSERT INTO guardrail VALUES ('enable_sse_streaming', 0, 'they fail', 0, 0)")
            connection.commit()
        refused = in_a_process("rollout", "set", "60", BEACON_INSTANCE_DIR=str(instance)).one_sentence()
        assert (
            refused
            == "beacon: The guardrail holds enable_sse_streaming: they fail. Increases are blocked until it releases."
        )
        assert beacon("rollout", "set", "10").stdout == "enable_sse_streaming: 10 %, enabled\n"

    def test_what_unleash_has_not_said_yet_is_unknown_and_not_0(
        self, beacon: Beacon, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("BEACON_UNLEASH_URL", "http://127.0.0.1:9")
        monkeypatch.setenv("BEACON_UNLEASH_API_TOKEN", "default:development.x")
        said = "enable_sse_streaming: — %, switched off (Unleash has sent no flags yet)\n"
        assert beacon("rollout", "get").stdout == said
        found = beacon("doctor").stdout
        assert "FAIL flags: Unleash: it cannot be reached; it never sent any" in found
        assert "default:development.x" not in found

    def test_an_override_is_shown_as_such(
        self, beacon: Beacon, script: Script, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("BEACON_FLAG_ENABLE_SSE_STREAMING", "off")
        overridden = "overridden: off for everyone by BEACON_FLAG_ENABLE_SSE_STREAMING"
        assert overridden in beacon("rollout", "get").stdout
        asked = script("rollout", "set", "100", stdin="100\n", at_a_terminal=True)
        assert "The setting decides: off for everybody. Without it everybody will be in. Type" in asked.stderr
        assert overridden in asked.stdout

    @pytest.mark.parametrize(
        "asked",
        [
            ("get",),
            ("set", "100", "--yes"),
            ("on",),
            ("preview", "100"),
            ("plan", "start", "100:5", "--reason", "x", "--yes"),
        ],
    )
    def test_who_is_in_is_the_outcome_of_all_rules(
        self, script: Script, instance: Path, monkeypatch: pytest.MonkeyPatch, asked: tuple[str, ...]
    ) -> None:
        edge = Edge()
        unleash = OneFlag(edge, "enable_sse_streaming")
        unleash.more = {"dependencies": [{"feature": "checkout"}]}
        with closing(sqlite3.connect(instance / "beacon.db")) as connection:
            kept = ("unleash", 1, document.compute_version(unleash.text), unleash.text, "2026-11-21T12:00:00.000Z")
            connection.execute("INSERT INTO flag_configuration VALUES (?, ?, ?, ?, ?)", kept)
            connection.commit()
        for name, value in (("URL", unleash.url), ("API_TOKEN", "default:development.x"), ("ADMIN_TOKEN", "y")):
            monkeypatch.setenv(f"BEACON_UNLEASH_{name}", value)
        try:
            done = script("rollout", *asked, stdin="100\n", at_a_terminal=True)
        finally:
            edge.close()
        assert done.status == 0, done.stderr
        said = f"{done.stdout} {done.stderr}"
        assert "checkout is not there" in said
        assert "verybody" not in said


class TestAudit:
    def test_verify_counts_and_names_the_head(self, beacon: Beacon, instance: Path) -> None:
        assert beacon("audit", "verify").stdout == f"ok: 0 entries, head {'0' * 64}\n"
        beacon("rollout", "set", "1")
        beacon("rollout", "set", "2")
        verified = beacon("audit", "verify")
        ((head,),) = rows(instance, "SELECT hash FROM command_audit WHERE seq = 2")
        assert (verified.exit_code, verified.stdout) == (0, f"ok: 2 entries, head {head}\n")

    def test_verify_names_the_first_broken_entry(self, beacon: Beacon, instance: Path) -> None:
        for percentage in ("1", "2", "3"):
            beacon("rollout", "set", percentage)
        with closing(sqlite3.connect(instance / "beacon.db")) as connection:
            connection.execute("DROP TRIGGER command_audit_no_update")
            connection.execute("UPDATE command_audit SET actor = 'nobody' WHERE seq = 2")
            connection.commit()
        ((key,),) = rows(instance, "SELECT id FROM command_audit WHERE seq = 2")
        verified = beacon("audit", "verify")
        assert verified.exit_code == 1
        assert verified.stdout.startswith(f"broken: entry {key} (seq 2)")

    def test_a_removed_tail_is_noticed_against_the_head_of_an_export(self, beacon: Beacon, instance: Path) -> None:
        for percentage in ("1", "2", "3"):
            beacon("rollout", "set", percentage)
        lines = [json.loads(line) for line in beacon("audit", "export").stdout.splitlines()]
        assert [line["seq"] for line in lines[:-1]] == [1, 2, 3]
        head = lines[-1]["head"]
        asked = ("audit", "verify", "--head", head["hash"], "--seq", str(head["seq"]))
        assert beacon(*asked).exit_code == 0
        with closing(sqlite3.connect(instance / "beacon.db")) as connection:
            connection.execute("DROP TRIGGER command_audit_no_delete")
            connection.execute("DELETE FROM command_audit WHERE seq = 3")
            connection.commit()
        assert beacon("audit", "verify").exit_code == 0
        verified = beacon(*asked)
        assert (verified.exit_code, "was removed" in verified.stdout) == (1, True)

    def test_a_checkpoint_lets_old_entries_go(self, beacon: Beacon) -> None:
        beacon("rollout", "set", "1")
        assert beacon("audit", "checkpoint", "--before", "2001-01-01").stdout.startswith("no audit entry is older")
        assert "entries through seq 1" in beacon("audit", "checkpoint", "--before", "2999-01-01").stdout
        assert beacon("audit", "verify").stdout.startswith("ok: 1 entries")
        assert beacon("audit", "checkpoint").exit_code == 2


class TestDoctor:
    def test_it_checks_everything_and_lists_settings_without_secrets(
        self, beacon: Beacon, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("BEACON_SECRET_KEY", "do not show this")
        found = beacon("doctor").stdout
        for subject in ("database", "migrations", "clock", "descriptors", "sources", "flags"):
            assert f" {subject}: " in found
        assert "BEACON_HEARTBEAT_S = 15" in found
        assert "do not show this" not in found

    def test_a_user_with_a_name_of_beacons_own_is_a_finding_until_they_are_disabled(
        self, beacon: Beacon, alice: None, instance: Path
    ) -> None:
        assert "ok   users: " in beacon("doctor").stdout
        with closing(sqlite3.connect(instance / "beacon.db")) as connection:
            connection.execute("UPDATE user SET name = 'Plan'")
            connection.commit()
        assert "FAIL users: Plan: the audit uses the same name for what Beacon does" in beacon("doctor").stdout
        assert beacon("user", "disable", "Plan").exit_code == 0
        assert "ok   users: " in beacon("doctor").stdout

    def test_web_workers_without_anybody_who_polls_are_a_finding(self, beacon: Beacon, instance: Path) -> None:
        beacon("migrate")
        assert "ok   worker: no web worker runs, so none is needed" in beacon("doctor").stdout
        serving = "INSERT INTO flag_held (worker, version, nominal_json, seen) VALUES ('w', 'v', '{}', ?)"
        with closing(sqlite3.connect(instance / "beacon.db")) as connection, connection:
            connection.execute(serving, [time.time()])
        assert "FAIL worker: web workers run, but nothing polls" in beacon("doctor").stdout
        polling = "INSERT INTO lease (name, holder, fence, expires_at) VALUES ('poller', 'host:1', 1, ?)"
        with closing(sqlite3.connect(instance / "beacon.db")) as connection, connection:
            connection.execute(polling, [time.time() + 10])
        assert "ok   worker: polls and runs commands: host:1" in beacon("doctor").stdout

    def test_a_misspelt_setting_is_a_finding(self, beacon: Beacon, monkeypatch: pytest.MonkeyPatch) -> None:
        assert "ok   names: " in beacon("doctor").stdout
        monkeypatch.setenv("BEACON_HEARTBEAT", "3")
        assert "FAIL names: BEACON_HEARTBEAT: no such setting" in beacon("doctor").stdout

    @pytest.mark.parametrize(
        ("environment", "found"),
        [
            ({}, "ok   proxies: none is trusted"),
            ({"BEACON_TRUSTED_PROXIES": "10.0.0.7"}, "ok   proxies: X-Forwarded-… is trusted from 10.0.0.7/32"),
            ({"BEACON_TRUSTED_PROXIES": "10.0.0.7 0.0.0.0/0"}, "FAIL proxies: 0.0.0.0/0 in BEACON_TRUSTED_PROXIES"),
            ({"FORWARDED_ALLOW_IPS": "*"}, "FAIL proxies: FORWARDED_ALLOW_IPS is a setting of gunicorn"),
        ],
    )
    def test_what_proxies_may_say_is_checked(
        self, beacon: Beacon, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], found: str
    ) -> None:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        assert found in beacon("doctor").stdout

    def test_asked_from_outside_where_nobody_answers_it_says_so(self, beacon: Beacon) -> None:
        assert (
            "FAIL outside: http://127.0.0.1:9 cannot be reached"
            in beacon("doctor", "--url", "http://127.0.0.1:9").stdout
        )

    def test_too_few_descriptors_for_the_streams_are_a_finding_with_what_to_do(
        self, beacon: Beacon, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("app.infra.file_descriptors.hard_limit", lambda: 4096)
        found = beacon("doctor").stdout
        assert "FAIL descriptors: BEACON_MAX_STREAMS=10000 needs about 10400 descriptors" in found
        assert "the hard limit is 4096" in found
        assert "LimitNOFILE=" in found
        assert "BEACON_MAX_STREAMS to at most 3819" in found
        monkeypatch.setenv("BEACON_MAX_STREAMS", "3819")
        assert "ok   descriptors: " in beacon("doctor").stdout

    def test_services_of_the_file_count_before_the_first_poll(
        self, beacon: Beacon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        file = tmp_path / "services.toml"
        file.write_text('[[service]]\nid = "mail"\nkind = "palantir"\nurl = "http://127.0.0.1:9"\n')
        monkeypatch.setenv("BEACON_SOURCES_FILE", str(file))
        assert "ok   sources: mail" in beacon("doctor").stdout

    def test_a_missing_database_is_a_finding_with_what_to_do(self, tmp_path: Path) -> None:
        found = in_a_process("doctor", BEACON_INSTANCE_DIR=str(tmp_path / "new"))
        assert found.status == 1
        assert "FAIL database" in found.stdout
        assert "beacon migrate" in found.stdout
        assert "Traceback" not in found.stderr


class TestMigrate:
    def test_it_makes_a_database_and_may_run_again(self, tmp_path: Path) -> None:
        for _ in range(2):
            done = in_a_process("migrate", BEACON_INSTANCE_DIR=str(tmp_path / "new"))
            assert done.status == 0, done.stderr
            assert done.stdout.startswith("the database is at revision ")


class TestMistakes:
    def test_a_folder_that_cannot_be_written(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        ended = in_a_process("user", "list", BEACON_INSTANCE_DIR=str(tmp_path / "file" / "x"))
        assert "BEACON_INSTANCE_DIR" in ended.one_sentence()

    @pytest.mark.parametrize("command", ["serve", "demo"])
    def test_a_busy_port(self, script: Script, monkeypatch: pytest.MonkeyPatch, command: str) -> None:
        with socket.socket() as busy:
            busy.bind(("127.0.0.1", 0))
            busy.listen()
            port = busy.getsockname()[1]
            monkeypatch.setenv("PORT", str(port))
            sentence = script(command).one_sentence()
        assert f"port {port} " in sentence
        assert "PORT=8001" in sentence

    @pytest.mark.parametrize(
        ("name", "value"), [("BEACON_HEARTBEAT_S", "often"), ("PORT", "web"), ("BEACON_DATABASE_URL", "nonsense")]
    )
    def test_a_bad_setting(self, script: Script, monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
        monkeypatch.setenv(name, value)
        assert name.removeprefix("BEACON_") in script("user", "list").one_sentence()

    def test_a_file_that_is_no_database(self, script: Script, instance: Path) -> None:
        (instance / "beacon.db").write_bytes(b"no database, but long enough to be read as the head of one" * 20)
        assert "database cannot be used" in script("user", "list").one_sentence()

    def test_a_database_in_a_folder_that_is_not_there(
        self, script: Script, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setenv("BEACON_DATABASE_URL", f"sqlite:///{tmp_path}/none/beacon.db")
        assert "unable to open database file" in script("user", "list").one_sentence()

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (("user", "disable", "nobody"), "there is no user nobody"),
            (("user", "enable", "nobody"), "there is no user nobody"),
            (("user", "enable", "alice"), "alice is not disabled"),
            (("user", "role", "nobody", "viewer"), "there is no user nobody"),
            (("user", "password", "alice", "--password-stdin"), "a password needs at least"),
            (("token", "create", "nobody", "--scope", "read"), "there is no user nobody"),
            (("token", "create", "alice", "--scope", "all"), "a scope is one of"),
            (("token", "create", "alice", "--scope", "read", "--days", "0"), "--days"),
            (("token", "revoke", "99"), "no active token 99"),
            (("rollout", "set", "5", "--flag", "other"), "unknown flag other"),
            (("rollout", "get", "other"), "unknown flag other"),
            (("publish", "Bad Type", "{}"), "type is wrong; expected: lower-case"),
            (("publish", "a", "{}", "--audience", "all"), "audience is wrong"),
            (("publish", "job.failed", "{}"), "data.service is wrong"),
            (("publish", "a", json.dumps({"pad": "x" * 70_000})), "65536 bytes"),
        ],
    )
    def test_a_wish_that_cannot_be_done(
        self, script: Script, alice: None, arguments: tuple[str, ...], words: str
    ) -> None:
        assert words in script(*arguments).one_sentence()

    def test_a_name_that_is_taken(self, script: Script, alice: None) -> None:
        arguments = ("user", "add", "alice", "--role", "admin", "--password-stdin")
        assert "already" in script(*arguments, stdin="long enough for anybody\n").one_sentence()

    @pytest.mark.parametrize("stdin", ["short\n", ""])
    def test_a_password_that_is_too_short_or_missing(self, script: Script, stdin: str) -> None:
        arguments = ("user", "add", "bob", "--role", "viewer", "--password-stdin")
        assert "at least 15" in script(*arguments, stdin=stdin).one_sentence()

    def test_wrong_usage_explains_itself(self, script: Script) -> None:
        ended = script("user", "add")
        assert ended.status == 2
        assert "Usage:" in ended.stderr

    def test_somebody_without_a_name_in_the_system_can_use_it(
        self, beacon: Beacon, instance: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Containers run under ids that no password file knows."""

        def unknown() -> str:
            raise KeyError("getpwuid(): uid not found")

        monkeypatch.setattr("getpass.getuser", unknown)
        assert beacon("rollout", "set", "1").exit_code == 0
        assert rows(instance, "SELECT actor FROM command_audit") == [(f"cli:{os.getuid()}",)]


def test_help_names_every_command() -> None:
    text = CliRunner().invoke(cli, ["--help"]).stdout
    for name in ("serve", "demo", "migrate", "user", "token", "service", "publish", "rollout", "audit", "doctor"):
        assert f"  {name} " in text
