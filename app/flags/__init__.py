"""Feature flags: evaluated with UnleashClient, stored in Beacon's database or in an Unleash server."""
