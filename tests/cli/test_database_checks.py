"""`beacon doctor` about SQLite's file and where it lies; about PostgreSQL: tests/services/test_postgres_doctor.py."""

import os
from pathlib import Path

import pytest
from flask import Flask

from app import create_app
from app.cli import database_checks, doctor
from app.config import Settings
from app.infra import database_upgrade, file_systems
from tests.support.application import stop

MOUNTS = """\
22 1 254:1 / / rw,relatime - ext4 /dev/vda1 rw
30 22 0:26 / {folder} rw,relatime shared:5 - tmpfs tmpfs rw
36 30 0:50 / {folder}/nfs\\040share rw,relatime - nfs4 server:/export rw,vers=4.2
37 30 0:51 / {folder}/sshfs rw - fuse.sshfs me@there: rw
38 30 0:52 / {folder}/hidden rw - nfs4 server:/export rw
39 38 0:53 / {folder}/hidden rw - ext4 /dev/vdb1 rw
"""


@pytest.fixture
def mounts(tmp_path: Path) -> Path:
    path = tmp_path / "mountinfo"
    path.write_text(MOUNTS.format(folder=tmp_path))
    return path


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("nfs share", "nfs4"),
        ("nfs share/deep/down", "nfs4"),
        ("sshfs", "fuse.sshfs"),
        ("nfs", None),
        ("local", None),
        ("hidden", None),
    ],
)
def test_a_network_file_system_is_told_by_the_mount_that_the_path_lies_on(
    tmp_path: Path, mounts: Path, folder: str, kind: str | None
) -> None:
    assert file_systems.find_network_type(tmp_path / folder / "beacon.db", mounts) == kind


def test_a_kernel_that_says_nothing_is_no_network(tmp_path: Path) -> None:
    assert file_systems.find_network_type(tmp_path, tmp_path / "missing") is None


def test_sqlite_on_a_network_file_system_is_named_with_what_to_do(
    tmp_path: Path, mounts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = file_systems.find_network_type
    monkeypatch.setattr(file_systems, "find_network_type", lambda path: find(path, mounts))
    found = database_checks.check_file_system(Settings(instance_dir=tmp_path / "nfs share", secret_key="k"))
    assert not found.ok
    assert "is on nfs4, where SQLite's locks do not hold: move BEACON_INSTANCE_DIR" in found.text
    assert database_checks.check_file_system(Settings(instance_dir=tmp_path / "local", secret_key="k")).ok


def test_a_file_that_may_not_be_written_is_named(
    app: Flask, settings: Settings, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert database_checks.check_privileges(settings).ok
    monkeypatch.setattr(os, "access", lambda path, _mode: Path(path) != database.parent)  # root may do everything
    found = database_checks.check_privileges(settings)
    assert not found.ok
    assert f"may not write to {database.parent}, its folder, where SQLite keeps the write-ahead log" in found.text


def test_doctor_runs_all_of_them(app: Flask, settings: Settings) -> None:
    found = {one.subject: one for one in doctor.run_checks(app, settings)}
    checks = ("disk", "privileges", "connections", "wake-ups", "clock")
    assert [name for name in checks if found[name].ok] == list(checks)


def test_a_database_that_was_never_migrated_gets_one_complaint(settings: Settings) -> None:
    """Not one for each check that needs a table."""
    database_upgrade.create_file(settings)
    app = create_app(settings)
    complaints = [one for one in doctor.run_checks(app, settings) if not one.ok]
    stop(app)
    assert [(one.subject, one.text.partition(",")[0]) for one in complaints] == [("migrations", "never migrated")]
    assert complaints[0].text.endswith(": run beacon migrate")


def test_the_drivers_own_reason_is_repeated(app: Flask, settings: Settings, database: Path) -> None:
    database.unlink()
    database.mkdir()
    found = doctor.run_checks(app, settings)[0]
    assert "unable to open database file; run beacon migrate, or start it" in found.text
