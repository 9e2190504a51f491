"""The services of the show: how the jobs of each fare, and what is wrong with it. Pure."""

from dataclasses import dataclass
from typing import Literal

from demo.failures import DISCONNECTED, NO_VAT, Failure


@dataclass(frozen=True, slots=True)
class PastFailures:
    """Failures that a new service begins with, spread evenly between two moments of its last hour."""

    queue: str
    failure: Failure
    number: int
    first_min_ago: float
    last_min_ago: float


@dataclass(frozen=True, slots=True)
class Trouble:
    """What goes wrong by itself once the service has been watched for a while: a fault as PUT /_fault takes it."""

    mode: Literal["none", "error"]
    after_s: float
    seconds: float | None = None
    lose_jobs: int = 0
    # It happens once in the life of a database, not after each start.
    is_once: bool = False


@dataclass(frozen=True, slots=True)
class Profile:
    """One service. `shows`, `breaks` and `mends` are sentences for people; the last two end before their command."""

    id: str
    title: str
    queues: tuple[str, ...]
    shows: str
    breaks: str = "Let it answer nothing but errors"
    break_fault: str = '{"mode": "error"}'
    mends: str = "Let it answer again"
    # Seconds at speed 1.
    arrival_every_s: float = 3.0
    wait_s: tuple[float, float] = (3.0, 20.0)
    run_s: tuple[float, float] = (10.0, 45.0)
    failing: float = 0.08
    stuck: float = 0.005
    past: tuple[PastFailures, ...] = ()
    trouble: Trouble | None = None


MEND_FAULT = '{"mode": "none"}'

# A third of a job a second, three changes a job, some 40 s each: one change a second and some 14 jobs under way.
SHOP = Profile(
    "palantir",
    "Shop",
    ("mail", "reports", "billing"),
    "A busy service. A few of its jobs fail, for six different causes.",
    "Let it lose three jobs",
    '{"mode": "none", "loseJobs": 3}',
)
THUMBNAILS = Profile(
    "thumbnails",
    "Thumbnails",
    ("thumbnails",),
    "A fast service without a fault: one calm line.",
    arrival_every_s=2.0,
    wait_s=(0.5, 3.0),
    run_s=(1.0, 6.0),
    failing=0.0,
    stuck=0.0,
)
EXPORTS = Profile(
    "exports",
    "Exports",
    ("exports",),
    "A slow service. Now and then a job gets stuck or may not write its file.",
    "Let every answer come 8 s late",
    '{"mode": "slow", "seconds": 8}',
    arrival_every_s=9.0,
    run_s=(30.0, 90.0),
    failing=0.1,
    stuck=0.15,
)
FLEET = (
    SHOP,
    Profile(
        "newsletter",
        "Newsletter",
        ("newsletter", "invoices"),
        "Most of its jobs have failed for one cause since deploy 4.12.0, a few for another one.",
        "Let it hang",
        '{"mode": "hang"}',
        arrival_every_s=12.0,
        failing=0.4,
        past=(PastFailures("newsletter", DISCONNECTED, 28, 38, 2), PastFailures("invoices", NO_VAT, 3, 55, 20)),
    ),
    Profile(
        "billing",
        "Billing",
        ("billing",),
        "Half a minute after the first start it loses three jobs: a discrepancy that names them, until it is accepted.",
        "Let it lose three more",
        '{"mode": "none", "loseJobs": 3}',
        arrival_every_s=8.0,
        run_s=(60.0, 110.0),
        failing=0.0,
        stuck=0.0,
        trouble=Trouble("none", after_s=30, lose_jobs=3, is_once=True),
    ),
    Profile(
        "search",
        "Search index",
        ("search",),
        "It answers until half a minute after each start, then only with errors: nothing is known of it any more.",
        failing=0.0,
        trouble=Trouble("error", after_s=30, seconds=86_400),
    ),
    THUMBNAILS,
    EXPORTS,
)
