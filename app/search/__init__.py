"""Finds jobs, causes, services, queues, workers, commands and people by a text that somebody typed."""
