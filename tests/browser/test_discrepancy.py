"""A job service loses jobs without a word: Beacon names them until an operator has said why that is in order."""

import json
import re
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import MakeBeacon, StartService, Visit
from tests.browser.tab import Tab
from tests.support.beacon_server import Beacon
from tests.support.demo_service import DemoService
from tests.support.waiting import wait_for

REASON = "deleted by hand during the migration"


def test_three_lost_jobs_are_named_on_the_screen_in_the_table_and_in_the_log_until_they_are_accepted(
    beacon: Beacon, service: DemoService, visit: Visit
) -> None:
    service.create_jobs(*[{"state": "queued"} for _ in range(12)])
    dashboard, viewers_page = visit(beacon, "alice"), visit(beacon, "charlie", None)
    expect(dashboard.figure("mail", "queued")).to_have_text("12")
    dashboard.wait_state("connected")
    dashboard.mark()

    lost = set(service.lose(3))
    assert len(lost) == 3
    expect(dashboard.tile("mail")).to_have_attribute("data-state", "discrepancy")
    seen = dashboard.change_ids()[0]
    assert ids_in(dashboard, "#tile-mail") == lost
    assert ids_in(dashboard, "#strip-mail") == lost
    assert copied_by_hand(dashboard, "#strip-mail .id") in lost
    assert ids_in(dashboard, f"#change-{seen}") == lost
    expect(dashboard.tile("mail")).to_contain_text("3 missing")
    expect(dashboard.tile("mail")).to_contain_text("12 ≠ 9")
    expect(dashboard.page.locator("#summary")).to_contain_text("1 in discrepancy")
    assert dashboard.page.title() == "● 1 wrong · Beacon"
    icon = dashboard.page.locator("link[rel=icon]")
    expect(icon).to_have_attribute("href", re.compile(r"^data:image/svg\+xml,.*d5294f"))
    assert missing_in_table(beacon)[-1] == lost
    assert missing_in_log(beacon, seen) == lost

    viewers_page.goto("/services/mail")
    fieldset = viewers_page.page.locator("#open-items fieldset")
    assert ids_in(viewers_page, "#open-items") == lost
    expect(viewers_page.page.get_by_role("button", name="Accept the service's version")).to_be_disabled()
    expect(viewers_page.page.get_by_label("Reason for accepting")).to_be_disabled()
    expect(fieldset).to_have_accessible_description("Accepting needs the role operator; you are viewer.")

    wait_for_polls(beacon, 3)
    assert ids_in(dashboard, "#tile-mail") == lost
    assert statuses(beacon) == ["verified", "discrepancy"]

    operator = visit(beacon, "bob")
    operator.page.get_by_role("link", name="Review Mail").click()
    expect(operator.page.locator("#open-items")).to_be_visible()
    assert ids_in(operator, "#open-items") == lost
    expect(operator.page.locator("#open-items input:checked")).to_have_count(0)
    operator.page.get_by_role("link", name="Select all shown").click()
    expect(operator.page.locator("#open-items input:checked")).to_have_count(len(lost))
    operator.page.get_by_label("Reason for accepting").fill(REASON)
    operator.page.get_by_role("button", name="Accept the service's version").click()
    expect(operator.page.locator("#open-items")).to_contain_text("No open differences")
    expect(operator.tile("mail")).to_have_attribute("data-state", "verified")
    assert operator.page.url == f"{beacon.url}/services/mail"

    expect(dashboard.tile("mail")).to_have_attribute("data-state", "verified")
    expect(dashboard.page.locator("#strip-mail")).to_be_hidden()
    expect(dashboard.page.locator("#summary")).to_contain_text("1 service verified")
    expect(viewers_page.page.locator("#open-items")).to_contain_text("No open differences")  # without a touch
    wait_for_polls(beacon, 2)
    assert statuses(beacon) == ["verified", "discrepancy", "verified"]
    assert dashboard.page.title() == "Beacon"
    expect(icon).to_have_attribute("href", re.compile(r"/favicon\.svg$"))
    dashboard.wait_right()
    assert not dashboard.was_reloaded
    [(actor, target, params)] = beacon.sql(
        "SELECT actor, target, command_params_json FROM command_audit WHERE action_type = 'accept-discrepancy'"
    )
    assert (actor, target, json.loads(params)["reason"]) == ("bob", "mail", REASON)


@pytest.mark.long
def test_accepting_some_of_the_items_leaves_the_others_open(
    start_beacon: MakeBeacon, start_service: StartService, visit: Visit
) -> None:
    beacon, service = start_beacon(POLL_INTERVAL_S=1), start_service()
    service.create_jobs(*[{"state": "queued"} for _ in range(5)])
    beacon.watch("mail", service.url, "Mail")
    tab = visit(beacon, "bob", "/services/mail")
    expect(tab.figure("mail", "queued")).to_have_text("5")
    lost = service.lose(2)
    boxes = tab.page.locator("#open-items input[type=checkbox]")
    expect(boxes).to_have_count(2)  # the list of an open page follows its tile
    tab.page.locator(f"#open-items input[value='{lost[1]}']").check()
    tab.page.get_by_label("Reason for accepting").fill("known")
    wait_for_polls(beacon, 2)
    expect(tab.page.get_by_label("Reason for accepting")).to_have_value("known")  # what was typed stays
    tab.page.get_by_role("button", name="Accept the service's version").click()
    expect(boxes).to_have_count(1)
    assert ids_in(tab, "#open-items") == {lost[0]}
    expect(tab.tile("mail")).to_have_attribute("data-state", "discrepancy")


def copied_by_hand(tab: Tab, selector: str) -> str:
    """What a selection of the first such id has, as somebody who copies it would get it."""
    select = "(id) => { getSelection().selectAllChildren(id); return getSelection().toString(); }"
    found: str = tab.page.locator(selector).first.evaluate(select)
    tab.page.evaluate("getSelection().removeAllRanges()")
    return found


def ids_in(tab: Tab, selector: str) -> set[str]:
    """The job ids that a part of the page names, whole; one that its text does not hold whole is a mistake."""
    ids = tab.page.locator(f"{selector} code.id")
    titles: list[str] = ids.evaluate_all("codes => codes.map((code) => code.title)")
    assert titles == ids.evaluate_all("codes => codes.map((code) => code.textContent)")
    assert len(titles) == len(set(titles))
    return set(titles)


def missing_in_table(beacon: Beacon) -> list[set[str]]:
    rows = beacon.sql("SELECT discrepancy_details_json FROM discrepancy_event ORDER BY timestamp, rowid")
    return [set(json.loads(details)["missingJobIds"]) if details else set() for (details,) in rows]


def missing_in_log(beacon: Beacon, event_id: int) -> set[str]:
    [(data,)] = beacon.sql("SELECT data_json FROM event WHERE id = ? AND type = 'reconciliation.update'", event_id)
    found: dict[str, Any] = json.loads(data)
    assert found["status"] == "discrepancy"
    return set(found["discrepancyDetails"]["missingJobIds"])


def statuses(beacon: Beacon) -> list[str]:
    """Every change of state, as the permanent record has it."""
    rows = beacon.sql("SELECT status FROM discrepancy_event WHERE service = 'mail' ORDER BY timestamp, rowid")
    return [status for (status,) in rows]


def wait_for_polls(beacon: Beacon, number: int) -> None:
    def polls() -> int:
        return int(beacon.sql("SELECT count(*) FROM check_sample")[0][0])

    before = polls()
    wait_for(lambda: polls() >= before + number, f"{number} more polls")
