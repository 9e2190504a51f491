"""How the rollout of a flag moves: plans, guardrail, what browsers report, who would switch."""
