"""The only package that knows requests: pages and the API, one package for each prefix of addresses."""
