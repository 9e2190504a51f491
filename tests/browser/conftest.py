"""Real Chromium, real gunicorn. Every tab fails its test on an error in its console or a request to another host."""

import os
import signal
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

from scripts.bootstrap import NO_CHROMIUM, find_chromium, find_shell, skip_browser
from tests.browser.plain_chromium import PlainChromium
from tests.browser.profiles import Profiles
from tests.browser.tab import HEAR, PATIENCE_S, Tab, Trouble
from tests.support.beacon_server import Beacon, servers
from tests.support.demo_service import DemoService, start_demo
from tests.support.machine import scaled
from tests.support.waiting import wait_for

MakeBeacon = Callable[..., Beacon]
StartService = Callable[[], DemoService]
Visit = Callable[..., Tab]
StartChromium = Callable[..., PlainChromium]

PROFILES = pytest.StashKey[Profiles]()
CHROMIUMS = pytest.StashKey[list[PlainChromium]]()
# Read before a test starts, since each test clears the settings of Beacon.
HEADED = os.environ.get("BEACON_BROWSER_HEADED") == "1"
TRACE = os.environ.get("BEACON_TRACE") == "1"

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
    "--js-flags=--single-threaded",  # helpers of V8 hasten a page and cost more than they save
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    folder = Path(__file__).parent
    for item in items:
        if folder in item.path.parents:
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """One process for all, whatever tests come in between; a person gets a context, and shares nothing with others."""
    if skip_browser():
        pytest.skip("BEACON_SKIP_BROWSER=1")
    chromium = find_chromium() if HEADED else find_shell() or find_chromium()
    if chromium is None:
        pytest.fail(NO_CHROMIUM, pytrace=False)
    expect.set_options(timeout=scaled(PATIENCE_S) * 1_000)
    arguments = [*ARGUMENTS, *(["--no-sandbox"] if os.geteuid() == 0 else [])]
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(
            executable_path=chromium,
            args=arguments,
            headless=not HEADED,
            traces_dir=tmp_path_factory.mktemp("traces"),
            # Over TLS Chromium makes a store of certificates there, by default in the home folder.
            env={**os.environ, "XDG_DATA_HOME": str(tmp_path_factory.mktemp("data"))},
        )
        yield launched
        launched.close()


@pytest.fixture(scope="session")
def profiles(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Profiles]:
    made = Profiles(browser, trace=TRACE)
    if TRACE:
        made.trace_nothing(tmp_path_factory.mktemp("trace"))
    yield made
    made.close()


@pytest.fixture(scope="module", autouse=True)
def _forked(forked_servers: None) -> None:
    """How a server starts is tested elsewhere."""


@pytest.fixture
def start_chromium(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[StartChromium]:
    """`start_chromium("--an-argument")`: a browser as people have it, with a profile of its own."""
    if skip_browser():
        pytest.skip("BEACON_SKIP_BROWSER=1")
    started = request.node.stash.setdefault(CHROMIUMS, [])

    def start(*arguments: str) -> PlainChromium:
        started.append(running.enter_context(PlainChromium(tmp_path / "profile", *arguments, headed=HEADED)))
        return started[-1]

    with ExitStack() as running:
        yield start


@pytest.fixture
def chromium(start_chromium: StartChromium) -> PlainChromium:
    return start_chromium()


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DemoService]:
    """One process for all modules: to start another takes a second."""
    running = start_demo(tmp_path_factory.mktemp("service"))
    yield running
    running.stop(signal.SIGKILL)


@pytest.fixture(scope="module")
def service(demo: DemoService) -> DemoService:
    """A demo job service, empty, whose jobs stand still until a test moves them; ids are each test's own."""
    demo.reset()
    return demo


@pytest.fixture(scope="module")
def beacon_setup() -> str:
    """The module that the background process of `beacon` imports first, where a file of tests needs one."""
    return ""


@pytest.fixture(scope="module")
def beacon(tmp_path_factory: pytest.TempPathFactory, service: DemoService, beacon_setup: str) -> Iterator[Beacon]:
    """One worker that the tests of a module share, with `service` as Mail; they look at what they made themselves."""
    running = Beacon(
        tmp_path_factory.mktemp("beacon"),
        setup=beacon_setup,
        POLL_INTERVAL_S=POLL_S,
        FALLBACK_POLL_S=FALLBACK_POLL_S,
    )
    running.watch("mail", service.url, "Mail")
    running.start()
    # Its first look at Mail is a row in everybody's list: no test of the module may meet it.
    wait_for(lambda: running.sql("SELECT count(*) FROM service_state WHERE service_id = 'mail'")[0][0], "a first look")
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
def visit(request: pytest.FixtureRequest, profiles: Profiles, tmp_path: Path) -> Iterator[Visit]:
    """`visit(beacon, "alice")`: a tab of a browser of her own, logged in, with the dashboard open.

    `allow` names errors that belong to the test (patterns); whatever else is in a console fails it. `private` is for a
    test that does to its browser what cannot be taken back: the next test gets another one.
    """
    troubles: list[Trouble] = []
    request.node.stash[PROFILES] = profiles

    def open_tab(
        beacon: Beacon,
        user: str | None,
        path: str | None = "/",
        *,
        allow: Sequence[str] = (),
        hear: bool = False,
        private: bool = False,
        **options: Any,
    ) -> Tab:
        troubles.append(Trouble(allow))
        profile = profiles.take(beacon, user, troubles[-1], private=private or hear, **options)
        if hear:
            profile.context.add_init_script(f"({HEAR})()")
        tab = Tab(profile.page, beacon, user or "", troubles[-1])
        profile.tabs.append(tab)
        if path is not None:
            tab.goto(path)
        return tab

    yield open_tab
    seen = [text for trouble in troubles for text in trouble.seen]
    if seen:
        request.node.add_report_section("teardown", "browser", evidence(request.node))
    for trace in profiles.give_back(tmp_path):
        request.node.user_properties.append(("trace", str(trace)))
    assert not seen, "\n".join(seen)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    """A failure says where to look: what each page showed and said. The logs of servers are told for all tests."""
    if call.when != "teardown" and call.excinfo and not call.excinfo.errisinstance(pytest.skip.Exception):
        item.add_report_section(call.when, "browser", evidence(item))
    return (yield)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Traces of tests that passed are asked for as well."""
    for reports in terminalreporter.stats.values():
        for report in reports:
            for name, value in getattr(report, "user_properties", ()):
                if name == "trace" and report.when == "teardown":
                    terminalreporter.write_line(f"{report.nodeid}: playwright show-trace {value}")


def evidence(item: pytest.Item) -> str:
    """Screenshots and console texts in the test's own folder; a line for each path."""
    arguments: dict[str, Any] = getattr(item, "funcargs", {})
    folder: Path | None = arguments.get("tmp_path")
    if folder is None:
        return "nothing was open"
    lines: list[str] = []
    profiles = item.stash.get(PROFILES, None)
    for number, profile in enumerate(profiles.used if profiles else []):
        lines += profile.keep(folder, f"browser-{number}-{profile.user or 'nobody'}")
    for chromium in item.stash.get(CHROMIUMS, []):
        lines += chromium.keep(folder)
    return "\n".join(lines)
