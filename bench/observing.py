"""A program: observes a service of many jobs over HTTP under gevent, and prints what held the loop longest, by phase.

`first`: all jobs are new; `steady`: nothing changed; `lost`: all of them are gone, and declared missing; `after`:
nothing changed again. What is measured of a turn, which is the time between two switches of greenlets, is its
processor time in milliseconds (`held`), or with `--calls` the number of Python's calls in it, which is the same on
every machine.
"""

from gevent import monkey

monkey.patch_all()

import argparse  # noqa: E402 -- after the patch
import gc  # noqa: E402 -- after the patch
import json  # noqa: E402 -- after the patch
import sys  # noqa: E402
from collections.abc import Callable  # noqa: E402
from pathlib import Path  # noqa: E402

import sqlalchemy as sa  # noqa: E402

from app import create_app  # noqa: E402
from app.config import Settings  # noqa: E402
from app.db import read, write  # noqa: E402
from app.infra import database_upgrade  # noqa: E402
from app.infra.lease import Lease  # noqa: E402
from app.reconciliation import registry  # noqa: E402
from app.reconciliation.models import KnownJob, OpenItem  # noqa: E402
from app.reconciliation.observer import ServiceObserver, WatchedService  # noqa: E402
from app.sources.palantir.palantir_source import PalantirSource  # noqa: E402
from bench.turns import Calls, Turns, processor_ms  # noqa: E402

BOUND = 1_000_000
STEADY = 3


def counted() -> dict[str, int]:
    with read() as session:
        missing = sa.select(sa.func.count()).select_from(OpenItem).where(OpenItem.closed_at.is_(None))
        known = sa.select(sa.func.count()).select_from(KnownJob)
        return {"known": session.scalar(known) or 0, "missing": session.scalar(missing) or 0}


def main(folder: Path, many: str, few: str, spent: Callable[[], float]) -> None:
    """`many` and `few` are addresses of services; `folder` takes the database."""
    settings = Settings(instance_dir=folder, secret_key="x" * 64)
    app = create_app(settings)
    database_upgrade.migrate_database(app, settings)
    with app.app_context():
        with write() as session:
            registry.add(session, id="large", name="Large", kind="palantir", url=many)
        lease = Lease(ttl_s=3_600)
        assert lease.try_acquire()
        observer = ServiceObserver(lease, 5, [])
        gc.collect()
        gc.freeze()  # as gunicorn.conf.py does
        gc.set_threshold(20_000, 20, 50)
        turns = Turns(spent)
        for phase, url in (("first", many), *[("steady", many)] * STEADY, ("lost", few), *[("after", few)] * STEADY):
            turns.begin()
            observer.observe(WatchedService("large", PalantirSource(url, BOUND, 3_600.0)))
            observer.tick()
            told = {"phase": phase, "held": turns.longest, "where": turns.where}
            sys.stdout.write(json.dumps(told | counted()) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("many")
    parser.add_argument("few")
    parser.add_argument("--calls", action="store_true")
    given = parser.parse_args()
    main(given.folder, given.many, given.few, Calls() if given.calls else processor_ms)
