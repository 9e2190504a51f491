"""What opens no stream: no credential, a bad one, the wrong one, or a good one in the wrong place."""

import time

import pytest

from tests.contract.checks import problem
from tests.contract.conftest import Knock, World
from tests.contract.holding import holds
from tests.contract.patience import scaled
from tests.contract.people import Admin, Person, bearer
from tests.contract.streams import EVENTS, MAIN, PATHS, RECONCILIATION, SSE, Stream
from tests.contract.wire import ask

NONE = "Without a credential every stream path answers `401` with `WWW-Authenticate: Bearer`."
UNKNOWN = "A token that nobody was given is `401`."
DEAD = "A token that was revoked, has expired, or whose user is disabled is `401`."
SCOPE = "An API token without the scope `stream` is `403` on every stream path."
URL = "A credential in the URL is none."
CROSS_SITE = "A cookie that comes with `Sec-Fetch-Site: cross-site` opens no stream: `401`."
CSRF = "`POST /api/stream/token` without the CSRF token is `400`: a cookie alone gets nothing."
PAGES_ONLY = "`POST /api/stream/token` is for login sessions: the anonymous get `401`, an API token `403`."
NOTHING_ELSE = "A page token opens streams and nothing else: elsewhere it is `401`."

ALL_BUT_STREAM = ("read", "publish", "command", "rollout", "widget")
A_MOMENT_DAYS = 1e-6
EXPIRES_WITHIN_S = 5.0


def asks_for_a_credential(stream: Stream) -> bool:
    problem(stream.refusal, 401)
    return (stream.head.get("WWW-Authenticate") or "").startswith("Bearer")


def from_another_site(person: Person) -> dict[str, str]:
    return {**person.browser.cookie, "Sec-Fetch-Site": "cross-site"}


@holds(NONE)
def test_the_stream_asks_the_anonymous_for_a_credential(knock: Knock) -> None:
    assert asks_for_a_credential(knock(MAIN))


@holds(NONE)
def test_the_reconciliation_stream_asks_the_anonymous_for_a_credential(knock: Knock) -> None:
    assert asks_for_a_credential(knock(RECONCILIATION))


@holds(NONE)
def test_the_events_stream_asks_the_anonymous_for_a_credential(knock: Knock) -> None:
    assert asks_for_a_credential(knock(EVENTS))


@holds(NONE)
def test_the_sse_path_asks_the_anonymous_for_a_credential(knock: Knock) -> None:
    assert asks_for_a_credential(knock(SSE))


@holds(UNKNOWN)
def test_a_made_up_token_opens_nothing(knock: Knock) -> None:
    for path in PATHS:
        problem(knock(path, bearer("bcn_made-up-by-nobody")).refusal, 401)


@holds(UNKNOWN)
def test_a_token_that_lost_its_last_character_opens_nothing(alice: Person, knock: Knock) -> None:
    problem(knock(MAIN, bearer(alice.token("stream").text[:-1])).refusal, 401)


@holds(UNKNOWN)
def test_a_page_token_that_was_changed_opens_nothing(alice: Person, knock: Knock) -> None:
    token = alice.browser.page_token()["token"]
    changed = ("b" if token[0] == "a" else "a") + token[1:]
    problem(knock(MAIN, bearer(changed)).refusal, 401)


@holds(UNKNOWN)
def test_an_empty_token_opens_nothing(knock: Knock) -> None:
    problem(knock(MAIN, {"Authorization": "Bearer "}).refusal, 401)


@holds(DEAD)
def test_a_revoked_token_opens_nothing(alice: Person, admin: Admin, knock: Knock) -> None:
    token = admin.add_token(alice, "stream")
    assert knock(MAIN, token.headers).status == 200
    admin.revoke(token)
    for path in PATHS:
        problem(knock(path, token.headers).refusal, 401)


@holds(DEAD)
def test_an_expired_token_opens_nothing(alice: Person, world: World, knock: Knock) -> None:
    asked = {"user": alice.name, "scopes": ["stream", "read"], "days": A_MOMENT_DAYS}
    told = world.admin.call("POST", "/api/tokens", asked, expect=(201, 400))
    if "token" not in told:
        pytest.skip("tokens live for whole days here")
    deadline = time.monotonic() + scaled(EXPIRES_WITHIN_S)
    while world.ask("GET", "/api/events?limit=1", bearer(told["token"])).status != 401:
        assert time.monotonic() < deadline, "a token of a tenth of a second lives on"
    for path in PATHS:
        problem(knock(path, bearer(told["token"])).refusal, 401)


@holds(DEAD)
def test_a_token_of_a_disabled_user_opens_nothing(world: World, admin: Admin, knock: Knock) -> None:
    person = world.someone()
    headers = person.bearer()
    admin.change(person, disabled=True)
    for path in PATHS:
        problem(knock(path, headers).refusal, 401)


@holds(SCOPE)
def test_the_stream_needs_the_scope(alice: Person, knock: Knock) -> None:
    assert problem(knock(MAIN, alice.bearer(*ALL_BUT_STREAM)).refusal, 403)["reason"] == "scope"


@holds(SCOPE)
def test_the_reconciliation_stream_needs_the_scope(alice: Person, knock: Knock) -> None:
    assert problem(knock(RECONCILIATION, alice.bearer(*ALL_BUT_STREAM)).refusal, 403)["reason"] == "scope"


@holds(SCOPE)
def test_the_events_stream_needs_the_scope(alice: Person, knock: Knock) -> None:
    assert problem(knock(EVENTS, alice.bearer(*ALL_BUT_STREAM)).refusal, 403)["reason"] == "scope"


@holds(SCOPE)
def test_the_sse_path_needs_the_scope(alice: Person, knock: Knock) -> None:
    assert problem(knock(SSE, alice.bearer(*ALL_BUT_STREAM)).refusal, 403)["reason"] == "scope"


@holds(SCOPE)
def test_a_widget_token_opens_no_stream(alice: Person, knock: Knock) -> None:
    assert problem(knock(MAIN, alice.bearer("widget")).refusal, 403)["reason"] == "scope"


@holds(URL)
def test_a_token_in_the_query_opens_nothing(alice: Person, knock: Knock) -> None:
    token = alice.token("stream").text
    for name in ("token", "access_token", "authorization", "api_key"):
        problem(knock(f"{MAIN}?{name}={token}").refusal, 401)


@holds(URL)
def test_a_page_token_in_the_query_opens_nothing(alice: Person, knock: Knock) -> None:
    token = alice.browser.page_token()["token"]
    for path in PATHS:
        problem(knock(f"{path}?token={token}&access_token={token}").refusal, 401)


@holds(CROSS_SITE)
def test_another_site_cannot_open_the_stream_with_the_cookie(alice: Person, knock: Knock) -> None:
    problem(knock(MAIN, from_another_site(alice)).refusal, 401)


@holds(CROSS_SITE)
def test_another_site_cannot_open_the_reconciliation_stream_with_the_cookie(alice: Person, knock: Knock) -> None:
    problem(knock(RECONCILIATION, from_another_site(alice)).refusal, 401)


@holds(CROSS_SITE)
def test_another_site_cannot_open_the_events_stream_with_the_cookie(alice: Person, knock: Knock) -> None:
    problem(knock(EVENTS, from_another_site(alice)).refusal, 401)


@holds(CROSS_SITE)
def test_another_site_cannot_open_the_sse_path_with_the_cookie(alice: Person, knock: Knock) -> None:
    problem(knock(SSE, from_another_site(alice)).refusal, 401)


@holds("A bearer token is welcome from any site, because no browser sends one by itself.")
def test_a_bearer_token_opens_a_stream_from_another_site(alice: Person, knock: Knock) -> None:
    assert knock(MAIN, {**alice.bearer(), "Sec-Fetch-Site": "cross-site"}).status == 200


@holds("Whoever sends a broken bearer token gets `401`, even beside a good cookie.")
def test_a_good_cookie_does_not_help_a_broken_bearer_token(alice: Person, knock: Knock) -> None:
    problem(knock(MAIN, {**alice.browser.cookie, **bearer("broken")}).refusal, 401)


@holds("The login cookie is `HttpOnly` and `SameSite=Lax`.")
def test_no_script_and_no_other_site_gets_at_the_login_cookie(alice: Person) -> None:
    lines = alice.log_in().set_cookies
    assert lines
    for line in lines:
        attributes = {part.strip().lower() for part in line.split(";")[1:]}
        assert {"httponly", "samesite=lax"} <= attributes, attributes


@holds("`POST /api/stream/token` answers a login session with `{token, expiresInS, session}`; `expiresInS` is 300.")
def test_a_login_session_gets_a_page_token_for_five_minutes(alice: Person) -> None:
    told = alice.browser.page_token()
    assert set(told) == {"token", "expiresInS", "session"}
    assert told["expiresInS"] == 300


@holds(PAGES_ONLY)
def test_the_anonymous_get_no_page_token(world: World) -> None:
    problem(world.ask("POST", "/api/stream/token"), 401)


@holds(PAGES_ONLY)
def test_an_api_token_gets_no_page_token(alice: Person, world: World) -> None:
    problem(world.ask("POST", "/api/stream/token", alice.bearer("stream", "read")), 403)


@holds(CSRF)
def test_a_cookie_alone_gets_no_page_token(alice: Person) -> None:
    problem(alice.browser.ask("POST", "/api/stream/token"), 400)


@holds(CSRF)
def test_the_csrf_token_of_another_session_gets_no_page_token(alice: Person) -> None:
    one, other = alice.log_in(), alice.log_in()
    problem(one.ask("POST", "/api/stream/token", other.csrf), 400)


@holds(NOTHING_ELSE)
def test_a_page_token_reads_no_events(alice: Person, world: World) -> None:
    problem(ask(world.target, "GET", "/api/events", bearer(alice.browser.page_token()["token"])), 401)


@holds(NOTHING_ELSE)
def test_a_page_token_publishes_nothing(bob: Person, world: World) -> None:
    token = bob.browser.page_token()["token"]
    event = {"type": "contract.never", "data": {}}
    problem(ask(world.target, "POST", "/api/events", bearer(token), json=event), 401)


@holds("A page token dies with its login session.")
def test_a_page_token_opens_nothing_after_the_logout(alice: Person, knock: Knock) -> None:
    browser = alice.log_in()
    headers = bearer(browser.page_token()["token"])
    browser.log_out()
    for path in PATHS:
        problem(knock(path, headers).refusal, 401)


@holds(DEAD)
def test_a_cookie_opens_nothing_after_the_logout(alice: Person, knock: Knock) -> None:
    browser = alice.log_in()
    cookie = browser.cookie
    browser.log_out()
    problem(knock(MAIN, cookie).refusal, 401)
