"""Reads one audit in a process with gevent's loop, as a worker does, and prints what it took: `… FOLDER`."""

from gevent import monkey

monkey.patch_all()

import gc  # noqa: E402 -- nothing may be imported before the patch
import json  # noqa: E402
import resource  # noqa: E402
import statistics  # noqa: E402
import sys  # noqa: E402
import threading  # noqa: E402
import time  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any  # noqa: E402

from app import create_app  # noqa: E402
from app.audit import export, reader_pool, search  # noqa: E402
from app.audit.count_cache import CountCache  # noqa: E402
from app.audit.query_params import AuditCursor, AuditQuery  # noqa: E402
from app.audit.verify import verify  # noqa: E402
from app.config import Settings  # noqa: E402

PAGES: tuple[dict[str, Any], ...] = (
    {}, {"actor": "bob"}, {"actionType": "login"}, {"target": "mail"}, {"outcome": "timeout"}, {"outcome": "success"},
)  # fmt: skip
FILTERS: tuple[dict[str, Any], ...] = (
    {"actor": "rare", "target": "search"},
    {"actor": "bob", "target": "mail", "outcome": "timeout", "actionType": "login"},
    {"outcome": "success", "actor": "rare"},
    {"outcome": "success", "sortBy": "actor"},
    {"target": "mail", "sortBy": "actor"},
    {"actor": "bob", "outcome": "failure", "startDate": "2022-01-01"},
    {"sortBy": "actor", "startDate": "2021-06-01"},
    {"actor": "bob", "page": 5_000},
    {"q": "nothing such"},
)
TURNS = 15
EXPORTED = 100_000


class Lag:
    """How late a greenlet that sleeps 5 ms comes back."""

    def __init__(self) -> None:
        self.worst_s, self._over = 0.0, threading.Event()
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while not self._over.is_set():
            before = time.monotonic()
            time.sleep(0.005)
            self.worst_s = max(self.worst_s, time.monotonic() - before - 0.005)

    def stop_ms(self) -> float:
        self._over.set()
        return self.worst_s * 1000


def main(folder: Path) -> None:
    app = create_app(Settings(instance_dir=folder, secret_key="bench"))
    gc.collect()  # as gunicorn.conf.py does in a worker that has started
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
    with app.app_context():
        totals = CountCache()
        pages: dict[str, float] = {}
        for asked in PAGES:
            found = _page(asked, totals)[0]
            pages[str(asked)] = _median_ms(asked, totals)
            middle = AuditCursor((found.head[0] // 2,)).encode()
            pages[f"{asked} deep"] = _median_ms({**asked, "cursor": middle}, totals)
            if found.next:
                following = {**asked, "cursor": found.next.encode()}
                pages[f"{asked} next"] = _median_ms(following, totals)
                before = _page(following, totals)[0].previous
                assert before is not None
                pages[f"{asked} previous"] = _median_ms({**asked, "cursor": before.encode()}, totals)
        pages["by number"] = _median_ms({"page": found.head[0] // 100}, totals)
        lag = Lag()
        filters = {str(asked): _page(asked, CountCache())[1] for asked in FILTERS}
        lag_ms = lag.stop_ms()
        began = time.monotonic()
        verified = verify()
        per_s = verified.count / (time.monotonic() - began)
        assert verified.broken is None, verified.broken
    figures = {"pages": pages, "filters": filters, "lag_ms": lag_ms, "verified_per_s": per_s}
    print(json.dumps({**figures, "export_mb": _export_mb(app)}))


def _export_mb(app: Any) -> float:
    """What the peak of memory grows by, from a few pieces on to many."""
    lines, before = 0, 0
    for number, piece in enumerate(export.export_lines(app, AuditQuery(), "ndjson")):
        lines += piece.count(b"\n")
        if number == 3:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        if lines >= EXPORTED:
            break
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1000 if before else 0.0


def _page(asked: dict[str, Any], totals: CountCache) -> tuple[search.AuditPage, float]:
    began = time.monotonic()
    found = reader_pool.run_read(lambda fetch: search.find_page(fetch, AuditQuery.model_validate(asked), totals))
    return found, (time.monotonic() - began) * 1000


def _median_ms(asked: dict[str, Any], totals: CountCache) -> float:
    return statistics.median(_page(asked, totals)[1] for _ in range(TURNS))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
