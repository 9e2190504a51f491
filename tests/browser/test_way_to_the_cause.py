"""From the dashboard to the traceback of a failed job in two steps: by mouse, by keyboard alone, and on a phone."""

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.conftest import Visit
from tests.browser.tab import Tab
from tests.browser.test_axe import SCHEMES, ready, serious
from tests.sources.palantir.answers import serve_palantir
from tests.sources.upstream import upstream
from tests.support.beacon_server import Beacon
from tests.support.waiting import wait_for

JOBS = ["order-1", "order-2", "order-3"]
LOST = "smtplib.SMTPServerDisconnected: Connection unexpectedly closed"
TRACEBACK = f"""Traceback (most recent call last):
  File "/srv/shop/shop/mail/transport.py", line 88, in deliver
    self.smtp.sendmail(sender, to, text)
  File "/usr/lib/python3.12/smtplib.py", line 405, in getreply
    raise SMTPServerDisconnected(...)
{LOST}
"""
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
# A person who needs more than this has lost the way.
MAX_TABS = 60
FOCUSED = "(link) => link === document.activeElement"


@pytest.fixture(scope="module")
def failing(beacon: Beacon) -> Iterator[Beacon]:
    """Shop has three failed jobs with one cause, and their facts are read."""
    with upstream() as shop:
        serve_palantir(shop, {"failed": JOBS})
        for job_id in JOBS:
            error = {"type": "smtplib.SMTPServerDisconnected", "message": "Connection unexpectedly closed"}
            job = {"id": job_id, "state": "failed", "queue": "mail", "function": "mail.send", "worker": "mail-7"}
            shop.json(f"/api/v1/jobs/{job_id}", {**job, "error": {**error, "traceback": TRACEBACK}})
        beacon.watch("shop", shop.url, "Shop")
        read = "SELECT count(*) FROM failed_job WHERE service_id = 'shop' AND read_at IS NOT NULL"
        wait_for(lambda: beacon.sql(read)[0][0] == len(JOBS), "the facts to be read", 30)
        yield beacon


def cause(page: Page) -> Locator:
    return page.locator("#failing-shop a", has_text="SMTPServerDisconnected in mail.send")


def job(page: Page) -> Locator:
    return page.locator(".cause-jobs tbody a").first


def assert_traceback_is_seen(page: Page) -> None:
    expect(page.get_by_role("heading", level=1)).to_contain_text("mail.send")
    expect(page.get_by_text("self.smtp.sendmail(sender, to, text)")).to_be_in_viewport()


def follow(tab: Tab, go: Callable[[Locator], None], schemes: int = 0) -> None:
    """It takes two steps, and in each colour scheme axe finds nothing serious on any page on the way."""
    page = tab.page
    ready(tab)
    assert serious(page, schemes=SCHEMES[:schemes]) == [], "dashboard"
    go(cause(page))
    page.wait_for_url("**/failures/*")
    ready(tab)
    assert serious(page, schemes=SCHEMES[:schemes]) == [], "cause"
    go(job(page))
    page.wait_for_url("**/services/shop/jobs/*")
    ready(tab)
    assert serious(page, schemes=SCHEMES[:schemes]) == [], "job"
    assert_traceback_is_seen(page)


def test_two_clicks(failing: Beacon, visit: Visit) -> None:
    follow(visit(failing, "alice", bypass_csp=True), lambda link: link.click(), schemes=2)


def test_by_keyboard_alone(failing: Beacon, visit: Visit) -> None:
    tab = visit(failing, "alice", bypass_csp=True)

    def go(link: Locator) -> None:
        for _ in range(MAX_TABS):
            tab.page.keyboard.press("Tab")
            if link.evaluate(FOCUSED):
                break
        else:
            pytest.fail(f"{MAX_TABS} times Tab did not lead there")
        tab.page.keyboard.press("Enter")

    follow(tab, go)


def test_two_taps_on_a_phone(failing: Beacon, visit: Visit) -> None:
    tab = visit(failing, "alice", bypass_csp=True, **PHONE)
    follow(tab, lambda link: link.tap(), schemes=1)
    assert tab.page.evaluate("document.documentElement.scrollWidth") == 390
