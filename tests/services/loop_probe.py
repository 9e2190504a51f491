"""A program: reads a big RQ under gevent, and prints how many calls of functions its longest turn of the loop had."""

from gevent import monkey

monkey.patch_all()

import json  # noqa: E402 -- after the patch
import sys  # noqa: E402

from app.sources.rq import KIND  # noqa: E402
from bench.turns import Calls, Turns  # noqa: E402


def main(url: str, bound: int) -> None:
    source = KIND.build(KIND.check_url(url), KIND.options(), bound)
    turns = Turns(Calls())
    look = source.read_snapshot()
    listed = sum(len(listing.jobs) for listing in look.listings)
    sys.stdout.write(json.dumps({"listed": listed, "longest": turns.longest, "where": turns.where}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
