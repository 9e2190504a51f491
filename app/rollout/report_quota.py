"""Limits how much the reports of one user count in the sums: several reports are not several people.

Kept in the memory of one worker and bounded; nothing about a person is stored or logged.
"""

from collections import OrderedDict, deque

from app.rollout.client_reports import MAX_ATTEMPTS_PER_REPORT, MAX_LAGS_PER_REPORT, ClientReport

# Limit of tracked users. Beyond it, the user with the oldest report is dropped.
MAX_TRACKED_USERS = 10_000
# A report is dated at the flush, which may be delayed by an unavailable database.
FLUSH_SLACK_S = 60.0


class ReportQuota:
    """Within one guardrail window the attempts, fallbacks and lags of a user count for at most half of `min_attempts`
    each, so one viewer behind a broken proxy is too few to judge."""

    def __init__(self, min_attempts: int, window_s: float) -> None:
        self._most, self._window_s = max(1, min_attempts // 2), window_s + FLUSH_SLACK_S
        # By user: the time of each report (monotonic), and how many of its attempts and lags count.
        self._counted: OrderedDict[str, deque[tuple[float, int, int]]] = OrderedDict()

    def limit(self, user: str, report: ClientReport, now: float) -> ClientReport:
        """The report reduced to what counts at `now` (monotonic), in the same proportions."""
        before = self._recent(user, now)
        attempts, lags = sum(one for _, one, _ in before), sum(one for _, _, one in before)
        counts = report.scale_down(
            min(MAX_ATTEMPTS_PER_REPORT, self._most - attempts), min(MAX_LAGS_PER_REPORT, self._most - lags)
        )
        figures = max(counts.attempts, counts.fallbacks), len(counts.lag_ms)
        if any(figures):
            before.append((now, *figures))
        return counts

    def _recent(self, user: str, now: float) -> deque[tuple[float, int, int]]:
        before = self._counted.setdefault(user, deque())
        self._counted.move_to_end(user)
        if len(self._counted) > MAX_TRACKED_USERS:
            self._counted.popitem(last=False)
        while before and before[0][0] <= now - self._window_s:
            before.popleft()
        return before
