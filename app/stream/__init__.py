"""Delivers the event log to every open stream, in order and exactly once."""
