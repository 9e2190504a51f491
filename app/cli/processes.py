"""The commands that start Beacon's processes, and the environment in which they run."""

import os
import sys
from pathlib import Path

from app.config import Settings
from app.infra import resources

_FOLDER = Path(__file__).resolve().parent


def web_command() -> list[str]:
    """The web workers: gunicorn."""
    return [sys.executable, str(_FOLDER / "web_server.py"), "--config", str(resources.GUNICORN_CONFIG)]


def worker_command() -> list[str]:
    return [sys.executable, "-m", "app.cli.main", "worker"]


def serve_command(settings: Settings, web: list[str] | None = None, worker: list[str] | None = None) -> list[str]:
    """Both, under a supervisor. It runs isolated (`-I`), because nothing of Beacon may be imported by accident."""
    supervisor = [sys.executable, "-I", str(_FOLDER / "supervisor.py"), str(settings.drain_s)]
    return [*supervisor, *(web or web_command()), "--", *(worker or worker_command())]


def child_environment() -> dict[str, str]:
    """This process's environment, in which Python imports nothing from the current folder, which may hold an `app`."""
    environment = {**os.environ, "PYTHONSAFEPATH": "1"}
    if resources.IS_CHECKOUT:  # an installed package is found anyway
        paths = [str(resources.IMPORT_FOLDER), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment["PYTHONPATH"] = os.pathsep.join(paths)
    return environment
