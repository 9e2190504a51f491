"""Which module may import which, what importing does, and that the index names every module."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from flask import Flask

from scripts import module_index
from tests.support.machine import scaled

ROOT = Path(__file__).resolve().parent.parent
APP = ROOT / "app"
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(APP.rglob("*.py"))
}
# What has no home takes whatever has no home.
HOMELESS = {"utils", "util", "helpers", "helper", "common", "misc", "manager", "core"}
# `package: the packages it may import`. Everybody may import `infra` and the modules directly in `app`.
MAY_IMPORT: dict[str, set[str]] = {
    "infra": set(),
    "eventlog": set(),
    "audit": set(),
    "sources": set(),
    "accounts": {"eventlog", "audit"},
    "flags": {"eventlog", "audit"},
    "rollout": {"flags", "eventlog", "audit", "accounts"},
    "reconciliation": {"sources", "eventlog", "audit"},
    "failures": {"sources", "reconciliation", "eventlog", "audit"},
    "commands": {"sources", "reconciliation", "eventlog", "audit", "failures"},
    "search": {"commands", "failures", "reconciliation", "sources", "audit", "accounts"},
    "stream": {"eventlog", "accounts"},
    "monitoring": {"stream", "eventlog"},
    "notifications": {"commands", "reconciliation", "eventlog", "audit", "accounts"},
}
# Only these two know everybody, and nobody knows them but the factory.
ON_TOP = {"web", "cli"}
MAY_IMPORT |= {name: {*MAY_IMPORT, *ON_TOP} for name in ON_TOP}


def imports(path: Path) -> Iterator[str]:
    """Every module or name that a file imports, in full; also those inside functions."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def package_of(module: str) -> str | None:
    """`eventlog` for `app.eventlog.reader`; None for a module directly in `app`."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and parts[0] == "app" and (APP / parts[1]).is_dir() else None


@cache
def edges() -> list[tuple[str, str]]:
    return [(module, imported) for module, path in MODULES.items() for imported in imports(path)]


def test_every_package_has_its_place_in_the_order() -> None:
    packages = {path.parent.name for path in APP.glob("*/__init__.py")}
    assert packages <= set(MAY_IMPORT), "say in MAY_IMPORT what the new package may import"


def test_imports_go_one_way() -> None:
    wrong = [
        f"{module} imports {imported}"
        for module, imported in edges()
        if (package := package_of(module)) is not None
        and (other := package_of(imported)) is not None
        and other not in (package, "infra")
        and other not in MAY_IMPORT[package]
    ]
    assert wrong == []


def test_the_rule_would_notice(tmp_path: Path) -> None:
    path = tmp_path / "x.py"
    path.write_text("def f():\n    from app.stream import hub\n    import app.web.dashboard.views as r\n")
    assert list(imports(path)) == ["app.stream.hub", "app.web.dashboard.views"]
    assert [package_of(name) for name in imports(path)] == ["stream", "web"]
    assert package_of("app.config") is None
    assert "stream" not in MAY_IMPORT["sources"] | MAY_IMPORT["eventlog"] | MAY_IMPORT["reconciliation"]


def test_no_package_imports_the_factory_or_the_command_line() -> None:
    wrong = [
        (module, imported)
        for module, imported in edges()
        if package_of(module) not in (None, "cli") and imported.startswith(("app.cli", "app.create_app"))
    ]
    assert wrong == []


def test_one_module_knows_unleash() -> None:
    assert {module for module, imported in edges() if imported.startswith("UnleashClient")} == {"app.flags.evaluation"}


def test_only_append_inserts_into_the_log() -> None:
    inserts = re.compile(r"insert\(EventRow\)|EventRow\(|INSERT INTO event\b", re.IGNORECASE)
    writers = {module for module, path in MODULES.items() if inserts.search(path.read_text())}
    assert writers - {"app.eventlog.models"} == {"app.eventlog.append"}


def test_request_handlers_do_not_touch_the_hub() -> None:
    """What is not in the log does not reach a browser: only the tail delivers."""
    delivering = {module for module, path in MODULES.items() if re.search(r"\bhub\.deliver\b", path.read_text())}
    assert delivering == {"app"}


def test_nothing_has_a_name_that_takes_everything() -> None:
    names = {part for module in MODULES for part in module.split(".")}
    assert names & HOMELESS == set()


LOOK = """
import sqlite3, socket, sys, threading
def refuse(*args, **kwargs):
    raise AssertionError(f"importing must not reach out: {args}")
sqlite3.connect = sqlite3.dbapi2.connect = refuse
socket.socket.connect = refuse
threading.Thread.start = refuse
import os
before = set(os.listdir("."))
import importlib
for name in sys.argv[1:]:
    importlib.import_module(name)
assert threading.active_count() == 1, threading.enumerate()
assert set(os.listdir(".")) == before
"""


def test_importing_starts_no_thread_opens_no_connection_and_writes_no_file(tmp_path: Path) -> None:
    modules = [name for name in MODULES if name != "app.web.gunicorn_worker"]
    done = subprocess.run(
        [sys.executable, "-B", "-c", LOOK, *modules],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=scaled(60),
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_the_index_of_modules_says_what_their_docstrings_say() -> None:
    stored = module_index.INDEX.read_text()
    assert stored == module_index.render(), "run .venv/bin/python -m scripts.module_index"


def test_there_is_one_blueprint_for_each_package_of_pages(app: Flask) -> None:
    """At most fifteen, each named after its package: where an address is answered is found in one guess."""
    packages = {path.parent.name for path in (APP / "web").glob("*/__init__.py")}
    assert set(app.blueprints) == packages
    assert len(app.blueprints) <= 15


def test_every_route_lies_below_web(app: Flask) -> None:
    modules = {view.__module__ for name, view in app.view_functions.items() if name != "static"}
    assert {module for module in modules if not module.startswith("app.web.")} == set()


# What many packages have one of.
SHARED_MODULE_NAMES = {"models", "queries", "routes", "views"}
# Past participles that once named functions and classes here, which said nothing of what they do or are.
PARTICIPLES = frozenset(
    {
        *(
            "asked",
            "answered",
            "begun",
            "closed",
            "compared",
            "counted",
            "drawn",
            "ended",
            "found",
            "gathered",
            "given",
        ),
        *("gone", "heard", "held", "judged", "kept", "known", "listed", "made", "moved", "named", "opened", "parsed"),
        *("pressed", "reasoned", "removed", "said", "seen", "settled", "shown", "taken", "told", "touched", "wanted"),
        "written",
    }
)


def test_a_name_of_a_module_stands_once() -> None:
    names = [module.rsplit(".", 1)[-1] for module, path in MODULES.items() if path.name != "__init__.py"]
    assert sorted(name for name in set(names) if names.count(name) > 1 and name not in SHARED_MODULE_NAMES) == []


def test_a_name_of_a_class_stands_once() -> None:
    names = [name for _, kind, name in definitions() if kind is ast.ClassDef and not name.startswith("_")]
    assert sorted(name for name in set(names) if names.count(name) > 1) == []


def test_functions_are_verbs_and_modules_and_classes_are_nouns() -> None:
    """`known_state_cache` and `KnownState` are nouns; `known` and `Known` are not, and no function is `known_jobs`."""
    modules = [(module, module.rsplit(".", 1)[-1]) for module in MODULES]
    classes = [(module, name) for module, kind, name in definitions() if kind is ast.ClassDef]
    functions = [(module, name.split("_")[0]) for module, kind, name in definitions() if kind is ast.FunctionDef]
    wrong = [(module, name) for module, name in modules + classes + functions if name.lower() in PARTICIPLES]
    assert wrong == []


@cache
def definitions() -> list[tuple[str, type, str]]:
    """Classes, and the functions of modules."""
    found: list[tuple[str, type, str]] = []
    for module, path in MODULES.items():
        tree = ast.parse(path.read_text())
        found += [(module, ast.ClassDef, node.name) for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
        found += [(module, ast.FunctionDef, node.name) for node in tree.body if isinstance(node, ast.FunctionDef)]
    return found
