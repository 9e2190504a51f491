"""Compares what services report with what Beacon knows, and records verdicts and their events together."""
