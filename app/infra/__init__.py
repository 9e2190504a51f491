"""What knows nothing of jobs: time, logs, threads, leases, the state of the database."""
