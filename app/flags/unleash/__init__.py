"""The flags of a real Unleash server."""
