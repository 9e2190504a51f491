"""Who gets what: declared flags, evaluated by UnleashClient, kept in our database or in a real Unleash."""
