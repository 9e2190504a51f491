"""A kind of source is its folder, its line, its page and its tests: without them everything else works.

The tree is copied, one kind is deleted from the copy, and what is left of the unit tests runs there. Only files are
deleted, and one line: what still knows the kind by its name fails.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from app.sources.kinds import OWN_KINDS
from tests.support.machine import scaled

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("app", "bench", "demo", "docs", "migrations", "scripts", "static", "templates", "tests")
FILES = ("pyproject.toml", "gunicorn.conf.py", "wsgi.py", "package.json")
# A kind can break these: who may import what, the kinds themselves and their pages, a service's poll and its page.
QUICK = (
    "tests/test_architecture.py",
    "tests/sources/test_kinds.py",
    "tests/sources/test_sources_page.py",
    "tests/reconciliation/test_check_batcher.py",
    "tests/web/test_pages.py",
)
UNIT_TESTS = ("tests/test_architecture.py", "tests/sources", "tests/reconciliation", "tests/web")


@pytest.mark.parametrize("kind", OWN_KINDS)
def test_nothing_else_knows_a_kind_by_its_name(kind: str) -> None:
    named = re.compile(rf"\b{kind}\b", re.IGNORECASE)
    files = [path for folder in ("app", "templates", "static/js") for path in (ROOT / folder).rglob("*")]
    its_own = ROOT / "app" / "sources" / kind
    naming = {str(path.relative_to(ROOT)) for path in files if its_own not in path.parents and knows(named, path)}
    assert naming <= {"app/sources/kinds.py"}


def knows(named: re.Pattern[str], path: Path) -> bool:
    return path.suffix in (".py", ".html", ".js", ".css") and named.search(path.read_text()) is not None


@pytest.mark.parametrize("kind", OWN_KINDS)
def test_without_a_kind_the_rest_works(kind: str, tmp_path: Path) -> None:
    delete_kind(kind, tmp_path)
    # These start interpreters of their own; that nothing imports what is gone shows in the text.
    run_tests(tmp_path, *QUICK, "-k", "not importing and not loads_no_library")


@pytest.mark.long
@pytest.mark.parametrize("kind", OWN_KINDS)
def test_without_a_kind_every_other_unit_test_passes(kind: str, tmp_path: Path) -> None:
    delete_kind(kind, tmp_path)
    run_tests(tmp_path, *UNIT_TESTS)


def delete_kind(kind: str, copy: Path) -> None:
    """Copy the tree without this kind: its folder, its line, its page, its tests."""
    for name in FOLDERS:
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in FILES:
        shutil.copy(ROOT / name, copy / name)
    (copy / "node_modules").symlink_to(ROOT / "node_modules")
    shutil.rmtree(copy / "app" / "sources" / kind)
    registry = copy / "app" / "sources" / "kinds.py"
    text, lines = re.subn(rf'^    "{kind}",\n', "", registry.read_text(), flags=re.MULTILINE)
    assert lines == 1
    registry.write_text(text)
    (copy / "docs" / "sources" / f"{kind}.md").unlink()
    delete_tests(kind, copy / "tests")


def delete_tests(kind: str, tests: Path) -> None:
    """Delete the tests that name the kind, and this one, which would delete another."""
    shutil.rmtree(tests / "sources" / kind)
    named = re.compile(rf"\b{kind}\b", re.IGNORECASE)
    for path in tests.rglob("*.py"):
        if named.search(path.read_text()) and path.name.startswith("test_"):
            path.unlink()
    (tests / "sources" / Path(__file__).name).unlink()


def run_tests(copy: Path, *wanted: str) -> None:
    there = [name for name in wanted if not name.endswith(".py") or (copy / name).exists()]
    index = ["scripts.module_index"]  # it is made, not written
    options = ["-n0", "-q", "-p", "no:cacheprovider", "-m", "not long and not live and not services"]
    for module in (index, ["pytest", *options, *there]):
        done = subprocess.run(
            [sys.executable, "-m", *module],
            cwd=copy,
            env={**os.environ, "PYTHONPATH": str(copy)},
            capture_output=True,
            text=True,
            timeout=scaled(600),
            check=False,
        )
        assert done.returncode == 0, done.stdout[-8_000:] + done.stderr[-2_000:]
