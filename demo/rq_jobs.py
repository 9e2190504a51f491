"""What the RQ workers of the show run."""

import random
import time

FAILING = 0.1


def resize(order: int) -> int:
    """Quick, and never fails."""
    time.sleep(random.uniform(0.5, 3))  # noqa: S311 -- chance for a show, nothing secret
    return order


def write_export(order: int) -> int:
    """Slow; now and then it may not write its file."""
    time.sleep(random.uniform(2, 6))  # noqa: S311 -- see above
    if random.random() < FAILING:  # noqa: S311 -- see above
        raise PermissionError(13, "Permission denied", f"exports/order-{order}.csv")
    return order
