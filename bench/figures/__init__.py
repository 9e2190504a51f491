"""All figures, in the order of the table. They are measured and printed, never asserted: machines are noisy."""

from bench.figures import (
    churn,
    dom,
    fan_out,
    first_load,
    flag,
    house,
    idle,
    insert,
    memory,
    page,
    resume,
    saturation,
    scale,
    stalled,
)

ALL = [
    module.FIGURE
    for module in (
        fan_out,
        saturation,
        memory,
        insert,
        resume,
        idle,
        house,
        scale,
        page,
        churn,
        stalled,
        flag,
        dom,
        first_load,
    )
]
