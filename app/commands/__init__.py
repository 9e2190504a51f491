"""Commands: each runs once, reports its progress, and succeeds only when its effect was observed."""
