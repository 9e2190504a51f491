"""`/api/events`: programs publish events, and read them by polling."""
