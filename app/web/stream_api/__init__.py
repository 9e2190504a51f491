"""`/api/stream` and its other addresses: the stream, and its finite twin for pages that poll."""
