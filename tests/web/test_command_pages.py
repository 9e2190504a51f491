"""Commands from pages, without scripts: reviewed by weight, bound to what was seen, listed, and shown to the end."""

import re
from collections.abc import Iterator

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from app.commands.models import CommandRow
from app.db import write
from app.reconciliation import registry
from app.web.commands import views
from tests.commands.operator_desk import OperatorDesk
from tests.support.application import start_worker
from tests.support.cast import ALICE, BOB, Person, csrf_token, headers_of, logged_in
from tests.support.demo_service import DemoService, start_demo

HTML = {"Accept": "text/html"}
JSON = {"Accept": "application/json"}
HOSTILE = 'x"><script>alert(1)</script>'


@pytest.fixture(scope="module")
def demo_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DemoService]:
    running = start_demo(tmp_path_factory.mktemp("demo"))
    yield running
    running.stop()


@pytest.fixture
def idle(cast: Flask, demo_process: DemoService) -> OperatorDesk:
    """Nothing runs beside the requests: a command stays as it was taken on."""
    demo_process.reset()
    with cast.app_context(), write() as session:
        registry.add(session, id="mail", name="Mail", kind="palantir", url=demo_process.url)
    return OperatorDesk(cast, demo_process)


@pytest.fixture
def desk(idle: OperatorDesk) -> OperatorDesk:
    start_worker(idle.app)
    return idle


class Reader:
    """A browser without scripts: it sends the forms that it is given."""

    def __init__(self, desk: OperatorDesk, person: Person = BOB) -> None:
        self.client: FlaskClient = logged_in(desk.app, person)
        self.csrf = csrf_token(self.client, "/")

    def get(self, path: str) -> TestResponse:
        return self.client.get(path, headers=HTML)

    def press(
        self, path: str = "/services/mail/commands", accept: dict[str, str] = HTML, **form: object
    ) -> TestResponse:
        return self.client.post(path, data={"csrf_token": self.csrf, **form}, headers=accept)


def words(answer: TestResponse) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", answer.text).split())


def fields(answer: TestResponse) -> dict[str, str]:
    """The hidden fields of the review's form."""
    form = answer.text.split("data-review", 1)[1].split("</form>", 1)[0]
    return dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', form))


def failed_job(desk: OperatorDesk, queue: str = "mail") -> str:
    return str(desk.demo.create_job(state="failed", queue=queue)["id"])


def test_a_retry_needs_no_review_and_ends_with_what_was_seen(desk: OperatorDesk) -> None:
    job, reader = failed_job(desk), Reader(desk)
    desk.is_watched()
    answer = reader.press(do=f"retry-job:{job}", nonce="0" * 16)
    assert answer.status_code == 303
    desk.ended(answer.location.rpartition("/")[2])
    page = words(reader.get(answer.location))
    assert f"Retry {job}" in page
    assert "Verified Beacon checked the service and observed the effect" in page
    assert "the job failed queued" in page
    assert re.search(r"Done .*queued again, verified", page)
    assert "failed, in the whole service 1 0" in page


def test_the_same_button_of_the_same_page_is_one_command_and_another_one_another(idle: OperatorDesk) -> None:
    reader = Reader(idle)
    jobs = [failed_job(idle) for _ in range(2)]
    first, again, other = (reader.press(do=f"retry-job:{job}", nonce="a" * 16) for job in (jobs[0], jobs[0], jobs[1]))
    assert first.location == again.location != other.location
    assert len(idle.events()) == 2


def test_a_delete_names_its_job_and_is_done_once_it_is_confirmed(idle: OperatorDesk) -> None:
    job, reader = failed_job(idle), Reader(idle)
    review = reader.press(do=f"delete-job:{job}", nonce="0" * 16)
    assert review.status_code == 200
    assert "Delete 1 job from Mail?" in words(review)
    assert job in review.text
    assert re.search(r'<a class="button" href="/services/mail" autofocus>Cancel', review.text)
    assert idle.events() == []
    assert reader.press(**fields(review)).status_code == 303
    assert [event["actionType"] for event in idle.events()] == ["delete-job"]


def test_a_purge_wants_the_name_and_keeps_the_count_that_was_seen(idle: OperatorDesk) -> None:
    idle.demo.create_jobs(*[{"state": "queued", "queue": "out"}] * 3)
    reader = Reader(idle)
    review = reader.get("/services/mail/commands/review?do=purge-queue&queue=out")
    assert "Purge 3 jobs from out" in words(review)
    wrong = reader.press(**fields(review), typed="outt")
    assert (wrong.status_code, idle.events()) == (400, [])
    assert "Type out to confirm." in words(wrong)
    assert 'value="outt"' in wrong.text
    idle.demo.create_jobs(*[{"state": "queued", "queue": "out"}] * 2)
    grown = reader.press(**fields(wrong), typed="out")
    assert grown.status_code == 409
    assert "2 more since you opened this." in words(grown)
    assert re.search(r"2 new since \d\d:\d\d:\d\d", words(grown))
    assert 'value="out" required' in grown.text
    assert fields(grown)["expectedCount"] == "3"
    again = reader.press(**{**fields(grown), "typed": "out", "look": "again"})
    assert (again.status_code, fields(again)["expectedCount"]) == (200, "5")
    assert 'value="out" required' in again.text
    done = reader.press(**fields(again), typed="out")
    assert done.status_code == 303
    assert reader.press(**fields(again), typed="out").location == done.location
    assert len(idle.events()) == 1


def test_an_address_of_a_review_is_not_believed_what_was_seen_typed_or_meant(idle: OperatorDesk) -> None:
    idle.demo.create_jobs(*[{"state": "queued", "queue": "out"}] * 3)
    made_up = "typed=out&expectedCount=9999999&asOf=2020-01-01T00:00:00Z&commandId=intent-of-before"
    review = Reader(idle).get(f"/services/mail/commands/review?do=purge-queue&queue=out&{made_up}")
    assert "Purge 3 jobs from out?" in words(review)
    assert 'value="" required' in review.text
    told = fields(review)
    assert (told["expectedCount"], told["asOf"][:4] > "2020", told["commandId"] != "intent-of-before") == (
        "3",
        True,
        True,
    )


def test_a_review_says_of_which_day_its_count_is(idle: OperatorDesk) -> None:
    idle.demo.create_jobs({"state": "failed"})
    form = {"do": "delete-job", "scope": "filter", "state": "failed", "expectedCount": "1"}
    review = Reader(idle).press(**form, asOf="2026-11-20T23:59:58Z")
    assert "as of 2026-11-20 23:59:58" in words(review)


def test_a_restart_wants_the_name_of_the_service(idle: OperatorDesk) -> None:
    reader = Reader(idle)
    review = reader.get("/services/mail/commands/review?do=restart-service")
    assert "Restart Mail?" in words(review)
    assert reader.press(**fields(review)).status_code == 400
    assert reader.press(**fields(review), typed="Mail").status_code == 303


@pytest.mark.parametrize(("scope", "number"), [("selected", 2), ("page", 25), ("filter", 30)])
def test_a_bulk_retry_touches_what_its_words_say(idle: OperatorDesk, scope: str, number: int) -> None:
    idle.demo.create_jobs(*[{"state": "failed", "queue": "mail"}] * 30)
    reader = Reader(idle)
    page = reader.get("/services/mail/jobs")
    assert "all 25 on this page" in words(page)
    assert "all 30 failed as of" in words(page)
    boxes = re.findall(r'name="jobIds" value="([^"]+)"', page.text)
    form = page.text.split("data-commands", 1)[1]
    hidden = dict(
        re.findall(r'<input type="hidden" name="(state|queue|expectedCount|asOf|nonce)" value="([^"]*)"', form)
    )
    on_page = re.findall(r'name="pageIds" value="([^"]+)"', page.text)
    assert boxes == on_page
    answer = reader.press(do="retry-job", scope=scope, jobIds=boxes[:2], pageIds=on_page, **hidden)
    assert answer.status_code == 303, answer.text
    assert idle.events()[-1]["progress"]["total"] == number


def test_a_bulk_delete_is_reviewed_with_its_number_and_by_filter_with_the_name(idle: OperatorDesk) -> None:
    idle.demo.create_jobs(*[{"state": "failed", "queue": "mail"}] * 7)
    reader = Reader(idle)
    ids = re.findall(r'name="jobIds" value="([^"]+)"', reader.get("/services/mail/jobs").text)
    chosen = reader.press(do="delete-job", scope="selected", jobIds=ids[:6], nonce="0" * 16)
    assert "Delete 6 jobs from Mail?" in words(chosen)
    assert 'name="typed"' not in chosen.text
    everything = reader.press(
        do="delete-job", scope="filter", state="failed", expectedCount="7", asOf="2026-11-21T12:03:05Z"
    )
    assert "Delete 7 jobs from Mail?" in words(everything)
    assert "Type Mail to confirm" in words(everything)
    assert reader.press(do="delete-job", scope="selected", nonce="0" * 16).status_code == 400


def test_what_one_may_not_do_is_shown_disabled_with_the_reason(idle: OperatorDesk) -> None:
    failed_job(idle)
    reader = Reader(idle, ALICE)
    for path in ("/services/mail", "/services/mail/jobs"):
        page = reader.get(path)
        assert "Commands need the role operator; you are viewer." in words(page)
        buttons = re.findall(r'<button[^>]*data-needs="operator"[^>]*>', page.text)
        assert buttons
        assert all(" disabled" in button for button in buttons)
    assert reader.press(do="restart-service", confirmed="1", typed="Mail", nonce="0" * 16).status_code == 403
    assert reader.get("/services/mail/commands/review?do=restart-service").status_code == 403


def test_what_the_service_cannot_do_is_shown_disabled_with_the_reason(cast: Flask) -> None:
    with cast.app_context(), write() as session:
        registry.add(session, id="bee", name="Bee", kind="celery", url="redis://127.0.0.1:1/0")
    page = logged_in(cast, BOB).get("/services/bee", headers=HTML)
    assert re.search(r'value="restart-service"[^>]* disabled title="[^"]{10,}"', page.text)
    assert "Restart:" in words(page)


def test_a_waiting_job_has_the_button_that_its_service_cannot_serve_with_the_reason(idle: OperatorDesk) -> None:
    job, reader = str(idle.demo.create_job(state="queued", queue="mail")["id"]), Reader(idle)
    page = reader.get("/services/mail/jobs?state=queued").text
    why = "this kind of service cannot move a job to the front of its queue"
    assert re.findall(r'value="promote-job([^"]*)"[^>]* disabled title="([^"]+)"', page) == [(f":{job}", why)]
    failed = reader.get("/services/mail/jobs?state=failed").text
    assert "promote-job" not in failed
    assert "Promote:" not in failed, "a reason is said only where its action is offered"
    assert reader.press(accept=JSON, do=f"promote-job:{job}", commandId="intent-0001").status_code == 409
    assert reader.press(accept=JSON, do="promote-job", jobIds=[job], commandId="intent-0002").status_code == 400


def test_scripts_get_the_command_or_the_problem_as_json(idle: OperatorDesk) -> None:
    job, reader = failed_job(idle), Reader(idle)
    answer = reader.press(accept=JSON, do=f"retry-job:{job}", commandId="intent-0001")
    assert (answer.status_code, answer.get_json()) == (
        202,
        {"commandId": "intent-0001", "phase": "queued", "link": "/commands/intent-0001"},
    )
    other = reader.press(accept=JSON, do=f"retry-job:{job}", commandId="intent-0002")
    assert (other.status_code, other.get_json()["reason"]) == (409, "overlap")
    assert other.get_json()["link"] == "/commands/intent-0001"


def test_a_row_says_which_command_has_its_job(idle: OperatorDesk) -> None:
    job, reader = failed_job(idle), Reader(idle)
    reader.press(accept=JSON, do=f"retry-job:{job}", commandId="intent-0001")
    page = reader.get("/services/mail/jobs")
    assert 'id="command-intent-0001"' in page.text
    assert "retrying…" in words(page)


def test_the_list_is_what_its_address_asks_for(idle: OperatorDesk) -> None:
    jobs, reader = [failed_job(idle) for _ in range(2)], Reader(idle)
    for number, job in enumerate(jobs):
        reader.press(accept=JSON, do=f"retry-job:{job}", commandId=f"intent-000{number}")

    def listed(query: str) -> list[str]:
        return re.findall(r'data-row="([^"]+)"', reader.get(f"/commands{query}").text)

    both = ["intent-0001", "intent-0000"]
    assert listed("") == listed("?phase=queued&action=retry-job&service=mail&actor=bob") == both
    assert listed(f"?q={jobs[0].upper()}") == ["intent-0000"]
    assert listed("?phase=error") == listed("?actor=alice") == listed("?q=%25") == []
    assert (
        'data-later data-head="intent-0001"' in reader.get("/commands?before=2000-01-01T00:00:00.000Z_intent-0001").text
    )
    assert re.findall(r'data-row="([^"]+)"', reader.get("/services/mail/commands").text) == both
    wrong = reader.get("/commands?phase=sideways&actor=bob")
    assert "Unknown value for “phase”; ignored." in words(wrong)
    assert re.findall(r'data-row="([^"]+)"', wrong.text) == both
    assert reader.get("/commands?before=junk").status_code == 200


def test_programs_get_json_at_the_same_addresses(idle: OperatorDesk) -> None:
    job, reader = failed_job(idle), Reader(idle)
    reader.press(accept=JSON, do=f"retry-job:{job}", commandId="intent-0001")
    token = headers_of(idle.app, ALICE, "read")
    for headers in (token, {**token, **HTML}):
        client = idle.app.test_client()
        assert client.get("/commands", headers=headers).get_json()["data"][0]["commandId"] == "intent-0001"
        assert client.get("/commands/intent-0001", headers=headers).get_json()["phase"] == "queued"
        assert client.get("/services/mail/jobs", headers=headers).get_json()["meta"]["limit"] == 100
    assert reader.client.get("/commands?q=nothing-of-it", headers=JSON).get_json()["data"] == []


def test_a_service_that_does_not_answer_says_so_instead_of_an_empty_list(cast: Flask) -> None:
    with cast.app_context(), write() as session:
        registry.add(session, id="gone", name="Gone", kind="palantir", url="http://127.0.0.1:1")
    page = logged_in(cast, BOB).get("/services/gone/jobs", headers=HTML)
    assert page.status_code == 200
    assert "The service refused the connection. Ask again" in words(page)
    assert "has no failed job" not in words(page)
    assert "Nothing was done" not in words(page), "no command was given"


def test_counts_that_nobody_knows_are_not_shown_as_none(idle: OperatorDesk) -> None:
    job, reader = failed_job(idle), Reader(idle)
    page = reader.get("/services/mail/jobs").text
    tabs = page.split('aria-label="State"', 1)[1].split("</nav>", 1)[0]
    assert "Failed" in tabs
    assert not re.search(r"\d</span>", tabs)
    reader.press(accept=JSON, do=f"retry-job:{job}", commandId="intent-0001")
    with idle.app.app_context(), write() as session:
        row = session.get_one(CommandRow, "intent-0001")
        row.before_json, row.after_json = '{"counts": null}', '{"counts": {"failed": 11}}'
    assert "failed, in the whole service — 11" in words(reader.get("/commands/intent-0001"))


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ({"queued": 5}, {"queued": 5, "failed": 340}, [("failed, in the whole service", "—", "340")]),
        (
            {"queued": 5, "failed": 340},
            {"queued": 4},
            [("queued, in the whole service", "5", "4"), ("failed, in the whole service", "340", "—")],
        ),
        ({"queued": 0}, {"queued": 3}, [("queued, in the whole service", "0", "3")]),
        (None, None, []),
        ({"queued": 5}, None, []),
    ],
)
def test_a_state_that_one_of_two_reads_did_not_tell_did_not_start_at_zero(
    before: dict[str, int] | None, after: dict[str, int] | None, told: list[tuple[str, str, str]]
) -> None:
    assert views.diff_before_after({"counts": before}, {"counts": after}) == told


def test_a_command_that_did_nothing_does_not_claim_a_look(desk: OperatorDesk) -> None:
    job, reader = failed_job(desk), Reader(desk)
    desk.is_watched()
    desk.demo.move(job, "running")
    ended = desk.run("retry-job", job)
    page = words(reader.get(f"/commands/{ended['commandId']}"))
    assert "Nothing done Nothing was done, so there was no effect to check; " in page
    assert "Beacon checked" not in page


def test_hostile_names_are_text(idle: OperatorDesk) -> None:
    reader = Reader(idle)
    for path in (
        f"/services/mail/jobs?state={HOSTILE}&queue={HOSTILE}",
        f"/commands?q={HOSTILE}&service={HOSTILE}&actor={HOSTILE}&phase={HOSTILE}",
        f"/services/mail/commands/review?do=purge-queue&queue={HOSTILE}",
        f"/services/mail/commands/review?do=delete-job:{HOSTILE}",
    ):
        assert "<script>alert" not in reader.get(path).text
    assert reader.get("/commands/nobody-knows-it").status_code == 404
    assert reader.get("/services/mail/commands/review?do=dance").status_code == 400
    assert reader.get("/services/nobody/commands/review?do=restart-service").status_code == 404
