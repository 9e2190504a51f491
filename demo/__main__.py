"""python -m demo --database FILE: run the service until it is told to stop. With --fleet FOLDER: all of the show."""

import argparse
import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from demo.fleet import start_fleet
from demo.server import Server, ServerOptions
from demo.store import UnusableDatabase

PARENT_CHECK_S = 0.2
STOPS = (signal.SIGTERM, signal.SIGINT)


@dataclass(frozen=True, slots=True)
class Options:
    """The command line, checked."""

    database: Path
    fleet: Path | None
    without_rq: bool
    port: int
    speed: float
    name: str
    seed: int | None
    quiet_jobs: bool
    with_parent: bool


def main(arguments: Sequence[str] | None = None) -> int:
    parent = os.getppid()  # first of all: a parent that dies while this starts is noticed, too
    options = Options(**vars(_parser().parse_args(arguments)))
    # Blocked before any thread starts, and waited for: a handler that is called just before the main thread begins to
    # wait would run only at the end of that wait.
    signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
    try:
        _serve(options, _orphaned(parent) if options.with_parent else None)
    except (UnusableDatabase, OSError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    return 0


def _serve(options: Options, orphaned: Callable[[], bool] | None) -> None:
    if options.fleet:
        with start_fleet(options.fleet, options.port, options.speed, with_rq=not options.without_rq) as services:
            print(json.dumps(services), flush=True)
            wait_for_stop(orphaned)
        return
    settings = ServerOptions(options.name, options.port, options.speed, options.seed, options.quiet_jobs)
    server = Server(options.database, settings)
    server.start()
    print(f"demo job service at {server.url}", flush=True)
    wait_for_stop(orphaned)
    server.stop()


def wait_for_stop(orphaned: Callable[[], bool] | None) -> None:
    """Wait for one of `STOPS`, which must be blocked, or until `orphaned` says so."""
    if orphaned is None:
        signal.sigwait(STOPS)
        return
    while signal.sigtimedwait(STOPS, PARENT_CHECK_S) is None and not orphaned():
        pass


def _orphaned(parent: int) -> Callable[[], bool]:
    return lambda: os.getppid() != parent


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m demo", description=__doc__)
    one_or_all = parser.add_mutually_exclusive_group(required=True)
    one_or_all.add_argument("--database", type=Path, metavar="FILE", help="the SQLite file of a single service")
    one_or_all.add_argument("--fleet", type=Path, metavar="FOLDER", help="run all services, with their files in here")
    parser.add_argument("--without-rq", action="store_true", help="start no RQ services, even if RQ is installed")
    parser.add_argument(
        "--port", type=_port, default=os.environ.get("DEMO_PORT", "0"), help="0 is any free one (DEMO_PORT)"
    )
    parser.add_argument("--speed", type=_speed, default=1, metavar="X", help="how fast the jobs live")
    parser.add_argument("--name", default="demo", help="the name that /api/v1/health tells")
    parser.add_argument("--seed", type=int, metavar="N", help="makes what the jobs do repeatable")
    parser.add_argument("--quiet-jobs", action="store_true", help="jobs move only when told")
    parser.add_argument("--with-parent", action="store_true", help="end when the parent process does")
    return parser


def _port(text: str) -> int:
    if not 0 <= (port := int(text)) <= 65535:
        raise argparse.ArgumentTypeError("a port is a number from 0 to 65535")
    return port


def _speed(text: str) -> float:
    if not 0.01 <= (speed := float(text)) <= 1000:
        raise argparse.ArgumentTypeError("the speed is a number from 0.01 to 1000")
    return speed


if __name__ == "__main__":
    sys.exit(main())
