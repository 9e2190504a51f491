"""What every kind of source that lives on Redis or Valkey shares."""
