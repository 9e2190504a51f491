"""`beacon service add`: options of every kind, and passwords that show up nowhere."""

import json
import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from app.cli.main import cli
from app.sources import kinds
from tests.cli.test_cli import Beacon, Script, beacon, instance, script

__all__ = ["beacon", "instance", "script"]  # fixtures

URL = "http://127.0.0.1:9"


def rows(database: Path, query: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(database)) as connection:
        return connection.execute(query).fetchall()


def test_options_are_read_as_toml_or_as_a_word(beacon: Beacon, instance: Path, database: Path) -> None:
    added = beacon("service", "add", "a", URL, "--option", "finished_visible_for_s=60.5")
    assert added.stdout == "watching a\n"
    beacon("service", "add", "b", URL, "--option", "finished_visible_for_s=none")
    found = [json.loads(text) for (text,) in rows(database, "SELECT options_json FROM service ORDER BY id")]
    assert [options["finished_visible_for_s"] for options in found] == [60.5, "none"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--option", "finished_visible_for_s"], "expected KEY=VALUE"),
        (["--option", "speed=9"], "speed: Extra inputs are not permitted"),
        (["--kind", "oracle"], f"kind: expected one of {', '.join(kinds.OWN_KINDS)}"),
        (["--password-env", "not a name"], "password_env: "),
    ],
)
@pytest.mark.usefixtures("instance")
def test_what_cannot_be_used_is_said_in_words(arguments: list[str], said: str) -> None:
    refused = CliRunner().invoke(cli, ["service", "add", "a", URL, *arguments])
    assert refused.exit_code != 0
    assert said in f"{refused.exception} {refused.output}"


@pytest.mark.parametrize("end", ["\n", "\r\n"], ids=["plain", "Windows"])
def test_a_password_is_kept_for_the_poller_and_shown_nowhere(beacon: Beacon, database: Path, end: str) -> None:
    beacon("service", "add", "a", URL, "--password-stdin", stdin=f"sesame{end}")
    assert rows(database, "SELECT password FROM service") == [("sesame",)]
    told = beacon("service", "list").stdout + beacon("doctor").stdout
    assert "sesame" not in told
    [(after,)] = rows(database, "SELECT after_state_json FROM command_audit WHERE action_type = 'service-add'")
    assert json.loads(after) == {
        "name": "a",
        "kind": "palantir",
        "url": URL,
        "options": {"finished_visible_for_s": "lookup", "show_arguments": "none"},
        "password": "kept",
    }


def test_a_service_is_changed_and_removed_and_what_was_not_named_stays(beacon: Beacon, database: Path) -> None:
    beacon("service", "add", "a", URL, "--password-stdin", "--option", "finished_visible_for_s=60", stdin="sesame\n")
    assert beacon("service", "change", "a", "name=Post Office").stdout == "changed a\n"
    kept = "SELECT name, password, options_json FROM service"
    assert rows(database, kept) == [
        ("Post Office", "sesame", '{"show_arguments":"none","finished_visible_for_s":60.0}')
    ]
    beacon("service", "change", "a", "finished_visible_for_s=", "--password-stdin", stdin="\n")
    assert rows(database, kept) == [
        ("Post Office", None, '{"show_arguments":"none","finished_visible_for_s":"lookup"}')
    ]
    assert beacon("service", "remove", "a").stdout == "no longer watching a\n"
    assert beacon("service", "list").stdout == ""
    actions = rows(database, "SELECT action_type FROM command_audit ORDER BY seq")
    assert actions == [("service-add",), ("service-change",), ("service-change",), ("service-remove",)]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["change", "nobody", "name=x"], "no service nobody is watched"),
        (["remove", "nobody"], "no service nobody is watched"),
        (["change", "a", "name"], "expected KEY=VALUE"),
        (["change", "kept", "url=http://127.0.0.1:8"], "password: a new address needs the password again"),
        (["add", "b", URL, "--password-env", "PATH"], "give the variable a name that begins with BEACON_SOURCE_"),
    ],
)
def test_what_cannot_be_changed_is_said_in_words(beacon: Beacon, arguments: list[str], said: str) -> None:
    beacon("service", "add", "kept", URL, "--password-stdin", stdin="sesame\n")
    refused = CliRunner().invoke(cli, ["service", *arguments])
    assert refused.exit_code != 0
    assert said in f"{refused.exception} {refused.output}"


def test_a_change_may_name_the_revision_that_was_seen(beacon: Beacon, script: Script, database: Path) -> None:
    beacon("service", "add", "a", URL)
    seen = beacon("service", "list").stdout.split("\t")[-1].strip()
    assert beacon("service", "change", "a", "name=Post", "--expected", seen).stdout == "changed a\n"
    for late in (("change", "a", "name=Mine"), ("remove", "a")):
        refused = script("service", *late, "--expected", seen).one_sentence()
        assert re.match(r"beacon: cli:\w+ changed name at \S+ \S+ UTC. Nothing was changed.", refused)
    assert rows(database, "SELECT name FROM service WHERE removed_at IS NULL") == [("Post",)]
