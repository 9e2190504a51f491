"""The commands that start Beacon's processes."""

import sys

from app import ROOT
from app.config import Settings

_SUPERVISOR = ROOT / "app" / "cli" / "supervisor.py"


def web_command() -> list[str]:
    """The web workers: gunicorn."""
    return [sys.executable, "-m", "gunicorn", "--config", str(ROOT / "gunicorn.conf.py")]


def worker_command() -> list[str]:
    return [sys.executable, "-m", "app.cli.main", "worker"]


def serve_command(settings: Settings, web: list[str] | None = None, worker: list[str] | None = None) -> list[str]:
    """Both, under a supervisor. It runs isolated (`-I`), because nothing of Beacon may be imported by accident."""
    supervisor = [sys.executable, "-I", str(_SUPERVISOR), str(settings.drain_s)]
    return [*supervisor, *(web or web_command()), "--", *(worker or worker_command())]
