"""`/discrepancies` and `/services/{id}/discrepancies`: what was wrong, what is, and what an operator accepts."""
