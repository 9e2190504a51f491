"""Stores every change in one append-only log; the id of the last event read is a client's cursor."""
