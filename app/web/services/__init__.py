"""`/services` and `/services/{id}`: what is watched, and how it is."""
