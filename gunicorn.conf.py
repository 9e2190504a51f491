"""gunicorn's settings: the worker class, numbers, and the hooks that start and stop the live half."""

from gevent import monkey

monkey.patch_all()

import gc  # noqa: E402 -- nothing may be imported before the patch
import os  # noqa: E402 -- nothing may be imported before the patch

from app.config import load_settings  # noqa: E402 -- see above
from app.infra.file_descriptors import raise_descriptor_limit  # noqa: E402 -- see above
from app.infra.logs import configure_logging  # noqa: E402 -- see above
from app.monitoring.multiprocess_files import MetricFiles  # noqa: E402 -- see above
from app.web.tls_handshake import limit_handshake  # noqa: E402 -- see above

assert all(  # noqa: S101 -- a worker on unpatched sockets would block all its streams: refuse to start
    monkey.is_module_patched(name) for name in ("socket", "ssl", "select", "threading")
)

_settings = load_settings()
_metric_files = MetricFiles(_settings)
_metric_files.configure_env()

wsgi_app = "app:create_app()"
worker_class = "app.web.gunicorn_worker.BeaconWorker"
workers = _settings.workers
bind = f"{_settings.bind}:{_settings.port}"
worker_connections = 10_000
# All streams of a restarted server come back within seconds.
backlog = 4_096
graceful_timeout = int(_settings.drain_s) + 5
timeout = 60
# The head of a request has this long too, the first one of a connection as well (tests/live/test_stalled_clients.py),
# and so has a TLS handshake.
keepalive = 5
ssl_context = limit_handshake
# An address may name a job, whose id takes up to 2,000 bytes, three signs each.
limit_request_line = 8_190
# Each worker imports for itself, after the patch; and none is recycled, which would cut all its streams at once.
preload_app = False
max_requests = 0
control_socket_disable = True
# app/web/trusted_proxies.py alone decides what a proxy says: gunicorn would believe every client on this machine, its
# headers SCRIPT_NAME and PATH_INFO too.
forwarded_allow_ips = ""
secure_scheme_headers = {}
forwarder_headers = ""
accesslog = None
errorlog = "-"
# A worker's heartbeat file: on a disk, its fsync could stall the loop.
worker_tmp_dir = "/dev/shm" if os.path.isdir("/dev/shm") else None  # noqa: S108, PTH112 -- gunicorn's own file


def post_worker_init(worker):
    raise_descriptor_limit()
    worker.wsgi.extensions["beacon"].background.start_when_ready()
    # What is loaded by now stays, and each open stream is a few objects more that stay: looking through all of them
    # again and again for garbage would hold the loop for milliseconds.
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


def worker_exit(server, worker):  # noqa: ARG001 -- gunicorn's signature
    app = getattr(worker, "wsgi", None)
    if app is not None:
        app.extensions["beacon"].background.stop()


def on_starting(server):  # noqa: ARG001 -- gunicorn's signature
    configure_logging()


def when_ready(server):
    """The port is ours and no worker runs yet, unless an older master handed the port over together with its own."""
    if not server.master_pid:
        _metric_files.clear()


def child_exit(server, worker):  # noqa: ARG001 -- gunicorn's signature
    _metric_files.mark_dead(worker.pid)
