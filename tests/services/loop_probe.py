"""A program: reads a big RQ under gevent while another greenlet ticks, and prints what held the loop longest.

Its measure is the processor time that this process used between two ticks: a busy machine does not add to it.
"""

from gevent import monkey

monkey.patch_all()

import gc  # noqa: E402 -- after the patch
import json  # noqa: E402 -- after the patch
import sys  # noqa: E402
import time  # noqa: E402

import gevent  # noqa: E402

from app.sources.rq import KIND  # noqa: E402


def main(url: str, bound: int) -> None:
    source = KIND.build(KIND.check_url(url), KIND.options(), bound)
    gc.freeze()  # as gunicorn.conf.py does
    gc.set_threshold(20_000, 20, 50)
    held: list[float] = []

    def tick() -> None:
        before = time.process_time()
        while True:
            gevent.sleep(0.0005)
            now = time.process_time()
            held.append(now - before)
            before = now

    ticking = gevent.spawn(tick)
    gevent.sleep(0.01)
    began = time.process_time()
    look = source.look()
    spent = time.process_time() - began
    ticking.kill()
    listed = sum(len(listing.jobs) for listing in look.listings)
    told = {"listed": listed, "spent_ms": spent * 1e3, "held_ms": max(held) * 1e3, "ticks": len(held)}
    sys.stdout.write(json.dumps(told))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
