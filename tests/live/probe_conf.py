"""gunicorn's settings as they are, with a reporter in each worker, and what only tests set."""

import os
from pathlib import Path

_real = Path(__file__).resolve().parents[2] / "gunicorn.conf.py"
exec(compile(_real.read_text(), str(_real), "exec"))  # noqa: S102 -- the hooks must be this module's own

import app  # noqa: E402 -- after the patch
from tests.live import probe  # noqa: E402 -- after the patch

_start = post_worker_init  # noqa: F821 -- the real one, from above
_engine_options = app.engine_options

certfile = os.environ.get("BEACON_PROBE_CERT")
keyfile = os.environ.get("BEACON_PROBE_KEY")
keepalive = int(os.environ.get("BEACON_PROBE_KEEPALIVE", keepalive))  # noqa: F821 -- the real one, from above


def _two_connections(database_url):
    return {**_engine_options(database_url), "pool_size": 2, "max_overflow": 0}


if os.environ.get("BEACON_PROBE_TINY_POOL"):
    app.engine_options = _two_connections


def post_worker_init(worker):
    _start(worker)
    probe.serve(worker.wsgi)
