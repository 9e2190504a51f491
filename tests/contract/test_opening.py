"""Which credential opens which path, and what the head of the answer says."""

from tests.contract.checks import problem
from tests.contract.conftest import Knock, Listen, World
from tests.contract.holding import holds
from tests.contract.people import Person
from tests.contract.streams import EVENTS, MAIN, PATHS, RECONCILIATION, SSE, Stream

API_TOKEN = "Every stream path opens for an API token with scope `stream`, sent as `Authorization: Bearer TOKEN`."
PAGE_TOKEN = "Every stream path opens for the page token that `POST /api/stream/token` gives to a login session."
COOKIE = "Every stream path opens for the login session's own cookie, as a plain `EventSource` sends it."
HEAD = "A stream's head says `Cache-Control: no-cache, no-store, no-transform` and `X-Accel-Buffering: no`."


def opens(stream: Stream) -> bool:
    return stream.status == 200 and stream.hello.event == "hello"


def says_not_to_keep_it(stream: Stream) -> bool:
    kept = {word.strip() for word in (stream.head.get("Cache-Control") or "").split(",")}
    is_read_by_nginx = (stream.head.get("Server") or "").startswith("nginx")  # which removes what is addressed to it
    buffering = stream.head.get("X-Accel-Buffering") or ("no" if is_read_by_nginx else None)
    return {"no-cache", "no-store", "no-transform"} <= kept and buffering == "no"


@holds(API_TOKEN)
def test_an_api_token_opens_the_stream(alice: Person, knock: Knock) -> None:
    assert opens(knock(MAIN, alice.bearer("stream")))


@holds(API_TOKEN)
def test_an_api_token_opens_the_reconciliation_stream(alice: Person, knock: Knock) -> None:
    assert opens(knock(RECONCILIATION, alice.bearer("stream")))


@holds(API_TOKEN)
def test_an_api_token_opens_the_events_stream(alice: Person, knock: Knock) -> None:
    assert opens(knock(EVENTS, alice.bearer("stream")))


@holds(API_TOKEN)
def test_an_api_token_opens_the_sse_path(alice: Person, knock: Knock) -> None:
    assert opens(knock(SSE, alice.bearer("stream")))


@holds(API_TOKEN)
def test_the_word_bearer_may_be_written_in_small_letters(alice: Person, knock: Knock) -> None:
    assert opens(knock(MAIN, {"Authorization": f"bearer {alice.token('stream').text}"}))


@holds(PAGE_TOKEN)
def test_a_page_token_opens_the_stream(alice: Person, knock: Knock) -> None:
    assert opens(knock(MAIN, page_token(alice)))


@holds(PAGE_TOKEN)
def test_a_page_token_opens_the_reconciliation_stream(alice: Person, knock: Knock) -> None:
    assert opens(knock(RECONCILIATION, page_token(alice)))


@holds(PAGE_TOKEN)
def test_a_page_token_opens_the_events_stream(alice: Person, knock: Knock) -> None:
    assert opens(knock(EVENTS, page_token(alice)))


@holds(PAGE_TOKEN)
def test_a_page_token_opens_the_sse_path(alice: Person, knock: Knock) -> None:
    assert opens(knock(SSE, page_token(alice)))


@holds(COOKIE)
def test_the_cookie_opens_the_stream(alice: Person, knock: Knock) -> None:
    assert opens(knock(MAIN, alice.browser.cookie))


@holds(COOKIE)
def test_the_cookie_opens_the_reconciliation_stream(alice: Person, knock: Knock) -> None:
    assert opens(knock(RECONCILIATION, alice.browser.cookie))


@holds(COOKIE)
def test_the_cookie_opens_the_events_stream(alice: Person, knock: Knock) -> None:
    assert opens(knock(EVENTS, alice.browser.cookie))


@holds(COOKIE)
def test_the_cookie_opens_the_sse_path(alice: Person, knock: Knock) -> None:
    assert opens(knock(SSE, alice.browser.cookie))


@holds(COOKIE)
def test_the_cookie_opens_the_stream_for_a_page_of_the_same_origin(alice: Person, knock: Knock) -> None:
    assert opens(knock(MAIN, {**alice.browser.cookie, "Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors"}))


@holds("A stream's answer is `200` with `Content-Type: text/event-stream`.")
def test_a_stream_is_an_event_stream_in_utf_8(alice: Person, listen: Listen) -> None:
    kind, *parameters = (listen(alice).head.get("Content-Type") or "").split(";")
    assert kind == "text/event-stream"
    assert [text.strip().lower() for text in parameters] in ([], ["charset=utf-8"])


@holds("A stream's answer is `200` with `Content-Type: text/event-stream`.")
def test_every_path_is_an_event_stream(alice: Person, listen: Listen) -> None:
    for path in PATHS:
        assert (listen(alice, path).head.get("Content-Type") or "").startswith("text/event-stream"), path


@holds(HEAD)
def test_nobody_keeps_or_holds_back_the_stream(alice: Person, listen: Listen) -> None:
    assert says_not_to_keep_it(listen(alice))


@holds(HEAD)
def test_nobody_keeps_or_holds_back_the_reconciliation_stream(alice: Person, listen: Listen) -> None:
    assert says_not_to_keep_it(listen(alice, RECONCILIATION))


@holds(HEAD)
def test_nobody_keeps_or_holds_back_the_events_stream(alice: Person, listen: Listen) -> None:
    assert says_not_to_keep_it(listen(alice, EVENTS))


@holds(HEAD)
def test_nobody_keeps_or_holds_back_the_sse_path(alice: Person, listen: Listen) -> None:
    assert says_not_to_keep_it(listen(alice, SSE))


@holds("A stream sets no cookie.")
def test_a_stream_opened_with_a_token_sets_no_cookie(alice: Person, listen: Listen) -> None:
    assert listen(alice).head.all("Set-Cookie") == []


@holds("A stream sets no cookie.")
def test_a_stream_opened_with_the_cookie_sets_none(alice: Person, knock: Knock) -> None:
    stream = knock(MAIN, alice.browser.cookie)
    assert opens(stream)
    assert stream.head.all("Set-Cookie") == []


@holds("A stream announces no length: it ends with its connection or its last chunk.")
def test_a_stream_announces_no_length(alice: Person, listen: Listen) -> None:
    head = listen(alice).head
    assert head.length is None
    assert head.is_chunked or head.get("Connection") == "close"


@holds("A stream is never compressed.")
def test_a_stream_is_not_compressed_for_whoever_could_take_it(alice: Person, listen: Listen) -> None:
    stream = listen(alice, headers={"Accept-Encoding": "gzip, deflate, br, zstd"})
    assert stream.head.get("Content-Encoding") in (None, "identity")
    assert stream.body.startswith(b"retry: ")


@holds("An error is `application/problem+json` with `type`, `title`, `status` and `detail`.")
def test_a_stream_that_is_refused_says_why_in_the_one_shape(knock: Knock) -> None:
    assert problem(knock(MAIN).refusal, 401)["detail"]


@holds("An error is `application/problem+json` with `type`, `title`, `status` and `detail`.")
def test_a_missing_scope_says_why_in_the_one_shape(alice: Person, knock: Knock) -> None:
    assert problem(knock(MAIN, alice.bearer("read")).refusal, 403)["detail"]


@holds("A browser that navigates gets an error as a page instead.")
def test_a_browser_gets_a_page(alice: Person, world: World) -> None:
    answer = world.ask("GET", "/no-such-page", {**alice.browser.cookie, "Accept": "text/html,*/*;q=0.8"})
    assert answer.status == 404
    assert (answer.header("Content-Type") or "").startswith("text/html")


def page_token(person: Person) -> dict[str, str]:
    return {"Authorization": f"Bearer {person.browser.page_token()['token']}"}
