"""Real Chromium, real gunicorn. Every tab fails its test on an error in its console or a request to another host."""

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, sync_playwright

from scripts.bootstrap import NO_CHROMIUM, find_chromium, find_shell, skip_browser
from tests.browser.plain_chromium import PlainChromium
from tests.browser.tab import HEAR, Tab, Trouble
from tests.support.beacon_server import Beacon, servers
from tests.support.demo_service import DemoService, start_demo

MakeBeacon = Callable[..., Beacon]
StartService = Callable[[], DemoService]
Visit = Callable[..., Tab]
StartChromium = Callable[..., PlainChromium]

POLL_S = 1.0
FALLBACK_POLL_S = 0.3

# Of the two lists of features on its command line Chromium heeds the last, so this one repeats what of the driver's
# list matters here. What is new: nobody types an address, so no window needs the two pages that would list matches.
FEATURES_OFF = "HttpsUpgrades,LensOverlay,MediaRouter,OptimizationHints,PaintHolding,ThirdPartyStoragePartitioning"
ADDRESS_PAGES = "WebUIOmniboxPopup,WebUIOmniboxAimPopup,SpareRendererForSitePerProcess"

ARGUMENTS = [
    f"--disable-features={FEATURES_OFF},{ADDRESS_PAGES}",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-quic",
    "--no-first-run",
    "--disable-gpu",  # it would be drawn by software in a process of its own: a third of all the processor time
    "--in-process-gpu",
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    folder = Path(__file__).parent
    for item in items:
        if folder in item.path.parents:
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """One process for all, whatever tests come in between; a person gets a context, and shares nothing with others."""
    if skip_browser():
        pytest.skip("BEACON_SKIP_BROWSER=1")
    chromium = find_shell() or find_chromium()
    if chromium is None:
        pytest.fail(NO_CHROMIUM, pytrace=False)
    arguments = [*ARGUMENTS, *(["--no-sandbox"] if os.geteuid() == 0 else [])]
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=chromium, args=arguments)
        yield launched
        launched.close()


@pytest.fixture(scope="module", autouse=True)
def _forked(forked_servers: None) -> None:
    """How a server starts is tested elsewhere."""


@pytest.fixture
def start_chromium(tmp_path: Path) -> Iterator[StartChromium]:
    """`start_chromium("--an-argument")`: a browser as people have it, with a profile of its own."""
    if skip_browser():
        pytest.skip("BEACON_SKIP_BROWSER=1")
    with ExitStack() as running:
        yield lambda *arguments: running.enter_context(PlainChromium(tmp_path / "profile", *arguments))


@pytest.fixture
def chromium(start_chromium: StartChromium) -> PlainChromium:
    return start_chromium()


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DemoService]:
    """A demo job service whose jobs stand still until a test moves them; ids are each test's own."""
    running = start_demo(tmp_path_factory.mktemp("service"))
    yield running
    running.stop()


@pytest.fixture(scope="module")
def beacon(tmp_path_factory: pytest.TempPathFactory, service: DemoService) -> Iterator[Beacon]:
    """One worker that the tests of a module share, with `service` as Mail; they look at what they made themselves."""
    running = Beacon(tmp_path_factory.mktemp("beacon"), POLL_INTERVAL_S=POLL_S, FALLBACK_POLL_S=FALLBACK_POLL_S)
    running.watch("mail", service.url, "Mail")
    running.start()
    yield running
    end(running)


@pytest.fixture
def start_beacon(tmp_path: Path) -> Iterator[MakeBeacon]:
    """`start_beacon(FALLBACK_POLL_S=1)`: a server of one test's own."""
    yield from servers(tmp_path, end)


def end(beacon: Beacon) -> None:
    """At once: how a server says goodbye is tested elsewhere."""
    beacon.stop(signal.SIGKILL)


@pytest.fixture
def start_service(tmp_path: Path) -> Iterator[StartService]:
    """A demo job service whose jobs stand still until a test moves them."""
    running: list[DemoService] = []

    def start() -> DemoService:
        folder = tmp_path / f"service{len(running)}"
        folder.mkdir()
        running.append(start_demo(folder))
        return running[-1]

    yield start
    for service in running:
        service.stop()


@pytest.fixture
def visit(browser: Browser) -> Iterator[Visit]:
    """`visit(beacon, "alice")`: a tab of a browser of her own, logged in, with the dashboard open.

    `allow` names errors that belong to the test (patterns); whatever else is in a console fails it.
    """
    contexts: list[BrowserContext] = []
    troubles: list[Trouble] = []

    def open_tab(
        beacon: Beacon,
        user: str | None,
        path: str | None = "/",
        *,
        allow: Sequence[str] = (),
        hear: bool = False,
        **options: Any,
    ) -> Tab:
        context = browser.new_context(**options)
        contexts.append(context)
        troubles.append(Trouble(allow))
        troubles[-1].watch(context, beacon.url.removeprefix("http://"))
        if user is not None:
            context.add_cookies([_cookie(beacon, user)])
        if hear:
            context.add_init_script(f"({HEAR})()")
        tab = Tab(context.new_page(), beacon, user or "", troubles[-1])
        if path is not None:
            tab.goto(path)
        return tab

    yield open_tab
    for context in contexts:
        context.close()
    seen = [text for trouble in troubles for text in trouble.seen]
    assert not seen, "\n".join(seen)


def _cookie(beacon: Beacon, user: str) -> Any:
    """The login of a session that went through the form."""
    with beacon.log_in(user) as session:
        [(name, value)] = session.cookies.items()
    return {"name": name, "value": value, "url": beacon.url, "httpOnly": True, "sameSite": "Lax"}
