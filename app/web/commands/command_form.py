"""What somebody pressed on a page that gives commands: read from its form, weighed, and made into a command."""

import hashlib
import json
from dataclasses import dataclass
from typing import Any, Self

from werkzeug.datastructures import MultiDict

from app.commands.request import CommandRequest
from app.infra.problems import Problem
from app.web.commands.command_views import VERBS

SCOPES = ("selected", "page", "filter")


@dataclass(frozen=True, slots=True)
class Pressed:
    """`do` is `action` or `action:target`. Without a target `scope` says which jobs are meant: `selected` and `page` by
    their ids, `filter` by state and queue, as many as there were `as_of`; a purge means `queue`."""

    service: str
    action: str
    target: str | None
    scope: str
    ids: tuple[str, ...]
    state: str
    queue: str
    expected_count: int | None
    as_of: str | None
    typed: str
    confirmed: bool
    looks: bool
    given_id: str
    nonce: str

    @classmethod
    def of(cls, service: str, form: "MultiDict[str, str]") -> Self:
        action, _, target = form.get("do", "").partition(":")
        if action not in VERBS:
            raise _bad("do", f"expected one of {', '.join(VERBS)}")
        if action == "purge-queue" and not target:
            target = form.get("queue", "").strip()
            if not target:
                raise _bad("queue", "type the name of a queue")
        scope = form.get("scope", "selected")
        ids = form.getlist("pageIds" if scope == "page" else "jobIds")
        count = form.get("expectedCount", "")
        return cls(
            service,
            action,
            target or None,
            scope if scope in SCOPES else "selected",
            tuple(dict.fromkeys(ids)),
            form.get("state", ""),
            form.get("queue", ""),
            int(count) if count.isdecimal() and len(count) < 9 else None,
            form.get("asOf") or None,
            form.get("typed", "").strip(),
            form.get("confirmed") == "1",
            "look" in form,
            form.get("commandId", ""),
            form.get("nonce", ""),
        )

    @property
    def is_bulk(self) -> bool:
        return self.action in ("retry-job", "delete-job") and self.target is None

    @property
    def by_filter(self) -> bool:
        return self.is_bulk and self.scope == "filter"

    @property
    def counts(self) -> bool:
        """Whether it is bound to how many there were."""
        return self.by_filter or self.action == "purge-queue"

    @property
    def is_weighty(self) -> bool:
        """Whether one has to look again before it is done. A retry takes nothing from anybody."""
        return self.action != "retry-job"

    @property
    def where(self) -> tuple[str, str | None]:
        """State and queue of what it is about."""
        if self.action == "purge-queue":
            return "queued", self.target
        return self.state, self.queue or None

    def must_type(self, name: str) -> str | None:
        """What has to be typed first: the name of what is lost."""
        if self.action == "purge-queue":
            return self.target
        return name if self.action == "restart-service" or (self.action == "delete-job" and self.by_filter) else None

    @property
    def command_id(self) -> str:
        """As the page's script made it; else from the page and what was pressed on it."""
        if self.given_id:
            return self.given_id
        if not self.nonce:
            raise _bad("commandId", "expected an id for this intent")
        text = json.dumps(self._body(), sort_keys=True)
        return f"{self.nonce}-{hashlib.sha256(text.encode()).hexdigest()[:24]}"

    def asked(self) -> CommandRequest:
        """Raises `ValidationError`, `Problem`."""
        if self.is_bulk and not self.by_filter and not self.ids:
            raise _bad("jobIds", "choose at least one job")
        return CommandRequest.model_validate({"commandId": self.command_id, **self._body()})

    def _body(self) -> dict[str, Any]:
        body: dict[str, Any] = {"actionType": self.action, "service": self.service}
        if self.by_filter:
            body["filter"] = {"state": self.state, **({"queue": self.queue} if self.queue else {})}
        elif self.is_bulk:
            body["targets"] = list(self.ids)
        elif self.action != "restart-service":
            body["target"] = self.target
        if self.counts:
            body |= {"expectedCount": self.expected_count, "asOf": self.as_of}
        return body


def _bad(name: str, expected: str) -> Problem:
    return Problem(400, "Bad input", f"{name}: {expected}", errors={name: expected})
