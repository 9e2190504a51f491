"""More flags than the one there is: each declared with its default, asked for through the same helper."""

from enum import StrEnum

import pytest
from flask import Flask

from app.config import ConfigError
from app.flags import document, evaluation
from app.flags.document import Rollout
from app.flags.evaluation import Flags


class Declared(StrEnum):
    SSE_STREAMING = "enable_sse_streaming"
    DENSE = "enable_dense_rows"
    SOUND = "enable_sound"


DEFAULTS = {Declared.SSE_STREAMING: False, Declared.DENSE: True, Declared.SOUND: False}
USERS = [f"user{number}" for number in range(200)]


@pytest.fixture
def declared(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if somebody had added two lines to `document.py`."""
    for module in (document, evaluation):
        monkeypatch.setattr(module, "Flag", Declared)
        monkeypatch.setattr(module, "DEFAULTS", DEFAULTS)


def members(asked: Flags, flag: Declared) -> set[str]:
    return {user for user in USERS if asked.is_enabled(flag, user)}  # type: ignore[arg-type]


def test_every_flag_has_a_default() -> None:
    assert set(document.DEFAULTS) == set(document.Flag)


@pytest.mark.usefixtures("declared")
def test_each_has_its_own_percentage_people_and_override() -> None:
    asked = Flags({"enable_sound": True})
    assert members(asked, Declared.DENSE) == set(USERS), "its default, before anything is known"
    asked.load({flag: Rollout(enabled=True, percentage=50) for flag in Declared})
    streaming, dense = members(asked, Declared.SSE_STREAMING), members(asked, Declared.DENSE)
    assert 60 < len(streaming & dense) + len(set(USERS) - streaming - dense) < 140, "chance: not the same people"
    assert members(asked, Declared.SOUND) == set(USERS)


@pytest.mark.usefixtures("declared")
def test_one_that_unleash_has_never_heard_of_keeps_its_default() -> None:
    asked = Flags({})
    asked.load('{"version": 2, "features": [{"name": "enable_sound", "enabled": true, "strategies": []}]}')
    assert members(asked, Declared.DENSE) == set(USERS)
    assert members(asked, Declared.SSE_STREAMING) == set()
    assert members(asked, Declared.SOUND) == set(USERS)


@pytest.mark.usefixtures("declared")
def test_a_name_that_was_not_declared_is_an_error_at_start_and_when_asked(app: Flask) -> None:
    with pytest.raises(ConfigError, match=r"^BEACON_FLAG_ENABLE_SOUNDS: unknown flag; known flags: .*enable_sound$"):
        Flags({"enable_sounds": True})
    with app.app_context():
        assert evaluation.is_enabled("enable_dense_rows", "alice") is True
        with pytest.raises(ValueError, match="enable_sounds"):
            evaluation.is_enabled("enable_sounds", "alice")
