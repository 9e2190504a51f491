"""RQ on Redis or Valkey."""
