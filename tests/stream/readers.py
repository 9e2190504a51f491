"""Hand-made subscribers and events for tests of hub and feed, without an application."""

from app.eventlog.audience import EVERYONE, Viewer
from app.eventlog.read import Event
from app.stream import shapes
from app.stream.shapes import Shape
from app.stream.subscriber import Reader, Subscriber
from app.stream.topics import Topics, parse
from tests.cast import ALICE, Person


def event(event_id: int, event_type: str = "a", audience: str = EVERYONE, **data: object) -> Event:
    return Event(event_id, event_type, audience, data, "2026-11-21T12:00:00.000Z")


def control(event_id: int, event_type: str, **data: object) -> Event:
    return event(event_id, f"control.{event_type}", "control", **data)


def subscriber(
    person: Person = ALICE,
    after: int = 0,
    head: int = 0,
    topics: str | None = None,
    shape: Shape = shapes.as_json,
    login_id: str | None = None,
    token_id: int | None = None,
) -> Subscriber:
    chosen: Topics = parse(topics)
    return Subscriber(Reader(Viewer(person.name, person.role), shape, chosen, head, login_id, token_id), after)


def live(made: Subscriber) -> Subscriber:
    made.live = True
    return made
