"""`/commands` and `/services/{id}/commands`: what operators order, and what became of it."""
