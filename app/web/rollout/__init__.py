"""`/rollout` and `/api/rollout/{flag}`: who streams, and how that moves."""
