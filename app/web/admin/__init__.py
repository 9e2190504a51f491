"""`/admin`: what administrators set up."""
