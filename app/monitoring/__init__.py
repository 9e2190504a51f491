"""How Beacon itself is doing: metrics, lateness, readiness."""
