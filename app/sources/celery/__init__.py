"""Celery over Redis or Valkey."""
