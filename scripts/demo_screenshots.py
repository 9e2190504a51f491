"""Takes the pictures of `beacon demo`: the way from the first screen to a cause, as people see it after `make run`."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests
from playwright.sync_api import Browser

from scripts.camera import SCREENS, Cookies, take_each
from tests.support.ports import free_port
from tests.support.waiting import wait_for

ROLE = "operator"
# Half a minute after its start, the demo's services begin to lose jobs and to fail.
STATES = {"billing": "discrepancy", "search": "stale", "newsletter": "verified"}
READY_S, TROUBLE_S, STOP_S = 120.0, 240.0, 40.0


def take_demo(browser: Browser, folder: Path) -> None:
    with _demo(folder) as url:
        wait_for(lambda: _is_up(url), "beacon demo to be ready", READY_S)
        session = _log_in(url, folder)
        wait_for(lambda: _is_in_trouble(session, url), "the services to be as the show has them", TROUBLE_S, every_s=1)
        cookies: Cookies = [{"name": one.name, "value": one.value or "", "url": url} for one in session.cookies]
        take_each(browser, url, _choose_pages(session, url), cookies)
    shutil.copy(SCREENS / "overview-desktop-light.png", SCREENS.parent / "dashboard.png")


@contextmanager
def _demo(folder: Path) -> Iterator[str]:
    port = free_port()
    environment = {**os.environ, "BEACON_INSTANCE_DIR": str(folder), "BEACON_PORT": str(port)}
    folder.mkdir()
    with (folder / "demo.log").open("wb") as log:
        command = [sys.executable, "-m", "app.cli.main", "demo"]
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(STOP_S)


def _is_up(url: str) -> bool:
    try:
        return requests.get(f"{url}/readyz", timeout=2).ok
    except requests.RequestException:
        return False


def _log_in(url: str, folder: Path) -> requests.Session:
    session = requests.Session()
    form = session.get(f"{url}/login", timeout=10).text
    [token] = re.findall(r'name="csrf_token"[^>]*value="([^"]+)"', form)
    password = json.loads((folder / "demo_logins.json").read_text())[ROLE]
    data = {"username": ROLE, "password": password, "csrf_token": token}
    session.post(f"{url}/login", data=data, timeout=10).raise_for_status()
    return session


def _get(session: requests.Session, address: str) -> Any:
    answer = session.get(address, headers={"Accept": "application/json"}, timeout=10)
    answer.raise_for_status()
    return answer.json()


def _is_in_trouble(session: requests.Session, url: str) -> bool:
    status = {one["id"]: one["status"] for one in _get(session, f"{url}/services/registered")}
    return status.items() >= STATES.items() and not _get(session, f"{url}/failures")["meta"]["notReadYet"]


def _choose_pages(session: requests.Session, url: str) -> dict[str, str]:
    cause = _get(session, f"{url}/services/newsletter/failures")["data"][0]
    return {
        "overview": "/",
        "activity": "/#changes-title",
        "causes": "/failures",
        "cause": f"/failures/{cause['group']}",
        "job": f"/services/newsletter/jobs/{cause['sampleJobIds'][0]}",
        "search": "/search?q=SMTPServerDisconnected",
        "help": "/help",
    }
