"""Limits of file descriptors: every open stream needs one, and a worker without any left cannot even report it."""

import logging
import resource

log = logging.getLogger(__name__)

# Descriptors for requests in progress, the database, the log file and the listening socket.
SPARE_DESCRIPTORS = 200


def count_needed(streams: int) -> int:
    """Number of descriptors for a worker with this many streams, with a reserve for streams that open and close."""
    return streams + streams // 50 + SPARE_DESCRIPTORS


def stream_capacity(limit: int) -> int:
    """Maximum number of streams for which `count_needed` stays within `limit` descriptors; at least 1."""
    return max((limit - SPARE_DESCRIPTORS) * 50 // 51, 1)


def soft_limit() -> int:
    """Number of descriptors that this process may open now."""
    return _finite_limit(resource.getrlimit(resource.RLIMIT_NOFILE)[0])


def hard_limit() -> int:
    """The maximum to which this process may raise its limit; see `raise_descriptor_limit`."""
    return _finite_limit(resource.getrlimit(resource.RLIMIT_NOFILE)[1])


def raise_descriptor_limit() -> int:
    """Raise the soft limit to the hard limit and return the resulting limit. Called when each worker starts."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (ValueError, OSError) as error:
            # "unlimited" may be more than the kernel allows. Streams are then limited by the soft limit.
            log.warning("cannot raise the file descriptor limit, it stays at %s: %s", soft, error)
    return soft_limit()


def _finite_limit(limit: int) -> int:
    # RLIM_INFINITY is -1: replace it by a number that no process reaches.
    return 2**31 if limit == resource.RLIM_INFINITY else limit
