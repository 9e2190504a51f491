"""How sure a share of failures is, valid at every look: a confidence sequence for a proportion. Pure.

A plan is looked at every few seconds for hours. An ordinary confidence interval would be wrong at some look sooner or
later; these bounds are wrong at any look ever with a probability of at most `alpha`. They invert the mixture martingale
of H. Robbins, "Statistical methods related to the law of the iterated logarithm", Ann. Math. Statist. 41 (1970), here
with a beta mixture for Bernoulli trials; see also S. R. Howard, A. Ramdas, J. McAuliffe, J. Sekhon, "Time-uniform,
nonparametric, nonasymptotic confidence sequences", Ann. Statist. 49 (2021), section 3 (arXiv:1810.08240).

For a true share p, M(p) = B(a + k, b + n - k) / B(a, b) / (p^k (1 - p)^(n - k)) is a martingale with mean 1 in the
number n of trials, of which k failed. By Ville's inequality it ever reaches 1 / alpha with a probability of at most
alpha, so the shares p with M(p) < 1 / alpha form an interval that always holds the true one.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

# The mixture: most weight on few failures, which is where the decisions are.
_A, _B = 1.0, 20.0
_BISECTIONS = 40
MAX_FURTHER_TRIALS = 100_000


@dataclass(frozen=True, slots=True)
class ShareInterval:
    """The share of failures is between `low` and `high`, at every look."""

    low: float
    high: float


def is_above(failures: int, trials: int, share: float, alpha: float) -> bool:
    """True if the true share of failures is surely above `share`."""
    return failures > share * trials and _log_martingale(failures, trials, share) >= -math.log(alpha)


def is_below(failures: int, trials: int, share: float, alpha: float) -> bool:
    """True if the true share of failures is surely below `share`."""
    return failures < share * trials and _log_martingale(failures, trials, share) >= -math.log(alpha)


@lru_cache(maxsize=1_000)
def bound_share(failures: int, trials: int, alpha: float) -> ShareInterval:
    """The interval for the share of failures; from 0 to 1 if nothing was tried."""
    if trials == 0:
        return ShareInterval(0.0, 1.0)
    middle = failures / trials
    return ShareInterval(
        _bisect(failures, trials, alpha, 0.0, middle) if failures else 0.0,
        _bisect(failures, trials, alpha, 1.0, middle) if failures < trials else 1.0,
    )


def count_trials_needed(failures: int, trials: int, share: float, alpha: float) -> int:
    """How many trials there must be in all until the share is surely below `share`, if no further one fails."""
    least, most = trials, trials + MAX_FURTHER_TRIALS
    while least < most:
        middle = (least + most) // 2
        if is_below(failures, middle, share, alpha):
            most = middle
        else:
            least = middle + 1
    return least


def _log_martingale(failures: int, trials: int, share: float) -> float:
    if (share <= 0 and failures) or (share >= 1 and failures < trials):
        return math.inf
    mixture = _log_beta(_A + failures, _B + trials - failures) - _log_beta(_A, _B)
    fits = failures * math.log(share) if failures else 0.0
    misses = (trials - failures) * math.log1p(-share) if failures < trials else 0.0
    return mixture - fits - misses


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


def _bisect(failures: int, trials: int, alpha: float, outside: float, inside: float) -> float:
    """The edge of the interval between a share outside of it and one inside; on the outer side of the true edge."""
    for _ in range(_BISECTIONS):
        middle = (outside + inside) / 2
        if _log_martingale(failures, trials, middle) >= -math.log(alpha):
            outside = middle
        else:
            inside = middle
    return outside
