"""Pages and the HTTP API, one package for each URL prefix. No other package knows Flask requests."""
