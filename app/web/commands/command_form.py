"""Parses the form behind a command button and turns it into a command request."""

import hashlib
import json
from dataclasses import dataclass
from typing import Any, Self

from werkzeug.datastructures import MultiDict

from app.commands.actions import ACTIONS, Action
from app.commands.request import CommandRequest
from app.infra.problems import Problem

SCOPES = ("selected", "page", "filter")


@dataclass(frozen=True, slots=True)
class CommandForm:
    """`do` is `action` or `action:target`. Without a target, `scope` selects the jobs: `selected` and `page` by their
    ids, `filter` by state and queue or by cause (`group`), as of `as_of`. A purge without a target applies to
    `queue`."""

    service: str
    action: Action
    target: str | None
    scope: str
    ids: tuple[str, ...]
    state: str
    queue: str
    group: str
    expected_count: int | None
    as_of: str | None
    typed: str
    confirmed: bool
    preview_only: bool
    given_id: str
    nonce: str

    @classmethod
    def parse(cls, service: str, form: "MultiDict[str, str]") -> Self:
        name, _, target = form.get("do", "").partition(":")
        action = ACTIONS.get(name)
        if action is None:
            raise _bad_field("do", f"expected one of {', '.join(ACTIONS)}")
        if action.scope == "queue" and not target:
            target = form.get("queue", "").strip()
            if not target:
                raise _bad_field("queue", "type the name of a queue")
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
            form.get("group", ""),
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
        return self.action.scope == "job" and self.target is None

    @property
    def is_by_filter(self) -> bool:
        return self.is_bulk and self.scope == "filter"

    @property
    def is_count_bound(self) -> bool:
        """True if the command is valid only for the number of jobs that the user saw."""
        return self.is_by_filter or self.action.scope == "queue"

    @property
    def state_and_queue(self) -> tuple[str, str | None]:
        """State and queue of the targeted jobs."""
        if self.action.scope == "queue":
            return "queued", self.target
        return self.state, self.queue or None

    def confirmation_text(self, name: str) -> str | None:
        """The text to type for confirmation: the name of what is destroyed. None if none is needed."""
        if not self.action.is_destructive:
            return None
        if self.action.scope == "queue":
            return self.target
        return name if self.action.scope == "service" or self.is_by_filter else None

    @property
    def command_id(self) -> str:
        """The id from the page's script, or else one derived from the page's nonce and the submitted command."""
        if self.given_id:
            return self.given_id
        if not self.nonce:
            raise _bad_field("commandId", "expected an id for this intent")
        text = json.dumps(self._body(), sort_keys=True)
        return f"{self.nonce}-{hashlib.sha256(text.encode()).hexdigest()[:24]}"

    def to_request(self) -> CommandRequest:
        """Raises `ValidationError`, `Problem`."""
        if self.is_bulk and not self.is_by_filter and not self.ids:
            detail = "Select at least one job, then choose what to do."
            raise Problem(400, "No job is selected", detail, errors={"jobIds": "select at least one job"})
        return CommandRequest.model_validate({"commandId": self.command_id, **self._body()})

    def _body(self) -> dict[str, Any]:
        body: dict[str, Any] = {"actionType": self.action.name, "service": self.service}
        if self.is_by_filter:
            narrower = {"queue": self.queue, "group": self.group}
            body["filter"] = {"state": self.state, **{name: value for name, value in narrower.items() if value}}
        elif self.is_bulk:
            body["targets"] = list(self.ids)
        elif self.action.scope != "service":
            body["target"] = self.target
        if self.is_count_bound:
            body |= {"expectedCount": self.expected_count, "asOf": self.as_of}
        return body


def _bad_field(name: str, expected: str) -> Problem:
    return Problem(400, "Bad input", f"{name}: {expected}", errors={name: expected})
