"""The people of a run: made, given tokens, logged in and sent away again over the API alone."""

import re
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from tests.contract.frames import Frame, parse
from tests.contract.patience import scaled
from tests.contract.wire import Answer, Headers, Target, ask

FLAG = "/api/rollout/enable_sse_streaming"
FRAMES = "/api/events/frames"
REASON = "The contract suite is running."
TRIES = 5


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@dataclass(frozen=True, slots=True)
class Token:
    id: int | str
    text: str

    @property
    def headers(self) -> dict[str, str]:
        return bearer(self.text)


@dataclass(slots=True)
class Person:
    """Somebody whom the administrator made for this run; unnamed scopes are those of a reader."""

    admin: "Admin"
    name: str
    role: str
    password: str
    _tokens: dict[tuple[str, ...], Token] = field(default_factory=dict)
    _browser: "Browser | None" = None

    def token(self, *scopes: str) -> Token:
        """The same one for the same scopes."""
        key = tuple(sorted(scopes or ("stream", "read")))
        if key not in self._tokens:
            self._tokens[key] = self.admin.add_token(self, *key)
        return self._tokens[key]

    def bearer(self, *scopes: str) -> dict[str, str]:
        return self.token(*scopes).headers

    @property
    def browser(self) -> "Browser":
        """A login session that no case ends: each one costs the server a password's hash."""
        if self._browser is None:
            self._browser = self.log_in()
        return self._browser

    def log_in(self) -> "Browser":
        """A login session of the case's own."""
        browser = Browser(self.admin.target)
        browser.log_in(self.name, self.password)
        return browser


class Browser:
    """One login session: its cookies and its CSRF token."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._cookies: dict[str, str] = {}
        self.set_cookies: list[str] = []
        self._csrf = ""

    def log_in(self, name: str, password: str) -> None:
        """As a person would, by the form."""
        form = self.ask("GET", "/login", {"Accept": "text/html"})
        assert form.status == 200, form.text
        found = re.search(r'name="csrf_token"[^>]*value="([^"]+)"', form.text)
        assert found, "the login form has no csrf_token"
        answer = self.post_form("/login", {"username": name, "password": password, "csrf_token": found[1]})
        assert answer.status in (302, 303), answer.text
        page = self.ask("GET", "/", {"Accept": "text/html"})
        found = re.search(r'name="csrf-token"[^>]*content="([^"]+)"', page.text)
        assert found, "the page has no csrf-token"
        self._csrf = found[1]

    def log_out(self) -> None:
        answer = self.post_form("/logout", {"csrf_token": self._csrf})
        assert answer.status in (302, 303), answer.text

    def page_token(self) -> dict[str, Any]:
        """What `POST /api/stream/token` says."""
        answer = self.ask("POST", "/api/stream/token", self.csrf)
        assert answer.status == 200, answer.text
        told: dict[str, Any] = answer.json()
        return told

    @property
    def cookie(self) -> dict[str, str]:
        return {"Cookie": "; ".join(f"{name}={value}" for name, value in self._cookies.items())}

    @property
    def csrf(self) -> dict[str, str]:
        return {"X-CSRFToken": self._csrf}

    def post_form(self, path: str, form: Mapping[str, str]) -> Answer:
        body = urlencode(form).encode()
        headers = {"Accept": "text/html", "Content-Type": "application/x-www-form-urlencoded"}
        return self.ask("POST", path, headers, body=body)

    def ask(self, method: str, path: str, headers: Headers | None = None, **more: Any) -> Answer:
        sent = {**(self.cookie if self._cookies else {}), **(headers or {})}
        if self._target.tls:
            sent["Referer"] = f"https://{self._target.name}{self._target.below}/"
        answer = ask(self._target, method, path, sent, **more)
        self._keep(answer)
        return answer

    def _keep(self, answer: Answer) -> None:
        for line in answer.head.all("Set-Cookie"):
            name, _, value = line.split(";")[0].partition("=")
            self._cookies[name.strip()] = value
            self.set_cookies.append(line)


class Admin:
    """The administrator whose token the run was given; remembers what it made, to take it back."""

    def __init__(self, target: Target, token: str) -> None:
        self.target = target
        self._headers = bearer(token)
        self._people: list[Person] = []
        self._tokens: list[Token] = []
        self._rollout: dict[str, Any] | None = None

    def call(self, method: str, path: str, json: Any = None, *, expect: tuple[int, ...] = (200, 201, 202, 204)) -> Any:
        answer = ask(self.target, method, path, self._headers, json=json)
        for _ in range(TRIES):
            if answer.status != 503:
                break
            time.sleep(float(answer.header("Retry-After") or 1))  # as it asks: hashing passwords takes its time
            answer = ask(self.target, method, path, self._headers, json=json)
        assert answer.status in expect, f"{method} {path}: {answer.status} {answer.text}"
        return answer.json() if answer.body else None

    def add(self, role: str) -> Person:
        person = Person(self, f"contract-{secrets.token_hex(5)}", role, secrets.token_urlsafe(16))
        self.call("POST", "/api/users", {"name": person.name, "role": role, "password": person.password})
        self._people.append(person)
        return person

    def change(self, person: Person, **members: Any) -> None:
        self.call("PATCH", f"/api/users/{person.name}", members)
        person.role = members.get("role", person.role)
        person.password = members.get("password", person.password)
        if members.get("disabled"):
            self._people.remove(person)

    def add_token(self, person: Person, *scopes: str, **more: Any) -> Token:
        told = self.call("POST", "/api/tokens", {"user": person.name, "scopes": list(scopes), **more})
        token = Token(told["id"], told["token"])
        self._tokens.append(token)
        return token

    def revoke(self, token: Token) -> None:
        self.call("DELETE", f"/api/tokens/{token.id}", expect=(204,))
        self._tokens.remove(token)

    def rollout(self) -> dict[str, Any]:
        found: dict[str, Any] = self.call("GET", FLAG)
        return found

    def set_rollout(self, **members: Any) -> None:
        """Only intrusive cases do this; what was found first is put back in the end."""
        if self._rollout is None:
            self._rollout = self.rollout()
        self.call("PUT", FLAG, {"reason": REASON, **members})

    def restore_rollout(self) -> None:
        if self._rollout is not None:
            self.set_rollout(enabled=self._rollout["enabled"], percentage=self._rollout["percentage"])
            self._rollout = None

    def clean_up(self) -> None:
        """Nothing that was made works any longer. Users stay, disabled: Beacon deletes none."""
        self.restore_rollout()
        for token in list(self._tokens):
            self.call("DELETE", f"/api/tokens/{token.id}", expect=(204, 404, 409))
        for person in list(self._people):
            self.change(person, disabled=True)


def hello_of(target: Target, person: Person) -> Frame:
    """What a poll says first."""
    answer = ask(target, "GET", FRAMES, person.bearer())
    assert answer.status == 200, answer.text
    return parse(answer.body)[0]


def wait_for_flag(target: Target, person: Person, state: str, within_s: float = 5.0) -> None:
    """Until a poll of this person says that streaming is `on` or `off`."""
    deadline = time.monotonic() + scaled(within_s)
    while hello_of(target, person).json()["stream"] != state:
        assert time.monotonic() < deadline, f"streaming is not {state} within {within_s} s"
        time.sleep(0.02)
