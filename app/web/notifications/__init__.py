"""`/notifications` and `/widgets/notifications`: what a person should notice."""
