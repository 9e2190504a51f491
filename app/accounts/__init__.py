"""Who you are: users and their roles, login sessions, API tokens."""
