"""Figures that are measured and printed, never asserted: machines are shared and noisy."""
