"""Show: the pages, and the same partials for first render, push and poll."""
