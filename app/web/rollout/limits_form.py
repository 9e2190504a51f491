"""Parses the form of the guardrail's limits. Pure."""

import math
from collections.abc import Mapping
from typing import cast, get_args

from app.infra.problems import Problem
from app.rollout.guardrail import GuardrailLimits, GuardrailMode

MAX_QUERY_CHARS = 1_000


def parse_limits(form: Mapping[str, str]) -> GuardrailLimits:
    """`maxFailures` is in percent. Raises the 400 `Problem`."""
    mode = form.get("mode", "")
    if mode not in get_args(GuardrailMode):
        raise Problem(400, "Invalid limits", f"The guardrail can be {', '.join(get_args(GuardrailMode))}.")
    query = " ".join(form.get("query", "").replace("\0", "").split())[:MAX_QUERY_CHARS]
    return GuardrailLimits(
        cast(GuardrailMode, mode),
        _parse_number(form, "maxFailures", 0, 100, "a percentage from 0 to 100") / 100,
        _parse_number(form, "maxLagS", 0.001, 86_400, "a number of seconds above 0"),
        int(_parse_number(form, "minAttempts", 1, 1_000_000, "a whole number from 1")),
        query,
        _parse_number(form, "maxValue", -1e15, 1e15, "a number") if query else 0.0,
    )


def _parse_number(form: Mapping[str, str], name: str, least: float, most: float, what: str) -> float:
    try:
        found = float(form.get(name, ""))
    except ValueError:
        found = math.nan
    if not least <= found <= most:
        raise Problem(400, "Invalid limits", f"{name} is {what}.", errors={name: what})
    return found
