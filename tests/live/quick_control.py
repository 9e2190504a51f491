"""A guardrail that looks more often. A background process imports this first.

A step back with the times of a real deployment is waited for by tests/browser/test_client_reports.py.
"""

from app.cli import worker

worker.CONTROL_EVERY_S = 0.5
