"""`/`: the first screen, and the partials that first render, push and poll share."""
