"""All figures, in the order of the table. They are measured and printed, never asserted: machines are noisy."""

from bench.figures import (
    audit,
    churn,
    dom,
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
    rollout,
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
        rollout,
        reconcile,
        fleet,
        wall,
        dom,
        first_load,
        audit,
        failures,
        job_page,
        search,
    )
]
