"""Whatever text comes in is shown as text, nothing of it runs, and the page goes on."""

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import MakeBeacon, StartService, Visit
from tests.browser.tab import Tab
from tests.sources.palantir.answers import serve_palantir
from tests.sources.upstream import upstream
from tests.support.beacon_server import Beacon
from tests.support.hostile_texts import ALL_TEXTS, RUN, TEXTS
from tests.support.waiting import wait_for


@pytest.mark.parametrize("streaming", [True, pytest.param(False, marks=pytest.mark.long)])
def test_hostile_events_are_shown_as_text_and_the_page_goes_on(beacon: Beacon, visit: Visit, streaming: bool) -> None:
    beacon.set_rollout(100, enabled=streaming)
    tab = visit(beacon, "alice")
    tab.wait_state("connected" if streaming else "polling")
    tab.mark()
    ids = beacon.publish([{"type": "poison", "data": {"value": text}} for text in TEXTS.values()])
    ids += beacon.publish([{"type": "poison", "data": {text: "as a name"}} for text in TEXTS.values()])
    jobs = [{"service": text, "jobId": text, "queue": text} for text in TEXTS.values()]
    ids += beacon.publish([{"type": "job.failed", "data": job} for job in jobs])
    [after] = beacon.publish([{"type": "after.poison", "data": {}}])
    tab.wait_change(after)
    tab.wait_right()
    for event_id, text in zip(ids, [*TEXTS.values()] * 3, strict=True):
        expect(tab.page.locator(f"#change-{event_id} .words")).to_contain_text(
            text.replace("\x00", "")
        )  # HTML has no NUL
    assert_harmless(tab)
    pushed = tab.page.locator("#changes > [data-id]").all_inner_texts()
    tab.goto()
    tab.wait_state("connected" if streaming else "polling")
    assert tab.page.locator("#changes > [data-id]").all_inner_texts() == pushed
    assert_harmless(tab)


def test_a_hostile_service_is_shown_as_text_everywhere(
    start_beacon: MakeBeacon, start_service: StartService, visit: Visit
) -> None:
    beacon, service = start_beacon(POLL_INTERVAL_S=1), start_service()
    # An id is one segment of a path; one with a control character is left out.
    names = [text.replace("/", "|") for text in TEXTS.values() if not any(sign < " " for sign in text)]
    service.create_jobs(*[{"id": f"{n} {name}", "queue": name, "state": "queued"} for n, name in enumerate(names)])
    title = f"Mail <img src=x onerror='{RUN}'>"
    beacon.watch("a.b", service.url, title)
    tab = visit(beacon, "bob")
    tile = tab.page.locator(".tile[data-service='a.b']")
    expect(tile).to_have_attribute("data-state", "verified")
    lost = service.lose(len(names))
    expect(tile).to_have_attribute("data-state", "discrepancy")
    expect(tile).to_contain_text(title)
    expect(tile).to_contain_text(f"{len(names)} missing")
    assert_harmless(tab)
    tab.page.get_by_role("link", name=f"Review {title}").click()
    boxes = tab.page.locator("#open-items input[type=checkbox]")
    expect(boxes).to_have_count(len(lost))
    expect(tab.page.get_by_role("heading", level=1)).to_have_text(title)
    assert_harmless(tab)
    tab.page.get_by_role("link", name="Select all shown").click()
    expect(tab.page.locator("#open-items input:checked")).to_have_count(len(lost))
    tab.page.get_by_label("Reason for accepting").fill(f"</p><script>{RUN}</script>")
    tab.page.get_by_role("button", name="Accept the service's version").click()
    expect(tab.page.locator("#open-items")).to_contain_text("No open differences")
    assert_harmless(tab)


def test_nothing_runs_of_what_failed_jobs_tell(start_beacon: MakeBeacon, visit: Visit) -> None:
    beacon = start_beacon(POLL_INTERVAL_S=1)
    ids = [f"job-{number}" for number in range(len(ALL_TEXTS))]
    with upstream() as service:
        serve_palantir(service, {"failed": ids})
        for job_id, text in zip(ids, ALL_TEXTS.values(), strict=True):
            error = {"type": text, "message": text, "traceback": f"Traceback (most recent call last):\n{text}\n"}
            job = {"id": job_id, "state": "failed", "function": text, "worker": text, "error": error}
            service.json(f"/api/v1/jobs/{job_id}", job)
        beacon.watch("odd", service.url, "Odd")
        read = "SELECT count(*) FROM failed_job WHERE read_at IS NOT NULL"
        wait_for(lambda: beacon.sql(read)[0][0] == len(ids), "the facts of all jobs to be read", 30)
        [[group]] = beacon.sql("SELECT min(group_id) FROM failed_job")
        tab = visit(beacon, "alice", None)
        # What each text looks like is tested without a browser; of the pages of jobs these would run something.
        job_pages = [f"/services/odd/jobs/{job_id}" for job_id in ids[:3]]
        for path in ("/", "/failures", f"/failures/{group}", "/search?q=window", *job_pages):
            tab.goto(path)
            tab.wait_state("connected")
            assert_harmless(tab)


def test_rows_that_another_program_wrote_wrongly_are_skipped_and_the_page_goes_on(
    start_beacon: MakeBeacon, visit: Visit
) -> None:
    beacon = start_beacon()
    tab = visit(beacon, "alice")
    tab.wait_state("connected")
    tab.note_states()
    for event_type, data in [
        ("ok.type", "not json"),
        ("ok.type", "[1]"),
        ("<script>", "{}"),
        ("reconciliation.update", "{}"),
        ("reconciliation.update", '{"service": "x", "status": "verified", "counts": null}'),
        ("flag.changed", '{"flag": 7}'),
        ("half.a.pair", '{"value": "\\ud83d"}'),
    ]:
        beacon.sql("INSERT INTO event (type, data_json) VALUES (?, ?)", event_type, data)
    [after] = beacon.publish([{"type": "after.rubbish", "data": {}}])
    tab.wait_change(after)
    assert tab.states() == []
    assert_harmless(tab)


def test_the_policy_of_the_pages_forbids_what_is_inline_and_what_is_elsewhere(beacon: Beacon, visit: Visit) -> None:
    tab = visit(beacon, "alice", None, allow=["Content Security Policy", "elsewhere.invalid"])
    policy = tab.goto().headers["content-security-policy"]
    assert "unsafe" not in policy
    tab.wait_state("connected")
    violated = tab.page.evaluate(
        """async (run) => {
          const seen = [];
          document.addEventListener("securitypolicyviolation", (event) => seen.push(event.effectiveDirective));
          const script = document.createElement("script");
          script.textContent = run;
          document.body.append(script);
          document.body.setAttribute("onclick", run);
          document.body.click();
          new Image().src = "https://elsewhere.invalid/pixel.gif";
          await fetch("https://elsewhere.invalid/").catch(() => {});
          await new Promise((done) => setTimeout(done, 100));
          return seen;
        }""",
        RUN,
    )
    assert {"script-src-elem", "script-src-attr", "img-src", "connect-src"} <= set(violated)
    assert tab.page.evaluate("window.ran") is None


def test_a_tour_of_all_pages_breaks_no_policy_and_asks_nobody_else(beacon: Beacon, visit: Visit) -> None:
    """The fixture looks at the console and at every request's host."""
    tab = visit(beacon, None, "/login")
    tab.page.get_by_label("Name").fill("alice")
    tab.page.get_by_label("Password").fill("correct horse battery")
    tab.page.get_by_role("button", name="Log in").click()
    tab.wait_state("connected")
    tab.page.get_by_role("link", name="Mail").first.click()
    tab.wait_state("connected")
    tab.page.go_back()
    tab.wait_state("connected")
    tab.trouble.allowed = ["404"]
    assert tab.goto("/services/nobody").status == 404
    expect(tab.page.get_by_role("heading", level=1)).to_have_text("No such service")
    assert len(tab.asked) > 30


def test_the_watch_over_consoles_and_requests_sees_what_it_is_there_for(beacon: Beacon, visit: Visit) -> None:
    tab = visit(beacon, "alice", "/login")
    tab.page.evaluate("console.error('said')")
    tab.page.evaluate("setTimeout(() => { throw new Error('thrown') })")
    tab.page.evaluate("document.body.setAttribute('style', 'color: red')")
    tab.page.route("https://elsewhere.invalid/**", lambda route: route.abort())
    tab.page.evaluate("{ const a = document.createElement('a'); a.href = 'https://elsewhere.invalid/'; a.click(); }")
    tab.page.wait_for_timeout(200)
    seen = "\n".join(tab.trouble.seen)
    tab.trouble.seen.clear()
    for word in ("said", "thrown", "Content Security Policy", "request to https://elsewhere.invalid/"):
        assert word in seen


def assert_harmless(tab: Tab) -> None:
    assert tab.page.evaluate("window.ran") is None
    # The page of a service asks for one thing itself.
    bad = "main :is(script, img, b, i, iframe, [onerror], [onmouseover], [hx-get]:not(#stuck, #stuck-again))"
    assert tab.page.locator(bad).count() == 0
    assert tab.page.locator("main").count() == 1
