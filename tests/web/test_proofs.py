"""A form carries a proof of what its reader had seen. Whoever slips once and corrects it still has seen just that: the
answer to a slip never takes what somebody else did meanwhile for seen."""

import html
import re
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

import pytest
import sqlalchemy as sa
from flask import Flask
from werkzeug.test import TestResponse

from app.db import read, write
from app.failures.grouping import find_group
from app.flags import embedded
from app.flags.models import PlanRow
from app.reconciliation import registry, service_admin
from app.reconciliation.models import OpenItem, Service
from app.rollout import plan_service
from app.web.rollout.rollout_form import FLAG
from tests.commands.operator_desk import OperatorDesk
from tests.support.cast import ADA, BOB, PIA, Person, csrf_token, logged_in
from tests.support.demo_service import DemoService, start_demo
from tests.web.payloads import discrepancy
from tests.web.record_scene import item
from tests.web.test_failure_pages import FUNCTION, LOST, fail
from tests.web.test_pages import watch

TEMPLATES = Path(__file__).resolve().parents[2] / "templates"
PROOFS = ("seenPercentage", "seenAt", "seenEnabled", "seenPlan", "expectedCount", "expected", "asOf", "seen")
PROOF = re.compile(rf'name="({"|".join(PROOFS)})"')
Form = Mapping[str, Any]
HIDDEN = re.compile(r'<input type="hidden" name="(\w+)" value="([^"]*)"')


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DemoService]:
    running = start_demo(tmp_path_factory.mktemp("demo"))
    yield running
    running.stop()


class Scene(Protocol):
    """A form of one template, and what others do while somebody fills it in. `mark`: in its tag, where several forms
    lead to the same place."""

    template: str
    person: Person
    page: str
    action: str
    mark: str
    slip: Form
    right: Form

    def begin(self) -> None: ...
    def meanwhile(self) -> None: ...
    def is_overwritten(self) -> bool: ...


@dataclass
class Setting:
    """A percentage of the rollout: a colleague sets another one."""

    app: Flask
    demo: DemoService
    template = "rollout/_review.html"
    person, page, action = PIA, "/rollout?percentage=100", "/rollout"
    right: ClassVar[Form] = {"do": "set", "reason": "looks well", "typed": "100"}
    slip: ClassVar[Form] = {**right, "typed": "10"}
    started, changed = (10, True), (25, True)

    def begin(self) -> None:
        self._put(*self.started)

    def meanwhile(self) -> None:
        self._put(*self.changed)

    def is_overwritten(self) -> bool:
        with self.app.app_context(), read() as session:
            return embedded.load_rollout(session, FLAG).actor != "bea"

    def _put(self, percentage: int, enabled: bool) -> None:
        with self.app.app_context(), write() as session:
            embedded.change_rollout(session, FLAG, "bea", "because", percentage, enabled)


class WithoutReason(Setting):
    slip: ClassVar[Form] = {"do": "set", "reason": " ", "typed": "100"}


class SwitchingOn(Setting):
    page = "/rollout?on=1"
    started = changed = (100, False)


@dataclass
class Planning:
    """The start of a plan: a colleague starts one."""

    app: Flask
    demo: DemoService
    template = "rollout/_plan.html"
    person, page, action = PIA, "/rollout", "/rollout/plan"
    right: ClassVar[Form] = {
        "do": "start",
        "percentage": ["20", "100"],
        "minutes": ["5", "5"],
        "reason": "mine",
        "typed": "100",
    }
    slip: ClassVar[Form] = {**right, "typed": "ten"}

    def begin(self) -> None:
        pass

    def meanwhile(self) -> None:
        with self.app.app_context(), write() as session:
            seen = plan_service.compute_seen(session.get(PlanRow, FLAG))
            plan_service.begin_plan(session, FLAG, "bea", "hers", [{"percentage": 5, "holdMinutes": 9.0}], seen)

    def is_overwritten(self) -> bool:
        with self.app.app_context(), read() as session:
            row = session.get(PlanRow, FLAG)
            return row is None or row.actor != "bea"


class Stopping(Planning):
    """A colleague's plan stands in the place of the one that was to be stopped."""

    right: ClassVar[Form] = {"do": "stop"}
    slip: ClassVar[Form] = {"do": "stpo"}

    def begin(self) -> None:
        with self.app.app_context(), write() as session:
            plan_service.begin_plan(session, FLAG, "pia", "mine", [{"percentage": 7, "holdMinutes": 9.0}])


@dataclass
class Purging:
    """A queue: more jobs come into it."""

    app: Flask
    demo: DemoService
    template = "commands/review.html"
    person, action = BOB, "/services/mail/commands"
    page = "/services/mail/commands/review?do=purge-queue&queue=out"
    right: ClassVar[Form] = {"typed": "out"}
    slip: ClassVar[Form] = {"typed": "outt"}

    def begin(self) -> None:
        with self.app.app_context(), write() as session:
            registry.add(session, id="mail", name="Mail", kind="palantir", url=self.demo.url)
        self._create(3)

    def meanwhile(self) -> None:
        self._create(2)

    def is_overwritten(self) -> bool:
        return bool(OperatorDesk(self.app).events())

    def _create(self, number: int) -> None:
        self.demo.create_jobs(*[{"state": "queued", "queue": "out"}] * number)


class DeletingAll(Purging):
    """All of a state, by its list: the review that follows is of what the list had shown."""

    template = "jobs/index.html"
    page = "/services/mail/jobs"
    right: ClassVar[Form] = {"do": "delete-job", "scope": "filter", "confirmed": "1", "typed": "Mail"}
    slip: ClassVar[Form] = {**right, "typed": "Male"}

    def _create(self, number: int) -> None:
        self.demo.create_jobs(*[{"state": "failed", "queue": "mail"}] * number)


class DeletingCause(Purging):
    """All failed jobs with one cause: more jobs fail with it."""

    template = "failures/group.html"
    page = f"/failures/{find_group('mail', FUNCTION, LOST).id}"
    right: ClassVar[Form] = {"do": "delete-job", "scope": "filter", "confirmed": "1", "typed": "Mail"}
    slip: ClassVar[Form] = {**right, "typed": "Male"}

    def _create(self, number: int) -> None:
        fail(self.app, "mail", *(uuid.uuid4().hex for _ in range(number)))


@dataclass
class Accepting:
    """All that is open: one more opens."""

    app: Flask
    demo: DemoService
    template, mark = "dashboard/_service_differences.html", "accept-all"
    person, page, action = BOB, "/services/mail", "/services/mail/discrepancies/accept"
    right: ClassVar[Form] = {"all": "true", "reason": "deleted by hand"}
    slip: ClassVar[Form] = {"all": "true", "reason": " "}

    def begin(self) -> None:
        rewound = {"kind": "rewound", "jobIds": [], "since": "2026-11-21T12:00:00.000Z"}
        watch(self.app, "mail", discrepancy("a", findings=[rewound]), "a")

    def meanwhile(self) -> None:
        with self.app.app_context(), write() as session:
            session.add(item("mail", "new", "missing", "2099-01-01T00:00:00.000Z"))

    def is_overwritten(self) -> bool:
        with self.app.app_context(), read() as session:
            closed = sa.select(OpenItem.closed_at).where(OpenItem.job_id == "new")
            return session.scalar(closed) is not None


class AcceptingChosen(Accepting):
    """One that is chosen: it is found, and missing again."""

    mark = "accept-chosen"
    right: ClassVar[Form] = {"jobIds": ["new"], "reason": "deleted by hand"}
    slip: ClassVar[Form] = {"jobIds": ["new"], "reason": " "}

    def begin(self) -> None:
        super().begin()
        self._open("2026-11-21T12:00:00.000Z")

    def meanwhile(self) -> None:
        with self.app.app_context(), write() as session:
            session.execute(sa.delete(OpenItem))
        self._open("2026-11-21T12:00:05.000Z")

    def _open(self, since: str) -> None:
        with self.app.app_context(), write() as session:
            session.add(item("mail", "new", "missing", since))


@dataclass
class EditingService:
    """The settings of a service: a colleague changes its address."""

    app: Flask
    demo: DemoService
    template = "admin/service.html"
    person, page, action = ADA, "/admin/services/mail", "/admin/services/mail"
    right: ClassVar[Form] = {"name": "Letters", "url": "http://127.0.0.1:9"}
    slip: ClassVar[Form] = {**right, "url": "gopher://127.0.0.1"}

    def begin(self) -> None:
        with self.app.app_context(), write() as session:
            given = {"id": "mail", "name": "Mail", "kind": "palantir", "url": "http://127.0.0.1:9"}
            service_admin.add(session, given, "bea")

    def meanwhile(self) -> None:
        with self.app.app_context(), write() as session:
            service_admin.change(session, "mail", {"url": "http://127.0.0.1:8"}, "bea")

    def is_overwritten(self) -> bool:
        with self.app.app_context(), read() as session:
            row = session.get_one(Service, "mail")
            return (row.name, row.url, row.removed_at) != ("Mail", "http://127.0.0.1:8", None)


class RemovingService(EditingService):
    template = "admin/service_remove.html"
    page = action = "/admin/services/mail/remove"
    right: ClassVar[Form] = {}
    slip: ClassVar[Form] = {"expected": "the one I saw"}


SCENES: tuple[type[Any], ...] = (
    Setting,
    WithoutReason,
    SwitchingOn,
    Planning,
    Stopping,
    Purging,
    DeletingAll,
    DeletingCause,
    Accepting,
    AcceptingChosen,
    EditingService,
    RemovingService,
)


def test_every_form_that_carries_a_proof_is_tried_here() -> None:
    carrying = {
        str(path.relative_to(TEMPLATES)) for path in TEMPLATES.rglob("*.html") if PROOF.search(path.read_text())
    }
    assert carrying == {scene.template for scene in SCENES}


@pytest.mark.parametrize("kind", SCENES)
def test_a_slip_and_its_correction_overwrite_nothing_that_was_not_seen(
    cast: Flask, demo: DemoService, kind: type[Any]
) -> None:
    demo.reset()
    scene: Scene = kind(cast, demo)
    scene.begin()
    client = logged_in(cast, scene.person)
    csrf = csrf_token(client, "/")

    def press(hidden: Mapping[str, str], typed: Mapping[str, Any]) -> TestResponse:
        form = {**hidden, **typed, "csrf_token": csrf}
        return client.post(scene.action, data=form, headers={"Accept": "text/html"})

    before = hidden_of(client.get(scene.page, headers={"Accept": "text/html"}).text, scene)
    assert proof_of(before)
    scene.meanwhile()
    slipped = press(before, scene.slip)
    assert slipped.status_code == 400, slipped.text
    given_back = hidden_of(slipped.text, scene)
    if given_back:  # otherwise the reader goes back to the form as it was
        assert proof_of(given_back) == proof_of(before)
    corrected = press(given_back or before, scene.right)
    assert not scene.is_overwritten(), corrected.status_code


def hidden_of(page: str, scene: Scene) -> dict[str, str]:
    """Of the form that leads there and carries a proof; none where the page has no such form."""
    action, mark = re.escape(scene.action), getattr(scene, "mark", "")
    forms = re.findall(rf'(<form[^>]*action="{action}(?:[?#][^"]*)?"[^>]*>)(.*?)</form>', page, re.DOTALL)
    carrying = [form for tag, form in forms if mark in tag and PROOF.search(form)]
    found = HIDDEN.findall(carrying[0]) if carrying else []
    return {name: html.unescape(value) for name, value in found}


def proof_of(hidden: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in hidden.items() if name in PROOFS}
