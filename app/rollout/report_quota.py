"""How much of what one login reports counts: several reports are not several people.

In memory and of one worker alone, bounded, and gone with it: nothing of a person is kept or logged.
"""

from collections import OrderedDict, deque

from app.rollout.client_reports import MAX_ATTEMPTS_PER_REPORT, MAX_LAGS_PER_REPORT, ClientReport

# So many logins are told apart; of more, whoever reported longest ago is forgotten.
MAX_TRACKED_LOGINS = 10_000
# A report waits for the next flush, or for a database that is away for a moment, and is dated then.
FLUSH_SLACK_S = 60.0


class ReportQuota:
    """Within one window of the guardrail a login's attempts, fallbacks and lags count for at most half of
    `min_attempts` each: one viewer behind a broken proxy decides nothing."""

    def __init__(self, min_attempts: int, window_s: float) -> None:
        self._most, self._window_s = max(1, min_attempts // 2), window_s + FLUSH_SLACK_S
        # Of each login: when it reported (monotonic), and how many attempts and lags of that count.
        self._counted: OrderedDict[str, deque[tuple[float, int, int]]] = OrderedDict()

    def limit(self, login: str, report: ClientReport, now: float) -> ClientReport:
        """As much of it as counts `now` (monotonic), in the same proportions."""
        before = self._recent(login, now)
        attempts, lags = sum(one for _, one, _ in before), sum(one for _, _, one in before)
        counts = report.scale_down(
            min(MAX_ATTEMPTS_PER_REPORT, self._most - attempts), min(MAX_LAGS_PER_REPORT, self._most - lags)
        )
        figures = max(counts.attempts, counts.fallbacks), len(counts.lag_ms)
        if any(figures):
            before.append((now, *figures))
        return counts

    def _recent(self, login: str, now: float) -> deque[tuple[float, int, int]]:
        before = self._counted.setdefault(login, deque())
        self._counted.move_to_end(login)
        if len(self._counted) > MAX_TRACKED_LOGINS:
            self._counted.popitem(last=False)
        while before and before[0][0] <= now - self._window_s:
            before.popleft()
        return before
