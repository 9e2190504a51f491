"""Commands in a browser, against the demo service: what was pressed shows at once, what was seen follows."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import MakeBeacon, Visit
from tests.browser.tab import intercept, until
from tests.browser.test_axe import AXE, serious
from tests.services.rq_scene import Scene as RqScene
from tests.support.beacon_server import Beacon
from tests.support.demo_service import DemoService
from tests.support.machine import scaled
from tests.support.waiting import wait_for

PHONE = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True}
FAILED = "/services/mail/jobs?state=failed"
LOST = re.compile(r"^\s*No answer.? It may have been accepted. Retrying is safe.")
REVIEW_POLL_MS = 3_000  # command_review.js asks so often how many jobs there are
OFFLINE = ["ERR_INTERNET_DISCONNECTED", "ERR_FAILED", "Failed to load resource"]
# What a `reset` does, without the gap that it needs.
START_OVER = """() => new Promise((resolve, reject) => document.dispatchEvent(
  new CustomEvent("beacon:reload", { detail: { before: () => {}, wants: () => true, resolve, reject } })))"""


@pytest.fixture(scope="module")
def beacon_setup() -> str:
    return "tests.browser.command_times"


@pytest.fixture(autouse=True)
def _fresh(service: DemoService) -> Iterator[None]:
    service.reset()
    yield
    service.reset()


def calls(service: DemoService) -> list[str]:
    """`method path` of what the service has executed, as it says itself."""
    return [f"{call['method']} {call['path']}" for call in service.calls()]


def failed_jobs(service: DemoService, number: int = 1, queue: str = "mail") -> list[str]:
    return [job["id"] for job in service.create_jobs(*[{"state": "failed", "queue": queue}] * number)]


def row_of(page: Page, job: str) -> Locator:
    return page.locator("tr", has=page.locator("code.id", has_text=re.compile(f"^{re.escape(job)}$")))


def command_ids(beacon: Beacon, job: str) -> list[str]:
    rows = beacon.sql("SELECT command_id FROM command_item WHERE target = ?", job)
    return [row[0] for row in rows]


def test_a_retried_job_says_so_at_once_and_then_what_was_seen(
    beacon: Beacon, service: DemoService, visit: Visit
) -> None:
    [job] = failed_jobs(service)
    tab = visit(beacon, "bob", FAILED)
    tab.wait_state("connected")
    tab.mark()
    service.fault("slow")
    row = row_of(tab.page, job)
    row.get_by_role("button", name="Retry").click()
    expect(row.locator(".acted")).to_contain_text("retrying…")
    service.fault("none")
    expect(row.locator(".command-said")).to_contain_text("queued again, verified")
    expect(tab.page.locator(".toast[data-state=success]")).to_contain_text(job)
    assert service.get(f"/api/v1/jobs/{job}").json()["state"] == "queued"
    assert not tab.was_reloaded


def test_a_waiting_job_is_promoted_in_its_row_without_a_question(start_beacon: MakeBeacon, visit: Visit) -> None:
    with RqScene() as scene:
        for job in ("first", "second"):
            scene.queue().enqueue("time.sleep", 0, job_id=job)
        beacon = start_beacon()
        beacon.watch("rq", scene.valkey.url, "Queues", kind="rq")
        tab = visit(beacon, "bob", "/services/rq/jobs?state=queued")
        tab.wait_state("connected")
        tab.mark()
        expect(tab.page.locator(".bulk").get_by_role("button")).to_have_text(["Delete…"])
        row = row_of(tab.page, "second")
        row.get_by_role("button", name="Promote").click()
        expect(row.locator(".command-said")).to_contain_text("moved to the front of its queue, verified")
        assert scene.redis.lrange("rq:queue:mail", 0, -1) == [b"second", b"first"]
        assert not tab.was_reloaded


def test_a_second_click_is_no_second_command(beacon: Beacon, service: DemoService, visit: Visit) -> None:
    [job] = failed_jobs(service)
    tab = visit(beacon, "bob", FAILED)
    tab.wait_state("connected")
    row_of(tab.page, job).get_by_role("button", name="Retry").dblclick()
    expect(row_of(tab.page, job).locator("[data-phase=success]")).to_be_visible()
    assert len(command_ids(beacon, job)) == 1
    assert calls(service) == [f"POST /api/v1/jobs/{job}/retry"]


def lose_the_first_answer(page: Page) -> list[str]:
    """The first press reaches Beacon, its answer does not come back. The ids of all presses, as they are sent."""
    sent: list[str] = []

    def pass_on(route: Any) -> None:
        sent.append(re.findall(r'name="commandId"\r\n\r\n([^\r]+)', route.request.post_data or "")[0])
        if len(sent) == 1:
            route.fetch()
            route.abort()
        else:
            route.continue_()

    intercept(page, "**/services/mail/commands", pass_on)
    return sent


def test_what_was_pressed_offline_is_the_same_command_when_it_is_pressed_again(
    beacon: Beacon, service: DemoService, visit: Visit
) -> None:
    """The request reaches Beacon; its answer does not come back, and the pause hides what becomes of it."""
    [job] = failed_jobs(service)
    tab = visit(beacon, "bob", FAILED, allow=OFFLINE)
    tab.wait_state("connected")
    tab.page.keyboard.press("r")
    expect(tab.badge).to_have_text("Paused")
    sent = lose_the_first_answer(tab.page)
    row = row_of(tab.page, job)
    button = row.get_by_role("button", name="Retry")
    button.click()
    expect(tab.page.locator("[role=alert] .toast[data-state=error]")).to_contain_text(LOST)
    expect(row.locator(".acted")).to_have_text("no answer")
    tab.go_offline()
    tab.wait_state("offline")
    tab.page.context.set_offline(False)
    tab.wait_state("connected", 20)
    button.click()
    until(tab.page, lambda: len(sent) == 2, "the second press to be sent")
    tab.page.keyboard.press("r")
    expect(row.locator("[data-phase=success]")).to_be_visible()
    assert sent[0] == sent[1]
    assert command_ids(beacon, job) == [sent[0]]
    assert calls(service) == [f"POST /api/v1/jobs/{job}/retry"]


@pytest.mark.long
def test_once_its_end_was_seen_a_lost_answer_is_waited_for_no_more(
    beacon: Beacon, service: DemoService, visit: Visit
) -> None:
    [job] = failed_jobs(service)
    tab = visit(beacon, "bob", FAILED, allow=OFFLINE)
    tab.wait_state("connected")
    sent = lose_the_first_answer(tab.page)
    row = row_of(tab.page, job)
    row.get_by_role("button", name="Retry").click()
    expect(row.locator("[data-phase=success]")).to_be_visible()
    service.move(job, "failed")
    row.get_by_role("button", name="Retry").click()
    until(tab.page, lambda: calls(service) == [f"POST /api/v1/jobs/{job}/retry"] * 2, "the job to be retried anew")
    assert sorted(command_ids(beacon, job)) == sorted(set(sent))


@pytest.mark.long
def test_who_was_away_at_the_end_is_told_of_it_and_can_press_anew(
    beacon: Beacon, service: DemoService, visit: Visit
) -> None:
    [job] = failed_jobs(service)
    tab = visit(beacon, "bob", FAILED, allow=OFFLINE)
    tab.wait_state("connected")
    tab.page.keyboard.press("r")
    expect(tab.badge).to_have_text("Paused")
    sent = lose_the_first_answer(tab.page)
    row_of(tab.page, job).get_by_role("button", name="Retry").click()
    expect(tab.page.locator(".toast[data-state=error]")).to_contain_text("No answer")
    ended = "SELECT count(*) FROM command WHERE id = ? AND ended_at IS NOT NULL"
    wait_for(lambda: beacon.sql(ended, sent[0])[0][0], "the end of the first")
    service.move(job, "failed")
    tab.goto(FAILED)
    tab.wait_state("connected")
    row = row_of(tab.page, job)
    row.get_by_role("button", name="Retry").click()
    expect(row.locator(".acted")).to_contain_text("Over already")
    expect(row.get_by_role("link", name="look at it")).to_have_attribute("href", f"/commands/{sent[0]}")
    row.get_by_role("button", name="Retry").click()
    until(tab.page, lambda: calls(service) == [f"POST /api/v1/jobs/{job}/retry"] * 2, "the job to be retried anew")
    assert (sent[0] == sent[1], sent[2] == sent[1]) == (True, False)


@pytest.mark.parametrize("what", ["bulk", pytest.param("review", marks=pytest.mark.long)])
def test_what_was_first_pressed_offline_can_be_pressed_again(
    beacon: Beacon, service: DemoService, visit: Visit, what: str
) -> None:
    [job] = failed_jobs(service)
    service.create_jobs({"state": "queued", "queue": "out"})
    review = "/services/mail/commands/review?do=purge-queue&queue=out"
    tab = visit(beacon, "bob", review if what == "review" else FAILED, allow=OFFLINE)
    page = tab.page
    if what == "review":
        page.get_by_label("Type out to confirm").fill("out")
        button, said = page.get_by_role("button", name="Purge 1 job from out"), page.locator("#refused")
    else:
        page.get_by_label("all 1 on this page").check()
        button = page.locator(".bulk").get_by_role("button", name="Retry")
        said = page.locator("[role=alert] .toast[data-state=error]")
    tab.go_offline()
    button.click()
    expect(said).to_contain_text(LOST)
    page.context.set_offline(False)
    button.click()
    page.wait_for_url("**/commands/*")
    done = "POST /api/v1/queues/out/purge" if what == "review" else f"POST /api/v1/jobs/{job}/retry"
    expect(page.locator(".command-now [data-phase=success]")).to_be_visible()
    assert calls(service) == [done]


@pytest.mark.long
def test_an_answer_that_breaks_off_still_leads_to_the_command(
    beacon: Beacon, service: DemoService, visit: Visit
) -> None:
    [job] = failed_jobs(service)
    page = visit(beacon, "bob", FAILED).page
    intercept(
        page,
        "**/services/mail/commands",
        lambda route: route.fulfill(status=route.fetch().status, content_type="application/json", body='{"comm'),
    )
    page.get_by_label("all 1 on this page").check()
    page.locator(".bulk").get_by_role("button", name="Retry").click()
    page.wait_for_url("**/commands/*")
    expect(page.locator(".command-now [data-phase=success]")).to_be_visible()
    assert command_ids(beacon, job) == [page.url.rpartition("/")[2]]


def test_what_starts_over_shows_the_jobs_of_now(beacon: Beacon, service: DemoService, visit: Visit) -> None:
    """As after a gap in the stream, when nobody knows what was missed."""
    gone, left, new = *failed_jobs(service, 2), "job_that_came"
    tab = visit(beacon, "bob", FAILED)
    tab.wait_state("connected")
    service.move(gone, "queued")
    service.create_jobs({"id": new, "state": "failed"})
    tab.page.evaluate(START_OVER)
    expect(row_of(tab.page, gone)).to_have_count(0)
    row_of(tab.page, new).get_by_role("checkbox").check()
    expect(tab.page.locator("[data-selected]")).to_have_text("this 1 selected")
    expect(row_of(tab.page, left).get_by_role("button", name="Retry")).to_be_enabled()


def test_a_delete_asks_by_name_and_cancel_has_the_focus(beacon: Beacon, service: DemoService, visit: Visit) -> None:
    [job] = failed_jobs(service)
    page = visit(beacon, "bob", FAILED).page
    row = row_of(page, job)
    row.hover()
    row.get_by_role("button", name="Delete").click()
    dialog = page.get_by_role("dialog", name=f"Delete job {job}?")
    expect(dialog.get_by_role("button", name="Cancel")).to_be_focused()
    page.keyboard.press("Enter")
    expect(dialog).to_be_hidden()
    assert command_ids(beacon, job) == []
    row.get_by_role("button", name="Delete").press("Enter")
    dialog.get_by_role("button", name="Delete 1 job from Mail").click()
    expect(row.locator(".command-said")).to_contain_text("verified")
    assert service.get(f"/api/v1/jobs/{job}").status_code == 410


def test_a_command_of_mine_that_fails_interrupts(beacon: Beacon, service: DemoService, visit: Visit) -> None:
    [job] = failed_jobs(service)
    tab = visit(beacon, "bob", FAILED)
    tab.wait_state("connected")
    service.move(job, "running")
    row_of(tab.page, job).get_by_role("button", name="Retry").click()
    expect(tab.page.locator("[role=alert] .toast[data-state=error]")).to_contain_text(job)
    expect(row_of(tab.page, job).locator("[data-phase=error]")).to_be_visible()


def test_a_purge_that_grew_is_refused_and_can_be_looked_at_again(
    beacon: Beacon, service: DemoService, visit: Visit
) -> None:
    service.create_jobs(*[{"state": "queued", "queue": "out"}] * 4)
    tab = visit(beacon, "bob", None, allow=["409"], private=True)
    page = tab.page
    page.clock.install()
    tab.goto("/services/mail")
    tab.wait_state("connected")
    page.get_by_label("Queue").fill("out")
    page.get_by_role("button", name="Purge…").click()
    expect(page.get_by_role("heading", name="Purge 4 jobs from out?")).to_be_visible()
    expect(page.get_by_role("link", name="Cancel")).to_be_focused()
    page.get_by_label("Type out to confirm").fill("out")
    service.create_jobs(*[{"state": "queued", "queue": "out"}] * 3)
    page.clock.run_for(REVIEW_POLL_MS)
    expect(page.locator("#growth")).to_have_text("3 more since you opened this.")
    page.get_by_role("button", name="Purge 4 jobs from out").click()
    expect(page.locator("#refused")).to_contain_text(re.compile(r"3 new since \d\d:\d\d:\d\d"))
    expect(page.get_by_label("Type out to confirm")).to_have_value("out")
    assert calls(service) == []
    page.get_by_role("button", name="Look again").click()
    expect(page.get_by_role("heading", name="Purge 7 jobs from out?")).to_be_visible()
    expect(page.get_by_label("Type out to confirm")).to_have_value("out")
    page.get_by_role("button", name="Purge 7 jobs from out").click()
    page.wait_for_url("**/commands/*")
    expect(page.locator(".command-now")).to_contain_text("Verified")
    assert calls(service) == ["POST /api/v1/queues/out/purge"]
    assert service.counts()["counts"].get("queued", 0) == 0


def test_a_bulk_retry_shows_its_progress_and_a_result_for_each(
    beacon: Beacon, service: DemoService, visit: Visit
) -> None:
    jobs = failed_jobs(service, 12)
    page = visit(beacon, "bob", FAILED).page
    for box in page.locator("input[name=jobIds]").all()[:2]:
        box.check()
    expect(page.locator("[data-selected]")).to_have_text("these 2 selected")
    page.get_by_label(re.compile("all 12 failed as of")).check()
    page.get_by_role("button", name="Retry", exact=True).first.click()
    page.wait_for_url("**/commands/*")
    expect(page.locator(".command-now [data-phase=success]")).to_be_visible()
    expect(page.locator(".command-count")).to_have_text("12 of 12")
    expect(page.locator(".results tbody tr")).to_have_count(12)
    expect(page.locator(".results tbody tr[data-state=success]")).to_have_count(12)
    assert sorted(calls(service)) == sorted(f"POST /api/v1/jobs/{job}/retry" for job in jobs)


def test_who_may_not_sees_the_buttons_and_why(beacon: Beacon, service: DemoService, visit: Visit) -> None:
    [job] = failed_jobs(service)
    page = visit(beacon, "alice", FAILED).page
    expect(row_of(page, job).get_by_role("button", name="Retry")).to_be_disabled()
    expect(page.get_by_text("Commands need the role operator; you are viewer.")).to_be_visible()
    page.goto(f"{beacon.url}/services/mail")
    for name in ("Purge…", "Restart Mail…"):
        expect(page.get_by_role("button", name=name)).to_be_disabled()
    expect(page.get_by_text("Commands need the role operator; you are viewer.")).to_be_visible()


def test_the_list_follows_and_holds_what_is_new_while_one_reads(
    beacon: Beacon, service: DemoService, visit: Visit
) -> None:
    jobs = failed_jobs(service, 3)
    headers = beacon.bearer("bob", "command")

    def give(job: str) -> str:
        command_id = f"listed-{job}"[:60]
        body = {"commandId": command_id, "actionType": "retry-job", "service": "mail", "target": job}
        answer = service_post(beacon, body, headers)
        assert answer == 202
        return command_id

    tab = visit(beacon, "alice", "/commands")
    tab.wait_state("connected")
    tab.mark()
    first = give(jobs[0])
    row = tab.page.locator(f'[data-row="{first}"]')
    expect(row).to_be_visible()
    expect(row.locator("[data-phase=success]")).to_be_visible()
    tab.page.locator("#q").fill("half a sear")
    row.locator("a").first.focus()
    second = give(jobs[1])
    link = tab.page.locator("#commands-new")
    expect(link).to_have_text("1 new")
    assert tab.page.locator(f'[data-row="{second}"]').count() == 0
    link.click()
    expect(tab.page.locator(f'[data-row="{second}"]')).to_be_visible()
    assert not tab.was_reloaded


def service_post(beacon: Beacon, body: dict[str, Any], headers: dict[str, str]) -> int:
    return requests.post(f"{beacon.url}/commands/run", json=body, headers=headers, timeout=scaled(10)).status_code


def test_without_scripts_it_is_the_same_by_forms(beacon: Beacon, service: DemoService, visit: Visit) -> None:
    [job, other] = failed_jobs(service, 2)
    page = visit(beacon, "bob", FAILED, java_script_enabled=False).page
    row_of(page, job).get_by_role("button", name="Retry").click()
    assert "/commands/" in page.url
    wait_for(lambda: calls(service) == [f"POST /api/v1/jobs/{job}/retry"], "the retry")
    page.goto(f"{beacon.url}{FAILED}")
    row_of(page, other).get_by_role("button", name="Delete").click(force=True)
    expect(page.get_by_role("heading", name="Delete 1 job from Mail?")).to_be_visible()
    page.get_by_role("button", name="Delete 1 job from Mail").click()
    assert "/commands/" in page.url
    wait_for(lambda: len(calls(service)) == 2, "the delete")


def test_on_a_phone_nothing_is_wider_than_the_screen_and_axe_finds_nothing(
    beacon: Beacon, service: DemoService, visit: Visit
) -> None:
    [job, *_] = failed_jobs(service, 3)
    service.create_jobs({"state": "queued", "queue": "out"})
    body = {"commandId": f"axe-{job}"[:60], "actionType": "retry-job", "service": "mail", "target": job}
    assert service_post(beacon, body, beacon.bearer("bob", "command")) == 202
    review = "/services/mail/commands/review?do="
    paths = [FAILED, "/commands", f"/commands/{body['commandId']}"]
    paths += [f"{review}purge-queue&queue=out", f"{review}delete-job:{job}"]
    tab = visit(beacon, "bob", None, bypass_csp=True, **PHONE)
    for path in paths:
        tab.goto(path)
        tab.wait_state("connected")
        assert tab.page.evaluate("document.documentElement.scrollWidth") == 360, path
        tab.page.add_script_tag(content=AXE)
        assert serious(tab.page) == [], path
