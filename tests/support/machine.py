"""How slow this machine is: the one place that scales every wait and every bound on time in the tests.

A bound in a test is written as it would be on two quiet cores, with room. `scaled(bound)` multiplies it by the
slowness, which is measured once by the process that starts the run and handed to the others in the environment.
"""

import hashlib
import os
import time
from functools import cache

# Set by hand, it replaces the measurement: BEACON_TEST_SLOWNESS=3 make test.
VARIABLE = "BEACON_TEST_SLOWNESS"
# What one round takes on the two quiet cores that the bounds were written on.
REFERENCE_ROUND_S = 0.0075
ROUNDS = 15
# On top of every time that is promised to users: a test's own process and its neighbours hold up what they watch.
ROOM_S = 1.0
# A machine that is faster, or quiet for a moment, shortens no bound; a wait of minutes helps nobody either.
LEAST, MOST = 1.0, 10.0
_MEASURED = os.environ.get(VARIABLE)  # read when pytest starts: each test clears the settings of Beacon


def scaled(seconds: float) -> float:
    """The bound as it holds on this machine."""
    return seconds * slowness()


@cache
def slowness() -> float:
    """1 on the machine that the bounds were written on, 2 on one that takes twice as long."""
    return float(_MEASURED) if _MEASURED else measure()


def measure(side_by_side: int = 1) -> float:
    """A short calibration loop for the speed of a core, and the load for how many others want it.

    A run slows itself down when more of its processes run side by side than there are cores.
    """
    cores = os.cpu_count() or 1
    rounds = sorted(_round_s() for _ in range(ROUNDS))
    speed = rounds[len(rounds) // 2] / REFERENCE_ROUND_S
    wanted = max(1.0, (side_by_side + os.getloadavg()[0]) / cores)
    return round(min(max(speed * wanted, LEAST), MOST), 2)


def publish(side_by_side: int) -> float:
    """Let the processes that are started from here on read the slowness instead of measuring again; says it."""
    published = float(_MEASURED) if _MEASURED else measure(side_by_side)
    os.environ[VARIABLE] = str(published)
    return published


def _round_s() -> float:
    """The seconds that passed while a fixed piece of work was done: slow cores and other work both stretch it."""
    began = time.perf_counter()
    digest = b"beacon"
    for number in range(10_000):
        digest = hashlib.sha256(digest + str(number).encode()).digest()
    return time.perf_counter() - began
