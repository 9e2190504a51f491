"""Rollout of flags: changes, staged plans, the guardrail, client reports and previews."""
