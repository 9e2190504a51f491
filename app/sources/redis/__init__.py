"""Shared code of the source kinds that use Redis or Valkey."""
