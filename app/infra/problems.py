"""What is wrong with a request, as a value: a status, a title, a sentence that says what to do (RFC 9457)."""

import random
from typing import Any

from pydantic import ValidationError

# Bad fields that one answer names.
MAX_REPORTED_ERRORS = 1_000


class Problem(Exception):
    """An answer that says what is wrong and what to do.

    `errors` names each bad field; further members (`reason`, …) go into the JSON as they are.
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
    """When to come back, in whole seconds: a little apart, so that those refused together do not return together."""
    return {"Retry-After": str(random.randint(least_s, most_s))}  # noqa: S311 -- it only spreads them


def invalid_input(error: ValidationError) -> Problem:
    """The 400 for a body that a pydantic model refused, each field named by its place."""
    found = error.errors(include_url=False, include_context=False, include_input=False)[:MAX_REPORTED_ERRORS]
    errors = {".".join(str(part) for part in item["loc"]) or "body": item["msg"] for item in found}
    first = next(iter(errors.items()))
    return Problem(400, "Bad input", f"{first[0]}: {first[1]}", errors=errors)
