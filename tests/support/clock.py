"""Another time for one module: patched in the standard library, it would be every other thread's as well."""

import time
from types import SimpleNamespace
from typing import Any

import pytest


def own_time(monkeypatch: pytest.MonkeyPatch, module: str, **functions: Any) -> None:
    """`own_time(monkeypatch, "app.stream.heartbeat", monotonic=lambda: 100.0)`: all else of `time` stays as it is."""
    monkeypatch.setattr(f"{module}.time", SimpleNamespace(**{**vars(time), **functions}))
