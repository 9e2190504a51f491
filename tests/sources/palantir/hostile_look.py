"""A program: looks at a service over HTTP under gevent, and prints why it refused the answer, and by how many MB this
process has grown at most and for good."""

from gevent import monkey

monkey.patch_all()

import json  # noqa: E402 -- after the patch
import re  # noqa: E402
import sys  # noqa: E402
from pathlib import Path  # noqa: E402

import psutil  # noqa: E402

from app.sources.palantir.palantir_source import PalantirSource  # noqa: E402
from app.sources.protocol import SourceError  # noqa: E402

LOOKS = 3


def resident_mb() -> float:
    return psutil.Process().memory_info().rss / 1e6


def highest_mb() -> float:
    """Of this program alone: `getrusage` tells of the process that started it as well."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) / 1e3


def main(url: str) -> None:
    source, reason = PalantirSource(url, 10_000), ""
    before = resident_mb()
    for _ in range(LOOKS):
        try:
            source.read_snapshot()
        except SourceError as error:
            reason = error.reason
    source.close()
    sys.stdout.write(json.dumps({"reason": reason, "most": highest_mb() - before, "kept": resident_mb() - before}))


if __name__ == "__main__":
    main(sys.argv[1])
