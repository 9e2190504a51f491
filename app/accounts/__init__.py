"""Users and their roles, login sessions, and API tokens."""
