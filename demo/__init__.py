"""A small job service that speaks the Palantir HTTP API, in its own process with its own SQLite file.

Beacon watches it where there is nothing else to watch, and tests break it on purpose (see control.py).
"""
