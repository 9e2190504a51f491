"""How much longer than on two quiet cores the suite waits: `make test` measures it, everybody else may set it."""

import os

# Read when pytest starts, because tests of Beacon clear its settings.
SLOWNESS = float(os.environ.get("BEACON_TEST_SLOWNESS", "1"))


def scaled(seconds: float) -> float:
    """The bound as it holds on this machine."""
    return seconds * SLOWNESS
