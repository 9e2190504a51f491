"""What others wrote and we serve is exactly what the lock file says."""

import base64
import hashlib
import json
from pathlib import Path

import pytest

VENDOR = Path(__file__).resolve().parents[2] / "static" / "vendor"
LOCK = json.loads((VENDOR / "vendor.lock").read_text())


@pytest.mark.parametrize("entry", LOCK, ids=lambda entry: entry["file"])
def test_the_file_has_the_locked_hash(entry: dict[str, str]) -> None:
    digest = hashlib.sha384((VENDOR / entry["file"]).read_bytes()).digest()
    assert entry["sha384"] == "sha384-" + base64.b64encode(digest).decode()


def test_every_vendored_file_is_locked_with_its_origin() -> None:
    files = {path.relative_to(VENDOR).as_posix() for path in VENDOR.rglob("*") if path.is_file()} - {"vendor.lock"}
    assert {entry["file"] for entry in LOCK} == files
    assert all({"package", "version", "licence"} <= entry.keys() for entry in LOCK)
