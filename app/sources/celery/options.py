"""The settings of a Celery service besides its address (docs/sources/celery.md)."""

from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import Field, StringConstraints, field_validator, model_validator

from app.sources.celery.messages import PRIORITY_STEPS, SEPARATOR
from app.sources.protocol import JobOptions
from app.sources.redis.client import check_url

Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=200)]


class CeleryOptions(JobOptions):
    queues: Annotated[tuple[Name, ...], Field(min_length=1, max_length=100)] = ("celery",)
    priority_steps: Annotated[tuple[Annotated[int, Field(ge=0, le=255)], ...], Field(min_length=1, max_length=256)] = (
        PRIORITY_STEPS
    )
    separator: Name = SEPARATOR
    global_keyprefix: Annotated[str, StringConstraints(max_length=200)] = ""
    result_backend: bool | str = False
    result_keyprefix: Annotated[str, StringConstraints(max_length=200)] = ""
    finished_visible_for_s: Seconds = 86_400.0
    visibility_timeout_s: Seconds = 3_600.0
    inspect: bool = True

    @field_validator("result_backend")
    @classmethod
    def _check_address(cls, value: bool | str) -> bool | str:
        if isinstance(value, bool):
            return value
        if check_url(value).password is not None or "@" in urlsplit(value).netloc:
            raise ValueError("expected an address without a password; the broker's is used")
        return value

    @model_validator(mode="after")
    def _check_unique(self) -> Self:
        if len(set(self.queues)) < len(self.queues):
            raise ValueError("expected each queue once")
        if list(self.priority_steps) != sorted(set(self.priority_steps)):
            raise ValueError("expected priority_steps in rising order, each once")
        return self
