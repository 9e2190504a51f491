"""`make release`: what it writes is complete, the same each time, and names every part."""

import hashlib
import json
import re
import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest
from click.testing import CliRunner

from app.cli.main import cli
from app.infra.version import VERSION
from scripts import release
from tests.install.conftest import EPOCH_S
from tests.support.beacon_server import ROOT


def test_a_release_is_wheel_source_archive_parts_list_and_checksums(dist: Path) -> None:
    assert {path.name for path in dist.iterdir()} == {
        f"beacon-{VERSION}-py3-none-any.whl",
        f"beacon-{VERSION}.tar.gz",
        f"beacon-{VERSION}.cdx.json",
        "SHA256SUMS",
    }


def test_every_file_has_its_checksum(dist: Path) -> None:
    done = subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=dist, capture_output=True, check=True)
    assert len(done.stdout.splitlines()) == 3


@pytest.mark.long
def test_the_same_commit_gives_the_same_bytes(dist: Path, tmp_path: Path) -> None:
    again = release.release(tmp_path / "dist", EPOCH_S)
    assert digests(again) == digests(dist / path.name for path in again)


def test_the_version_is_the_same_everywhere(dist: Path) -> None:
    wheel = zipfile.ZipFile(dist / f"beacon-{VERSION}-py3-none-any.whl")
    assert f"\nVersion: {VERSION}\n" in wheel.read(f"beacon-{VERSION}.dist-info/METADATA").decode()
    assert CliRunner().invoke(cli, ["--version"]).output == f"beacon {VERSION}\n"
    (newest, *_) = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest == VERSION


def test_the_source_archive_has_what_a_clone_has(dist: Path) -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.split(
        "\n"
    )
    with tarfile.open(dist / f"beacon-{VERSION}.tar.gz") as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {name for name in tracked if (ROOT / name).is_file()} <= names | {""}


def test_the_parts_list_names_every_package_of_the_lock_and_what_needs_it(dist: Path) -> None:
    document = json.loads((dist / f"beacon-{VERSION}.cdx.json").read_text())
    assert (document["bomFormat"], document["specVersion"]) == ("CycloneDX", "1.6")
    assert document["metadata"]["timestamp"] == "2025-06-15T15:06:40Z"
    locked = re.findall(
        r"^([\w.-]+)(?:\[\S+\])?==(\S+)", (ROOT / "requirements/runtime.lock").read_text(), re.MULTILINE
    )
    parts = {(part["name"], part["version"]) for part in document["components"]}
    assert parts == {*locked, ("htmx.org", "4.0.1")}
    needs = {entry["ref"]: entry["dependsOn"] for entry in document["dependencies"]}
    refs = {part["bom-ref"] for part in document["components"]}
    assert {ref for needed in needs.values() for ref in needed} == refs, "nothing is there that nobody needs"
    flask = next(ref for ref in refs if ref.startswith("pkg:pypi/flask@"))
    assert flask in needs[f"pkg:pypi/beacon@{VERSION}"]
    assert any(ref.startswith("pkg:pypi/werkzeug@") for ref in needs[flask])


def digests(paths) -> list[str]:
    return [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]
