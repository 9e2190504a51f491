"""Failed jobs by cause: which failures are one group, and what is known of each."""
