"""What many cases look for in an answer."""

from datetime import datetime, timedelta
from typing import Any

from tests.contract.wire import Answer


def problem(answer: Answer | None, status: int) -> dict[str, Any]:
    """The members of a refusal, which must have this status and the one error shape."""
    assert answer is not None, "there was no refusal"
    assert answer.status == status, f"{answer.status} {answer.text}"
    assert (answer.header("Content-Type") or "").split(";")[0] == "application/problem+json", answer.head.raw
    body: dict[str, Any] = answer.json()
    assert set(body) >= {"type", "title", "status", "detail"}
    assert body["status"] == status
    return body


def names(answer: Answer | None, field: str, status: int = 400) -> None:
    """A refusal whose `errors` name the field, wherever in the body it stands."""
    errors = problem(answer, status)["errors"]
    assert any(field in place.split(".") for place in errors), errors


def retry_after(answer: Answer | None, status: int) -> int:
    """The whole seconds that a refusal asks to wait."""
    problem(answer, status)
    assert answer is not None
    text = answer.header("Retry-After")
    assert text is not None, "no Retry-After"
    assert text.isascii(), text
    assert text.isdecimal(), text
    assert int(text) >= 1, text
    return int(text)


def is_utc(text: str) -> bool:
    return datetime.fromisoformat(text).utcoffset() == timedelta(0)
