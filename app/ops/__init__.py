"""How Beacon itself is doing."""
