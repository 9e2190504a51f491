"""Runs code of background threads within the application's context."""

from collections.abc import Callable
from functools import partial, wraps
from typing import ParamSpec, TypeVar

from flask import Flask

P = ParamSpec("P")
R = TypeVar("R")


def in_app_context(app: Flask, call: Callable[P, R], name: str = "") -> Callable[P, R]:
    """Wrap `call`; a periodic task appears as `name` in log lines."""

    @wraps(call.func if isinstance(call, partial) else call)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        with app.app_context():
            return call(*args, **kwargs)

    if name:
        run.__qualname__ = name
    return run
