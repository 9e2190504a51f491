"""Infrastructure that knows nothing about jobs: time, logs, threads, leases, the state of the database."""
