"""`/login`, `/logout`, `/api/users`, `/api/tokens`, and how a person likes pages to look."""
