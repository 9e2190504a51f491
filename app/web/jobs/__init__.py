"""`/services/{id}/jobs` and `/api/jobs`: the jobs of a service."""
