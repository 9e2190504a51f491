"""python -m demo --database FILE: run the service until it is told to stop."""

import argparse
import os
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from demo.app import create_app
from demo.clock import Clock
from demo.faults import Faults
from demo.ledger import Ledger
from demo.life import TICK_S, Life
from demo.listener import Listener
from demo.service import Service
from demo.snapshots import INTERVAL_S, Snapshots
from demo.store import Store, UnusableDatabase
from demo.ticker import Ticker

PARENT_CHECK_S = 0.2
STOPS = (signal.SIGTERM, signal.SIGINT)


@dataclass(frozen=True, slots=True)
class Options:
    """The command line, checked."""

    database: Path
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
    store = Store(options.database, Clock())
    life = Life(store, options.speed, options.seed)
    if not options.quiet_jobs:
        life.wake()
    snapshots = Snapshots(store)
    snapshots.take()
    faults = Faults(store, snapshots)
    service = Service(options.name, options.speed, store, Ledger(store), faults)
    listener = Listener(create_app(service), options.port)
    faults.port = listener
    tickers = [Ticker("snapshots", INTERVAL_S, snapshots.take)]
    if not options.quiet_jobs:
        tickers.append(Ticker("life", TICK_S, life.tick))

    listener.listen()
    for ticker in tickers:
        ticker.start()
    print(f"demo job service at {listener.url}", flush=True)
    _wait(orphaned)
    for ticker in tickers:
        ticker.stop()
    listener.close()
    snapshots.close()
    store.close()


def _wait(orphaned: Callable[[], bool] | None) -> None:
    if orphaned is None:
        signal.sigwait(STOPS)
        return
    while signal.sigtimedwait(STOPS, PARENT_CHECK_S) is None and not orphaned():
        pass


def _orphaned(parent: int) -> Callable[[], bool]:
    return lambda: os.getppid() != parent


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m demo", description=__doc__)
    parser.add_argument("--database", type=Path, required=True, metavar="FILE", help="the SQLite file")
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
