"""Searches one database in a process with gevent's loop, as a web worker does, and prints what it took, as JSON.

`… FOLDER DATABASE_URL`
"""

from gevent import monkey

monkey.patch_all()

import gc  # noqa: E402 -- nothing may be imported before the patch
import json  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402
from pathlib import Path  # noqa: E402

from app import create_app  # noqa: E402
from app.config import Settings  # noqa: E402
from bench.audit_reading import Lag  # noqa: E402
from bench.failure_facts import SECRET_KEY  # noqa: E402
from bench.figure import quantile  # noqa: E402
from tests.support.cast import ALICE, headers_of  # noqa: E402

QUERIES = (
    "0000000000000000000000000000000000000000",  # an id that nobody has: all services are asked
    "9e3779b1",  # the beginning of one
    "connection closed",  # words of many
    "zone0042 refused",
    "4711",  # a beginning of many
    "SMTPServerDisconnected",
    "shop.part7",
    "worker-7",
    "no such words",  # nothing
)
TURNS = 20


def main(folder: Path, address: str) -> None:
    app = create_app(Settings(instance_dir=folder, database_url=address, secret_key=SECRET_KEY))
    client, headers = app.test_client(), headers_of(app, ALICE, "read")
    taken: dict[str, list[float]] = {query: [] for query in QUERIES}
    incomplete: set[str] = set()
    client.get("/api/search", query_string={"q": QUERIES[0]}, headers=headers)  # compiles and imports what is needed
    gc.collect()  # as gunicorn.conf.py does in a worker that has started
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
    lag = Lag()
    for _ in range(TURNS):
        for query in QUERIES:
            began = time.monotonic()
            answer = client.get("/api/search", query_string={"q": query}, headers=headers)
            taken[query].append((time.monotonic() - began) * 1000)
            assert answer.status_code == 200, answer.text
            if answer.get_json()["meta"]["notSearched"]:
                incomplete.add(query)
    every = [one for some in taken.values() for one in some]
    found = {
        "p50_ms": quantile(every, 0.5),
        "p95_ms": quantile(every, 0.95),
        "nothing_ms": quantile(taken[QUERIES[-1]], 0.95),
        "lag_ms": lag.stop_ms(),
        "incomplete": len(incomplete),
    }
    medians = {query: round(quantile(some, 0.5), 1) for query, some in taken.items()}
    print(json.dumps({**found, "medians": medians}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
