"""Beacon's own health: metrics, delivery lag and readiness."""
