"""All services of the show in one process, each with a database and a port of its own."""

from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from demo.profiles import FLEET, MEND_FAULT, SHOP, Profile
from demo.server import Server, ServerOptions


@contextmanager
def start_fleet(
    folder: Path, first_port: int, speed: float, without: Collection[str]
) -> Iterator[list[dict[str, str]]]:
    """Start the services, except those with an id in `without`; yield a description of each."""
    described = []
    with ExitStack() as stack:
        for profile in FLEET:
            if profile.id not in without:
                port = first_port if profile is SHOP else 0
                server = Server(_database(folder, profile), ServerOptions(profile.title, port, speed), profile)
                stack.callback(server.stop)
                server.start()
                described.append(_describe(profile, server.url))
        yield described


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
