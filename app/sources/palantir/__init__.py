"""A job service that speaks the Palantir HTTP API (docs/palantir-api.md)."""
