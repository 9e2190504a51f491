"""Beacon as a company shows it: behind nginx, over TLS and HTTP/2, below a path."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import POLL_S, Visit
from tests.browser.test_commands import failed_jobs, row_of
from tests.live.certificates import make_certificate
from tests.support.beacon_server import PASSWORD, Beacon
from tests.support.demo_service import DemoService
from tests.support.nginx import ADDRESS, PREFIXED_LINES, PROGRAM, Nginx

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="no nginx (Debian: sudo apt-get install nginx)")

BELOW = "/beacon"
PROXIED = r"request to https://127\.0\.0\.1"


@pytest.fixture(scope="module")
def beacon(tmp_path_factory: pytest.TempPathFactory, service: DemoService) -> Iterator[Beacon]:
    folder = tmp_path_factory.mktemp("beacon")
    setup = "tests.browser.command_times"
    with Beacon(folder, setup=setup, POLL_INTERVAL_S=POLL_S, TRUSTED_PROXIES=ADDRESS) as running:
        running.watch("mail", service.url, "Mail")
        yield running


@pytest.fixture
def nginx(beacon: Beacon, tmp_path: Path) -> Iterator[Nginx]:
    certificate = make_certificate(tmp_path)
    with Nginx(tmp_path / "nginx", beacon.port, lines=PREFIXED_LINES, certificate=certificate, below=BELOW) as running:
        yield running


def test_a_person_logs_in_watches_retries_a_job_and_logs_out_without_leaving_the_prefix(
    beacon: Beacon, service: DemoService, visit: Visit, nginx: Nginx
) -> None:
    [job] = failed_jobs(service)
    tab = visit(beacon, None, None, allow=[PROXIED], private=True, ignore_https_errors=True)
    page = tab.page
    page.goto(f"{nginx.url}/services/mail/jobs?state=failed")
    assert urlsplit(page.url).path == f"{BELOW}/login"
    page.get_by_label("Name").fill("bob")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    tab.wait_state("connected")
    assert page.url == f"{nginx.url}/services/mail/jobs?state=failed"
    row_of(page, job).get_by_role("button", name="Retry").click()
    expect(row_of(page, job).locator(".command-said")).to_contain_text("queued again, verified")
    page.get_by_role("link", name="Beacon", exact=True).click()
    assert page.url == f"{nginx.url}/"
    tab.wait_state("connected")
    tab.load_rest()
    assert page.evaluate("performance.getEntriesByType('navigation')[0].nextHopProtocol") == "h2"
    tab.wait_change(beacon.publish([{"type": "below.prefix", "data": {}}])[0])
    [failed] = failed_jobs(service)
    link = page.locator(f"#changes a[href^='{BELOW}/services/mail']").first  # pushed, not loaded
    expect(link).to_be_visible()
    assert failed
    page.locator("#bell").click()
    expect(page.locator("#panel .notices")).to_be_visible()
    with page.expect_request(f"{nginx.url}/audit/head"):
        page.goto(f"{nginx.url}/audit")
    page.goto(f"{nginx.url}/widgets/notifications")
    expect(page.locator(".notices")).to_be_visible()
    page.goto(f"{nginx.url}/rollout")
    tab.wait_state("connected")
    assert {cookie["name"] for cookie in page.context.cookies()} >= {"__Host-beacon.beacon"}
    page.locator(".person").get_by_role("button", name="Log out").click()
    expect(page.get_by_role("button", name="Log in")).to_be_visible()
    assert urlsplit(page.url).path == f"{BELOW}/login"
    outside = [url for url in tab.asked if not urlsplit(url).path.startswith(f"{BELOW}/")]
    assert outside == []
