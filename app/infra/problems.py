"""Problem responses (RFC 9457) as an exception: a status, a title and a sentence that says what to do."""

import random
from typing import Any

from pydantic import ValidationError

# Maximum number of invalid fields in one response.
MAX_REPORTED_ERRORS = 1_000


class Problem(Exception):
    """An error response that says what is wrong and what to do.

    `errors` names each invalid field; further members (`reason`, …) are added to the JSON unchanged.
    """

    def __init__(
        self,
        status: int,
        title: str,
        detail: str,
        *,
        errors: dict[str, str] | None = None,
        headers: dict[str, str] | None = None,
        **members: Any,
    ) -> None:
        super().__init__(f"{status} {title}: {detail}")
        self.status, self.title, self.detail = status, title, detail
        self.headers = headers or {}
        self.members = {**({"errors": errors} if errors else {}), **members}

    def as_json(self) -> dict[str, Any]:
        return {
            "type": "about:blank",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            **self.members,
        }


def build_retry_after(least_s: int, most_s: int) -> dict[str, str]:
    """Build a `Retry-After` header with a random number of whole seconds, so that refused clients spread out."""
    return {"Retry-After": str(random.randint(least_s, most_s))}  # noqa: S311 -- only spreads retries


def invalid_input(error: ValidationError) -> Problem:
    """Build the 400 for a body that a pydantic model rejected; each field is named by its path."""
    errors = {path or "body": wrong for path, wrong in list_errors(error)[:MAX_REPORTED_ERRORS]}
    path, wrong = next(iter(errors.items()))
    return Problem(400, "Bad input", f"{path}: {wrong}", errors=errors)


def list_errors(error: ValidationError, within: str = "") -> list[tuple[str, str]]:
    """The path of each invalid field, which begins with `within`, and what is wrong with it.

    The input is left out, because it may be long or secret.
    """
    found = error.errors(include_url=False, include_context=False, include_input=False)
    above = (within,) if within else ()
    return [(".".join(map(str, (*above, *item["loc"]))), item["msg"]) for item in found]
