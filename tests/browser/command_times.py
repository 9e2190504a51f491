"""Background processes that import this follow a retried job for less time; tests/live/test_commands.py waits."""

from app.commands import effects

effects.RETRY_FOLLOW_S = 0.5
