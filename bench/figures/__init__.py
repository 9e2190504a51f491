"""All figures, in the order of the table. They are measured and printed, never asserted: machines are noisy."""

from bench.figures import (
    audit,
    churn,
    dom,
    failing,
    failures,
    fan_out,
    first_load,
    flag,
    fleet,
    house,
    idle,
    insert,
    job_page,
    memory,
    page,
    reconcile,
    resume,
    saturation,
    scale,
    search,
    stalled,
    wall,
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
        reconcile,
        fleet,
        wall,
        dom,
        first_load,
        audit,
        failing,
        failures,
        job_page,
        search,
    )
]
