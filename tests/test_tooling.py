"""What keeps a fresh clone working: the locks, the Makefile and the bootstrap agree with each other."""

import ast
import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from scripts import bootstrap, pytest_order
from tests.support.machine import scaled
from tests.support.ports import free_port

ROOT = Path(__file__).resolve().parent.parent
LOCKS = [bootstrap.RUNTIME_LOCK, bootstrap.DEV_LOCK, bootstrap.PEERS_LOCK]
NPM_FOLDERS = [ROOT, bootstrap.UNLEASH_INPUTS]
BOOTSTRAP_SOURCE = ROOT / "scripts" / "bootstrap.py"


def requirements(lock: Path) -> dict[str, str]:
    """Name, with its marker where it has one, → version; every one must carry hashes."""
    pattern = r"^([\w.-]+(?:\[\w+\])?)==(\S+)( ; [^\\\n]*)?(.*(?:\n .*)*)"
    entries = re.findall(pattern, lock.read_text(), re.MULTILINE)
    assert all("--hash=sha256:" in rest for *_, rest in entries)
    return {name + marker.rstrip(): version for name, version, marker, _ in entries}


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
def test_every_line_of_a_lock_is_a_pin_with_a_hash_and_none_is_an_address(lock: Path) -> None:
    text = lock.read_text()
    assert "://" not in text
    assert "index-url" not in text
    assert "@ " not in text
    starts = [line for line in text.splitlines() if line and not line.startswith((" ", "#"))]
    assert len(starts) == len(requirements(lock)) > 0


def test_the_dev_lock_holds_the_runtime_as_it_is() -> None:
    """Markers aside: a tool may want on every Python what Beacon wants on some."""
    runtime, dev = (
        {(name.split(" ;")[0], version) for name, version in requirements(lock).items()} for lock in LOCKS[:2]
    )
    assert runtime <= dev


def test_the_peers_of_the_benchmarks_share_the_versions_that_beacon_runs_on() -> None:
    runtime, peers = requirements(bootstrap.RUNTIME_LOCK), requirements(bootstrap.PEERS_LOCK)
    shared = {"flask", "gevent", "gunicorn", "redis", "werkzeug"}
    assert {name: runtime[name] for name in shared} == {name: peers[name] for name in shared}


@pytest.mark.parametrize("folder", NPM_FOLDERS, ids=lambda path: path.name)
def test_an_npm_lock_names_no_address_and_pins_what_its_manifest_pins(folder: Path) -> None:
    text = (folder / "package-lock.json").read_text()
    lock = json.loads(text)["packages"]
    assert not [name for name, package in lock.items() if "resolved" in package]
    assert not [address for address in re.findall(r"https?://[^\s\"]+", text) if "registry" in address]
    inside = {name: package for name, package in lock.items() if name and not package.get("inBundle")}
    assert all(package["integrity"].startswith("sha512-") for package in inside.values())
    wanted = json.loads((folder / "package.json").read_text())["devDependencies"]
    assert wanted == {name: lock[f"node_modules/{name}"]["version"] for name in wanted}
    assert "omit-lockfile-registry-resolved=true" in (folder / ".npmrc").read_text().splitlines()


def test_make_lock_brings_every_lock_up_to_date(tmp_path: Path) -> None:
    """The target itself, with tools that only say what they were to write."""
    locks = [*LOCKS, *(folder / "package-lock.json" for folder in NPM_FOLDERS)]
    shutil.copy(ROOT / "Makefile", tmp_path)
    script(tmp_path / ".cache/uv/bin/pip", "#!/bin/sh\n")
    script(tmp_path / ".cache/uv/bin/uv", '#!/bin/sh\nfor last; do :; done; echo new > "$last"\n')
    script(tmp_path / ".venv/bin/npm", "#!/bin/sh\necho new > package-lock.json\n")
    for lock in locks:
        (tmp_path / lock.relative_to(ROOT)).parent.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        ["make", "lock", "PYTHON=true"], cwd=tmp_path, capture_output=True, text=True, timeout=scaled(60), check=False
    )
    assert done.returncode == 0, done.stderr
    assert [lock.name for lock in locks if not (tmp_path / lock.relative_to(ROOT)).exists()] == []


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a clone")
def test_every_file_has_a_name_that_each_system_allows() -> None:
    """Two databases of tests were committed once, named after an address."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert [name for name in listed.stdout.split("\0") if not re.fullmatch(r"[\w./+-]*", name)] == []


def test_help_lists_every_target() -> None:
    makefile = (ROOT / "Makefile").read_text()
    phony = set(re.findall(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)[0].split())
    assert phony == set(re.findall(r"^([a-z-]+):.*## \S", makefile, re.MULTILINE))
    assert phony == set(re.findall(r"^([a-z][a-z-]*):", makefile, re.MULTILINE))


@pytest.mark.parametrize("version", [(2, 7), (3, 6, 15), (3, 10, 13)])
def test_an_old_python_gets_one_sentence(version: tuple[int, ...]) -> None:
    with pytest.raises(SystemExit) as refusal:
        bootstrap.check_python(version)
    sentence = str(refusal.value)
    assert sentence.startswith(f"Beacon needs Python 3.11 or newer and this is {version[0]}.{version[1]};")
    assert "\n" not in sentence


@pytest.mark.parametrize("version", [(3, 11), (3, 11, 7), (3, 14, 0), (4, 0)])
def test_a_python_that_is_new_enough_passes(version: tuple[int, ...]) -> None:
    bootstrap.check_python(version)


def test_the_oldest_python_is_the_one_that_the_metadata_names() -> None:
    assert project()["requires-python"] == ">={}.{}".format(*bootstrap.OLDEST_PYTHON)


def test_an_old_python_can_read_the_refusal() -> None:
    ast.parse(BOOTSTRAP_SOURCE.read_text(), feature_version=(3, 6))


def test_the_bootstrap_needs_nothing_but_the_standard_library() -> None:
    tree = ast.parse(BOOTSTRAP_SOURCE.read_text())
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.split(".")[0] for name in imported} - {"app"} <= set(sys.stdlib_module_names)


def test_a_missing_ensurepip_gets_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SystemExit, match=r"^Beacon needs Python's ensurepip, .*-venv$"):
        bootstrap.check_ensurepip()


def test_the_beacon_command_is_the_entry_point_of_the_metadata() -> None:
    module, function = project()["scripts"]["beacon"].split(":")
    assert f"from {module} import {function}\n\nsys.exit({function}())" in bootstrap.COMMAND


def test_a_failed_command_gets_one_sentence_and_its_last_lines() -> None:
    shouting = [sys.executable, "-c", "print(*range(100), sep='\\n'); raise SystemExit(3)"]
    with pytest.raises(SystemExit) as failure:
        bootstrap.run("counting", shouting)
    first, *rest = str(failure.value).splitlines()
    assert first.startswith("Beacon: counting failed")
    assert rest == [f"  {number}" for number in range(94, 100)]


@pytest.mark.parametrize("stamp", ["", "{", '{"root": "elsewhere"}'])
def test_an_environment_left_half_way_is_made_again(
    stamp: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = pretend_environment(tmp_path, monkeypatch)
    bootstrap.STAMP.write_text(stamp)
    bootstrap.environment(dev=False)
    assert steps == ["create", "runtime.lock"]


def test_an_environment_is_made_once_and_the_tests_add_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = pretend_environment(tmp_path, monkeypatch)
    for dev in [False, False, True, True, False]:
        bootstrap.environment(dev=dev)
    assert steps == ["create", "runtime.lock", "dev.lock"]


def test_a_changed_lock_makes_the_environment_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = pretend_environment(tmp_path, monkeypatch)
    bootstrap.environment(dev=True)
    changed = tmp_path / "dev.lock"
    changed.write_text("changed")
    monkeypatch.setattr(bootstrap, "DEV_LOCK", changed)
    bootstrap.environment(dev=False)
    bootstrap.environment(dev=True)
    assert steps == ["create", "dev.lock", "create", "dev.lock"]


def test_the_peers_are_installed_once_and_again_when_their_lock_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = pretend_peers(tmp_path, monkeypatch)
    bootstrap.peers()
    bootstrap.peers()
    assert steps == ["bench.lock"]
    changed = tmp_path / "other.lock"
    changed.write_text("changed")
    monkeypatch.setattr(bootstrap, "PEERS_LOCK", changed)
    bootstrap.peers()
    assert steps == ["bench.lock", "other.lock"]


def test_peers_that_cannot_be_installed_do_not_end_the_benchmarks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pretend_peers(tmp_path, monkeypatch)
    monkeypatch.setattr(bootstrap, "install", lambda lock, venv: sys.exit("Beacon: no network"))
    bootstrap.peers()
    assert "Beacon: no network" in capsys.readouterr().err
    assert not bootstrap.PEERS.exists()


def test_the_slow_folders_come_last() -> None:
    assert pytest_order.SLOW_FOLDERS == ["install", "contract", "services", "live", "browser"]


def pretend_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The decisions of bootstrap.environment, with nothing installed."""
    steps: list[str] = []
    (tmp_path / "python").touch()
    monkeypatch.setattr(bootstrap, "BIN", tmp_path)
    monkeypatch.setattr(bootstrap, "STAMP", tmp_path / "stamp")
    monkeypatch.setattr(bootstrap, "create_venv", lambda: steps.append("create"))
    monkeypatch.setattr(bootstrap, "install", lambda lock: steps.append(lock.name))
    monkeypatch.setattr(bootstrap, "link_beacon", lambda: None)
    monkeypatch.setattr(bootstrap, "link_node", lambda: None)
    return steps


def pretend_peers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The decisions of bootstrap.peers, with nothing installed."""
    steps: list[str] = []
    monkeypatch.setattr(bootstrap, "PEERS", tmp_path / "peers")
    monkeypatch.setattr(bootstrap, "create_venv", lambda venv: venv.mkdir(exist_ok=True))
    monkeypatch.setattr(bootstrap, "install", lambda lock, venv: steps.append(lock.name))
    return steps


def script(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    bootstrap.write_script(path, text)


def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_a_port_that_a_process_was_given_is_given_to_no_other_until_it_ends() -> None:
    given = free_port()
    code = f"""
import secrets
from tests.support.ports import FIRST, free_port
turns = iter([{given} - FIRST, *range(1_000)])
secrets.randbelow = lambda _: next(turns)
print(free_port())
"""
    other = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert int(other.stdout) != given
