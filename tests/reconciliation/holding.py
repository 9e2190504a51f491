"""A program: observes a service of many jobs over HTTP under gevent, and prints what held the loop longest, by phase.

Told as the processor time of one turn, so that a busy machine adds little to it. `first`: all jobs are new; `steady`:
nothing changed; `lost`: all of them are gone, and declared missing; `after`: nothing changed again.
"""

from gevent import monkey

monkey.patch_all()

import gc  # noqa: E402 -- after the patch
import json  # noqa: E402 -- after the patch
import sys  # noqa: E402
import time  # noqa: E402
import traceback  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

import greenlet  # noqa: E402
import sqlalchemy as sa  # noqa: E402

from app import create_app, setup  # noqa: E402
from app.config import Settings  # noqa: E402
from app.db import read, write  # noqa: E402
from app.reconciliation import registry  # noqa: E402
from app.reconciliation.models import KnownJob, OpenItem  # noqa: E402
from app.reconciliation.observe import Observer, WatchedService  # noqa: E402
from app.sources.lease import Lease  # noqa: E402
from app.sources.palantir import PalantirSource  # noqa: E402

BOUND = 1_000_000
STEADY = 3


class Turns:
    """The longest one since `begin`, and where it ended."""

    def __init__(self) -> None:
        self.longest_s, self.where, self._since = 0.0, "", time.thread_time()
        greenlet.settrace(self._switched)

    def begin(self) -> None:
        self.longest_s, self.where, self._since = 0.0, "", time.thread_time()

    def _switched(self, _event: str, greenlets: Any) -> None:
        took = time.thread_time() - self._since
        if took > self.longest_s:
            frame = greenlets[0].gr_frame
            self.longest_s, self.where = took, "".join(traceback.format_stack(frame)[-4:]) if frame else ""
        self._since = time.thread_time()


def counted() -> dict[str, int]:
    with read() as session:
        missing = sa.select(sa.func.count()).select_from(OpenItem).where(OpenItem.closed_at.is_(None))
        known = sa.select(sa.func.count()).select_from(KnownJob)
        return {"known": session.scalar(known) or 0, "missing": session.scalar(missing) or 0}


def main(folder: str, many: str, few: str) -> None:
    settings = Settings(instance_dir=Path(folder), secret_key="x" * 64)
    app = create_app(settings)
    setup.migrate(app, settings)
    with app.app_context():
        with write() as session:
            registry.add(session, id="large", name="Large", kind="palantir", url=many)
        lease = Lease(ttl_s=3_600)
        assert lease.try_acquire()
        observer = Observer(lease, 5, [])
        gc.collect()
        gc.freeze()  # as gunicorn.conf.py does
        gc.set_threshold(20_000, 20, 50)
        turns = Turns()
        for phase, url in (("first", many), *[("steady", many)] * STEADY, ("lost", few), *[("after", few)] * STEADY):
            turns.begin()
            began = time.process_time()
            observer.observe(WatchedService("large", PalantirSource(url, BOUND, 3_600.0)))
            observer.tick()
            spent = time.process_time() - began
            told = {"phase": phase, "held_ms": turns.longest_s * 1e3, "spent_ms": spent * 1e3, "where": turns.where}
            sys.stdout.write(json.dumps(told | counted()) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
