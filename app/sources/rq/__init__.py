"""RQ on Redis or Valkey (docs/sources/rq.md)."""

from app.sources.protocol import Kind, ServiceAddress
from app.sources.redis.client import MAX_BYTES, MAX_ENTRIES, RedisServer, check_url
from app.sources.rq.rq_source import RqOptions, RqSource


def _build(address: ServiceAddress, options: RqOptions, job_list_bound: int) -> RqSource:
    # A full snapshot with ids of usual length, read twice, takes 150 bytes for each job.
    most = {"max_bytes": MAX_BYTES + 500 * job_list_bound, "max_entries": MAX_ENTRIES + 8 * job_list_bound}
    server = RedisServer(address, **most)
    return RqSource(server, options, job_list_bound)


KIND = Kind(
    name="rq",
    about="Queues of RQ (Python) on Redis or Valkey.",
    url_example="redis://host:6379/0",
    check_url=check_url,
    options=RqOptions,
    build=_build,
    advice={"overdue": "Check whether a worker that was started with --with-scheduler serves the queue."},
)
