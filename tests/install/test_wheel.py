"""The wheel works in any folder: everything that Beacon needs is inside, and nothing of the folder is imported."""

import re
import subprocess
import sys
import zipfile
from pathlib import Path
from urllib.parse import urljoin

import pytest
import requests

from app import create_app
from app.accounts import users
from app.config import Settings
from app.db import write
from tests.install.installed import PASSWORD, Installed, clean_environment, log_in
from tests.support.application import stop
from tests.support.beacon_server import ROOT
from tests.support.machine import scaled

CONTENT = {"app": "app", "demo": "demo"} | {
    name: f"app/resources/{name}" for name in ("migrations", "static", "templates")
}


def test_the_wheel_has_every_file_that_beacon_uses_and_no_test(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    wanted = {
        f"{inside}/{path.relative_to(ROOT / folder).as_posix()}"
        for folder, inside in CONTENT.items()
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    } | {"app/resources/gunicorn.conf.py"}
    assert names - {name for name in names if ".dist-info/" in name} == wanted


def test_an_installed_beacon_serves_its_pages_from_any_folder_and_says_where_its_data_is(
    installed: Installed, tmp_path: Path
) -> None:
    for name in ("app.py", "wsgi.py", "demo.py"):
        (tmp_path / name).write_text("raise SystemExit('the folder of a stranger was imported')")
    with installed.running("serve", "--web-only", folder=tmp_path) as (url, output), requests.Session() as browser:
        add_user(tmp_path / "instance", "alice")
        page = log_in(browser, url, "alice")
        assert page.url == f"{url}/"
        sheet = re.search(r'<link rel="stylesheet" href="([^"]+)"', page.text)
        assert sheet, page.text[:2_000]
        found = browser.get(urljoin(page.url, sheet[1]))
        assert found.headers["Content-Type"].startswith("text/css")
        assert len(found.content) > 10_000
        assert f"data is kept in {tmp_path / 'instance'} (BEACON_INSTANCE_DIR sets another folder)" in (
            output.read_text()
        )
    assert (tmp_path / "instance" / "beacon.db").exists()


def add_user(instance: Path, name: str) -> None:
    """From here: another start of the command would take as long as all the rest."""
    app = create_app(Settings(instance_dir=instance))
    with app.app_context(), write() as session:
        users.add(session, name, "viewer", PASSWORD, "test")
    stop(app)


@pytest.mark.long
def test_an_installed_beacon_shows_its_demo(installed: Installed, tmp_path: Path) -> None:
    try_demo(installed, tmp_path)


def try_demo(installed: Installed, folder: Path) -> None:
    """Start the demo in a folder, log in with what it prints and see its services; then add somebody."""
    with installed.running("demo", folder=folder, ready="Ctrl-C") as (url, output), requests.Session() as browser:
        text = output.read_text()
        password = re.search(r"^ +viewer +(\S+)$", text, re.MULTILINE)
        assert password, text
        assert f"data              {folder / 'instance'}\n" in text
        log_in(browser, url, "viewer", password[1])
        assert browser.get(f"{url}/services/registered").json()
        script = re.search(r'src="([^"]+/js/app.js)"', browser.get(url).text)
        assert script
        assert len(browser.get(urljoin(url, script[1])).content) > 10_000
    told = installed.run("user", "add", "eve", "--role", "viewer", "--password-stdin", folder=folder, text=PASSWORD)
    assert told == "added eve (viewer)\n"


@pytest.mark.long
def test_pip_installs_a_wheel_and_what_it_needs_into_an_empty_environment(wheel: Path, tmp_path: Path) -> None:
    """The full way, with real downloads."""
    venv, folder = tmp_path / "venv", tmp_path / "empty"
    folder.mkdir()
    run(sys.executable, "-m", "venv", venv)
    run(venv / "bin" / "pip", "install", "--quiet", "--disable-pip-version-check", wheel)
    run(venv / "bin" / "pip", "check")
    try_demo(Installed(venv / "bin" / "beacon"), folder)


@pytest.mark.long
def test_uvx_shows_the_demo_of_a_wheel(wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    venv, folder = tmp_path / "venv", tmp_path / "empty"
    folder.mkdir()
    for name in ("UV_CACHE_DIR", "UV_TOOL_DIR", "XDG_DATA_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name))
    (uv,) = re.findall(r"\buv==[\d.]+", (ROOT / "Makefile").read_text())
    run(sys.executable, "-m", "venv", venv)
    run(venv / "bin" / "pip", "install", "--quiet", "--disable-pip-version-check", uv)
    try_demo(Installed(venv / "bin" / "uvx", "--python", sys.executable, "--from", str(wheel), "beacon"), folder)


def run(*command: Path | str) -> None:
    done = subprocess.run(
        list(map(str, command)),
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=scaled(600),
        check=False,
    )
    assert done.returncode == 0, done.stderr
