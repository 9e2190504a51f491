"""File descriptors: every open stream holds one, and a worker that has none left cannot even say so."""

import logging
import resource

log = logging.getLogger(__name__)

# For requests on their way, the database, the log file and the listening socket.
SPARE_DESCRIPTORS = 200


def count_needed(streams: int) -> int:
    """The descriptors that a worker with so many streams wants: some for those that come and go, and spare ones."""
    return streams + streams // 50 + SPARE_DESCRIPTORS


def stream_capacity(limit: int) -> int:
    """The most streams that `needed` allows below `limit` descriptors; never none at all."""
    return max((limit - SPARE_DESCRIPTORS) * 50 // 51, 1)


def soft_limit() -> int:
    """How many descriptors this process may open now."""
    return _finite_limit(resource.getrlimit(resource.RLIMIT_NOFILE)[0])


def hard_limit() -> int:
    """How many it may allow itself; `raise_descriptor_limit` does."""
    return _finite_limit(resource.getrlimit(resource.RLIMIT_NOFILE)[1])


def raise_descriptor_limit() -> int:
    """Let this process open as many as it may; the limit that then holds. For the server's start, in each worker."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (ValueError, OSError) as error:
            # Where "unlimited" is more than the kernel gives; streams are then held to what there is.
            log.warning("the descriptor limit stays at %s: %s", soft, error)
    return soft_limit()


def _finite_limit(limit: int) -> int:
    # RLIM_INFINITY is -1 here: any number that no process reaches stands for it.
    return 2**31 if limit == resource.RLIM_INFINITY else limit
