"""Flags: what is switched on for whom."""
