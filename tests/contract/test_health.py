"""What stands beside the stream: is it alive, is it ready, what does it count."""

from tests.contract.checks import problem
from tests.contract.conftest import World
from tests.contract.holding import holds
from tests.contract.people import Person

METRICS = "`GET /metrics` needs the scope `read`: `401` without a credential, `403` with another scope."


@holds("`GET /healthz` answers anyone with `200`.")
def test_anyone_may_ask_whether_it_is_alive(world: World) -> None:
    assert world.ask("GET", "/healthz").status == 200


@holds("`GET /readyz` answers anyone with the state of each part.")
def test_anyone_may_ask_whether_it_is_ready(world: World) -> None:
    answer = world.ask("GET", "/readyz")
    assert answer.status == 200
    assert answer.json()["parts"]


@holds(METRICS)
def test_the_anonymous_get_no_metrics(world: World) -> None:
    assert world.ask("GET", "/metrics").status == 401


@holds(METRICS)
def test_a_token_that_may_read_gets_the_metrics(alice: Person, world: World) -> None:
    answer = world.ask("GET", "/metrics", {**alice.bearer("read"), "Accept": "text/plain"})
    assert answer.status == 200, answer.text
    assert "# TYPE" in answer.text


@holds(METRICS)
def test_a_token_that_may_only_stream_gets_no_metrics(alice: Person, world: World) -> None:
    problem(world.ask("GET", "/metrics", alice.bearer("stream")), 403)
